"""Indirection tables: over netlink and by the ioctl, and what is none."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.parsers import Malformed, rss
from netperf_exporter.parsers.nic import Named
from tests import messages

TABLE = st.lists(st.integers(0, 2**32 - 1), max_size=300).map(tuple)


def packed(table: tuple[int, ...]) -> bytes:
    return struct.pack(f"={len(table)}I", *table)


def message(index: int, table: tuple[int, ...], *others: bytes) -> bytes:
    """rss_fill_reply(): no attribute for a table of no entries."""
    indirection = [codec.attribute(4, packed(table))] if table else []
    return messages.ethtool(index, f"eth{index}", *others, *indirection)


def test_the_table_of_each_device() -> None:
    """With the hash function and the key beside it, which have nothing to do with queues."""
    hashing = codec.u32(3, 1), codec.attribute(5, bytes(range(40)))
    dump = message(2, (0, 1, 0, 1), *hashing) + message(3, (7,) * 128)

    problems: list[str] = []

    assert rss.tables(dump, problems) == {
        2: Named("eth2", (0, 1, 0, 1)),
        3: Named("eth3", (7,) * 128),
    }
    assert problems == []


def test_a_device_without_a_table_is_not_there() -> None:
    assert rss.tables(message(2, (), codec.u32(3, 1)) + message(3, (0,)), []) == {
        3: Named("eth3", (0,))
    }
    assert rss.tables(message(2, ()), []) == {}
    assert rss.tables(b"", []) == {}


def test_contexts_beside_the_default_one_are_passed_over() -> None:
    """Only what a filter sends there uses them."""
    dump = message(2, (0, 1)) + message(2, (5, 6), codec.u32(2, 1))

    assert rss.tables(dump, []) == {2: Named("eth2", (0, 1))}


def test_a_broken_device_costs_only_itself() -> None:
    broken = messages.ethtool(2, "eth2", codec.attribute(4, b"\0\0\0\0\1"))
    nameless = messages.message(30, bytes(4) + codec.attribute(4, packed((1,))))
    dump = broken + nameless + message(3, (0, 1)) + b"\x40\0\0\0"

    problems: list[str] = []

    assert rss.tables(dump, problems) == {3: Named("eth3", (0, 1))}
    assert problems == [
        "device 'eth2': an indirection table of 5 bytes",
        "an indirection table that does not say of which device",
        f"the last 4 of {len(dump)} bytes are no message",
    ]
    with pytest.raises(Malformed, match="of 5 bytes"):
        rss.tables(broken, [])


def test_the_answer_of_the_ioctl() -> None:
    """Fewer entries than there was room for: the rest is what was in the room before."""
    assert rss.table(struct.pack("=II4I", 0x38, 4, 0, 1, 2, 3)) == (0, 1, 2, 3)
    assert rss.table(struct.pack("=II4I", 0x38, 2, 0, 1, 2, 3)) == (0, 1)


@pytest.mark.parametrize("answer", [b"", bytes(7), struct.pack("=III", 0x38, 2, 0)])
def test_an_answer_that_is_cut_short_is_malformed(answer: bytes) -> None:
    with pytest.raises(Malformed):
        rss.table(answer)


@given(TABLE)
def test_round_trip(table: tuple[int, ...]) -> None:
    """Any table survives, both ways."""
    assert rss.table(struct.pack("=II", 0x38, len(table)) + packed(table)) == table
    assert rss.tables(message(2, table), []) == ({2: Named("eth2", table)} if table else {})


ATTRIBUTES = st.lists(
    st.tuples(st.integers(0, 8), st.binary(max_size=12)).map(lambda a: codec.attribute(*a))
).map(b"".join)


@given(st.binary(), ATTRIBUTES, ATTRIBUTES)
def test_any_bytes_give_a_value_or_a_clear_error(noise: bytes, inner: bytes, outer: bytes) -> None:
    """Nothing but Malformed is raised, and every problem is one printable line."""
    nested = messages.message(30, bytes(4) + codec.attribute(1, inner) + outer)
    named = messages.ethtool(2, "eth2", outer)
    for dump in (noise, nested + noise, named + noise):
        problems: list[str] = []
        try:
            rss.tables(dump, problems)
        except Malformed as error:
            assert str(error).isprintable()
        assert all(problem.isprintable() for problem in problems)
    try:
        rss.table(noise)
    except Malformed as error:
        assert str(error).isprintable()
