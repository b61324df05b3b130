"""Driver statistics: ETHTOOL_GSTRINGS' names, and where among them is what.

Names and values are two arrays of the same order, answered by ethtool_get_strings() and
ethtool_get_stats() in net/ethtool/ioctl.c. What a name means only its driver knows, so a Layout is
made from the driver's table once for each set of names; a scrape then only picks values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netperf_exporter import drivers
from netperf_exporter.drivers import Driver, Meaning
from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.text import shown

_CELL = 32  # ETH_GSTRING_LEN in include/uapi/linux/ethtool.h
_U64 = 2**64 - 1
_MOST_QUEUES = 65_536
_TITLE = "NIC statistics:"
# A name may itself contain ": "; the value is what follows the last one.
_LINE = re.compile(r" {5}(.*): ([0-9]{1,20})", re.DOTALL)

PerQueue = dict[str, dict[int, tuple[int, ...]]]
PerCause = dict[str, tuple[int, ...]]


def names(strings: bytes) -> tuple[str, ...]:
    """The cells of ETHTOOL_GSTRINGS, each up to its NUL. An incomplete last one is left out."""
    whole = len(strings) - len(strings) % _CELL
    return tuple(
        [
            strings[start : start + _CELL].split(b"\0", 1)[0].decode("utf-8", "replace")
            for start in range(0, whole, _CELL)
        ]
    )


def text(listing: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and values from what ``ethtool -S`` prints.

    Raises Malformed with the number of the first line that is none of that.
    """
    title, *lines = listing.removesuffix("\n").split("\n")
    if title != _TITLE:
        raise Malformed(f"line 1 is {shown(title.encode(errors='replace'))}, not {_TITLE!r}")
    found: list[str] = []
    values: list[int] = []
    for number, line in enumerate(lines, 2):
        match = _LINE.fullmatch(line)
        value = int(match[2]) if match else _U64 + 1
        if match is None or value > _U64:
            raise Malformed(f"line {number} is {shown(line.encode(errors='replace'))}")
        found.append(match[1])
        values.append(value)
    return tuple(found), tuple(values)


class Layout(NamedTuple):
    """Which positions hold what. Every position is in one place only.

    receive, transmit: measure → queue → positions whose values add up.
    receive_drops, transmit_drops: cause → queue → positions; packets that were lost.
    receive_losses, transmit_losses: cause → positions, of the whole device; packets that were lost
        and are in none of the above.
    receive_events, transmit_events: cause → positions; signs of trouble, not packets.
    gauges: go down as well as up.
    other: understood, and exported by nobody; also what other positions count already.
    unknown: not in the driver's table.
    checks: (position, value) on which this layout rests; with another value it is void.
    """

    receive: PerQueue
    transmit: PerQueue
    receive_drops: PerQueue
    transmit_drops: PerQueue
    receive_losses: PerCause
    transmit_losses: PerCause
    receive_events: PerCause
    transmit_events: PerCause
    gauges: tuple[int, ...]
    other: tuple[int, ...]
    unknown: tuple[int, ...]
    checks: tuple[tuple[int, int], ...]


class _Row(NamedTuple):
    """One statistic of one queue; rule is which of the driver's rules read it."""

    position: int
    meaning: Meaning
    statistic: str
    queue: int
    queue_class: int | None
    rule: int


def layout(driver: Driver | None, names: Sequence[str], values: Sequence[int]) -> Layout:
    """How to read a device with these names.

    driver: None if it is not in the table; general rules are then used, as they are for what is
        left of a driver whose rules for queues match nothing: it was written anew.
    values: looked at only where a value says which queue follows.
    """
    reading = _Reading(driver or drivers.generic(), values)
    reading.read(enumerate(names))
    if not reading.rows and not reading.driver.cautious and not reading.driver.headers:
        left, reading.unknown = reading.unknown, []
        general = _Reading(drivers.generic(), values)
        general.read((position, names[position]) for position in left)
        general.settle()
        reading.adopt(general)
    reading.settle()
    return reading.layout()


class _Reading:
    """A layout in the making."""

    def __init__(self, driver: Driver, values: Sequence[int]) -> None:
        self.driver = driver
        self.rows: list[_Row] = []
        self.other: list[int] = []
        self.unknown: list[int] = []
        self._table = drivers.load()
        self._values = values
        self._device: dict[str, tuple[int, Meaning]] = {}
        self._perhaps_sums: list[tuple[int, str, Meaning]] = []
        self._checks: list[tuple[int, int]] = []
        self._settled: list[_Row] = []

    def read(self, numbered: Iterable[tuple[int, str]]) -> None:
        """Sort every name into rows of queues, statistics of the device, other and unknown."""
        begun: tuple[str, int] | None = None  # direction and queue of the last header
        begun_queues: set[tuple[str, int]] = set()
        ours = True
        for position, padded in numbered:
            name = padded.strip()
            if not ours or name == self.driver.section:
                ours = False
                self.other.append(position)
            elif self._table.foreign.match(name):
                self.other.append(position)
            elif name in self.driver.headers:
                queue = self._values[position] if position < len(self._values) else -1
                begun = (self.driver.headers[name], queue)
                if 0 <= queue < _MOST_QUEUES and begun not in begun_queues:
                    begun_queues.add(begun)
                    self._checks.append((position, queue))
                else:
                    begun = None
                    self.unknown.append(position)
            elif meaning := self.driver.device.names.get(name):
                if meaning.kind == "sum" and (lost := self._otherwise(name)):
                    self._perhaps_sums.append((position, name, lost))
                else:
                    self._of_device(position, name, meaning)
            elif not (
                (begun and self._of_begun_queue(position, name, *begun))
                or self._of_queue(position, name)
                or self._by_pattern(position, name)
            ):
                self.unknown.append(position)

    def _of_begun_queue(self, position: int, name: str, direction: str, queue: int) -> bool:
        meaning = self.driver.queue[direction].meaning(name)
        if meaning:
            self._row(_Row(position, meaning, name, queue, None, 0))
        return meaning is not None

    def _of_queue(self, position: int, name: str) -> bool:
        if self.driver.no_queues and self.driver.no_queues.match(name):
            self.other.append(position)
            return True
        for number, (pattern, fixed) in enumerate(self.driver.rules):
            match = pattern.match(name)
            if not match:
                continue
            groups = match.groupdict()
            # "rx" and "tx", in some drivers capitalised.
            direction = fixed or ("receive" if groups["direction"] in ("rx", "Rx") else "transmit")
            meaning = self.driver.queue[direction].meaning(groups["statistic"])
            queue, queue_class = _number(groups["queue"]), _number(groups.get("class", ""))
            if meaning is None or queue is None or (self.driver.cautious and self._no_queue(name)):
                continue
            self._row(_Row(position, meaning, groups["statistic"], queue, queue_class, number))
            return True
        return False

    def _no_queue(self, name: str) -> bool:
        return self._table.no_queues.match(name) is not None

    def _row(self, row: _Row) -> None:
        if row.meaning.kind == "other":
            self.other.append(row.position)
        self.rows.append(row)

    def _by_pattern(self, position: int, name: str) -> bool:
        for pattern, meaning in self.driver.device.patterns:
            if pattern.match(name):
                self._of_device(position, name, meaning)
                return True
        known = self._no_queue(name) or (
            not self.driver.cautious and self._table.other.match(name) is not None
        )
        if known:
            self.other.append(position)
        return known

    def _otherwise(self, name: str) -> Meaning | None:
        """What a sum counts on a device whose queues do not count it."""
        for pattern, meaning in self.driver.device.patterns:
            if meaning.kind == "lost" and pattern.match(name):
                return meaning
        return None

    def _of_device(self, position: int, name: str, meaning: Meaning) -> None:
        if meaning.kind in ("sum", "other"):
            self.other.append(position)
        elif name in self._device:  # Twice the same name: which of them is meant?
            self.unknown.append(position)
        else:
            self._device[name] = position, meaning

    def settle(self) -> None:
        """Number the queues as the stack does, and leave out what would count twice."""
        rows = [row for row in self.rows if row.meaning.kind != "other"]
        if self.driver.cautious:
            rows = self._without_holes(rows)
        elif self.driver.transmit_from_zero:
            rows = _transmit_from_zero(rows)
        width = 1 + max([row.queue for row in rows if row.queue_class is not None], default=0)
        seen: set[tuple[Meaning, str, int]] = set()
        for row in rows:
            queue = row.queue + width * (row.queue_class or 0)
            key = row.meaning, "" if self.driver.cautious else row.statistic, queue
            if key in seen or queue >= _MOST_QUEUES:
                self.unknown.append(row.position)
            else:
                seen.add(key)
                self._settled.append(row._replace(queue=queue))
        counted = {row.meaning for row in self._settled}
        for position, name, lost in self._perhaps_sums:
            summed = lost._replace(kind="drop") in counted
            self._of_device(position, name, Meaning("sum") if summed else lost)

    def _without_holes(self, rows: list[_Row]) -> list[_Row]:
        queues: dict[tuple[int, Meaning, str], set[int]] = {}
        for row in rows:
            queues.setdefault((row.rule, row.meaning, row.statistic), set()).add(row.queue)
        believed = {key for key, found in queues.items() if max(found) == len(found) - 1}
        kept = []
        for row in rows:
            if (row.rule, row.meaning, row.statistic) in believed:
                kept.append(row)
            else:
                self.unknown.append(row.position)
        return kept

    def adopt(self, general: _Reading) -> None:
        """Take over what another reading made of names unknown to this one."""
        self._settled += general._settled
        self.other += general.other
        self.unknown += general.unknown

    def layout(self) -> Layout:
        """What was found, by kind."""
        per_queue: dict[tuple[str, str], dict[str, dict[int, list[int]]]] = {}
        for row in sorted(self._settled):
            kind, direction, what = row.meaning
            of_kind = per_queue.setdefault((kind, direction), {})
            of_kind.setdefault(what, {}).setdefault(row.queue, []).append(row.position)
        per_cause: dict[tuple[str, str], dict[str, list[int]]] = {}
        for position, (kind, direction, what) in sorted(self._device.values()):
            per_cause.setdefault((kind, direction), {}).setdefault(what, []).append(position)

        def queues(kind: str, direction: str) -> PerQueue:
            return {
                what: {queue: tuple(positions) for queue, positions in sorted(found.items())}
                for what, found in per_queue.get((kind, direction), {}).items()
            }

        def causes(kind: str, direction: str) -> PerCause:
            found = per_cause.get((kind, direction), {})
            return {what: tuple(positions) for what, positions in found.items()}

        return Layout(
            queues("measure", "receive"),
            queues("measure", "transmit"),
            queues("drop", "receive"),
            queues("drop", "transmit"),
            causes("lost", "receive"),
            causes("lost", "transmit"),
            causes("event", "receive"),
            causes("event", "transmit"),
            causes("gauge", "").get("", ()),
            tuple(sorted(self.other)),
            tuple(sorted(self.unknown)),
            tuple(self._checks),
        )


def _transmit_from_zero(rows: list[_Row]) -> list[_Row]:
    """Number transmit queues anew if they follow the receive queues."""
    received = [row.queue for row in rows if row.meaning.direction == "receive"]
    base = 1 + max(received, default=-1)
    sent = [row.queue for row in rows if row.meaning.direction == "transmit"]
    if min(sent, default=0) != base:
        return rows
    return [
        row._replace(queue=row.queue - base) if row.meaning.direction == "transmit" else row
        for row in rows
    ]


def _number(digits: str) -> int | None:
    """Of a queue; None where there is none, or one that no device can have."""
    if not digits or len(digits) > len(str(_MOST_QUEUES)):
        return None
    number = int(digits)
    return number if number < _MOST_QUEUES else None
