"""/proc/stat: the time each online CPU spent in each mode, in ticks of USER_HZ.

Written by show_stat() in fs/proc/stat.c. USER_HZ is 100 on every architecture that Python's
wheels are built for (include/uapi/asm-generic/param.h).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.text import shown

MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The columns after the CPU's name; what follows (guest, guest_nice) is inside user and nice."""


class CpuTimes(NamedTuple):
    """``ticks`` maps a mode to its hundredths of a second, in the order of ``cpus``.

    Digits as the kernel wrote them: there are thousands of them, and nobody calculates.
    """

    cpus: tuple[int, ...]
    ticks: dict[str, list[bytes]]


def parse(text: bytes, modes: tuple[str, ...], problems: list[str]) -> CpuTimes:
    """Read the modes asked for.

    A row that lacks one of the modes, is not numbers, or is a second one for its CPU, is left
    out and said. Raises Malformed if no row of a CPU is left.
    """
    rows = _cpu_rows(text)
    names, columns = _even(rows, modes) or _uneven(rows, modes, problems)
    return CpuTimes(_numbers(tuple(names)), columns)


_Table = tuple[list[bytes], dict[str, list[bytes]]]
_NAME = re.compile(rb"cpu(?:0|[1-9][0-9]{0,4})")


def _cpu_rows(text: bytes) -> bytes:
    """The rows between that of all CPUs together and the first one that is not a CPU's."""
    start = text.find(b"\n") + 1
    if not start or not text.startswith(b"cpu "):
        raise Malformed(f"it begins with {shown(text)}")
    end = text.find(b"\nintr", start - 1)
    return text[start : end + 1] if end >= 0 else text[start:]


def _even(rows: bytes, modes: tuple[str, ...]) -> _Table | None:
    """All rows at once, if they are as wide as the first and nothing but numbers."""
    width = len(rows[: rows.find(b"\n")].split())
    cells = rows.split()
    if not rows.endswith(b"\n") or width <= len(MODES):
        return None
    if len(cells) != width * rows.count(b"\n"):
        return None
    columns = {mode: cells[MODES.index(mode) + 1 :: width] for mode in modes}
    if not b"".join(map(b"".join, columns.values())).isdigit():
        return None
    names = cells[::width]
    try:
        _numbers(tuple(names))
    except Malformed:
        return None
    return names, columns


def _uneven(rows: bytes, modes: tuple[str, ...], problems: list[str]) -> _Table:
    table: dict[bytes, list[bytes]] = {}
    for line in rows.splitlines(keepends=True):
        if not line.startswith(b"cpu"):
            break
        name, *cells = line.split()
        cells = cells[: len(MODES)]
        good = line.endswith(b"\n") and len(cells) == len(MODES) and b"".join(cells).isdigit()
        if not good or name in table or not _NAME.fullmatch(name):
            problems.append(f"a row is {shown(line)}")
            continue
        table[name] = cells
    if not table:
        raise Malformed("no row of a CPU")
    return list(table), {m: [row[MODES.index(m)] for row in table.values()] for m in modes}


@lru_cache(maxsize=8)
def _numbers(names: tuple[bytes, ...]) -> tuple[int, ...]:
    if not all(_NAME.fullmatch(name) for name in names):
        raise Malformed("a row is not a CPU's")
    numbers = tuple([int(name[3:]) for name in names])
    if len(set(numbers)) != len(numbers):
        raise Malformed("a CPU has two rows")
    return numbers
