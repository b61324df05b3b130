"""Lists of CPUs: ranges, holes, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.cpulist import parse


def text_of(cpus: set[int]) -> bytes:
    """A set as the kernel prints it."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    ranges = [f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts]
    return ",".join(ranges).encode() + b"\n"


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        (b"0\n", (0,)),
        (b"0-3\n", (0, 1, 2, 3)),
        (b"0,2-3,8\n", (0, 2, 3, 8)),
        (b"\n", ()),  # the cpulist of a node with memory only
    ],
)
def test_lists(text: bytes, cpus: tuple[int, ...]) -> None:
    """What the kernel writes."""
    assert parse(text) == cpus


@pytest.mark.parametrize("text", [b"0-", b"3-1", b"1,1", b"0-99999999", b"a", b"0 1", b"0,,1"])
def test_what_is_no_list(text: bytes) -> None:
    """A clear error, at once, also for a range that would fill the memory."""
    with pytest.raises(Malformed):
        parse(text)


@given(st.sets(st.integers(0, 4095)))
def test_round_trip(cpus: set[int]) -> None:
    """Any set of CPUs survives."""
    assert parse(text_of(cpus)) == tuple(sorted(cpus))


@given(st.binary() | st.text("0123456789-,\n").map(str.encode))
def test_any_bytes_give_a_value_or_a_clear_error(text: bytes) -> None:
    """Nothing but Malformed is raised."""
    try:
        cpus = parse(text)
    except Malformed as error:
        assert str(error).isprintable()
    else:
        assert list(cpus) == sorted(set(cpus))
