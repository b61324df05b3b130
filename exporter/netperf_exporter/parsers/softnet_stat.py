"""/proc/net/softnet_stat: one row of hexadecimal u32 counters per online CPU.

Written by softnet_seq_show() in net/core/net-procfs.c, which only ever appended columns:
9 at first, received_rps (v2.6.36), flow_limit_count (v3.11), the backlog's length and the
CPU's number (v5.10), then the two parts of that length (15 columns; absent from 6.1, present
in 6.12). It is the same file in every network namespace.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import NamedTuple

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.text import shown

_OLDEST = 9
_CPU = 12
_CELL = 9  # "%08x" and a blank or the end of the row
_ROW = re.compile(rb"[0-9a-f]{8}(?: [0-9a-f]{8})*\n")

Column = tuple[int, ...]


class SoftnetStat(NamedTuple):
    """Columns in the order of ``cpus``; None for a column that this kernel does not write."""

    cpus: tuple[int, ...]
    processed: Column
    dropped: Column
    time_squeeze: Column
    received_rps: Column | None
    flow_limit_count: Column | None
    backlog_length: Column | None
    input_qlen: Column | None
    process_qlen: Column | None


def has_cpu_numbers(text: bytes) -> bool:
    """Whether the rows say which CPU they belong to, to judge by the first of them."""
    return text.find(b"\n") > _CPU * _CELL


def parse(text: bytes, online: tuple[int, ...] | None, problems: list[str]) -> SoftnetStat:
    """Read the rows.

    online: the CPUs that were online both before and after the text was read, ascending, or
        None if that is not known. Rows without a CPU number belong to these, in order
        (softnet_seq_next() passes over CPUs that are offline).

    A row of another width than the first good one, or for a CPU that had a row already, is
    left out and said. Raises Malformed if no row is left, or if rows cannot be given to CPUs.
    """
    width, columns, positions = _grid(text) or _rows(text, problems)
    if width > _CPU:
        cpus = columns[_CPU]
    else:
        count = text.count(b"\n")
        if online is None or len(online) != count:
            raise Malformed(f"{count} rows without CPU numbers, and not as many CPUs online")
        cpus = tuple([online[position] for position in positions])
    if len(set(cpus)) != len(cpus):
        cpus, columns = _first_of_each(cpus, columns, problems)

    def column(position: int) -> Column | None:
        return columns[position] if position < width else None

    return SoftnetStat(
        cpus,
        columns[0],
        columns[1],
        columns[2],
        column(9),
        column(10),
        column(11),
        column(13),
        column(14),
    )


_Table = tuple[int, list[Column], range | list[int]]


def _grid(text: bytes) -> _Table | None:
    """The whole text at once, if every cell has eight digits and all rows are as wide."""
    end = text.find(b"\n") + 1
    width, odd = divmod(end, _CELL)
    height, rest = divmod(len(text), end or 1)
    if odd or rest or width < _OLDEST:
        return None
    if text[_CELL - 1 :: _CELL] != _separators(width, height):
        return None
    try:
        cells = struct.unpack(f">{width * height}I", bytes.fromhex(text.decode("ascii")))
    except (ValueError, struct.error):
        return None
    return width, [cells[position::width] for position in range(width)], range(height)


@lru_cache(maxsize=16)
def _separators(width: int, height: int) -> bytes:
    return (b" " * (width - 1) + b"\n") * height


def _rows(text: bytes, problems: list[str]) -> _Table:
    """Row by row, leaving out what no kernel writes."""
    width = 0
    rows: list[tuple[int, ...]] = []
    positions: list[int] = []
    for position, line in enumerate(text.splitlines(keepends=True)):
        cells = line.split() if _ROW.fullmatch(line) else []
        if len(cells) < _OLDEST or len(cells) != (width or len(cells)):
            problems.append(f"row {position + 1} is {shown(line)}")
            continue
        width = len(cells)
        rows.append(tuple([int(cell, 16) for cell in cells]))
        positions.append(position)
    if not rows:
        raise Malformed("no row of at least nine hexadecimal columns")
    return width, list(zip(*rows, strict=True)), positions


def _first_of_each(
    cpus: Column, columns: list[Column], problems: list[str]
) -> tuple[Column, list[Column]]:
    first: dict[int, int] = {}
    for position, cpu in enumerate(cpus):
        if cpu in first:
            problems.append(f"row {position + 1} is a second one for CPU {cpu}")
        first.setdefault(cpu, position)
    kept = first.values()
    return tuple(first), [tuple([column[i] for i in kept]) for column in columns]
