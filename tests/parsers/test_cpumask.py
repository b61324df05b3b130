"""Masks of CPUs: groups, their order, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.cpumask import parse


def text_of(cpus: set[int], possible: int) -> bytes:
    """A set as bitmap_string() prints it for so many possible CPUs."""
    groups: list[str] = []
    for first in reversed(range(0, possible, 32)):
        bits = sum(1 << (cpu - first) for cpu in cpus if first <= cpu < first + 32)
        digits = (min(32, possible - first) + 3) // 4
        groups.append(f"{bits:0{digits}x}")
    return ",".join(groups).encode() + b"\n"


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        (b"3\n", (0, 1)),
        (b"00\n", ()),
        (b"ff\n", (0, 1, 2, 3, 4, 5, 6, 7)),
        (b"00000000,00000001\n", (0,)),
        (b"1,00000000,80000000\n", (31, 64)),
    ],
)
def test_masks(text: bytes, cpus: tuple[int, ...]) -> None:
    """The last group is that of CPU 0."""
    assert parse(text) == cpus


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"0-3", b"f,f", b"ffffffff,ff", b"0x3", b"3,", b",3", b"-1", b"1_0", b"123456789"],
)
def test_what_is_no_mask(text: bytes) -> None:
    """Above all a group without its 8 digits: the bits of those before it would be others."""
    with pytest.raises(Malformed):
        parse(text)


def test_a_mask_wider_than_any_kernel_is_refused() -> None:
    """Before a number is made of it."""
    with pytest.raises(Malformed):
        parse(b",".join([b"ffffffff"] * 2049))


@given(st.integers(1, 4096), st.data())
def test_round_trip(possible: int, data: st.DataObject) -> None:
    """Any set of CPUs survives, with any number of possible ones."""
    cpus = data.draw(st.sets(st.integers(0, possible - 1)))

    assert parse(text_of(cpus, possible)) == tuple(sorted(cpus))


@given(st.binary() | st.text("0123456789abcdef,\n").map(str.encode))
@example(b"00000000," * 64 + b"00000001")
def test_any_bytes_give_a_value_or_a_clear_error(text: bytes) -> None:
    """Nothing but Malformed is raised."""
    try:
        cpus = parse(text)
    except Malformed as error:
        assert str(error).isprintable()
    else:
        assert list(cpus) == sorted(set(cpus))
