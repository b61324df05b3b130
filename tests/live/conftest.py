"""The lab as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("tests.live.lab")

if TYPE_CHECKING:
    from tests.live.lab import Daemon, Lab, Pair


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Namespaces for one test."""
    from tests.live.lab import Lab

    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def lasting_pair() -> Iterator[Pair]:
    """Namespaces that the tests of a module share."""
    from tests.live.lab import Lab

    with Lab() as made:
        yield made.watched_pair()


@pytest.fixture
def pair(lasting_pair: Pair) -> Pair:
    """A quiet pair of namespaces, for tests that change no setting and leave nothing open."""
    return lasting_pair.start()


@pytest.fixture(scope="module")
def this_host() -> Iterator[Daemon]:
    """An exporter of the machine that the tests run on."""
    from tests.live.lab import Daemon, Namespace

    with Daemon(Namespace()) as made:
        yield made
