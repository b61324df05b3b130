"""/proc/interrupts: how often each interrupt was handled on each online CPU.

Written by show_interrupts() in kernel/irq/proc.c: a header of the online CPUs, a row per IRQ
(its number, a ``" %10u"`` per CPU, what the interrupt controller says of it, two blanks, the names
of the handlers, separated by ", "), and last the rows of arch_show_interrupts(), which have a word
in place of a number and may have a single column (``ERR:``). The counts are u32.

A row may have nobody to handle it, only counts; the controller's text then ends in a number or is
padded with blanks. A CPU that came online after the header was written makes later rows wider.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.text import shown

_CELL: Final = 11  # bytes of a count and the blanks before it
_WIDEST: Final = 20  # digits; the kernel's have 10
_CPU = re.compile(rb"CPU(0|[1-9][0-9]{0,4})")
_NUMBER = re.compile(rb" *([0-9]{1,9}):")
_NO_ACTION = re.compile(rb"[0-9]*(?:-[a-z-]*)?(?: +(?:Level|Edge))?(?: *-[a-z-]*)?|None")
"""How the controller's text may end: irq_data.hwirq, irq_desc.name, GENERIC_IRQ_SHOW_LEVEL."""

Moved = dict[int, tuple[tuple[int, int], ...]]
"""By IRQ: a CPU and its count, for the counts that are no longer what they were."""


_Row = tuple[int, int, int, bool]
"""Where a row begins, where its first count does, where it ends, and whether it is even.

Even: each count has the bytes that the kernel gives it. That is seen from the last, not proven.
"""
_NO_ROW: _Row = (0, 0, 0, False)


class Interrupts:
    """A reading of the file. Rows are taken apart when they are asked for: there are thousands.

    An IRQ without a row has no counts, no chip and no actions.

    cpus: those of the header, online when it was written.
    irqs: the numbered rows, as the file has them.
    """

    __slots__ = ("_moved_at", "_rows", "_text", "cpus", "irqs")

    def __init__(self, text: bytes, cpus: tuple[int, ...], rows: dict[int, _Row]) -> None:
        self._text = text
        self._rows = rows
        self._moved_at: dict[int, int] = {}  # by IRQ: the only cell that last moved
        self.cpus: Final = cpus
        self.irqs: Final = tuple(rows)

    def line(self, irq: int) -> bytes:
        """The row as it is, without the newline."""
        start, _, end, _ = self._rows.get(irq, _NO_ROW)
        return self._text[start:end]

    def counts(self, irq: int) -> tuple[int, ...]:
        """As many as there are cpus, or none if a cell is no number."""
        cells = self._cells(irq).split()
        if len(cells) == len(self.cpus):
            try:
                return tuple(map(_count, cells))
            except ValueError:
                return ()
        _, start, end, _ = self._rows.get(irq, _NO_ROW)
        return _apart(self._text[start:end], len(self.cpus))[0]

    def chip(self, irq: int) -> str:
        """The interrupt controller, its number for the IRQ and how it triggers."""
        return self._words(irq)[0]

    def actions(self, irq: int) -> tuple[str, ...]:
        """The names of the handlers."""
        return self._words(irq)[1]

    def changed(self, before: Interrupts | None, irqs: Iterable[int]) -> Moved:
        """The counts that differ from those of an earlier reading; of the IRQs asked for.

        Before the first reading all were zero. IRQs whose counts all stayed are left out.
        """
        moved: Moved = {}
        for irq in irqs:
            found = self._moved(before, irq)
            if found:
                moved[irq] = found
        return moved

    def _moved(self, before: Interrupts | None, irq: int) -> tuple[tuple[int, int], ...]:
        was: dict[int, int] = {}
        if before is not None:
            old, new = before._cells(irq), self._cells(irq)
            if before.cpus == self.cpus and old and new:
                if old == new:
                    return ()
                places = self._places(before, irq, old, new)
                try:
                    return tuple(
                        [
                            (self.cpus[at], _count(new[at * _CELL : (at + 1) * _CELL].strip()))
                            for at in places
                        ]
                    )
                except ValueError:
                    return ()
            was = dict(zip(before.cpus, before.counts(irq), strict=False))
        counts = zip(self.cpus, self.counts(irq), strict=False)
        return tuple([(cpu, count) for cpu, count in counts if count != was.get(cpu, 0)])

    def _places(self, before: Interrupts, irq: int, old: bytes, new: bytes) -> list[int]:
        """Which cells differ: most often the one that did the last time, and no other."""
        at = before._moved_at.get(irq)
        if at is not None:
            start, end = at * _CELL, (at + 1) * _CELL
            if old[:start] == new[:start] and old[end:] == new[end:]:
                self._moved_at[irq] = at
                return [at]
        places = _places(old, new, 0, len(self.cpus))
        if len(places) == 1:
            self._moved_at[irq] = places[0]
        return places

    def _cells(self, irq: int) -> bytes:
        """The bytes of the counts, if they are even."""
        _, start, _, even = self._rows.get(irq, _NO_ROW)
        return self._text[start : start + _CELL * len(self.cpus)] if even else b""

    def _words(self, irq: int) -> tuple[str, tuple[str, ...]]:
        chip = self._after(irq)
        before, two_blanks, names = chip.rpartition(b"  ")
        if not two_blanks or _NO_ACTION.fullmatch(names.strip()):
            names = b""
        else:
            chip = before
        actions = names.decode("utf-8", "backslashreplace").strip().split(", ")
        return chip.decode("utf-8", "backslashreplace").strip(), tuple(filter(None, actions))

    def _after(self, irq: int) -> bytes:
        """The text after the counts."""
        _, start, end, even = self._rows.get(irq, _NO_ROW)
        if even:
            return self._text[start + _CELL * len(self.cpus) : end].lstrip()
        return _apart(self._text[start:end], len(self.cpus))[1]


def parse(text: bytes, problems: list[str]) -> Interrupts:
    """Find the header and the numbered rows.

    A row that does not have a count for each CPU of the header, one that is cut short and a second
    one of the same IRQ are left out and said. Raises Malformed without a header.
    """
    at = text.find(b"\n") + 1
    cpus = _cpus(text[:at])
    even_row = _even_row(len(cpus))
    width = _CELL * len(cpus)
    rows: dict[int, _Row] = {}
    while (end := text.find(b"\n", at)) >= 0:
        match = even_row.match(text, at)
        even = match is not None and match.end() + width <= end
        if not even:
            match = _NUMBER.match(text, at)
        if match:
            irq, start = int(match[1]), match.end()
            if not even and not _apart(text[start:end], len(cpus))[0]:
                problems.append(f"IRQ {irq} has a row of other CPUs: {shown(text[at:end])}")
            elif irq in rows:
                problems.append(f"IRQ {irq} has two rows")
            else:
                rows[irq] = (at, start, end, even)
        at = end + 1
    if at < len(text):
        # Not even the name of a handler can be trusted: it may lack a digit.
        problems.append(f"a row is cut short: {shown(text[at:])}")
    return Interrupts(text, cpus, rows)


@lru_cache(maxsize=4)
def _even_row(cpus: int) -> re.Pattern[bytes]:
    """A row whose last count ends where it should, and where no other number follows."""
    last = _CELL * cpus - 1
    return re.compile(rb" *([0-9]{1,9}):(?=(?s:.{%d})[0-9] +[^0-9 ])" % last)


def _apart(row: bytes, cpus: int) -> tuple[tuple[int, ...], bytes]:
    """The counts of a row, and the text after them. Neither if there are more or fewer."""
    cells = row.split(None, cpus)
    rest = cells.pop() if len(cells) > cpus else b""
    after = rest.split(None, 1)[:1]
    if len(cells) != cpus or (after and after[0].isdigit()):
        return (), b""
    try:
        return tuple(map(_count, cells)), rest
    except ValueError:
        return (), b""


def _places(old: bytes, new: bytes, first: int, last: int) -> list[int]:
    """Which cells differ. An interrupt moves on few CPUs, so most halves are equal."""
    if old[first * _CELL : last * _CELL] == new[first * _CELL : last * _CELL]:
        return []
    if last - first == 1:
        return [first]
    middle = (first + last) // 2
    return _places(old, new, first, middle) + _places(old, new, middle, last)


class _Counts(dict[bytes, int]):
    """Most of the counts are zero, and looking that up costs less than reading it."""

    def __missing__(self, cell: bytes) -> int:
        if not cell.isdigit() or len(cell) > _WIDEST:
            raise ValueError(cell)
        return int(cell)


_count = _Counts({b"%d" % number: number for number in range(10)}).__getitem__


@lru_cache(maxsize=4)
def _cpus(header: bytes) -> tuple[int, ...]:
    matches = [_CPU.fullmatch(word) for word in header.split()]
    cpus = tuple(int(match[1]) for match in matches if match)
    if not cpus or len(cpus) != len(matches) or len(set(cpus)) != len(cpus):
        raise Malformed(f"the header is {shown(header)}")
    return cpus
