"""softirqs: CPUs from the header, rows by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.softirqs import Softirqs, parse

NET = (b"NET_TX", b"NET_RX")


def text_of(cpus: list[int], rows: dict[str, list[int]]) -> bytes:
    """A table as show_softirqs() prints it."""
    lines = [" " * 20 + "".join(f"CPU{cpu:<8}" for cpu in cpus)]
    lines += [f"{name:>12}:" + "".join(f" {n:10d}" for n in row) for name, row in rows.items()]
    return "\n".join(lines).encode() + b"\n"


def test_only_the_vectors_asked_for() -> None:
    """Other rows are passed over, whatever is in them."""
    text = text_of([0, 2], {"HI": [9, 9], "NET_TX": [1, 2], "NET_RX": [3, 4], "BLOCK": [5, 6]})

    assert parse(text, NET, []) == Softirqs((0, 2), {"NET_TX": (1, 2), "NET_RX": (3, 4)})


def test_a_row_of_another_width_is_left_out() -> None:
    """The other row stands."""
    text = text_of([0, 1], {"NET_TX": [1], "NET_RX": [3, 4]})
    problems: list[str] = []

    assert parse(text, NET, problems).rows == {"NET_RX": (3, 4)}
    assert len(problems) == 1
    assert "NET_TX" in problems[0]


@pytest.mark.parametrize("text", [b"", b"CPU0 CPU0\nNET_RX: 1 2\n", b"CPU0 X\n", b"CPU0\nHI: 1\n"])
def test_what_is_no_table(text: bytes) -> None:
    """No header, a header that is not CPUs, or none of the rows."""
    with pytest.raises(Malformed):
        parse(text, NET, [])


@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    """What was printed is what is read, for any set of possible CPUs."""
    cpus = data.draw(st.lists(st.integers(0, 4095), min_size=1, max_size=64, unique=True))
    row = st.lists(st.integers(0, 2**32 - 1), min_size=len(cpus), max_size=len(cpus))
    rows = {"NET_TX": data.draw(row), "NET_RX": data.draw(row)}
    problems: list[str] = []
    softirqs = parse(text_of(cpus, rows), NET, problems)

    assert problems == []
    assert softirqs == (tuple(cpus), {name: tuple(row) for name, row in rows.items()})


@given(st.binary() | st.text("CPU01 NET_RX:\n9").map(str.encode))
def test_any_bytes_give_a_value_or_a_clear_error(text: bytes) -> None:
    """Nothing but Malformed is raised."""
    try:
        softirqs = parse(text, NET, [])
    except Malformed as error:
        assert str(error).isprintable()
    else:
        assert all(len(row) == len(softirqs.cpus) for row in softirqs.rows.values())
