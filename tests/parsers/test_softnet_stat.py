"""softnet_stat: widths from 9 columns up, CPUs by number or by position, broken rows."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.softnet_stat import SoftnetStat, parse

U32 = st.integers(0, 2**32 - 1)


def text_of(rows: list[list[int]]) -> bytes:
    """Rows as softnet_seq_show() prints them."""
    return b"".join(b" ".join(b"%08x" % cell for cell in row) + b"\n" for row in rows)


def test_fifteen_columns() -> None:
    """6.12 and later: both parts of the backlog, and the CPU's number in column 13."""
    row = [0x10, 2, 3, 0, 0, 0, 0, 0, 0, 4, 5, 11, 7, 6, 5]
    problems: list[str] = []

    assert SoftnetStat((7,), (16,), (2,), (3,), (4,), (5,), (11,), (6,), (5,)) == parse(
        text_of([row]), None, problems
    )
    assert problems == []


@pytest.mark.parametrize("width", range(9, 20))
def test_columns_a_kernel_lacks_are_none(width: int) -> None:
    """A column is there or it is None; columns of a future kernel do no harm."""
    rows = [[*range(100, 100 + width)] for _ in range(2)]
    for cpu, row in enumerate(rows):
        row[12:13] = [cpu] if width > 12 else []
    stat = parse(text_of(rows), (0, 1), [])

    assert [width > column for column in (9, 10, 11, 13, 14)] == [
        column is not None
        for column in (
            stat.received_rps,
            stat.flow_limit_count,
            stat.backlog_length,
            stat.input_qlen,
            stat.process_qlen,
        )
    ]
    assert stat.processed == (100, 100)


def test_cpus_come_from_the_index_column() -> None:
    """With CPU 1 offline, the second row is CPU 2's."""
    rows = [[cpu * 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, cpu] for cpu in (0, 2, 3)]
    stat = parse(text_of(rows), None, [])

    assert stat.cpus == (0, 2, 3)
    assert stat.processed == (0, 200, 300)


def test_rows_of_an_old_kernel_belong_to_the_online_cpus() -> None:
    """No index column before v5.10: the rows are those of the online CPUs, in order."""
    rows = [[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] for _ in range(3)]

    assert parse(text_of(rows), (0, 2, 3), []).cpus == (0, 2, 3)


@pytest.mark.parametrize("online", [None, (0, 1), (0, 1, 2, 3)])
def test_rows_of_an_old_kernel_are_refused_when_cpus_came_or_went(
    online: tuple[int, ...] | None,
) -> None:
    """Rather no numbers than numbers under the wrong CPU."""
    rows = [[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] for _ in range(3)]

    with pytest.raises(Malformed, match="3 rows without CPU numbers"):
        parse(text_of(rows), online, [])


def test_a_broken_row_costs_only_itself() -> None:
    """The good rows around it keep their CPUs, also where those follow from the position."""
    rows = text_of([[cpu, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] for cpu in range(3)]).splitlines(True)
    rows[1] = b"0000000g" + rows[1][8:]
    problems: list[str] = []
    stat = parse(b"".join(rows), (4, 5, 6), problems)

    assert stat.cpus == (4, 6)
    assert stat.processed == (0, 2)
    assert len(problems) == 1
    assert problems[0].startswith("row 2 is b'0000000g")


def test_a_truncated_last_row_is_left_out() -> None:
    """Also when it was cut after whole cells."""
    row = b" ".join([b"00000001"] * 13) + b"\n"
    problems: list[str] = []

    assert parse(row + row[:-1], None, problems).cpus == (1,)
    assert len(problems) == 1


def test_a_second_row_for_a_cpu_is_left_out() -> None:
    """Two samples with the same labels would cost Prometheus the whole scrape."""
    rows = [
        [value, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, cpu] for value, cpu in ((1, 0), (2, 0), (3, 1))
    ]
    problems: list[str] = []
    stat = parse(text_of(rows), None, problems)

    assert (stat.cpus, stat.processed) == ((0, 1), (1, 3))
    assert problems == ["row 2 is a second one for CPU 0"]


@given(st.integers(13, 18), st.lists(st.lists(U32, min_size=18, max_size=18), min_size=1))
def test_round_trip(width: int, rows: list[list[int]]) -> None:
    """What was printed is what is read."""
    rows = [[*row[:12], cpu, *row[12 : width - 1]] for cpu, row in enumerate(rows)]
    problems: list[str] = []
    stat = parse(text_of(rows), None, problems)
    columns = list(zip(*rows, strict=True))

    assert problems == []
    assert stat.cpus == columns[12]
    assert (stat.processed, stat.dropped, stat.time_squeeze) == tuple(columns[:3])
    assert (stat.received_rps, stat.flow_limit_count, stat.backlog_length) == tuple(columns[9:12])
    assert stat.input_qlen == (columns[13] if width > 13 else None)
    assert stat.process_qlen == (columns[14] if width > 14 else None)


@given(
    st.lists(st.lists(U32, min_size=15, max_size=15), min_size=1, max_size=4),
    st.data(),
)
def test_any_damage_leaves_the_other_rows_right(rows: list[list[int]], data: st.DataObject) -> None:
    """Whatever byte is changed, no row that was not touched reads differently."""
    for cpu, row in enumerate(rows):
        row[12] = cpu
    text = bytearray(text_of(rows))
    where = data.draw(st.integers(0, len(text) - 1))
    text[where] = data.draw(st.integers(0, 255))
    damaged = where // (9 * 15)
    problems: list[str] = []
    try:
        stat = parse(bytes(text), None, problems)
    except Malformed:
        assert len(rows) <= 2  # with more, some row is whole
        return
    if any("a second one" in problem for problem in problems):
        return  # the damage made one CPU of another
    read = dict(zip(stat.cpus, stat.processed, strict=True))
    for cpu, row in enumerate(rows):
        if cpu not in (damaged, damaged + 1):  # a lost end of row takes the next one along
            assert read[cpu] == row[0]


@given(st.binary() | st.text("0123456789abcdef \n").map(str.encode))
@example(b"")
@example(b"\n")
def test_any_bytes_give_a_value_or_a_clear_error(text: bytes) -> None:
    """Nothing but Malformed is raised, and its message is one printable line."""
    try:
        stat = parse(text, (0,), [])
    except Malformed as error:
        assert str(error).isprintable()
    else:
        assert len(stat.cpus) == len(stat.processed) == len(set(stat.cpus))
