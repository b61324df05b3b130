"""stat: ticks per CPU and mode; the rows end where the CPUs do."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.stat import MODES, CpuTimes, parse

ALL = MODES


def text_of(rows: dict[int, list[int]], end: str = "intr 5 0 0\nctxt 9\n") -> bytes:
    """Rows as show_stat() prints them, with guest and guest_nice behind."""
    lines = ["cpu  1 2 3 4 5 6 7 8 0 0"]
    lines += [f"cpu{cpu} {' '.join(map(str, row))} 0 0" for cpu, row in rows.items()]
    return "\n".join(lines).encode() + b"\n" + end.encode()


def test_modes_by_their_column() -> None:
    """The row of all CPUs together is not one of them."""
    text = text_of({0: [1, 2, 3, 4, 5, 6, 7, 8], 3: [11, 12, 13, 14, 15, 16, 17, 18]})

    assert parse(text, ("idle", "softirq"), []) == CpuTimes(
        (0, 3), {"idle": [b"4", b"14"], "softirq": [b"7", b"17"]}
    )


def test_a_kernel_may_add_columns() -> None:
    """What follows the known modes does no harm."""
    text = b"cpu  1\ncpu0 1 2 3 4 5 6 7 8 9 10 11 12\nintr 1\n"

    assert parse(text, ("steal",), []).ticks == {"steal": [b"8"]}


def test_a_broken_row_costs_only_itself() -> None:
    """A short row, a row with a word, a second row of a CPU."""
    text = text_of({0: [1] * 8, 4: [5] * 8}).replace(
        b"cpu4", b"cpu1 1 2 3\ncpu2 1 2 3 4 5 6 7 x 0 0\ncpu0 9 9 9 9 9 9 9 9 0 0\ncpu4"
    )
    problems: list[str] = []

    assert parse(text, ("idle",), problems) == CpuTimes((0, 4), {"idle": [b"1", b"5"]})
    assert len(problems) == 3


def test_a_truncated_file_keeps_its_whole_rows() -> None:
    """Cut in the middle of a number, the row could be anything."""
    text = text_of({0: [10] * 8, 1: [10] * 8}, end="")[:-6]
    problems: list[str] = []

    assert parse(text, ("idle",), problems).cpus == (0,)
    assert len(problems) == 1


@given(
    st.dictionaries(
        st.integers(0, 8191),
        st.lists(st.integers(0, 2**64 - 1), min_size=8, max_size=8),
        min_size=1,
        max_size=40,
    )
)
def test_round_trip(rows: dict[int, list[int]]) -> None:
    """What was printed is what is read."""
    problems: list[str] = []
    times = parse(text_of(rows), ALL, problems)

    assert problems == []
    assert times.cpus == tuple(rows)
    read = [list(map(int, row)) for row in zip(*times.ticks.values(), strict=True)]
    assert read == list(rows.values())


@given(st.binary() | st.text("cpu 01\nintr").map(lambda text: b"cpu 1\n" + text.encode()))
@example(b"cpu \ncpu0" + b" 1" * 7 + b" " + b"9" * 5000 + b" 0 0\nintr\n")
@example(b"cpu \ncpu" + b"9" * 5000 + b" 1" * 10 + b"\nintr\n")
def test_any_bytes_give_a_value_or_a_clear_error(text: bytes) -> None:
    """Nothing but Malformed is raised."""
    try:
        times = parse(text, ALL, [])
    except Malformed as error:
        assert str(error).isprintable()
    else:
        assert len(times.cpus) == len(set(times.cpus)) == len(times.ticks["idle"])


def test_an_empty_file_is_an_error() -> None:
    """Not a host without CPUs."""
    with pytest.raises(Malformed):
        parse(b"", ALL, [])
