"""The readings of one device as text: what is exported and what it is made of, and what is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from netperf_exporter import drivers
from netperf_exporter.collectors import queues
from netperf_exporter.parsers.ethtool_statistics import Layout
from netperf_exporter.queues import QUEUES, Column, DeviceQueues, DriverReading
from netperf_exporter.sources import (
    DRIVER_STATISTICS,
    DRIVERS,
    QUEUE_STATISTICS,
    Driver,
    Readings,
    Source,
    Value,
)

_TERMS_WIDTH = 70
_FEW = 3
_EXPORTED = {"rx": tuple(queues.RECEIVE), "tx": (*queues.TRANSMIT, *queues.DETAILS)}

Row = tuple[str, ...]


class NoStatistics(LookupError):
    """Neither the kernel nor the driver counts anything for this device; the message says why."""


class _Figures(NamedTuple):
    """A column of the table of queues.

    title: ``rx`` and ``packets``, or ``tx drops`` and a cause.
    positions: what the driver has for it, by queue.
    """

    title: tuple[str, str]
    column: Column
    positions: Mapping[int, tuple[int, ...]]


def report(readings: Readings, verbose: bool) -> str:
    """What the exporter makes of its only device. Raises NoStatistics."""
    (device,) = readings[QUEUES].devices
    reading = readings[QUEUES].drivers.get(device.link.ifindex)
    figures = list(_figures(device, reading))
    if not figures and (reading is None or not reading.values):
        raise NoStatistics(f"no statistics: {'; '.join(_asked(readings, device, reading))}")
    told = [*_asked(readings, device, reading), f"packets of queues are from: {device.source}"]
    sections = [[_who(readings, device), *indented(told)], _queue_table(figures)]
    if reading is not None:
        layout = reading.plan.layout
        losses = (layout.receive_losses, layout.transmit_losses)
        events = (layout.receive_events, layout.transmit_events)
        if verbose:
            sections.append(_made_of(figures, reading))
        for title, causes in (
            ("Packets lost, of the whole device, beside those of queues", losses),
            ("Events, of the whole device", events),
        ):
            sections.append(_causes(title, causes, reading, verbose))
        sections.append(_not_exported(reading, verbose))
        sections.append(_not_understood(reading))
    return "\n\n".join(["\n".join(lines) for lines in sections if lines]) + "\n"


def _who(readings: Readings, device: DeviceQueues) -> str:
    said = _driver(readings, device)
    if said is None:
        return f"{shown(device.link.name)}: no driver is known"
    words = {
        "hardware": " ".join(filter(None, said.hardware)),
        "version": said.info.version,
        "firmware": said.info.firmware_version,
        "bus": said.info.bus_info,
    }
    facts = [f"{word} {shown(text)}" for word, text in words.items() if text]
    return ", ".join([f"{shown(device.link.name)}: driver {shown(said.name)}", *facts])


def _driver(readings: Readings, device: DeviceQueues) -> Driver | None:
    return (readings.spare(DRIVERS) or {}).get(device.link.ifindex)


def _asked(
    readings: Readings, device: DeviceQueues, reading: DriverReading | None
) -> Iterator[str]:
    """Who was asked, and what came of it."""
    index = device.link.ifindex
    kernel = readings.spare(QUEUE_STATISTICS)
    if kernel is None:
        yield f"qstats (netdev family of the kernel): {_reason(readings, QUEUE_STATISTICS)}"
    elif index in kernel.receive or index in kernel.transmit:
        said = {*kernel.receive.get(index, ()), *kernel.transmit.get(index, ())}
        yield f"qstats (netdev family of the kernel): {', '.join(sorted(said))}"
    else:
        yield "qstats (netdev family of the kernel): nothing about this device"
    if reading is not None and reading.values:
        yield f"driver (ethtool -S): {len(reading.values)} statistics, {_how(reading)}"
    elif not device.link.enabled:
        yield "driver (ethtool -S): not asked, because the device is down"
    else:
        reason = "" if reading is not None else _reason(readings, DRIVER_STATISTICS)
        yield f"driver (ethtool -S): {reason or 'it has no statistics'}"


def _how(reading: DriverReading) -> str:
    name = reading.plan.driver
    entry = drivers.by_name(name)
    if entry is not None:
        return f"read by the entry {entry.name} of the table of drivers"
    if name:
        why = f"because {shown(name)} is not in the table of drivers"
    else:
        why = "because no driver is named (--driver NAME)"
    return f"read by general rules, {why}"


def _reason(readings: Readings, source: Source[Any]) -> str:
    outcome = readings.outcomes[source]
    return "; ".join(outcome.problems) if isinstance(outcome, Value) else outcome.reason


def _figures(device: DeviceQueues, reading: DriverReading | None) -> Iterator[_Figures]:
    """The columns that exist, received before sent."""
    layout = reading.plan.layout if reading is not None else None
    sides = (
        ("rx", device.receive, device.receive_drops, "receive"),
        ("tx", device.transmit, device.transmit_drops, "transmit"),
    )
    for side, measures, drops, direction in sides:
        of_measures = getattr(layout, direction, {})
        of_drops = getattr(layout, f"{direction}_drops", {})
        for name in _EXPORTED[side]:
            if name in measures:
                yield _Figures((side, name), measures[name], of_measures.get(name, {}))
        for cause in sorted(drops):
            yield _Figures((f"{side} drops", cause), drops[cause], of_drops.get(cause, {}))


def _queue_table(figures: Sequence[_Figures]) -> list[str]:
    """One row for each queue; - where it has no such figure."""
    if not figures:
        return ["No statistics of single queues."]
    columns = [dict(zip(*figure.column, strict=True)) for figure in figures]
    known = sorted(set().union(*columns))
    above, below = zip(*[figure.title for figure in figures], strict=True)
    rows: list[Row] = [("", *above), ("queue", *below)]
    rows += [(str(queue), *[str(column.get(queue, "-")) for column in columns]) for queue in known]
    if len(known) > 1:
        rows.append(("all", *[str(sum(column.values())) for column in columns]))
    return aligned(rows)


def _made_of(figures: Sequence[_Figures], reading: DriverReading) -> list[str]:
    rows = [
        (" ".join(figure.title), " + ".join([shown(reading.plan.names[p]) for p in of_queue]))
        for figure in figures
        for of_queue in list(figure.positions.values())[:1]
    ]
    title = "What the driver calls it, for its first queue (what qstats says goes before it):"
    return [title, *indented(aligned(rows, left=(0, 1)))] if rows else []


def _causes(
    title: str,
    both: tuple[Mapping[str, tuple[int, ...]], ...],
    reading: DriverReading,
    verbose: bool,
) -> list[str]:
    """For each cause its sum and what that is made of."""
    rows: list[Row] = [("", "cause", "count", "made of")]
    for side, causes in zip(("rx", "tx"), both, strict=True):
        for cause in sorted(causes):
            positions = causes[cause]
            total = sum([reading.values[position] for position in positions])
            rows += _cause(side, cause, total, _terms(positions, reading, verbose))
    if len(rows) == 1:
        return [f"{title}: none is counted."]
    return [f"{title}:", *indented(aligned(rows, left=(0, 1, 3)))]


def _cause(side: str, cause: str, total: int, terms: Sequence[str]) -> Iterator[Row]:
    """As many rows as the terms need."""
    head: Row = (side, cause, str(total))
    line = ""
    for term in terms:
        longer = f"{line} + {term}" if line else term
        if line and len(longer) > _TERMS_WIDTH:
            yield (*head, f"{line} +")
            head, line = ("", "", ""), term
        else:
            line = longer
    yield (*head, line)


def _terms(positions: Sequence[int], reading: DriverReading, verbose: bool) -> list[str]:
    """What a sum is made of; many zeros are named only on request."""
    terms = [(shown(reading.plan.names[p]), reading.values[p]) for p in positions]
    if len(terms) == 1:
        return [terms[0][0]]
    zeros = [name for name, value in terms if not value]
    if verbose or len(zeros) <= _FEW:
        return [f"{name} {value}" for name, value in terms]
    if len(zeros) == len(terms):
        return [f"{len(zeros)} names, all 0"]
    return [*[f"{name} {value}" for name, value in terms if value], f"{len(zeros)} that are 0"]


def _not_exported(reading: DriverReading, verbose: bool) -> list[str]:
    layout = reading.plan.layout
    spoken_for = {*_exported(layout), *layout.unknown}
    positions = [p for p in range(len(reading.values)) if p not in spoken_for]
    if not positions:
        return []
    title = f"Understood, not exported: {len(positions)}"
    if not verbose:
        return [f"{title} (-v names them)"]
    return [title, *_statistics(positions, reading)]


def _exported(layout: Layout) -> Iterator[int]:
    """The positions whose values are in one of the exported families."""
    for side, measures, drops in (
        ("rx", layout.receive, layout.receive_drops),
        ("tx", layout.transmit, layout.transmit_drops),
    ):
        columns = [measures[name] for name in _EXPORTED[side] if name in measures]
        for by_queue in (*columns, *drops.values()):
            for positions in by_queue.values():
                yield from positions
    for causes in (
        layout.receive_losses,
        layout.transmit_losses,
        layout.receive_events,
        layout.transmit_events,
    ):
        for positions in causes.values():
            yield from positions


def _not_understood(reading: DriverReading) -> list[str]:
    positions = reading.plan.layout.unknown
    if not positions:
        return ["Not understood: none."]
    return [
        f"Not understood, and therefore not exported: {len(positions)}",
        *_statistics(positions, reading),
        "If one of these counts lost packets, or what a queue did, please report it:",
        "docs/DRIVERS.md says how.",
    ]


def _statistics(positions: Iterable[int], reading: DriverReading) -> list[str]:
    rows = [(shown(reading.plan.names[p]), str(reading.values[p])) for p in positions]
    return indented(aligned(rows, left=(0,)))


def indented(lines: Iterable[str]) -> list[str]:
    """Lines that belong to the one before them."""
    return [f"  {line}" for line in lines]


def aligned(rows: Sequence[Row], left: Sequence[int] = ()) -> list[str]:
    """Rows as columns of text: numbers to the right, the columns of left to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                cell.ljust(width) if at in left else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
        ).rstrip()
        for row in rows
    ]


def shown(text: str) -> str:
    """A driver's word on one line, whatever is in it, without what indents it (vmxnet3)."""
    word = text.strip()
    return (word if word.isprintable() else ascii(word)[1:-1]) or '""'
