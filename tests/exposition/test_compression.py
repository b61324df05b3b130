"""What is compressed is what comes out, with isal and without."""

from __future__ import annotations

import gzip
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.exposition import compression


@pytest.fixture(params=["isal", "zlib"], scope="module")
def library(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The module with each of the libraries it may use."""
    if request.param == "isal":
        pytest.importorskip("isal", reason="there is no isal for this machine")
        yield compression
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "isal", None)
        yield importlib.reload(compression)
    importlib.reload(compression)


@given(st.lists(st.binary(max_size=20_000), max_size=5))
def test_round_trip(library: ModuleType, texts: list[bytes]) -> None:
    """One stream, readable by anybody's gzip."""
    assert gzip.decompress(library.gzipped(texts)) == b"".join(texts)


def test_lines_that_are_alike_are_small(library: ModuleType) -> None:
    """What an exposition is made of."""
    text = b"".join(b'netperf_softnet_dropped_total{cpu="%d"} 0\n' % i for i in range(5000))

    assert len(library.gzipped([text])) < len(text) / 5
