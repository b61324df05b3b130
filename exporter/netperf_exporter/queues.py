"""The queues of each device, from whoever knows most: the kernel's statistics, or the driver's.

The netdev family is asked first: its words mean the same for every driver. What it does not say
is taken from the driver's own statistics, as far as the table of drivers understands them.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Literal, NamedTuple

from netperf_exporter import sums
from netperf_exporter.drivers import by_name
from netperf_exporter.kernel.ethtool import Statistics
from netperf_exporter.parsers import ethtool_statistics, netdev
from netperf_exporter.parsers.ethtool_statistics import Layout
from netperf_exporter.parsers.links import Link
from netperf_exporter.parsers.netdev import QueueStatistics
from netperf_exporter.parsers.nic import Channels
from netperf_exporter.sources import (
    CHANNELS,
    DRIVER_STATISTICS,
    DRIVERS,
    LINKS,
    QUEUE_NAPIS,
    QUEUE_STATISTICS,
    Derived,
    Readings,
)

log = logging.getLogger(__name__)


class Column(NamedTuple):
    """One figure of each queue, in the order of the queues."""

    queues: tuple[int, ...]
    values: Sequence[int]


Measures = Mapping[str, Column]


class DeviceQueues(NamedTuple):
    """What is known of the queues of one device.

    source: who said how many packets they had: ``qstats``, ``driver`` or ``none``.
    receive, transmit: by measure: packets, bytes, stops, wakes, timeouts.
    receive_drops, transmit_drops: packets lost, by cause.
    """

    link: Link
    source: Literal["qstats", "driver", "none"]
    receive: Measures
    transmit: Measures
    receive_drops: Measures
    transmit_drops: Measures


class DriverReading(NamedTuple):
    """The driver's statistics of a device, and how they are to be understood.

    values: thousands, of which hundreds are looked at: kept as the driver gave them, since making
        an object of each would take longer than all the rest.
    """

    plan: Plan
    values: Sequence[int]


class Queues(NamedTuple):
    """Every device that is shown, and the sums of its transmit queues.

    drivers: by ifindex, what the statistics of its driver were.
    sums: by ifindex and measure: stops, wakes, timeouts, drops.
    """

    devices: tuple[DeviceQueues, ...]
    drivers: Mapping[int, DriverReading]
    sums: sums.Sums[tuple[int, str]]


_Gather = Callable[[Sequence[int]], Sequence[int]]


class _Gathered(NamedTuple):
    queues: tuple[int, ...]
    gather: _Gather


class Plan:
    """How to read the statistics of one driver with one list of names. Compared by identity."""

    def __init__(self, driver: str, names: tuple[str, ...], layout: Layout) -> None:
        self.driver = driver
        self.names = names
        self.layout = layout
        self.receive = _gathered(layout.receive)
        self.transmit = _gathered(layout.transmit)
        self.receive_drops = _gathered(layout.receive_drops)
        self.transmit_drops = _gathered(layout.transmit_drops)

    def fits(self, values: Sequence[int]) -> bool:
        """Whether values that are part of the layout are still what they were."""
        return all(values[position] == value for position, value in self.layout.checks)


def _gathered(layout: Mapping[str, Mapping[int, tuple[int, ...]]]) -> dict[str, _Gathered]:
    return {
        measure: _Gathered(tuple(by_queue), _gather(tuple(by_queue.values())))
        for measure, by_queue in layout.items()
    }


def _gather(positions: tuple[tuple[int, ...], ...]) -> _Gather:
    """A function that picks and adds up values. One position per queue is picked in C."""
    if len(positions) > 1 and all(len(of_queue) == 1 for of_queue in positions):
        return itemgetter(*[position for (position,) in positions])
    return lambda values: [sum([values[p] for p in of_queue]) for of_queue in positions]


_plans: dict[tuple[str, bytes], Plan] = {}
_MOST_PLANS = 256


_hinted: set[str] = set()


def _hint(driver: str) -> None:
    """Say once that a driver is not in the table."""
    if driver not in _hinted:
        _hinted.add(driver)
        log.info(
            "driver %s: not in the table of drivers, its statistics are read by general rules; "
            "`netperf-exporter nic-stats DEVICE` shows how, --collector.nicstatistics exports "
            "them as they are, docs/DRIVERS.md says how to add it",
            driver or "without a name",
        )


def understand(driver: str, statistics: Statistics) -> DriverReading:
    """Find out how a driver's statistics are to be read, once for as long as its names stay."""
    values = array("Q", statistics.values)
    plan = _plans.get((driver, statistics.strings))
    if plan is None or not plan.fits(values):
        names = ethtool_statistics.names(statistics.strings)
        layout = ethtool_statistics.layout(by_name(driver), names, values)
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        plan = _plans[driver, statistics.strings] = Plan(driver, names, layout)
        if by_name(driver) is None:
            _hint(driver)
    return DriverReading(plan, values)


# Of the netdev family (Documentation/netlink/specs/netdev.yaml), in our words.
_RECEIVE = {"rx-packets": "packets", "rx-bytes": "bytes"}
_TRANSMIT = {
    "tx-packets": "packets",
    "tx-bytes": "bytes",
    "tx-stop": "stops",
    "tx-wake": "wakes",
}
# The first counts all that were dropped, the others those of them that have this cause.
_RECEIVE_DROPS = {"rx-hw-drops": "mixed", "rx-hw-drop-overruns": "ring_full",
                  "rx-hw-drop-ratelimits": "allowance"}  # fmt: skip
_TRANSMIT_DROPS = {"tx-hw-drops": "tx_drop", "tx-hw-drop-errors": "mixed",
                   "tx-hw-drop-ratelimits": "allowance"}  # fmt: skip


def _said(measures: Mapping[str, Mapping[int, int]], words: Mapping[str, str]) -> dict[str, Column]:
    return {
        words[measure]: Column(tuple(by_queue), tuple(by_queue.values()))
        for measure, by_queue in measures.items()
        if measure in words
    }


def _dropped(
    measures: Mapping[str, Mapping[int, int]], causes: Mapping[str, str]
) -> dict[str, Column]:
    """Drops by cause, the whole without its parts."""
    columns = _said(measures, causes)
    whole = next(iter(causes.values()))
    if whole in columns and len(columns) > 1:
        parts = [columns[cause] for cause in columns if cause != whole]
        explained: dict[int, int] = {}
        for part in parts:
            for queue, value in zip(*part, strict=True):
                explained[queue] = explained.get(queue, 0) + value
        queues, values = columns[whole]
        rest = [
            max(0, value - explained.get(queue, 0))
            for queue, value in zip(queues, values, strict=True)
        ]
        columns[whole] = Column(queues, rest)
    return columns


def _read(
    gathered: Mapping[str, _Gathered], values: Sequence[int], real: int
) -> Iterator[tuple[str, Column]]:
    """What a driver says, without the rows of queues that it has no more, or not yet.

    Many list as many queues as they ever had or could have (ixgbe, ice); rows past the number of
    queues are left out if they are zero. If they are not, the number means something else to the
    driver (bnxt counts rings), and they stay.
    """
    for measure, (queues, gather) in gathered.items():
        column = Column(queues, gather(values))
        if real and queues and queues[-1] >= real:
            pairs = [(q, v) for q, v in zip(*column, strict=True) if q < real or v]
            column = Column(tuple([q for q, _ in pairs]), [v for _, v in pairs])
        if column.queues:
            yield measure, column


def _device(
    link: Link,
    received: Mapping[str, Mapping[int, int]],
    sent: Mapping[str, Mapping[int, int]],
    driver: DriverReading | None,
    numbers: tuple[int, int],
) -> DeviceQueues:
    receive, transmit = _said(received, _RECEIVE), _said(sent, _TRANSMIT)
    receive_drops = _dropped(received, _RECEIVE_DROPS)
    transmit_drops = _dropped(sent, _TRANSMIT_DROPS)
    source: Literal["qstats", "driver", "none"] = "none"
    if "packets" in receive or "packets" in transmit:
        source = "qstats"
    if driver is not None:
        plan, values = driver
        rx, tx = numbers
        # What the kernel's family says is better, measure by measure; where it counts all drops,
        # those that the driver tells of are among them.
        receive = {**dict(_read(plan.receive, values, rx)), **receive}
        transmit = {**dict(_read(plan.transmit, values, tx)), **transmit}
        if "rx-hw-drops" not in received:
            receive_drops = {**dict(_read(plan.receive_drops, values, rx)), **receive_drops}
        if "tx-hw-drops" not in sent:
            transmit_drops = {**dict(_read(plan.transmit_drops, values, tx)), **transmit_drops}
        if source == "none" and ("packets" in receive or "packets" in transmit):
            source = "driver"
    return DeviceQueues(link, source, receive, transmit, receive_drops, transmit_drops)


def _numbers(queues: netdev.Queues | None, channels: Channels | None) -> tuple[int, int]:
    """How many receive and transmit queues a device has; 0 where nobody says."""
    if queues is not None:
        return len(queues.rx), len(queues.tx)
    if channels is not None:
        return channels.rx + channels.combined, channels.tx + channels.combined
    return 0, 0


_SUMMED = ("stops", "wakes", "timeouts")
_DROPS = "drops"


def _transmit_members(
    devices: Iterable[DeviceQueues],
) -> Iterator[tuple[tuple[int, str], dict[Hashable, sums.Figures]]]:
    for device in devices:
        for measure in _SUMMED:
            if measure in device.transmit:
                column = device.transmit[measure]
                yield (
                    (device.link.ifindex, measure),
                    {q: (v,) for q, v in zip(*column, strict=True)},
                )
        if device.transmit_drops:
            drops: dict[int, int] = {}
            for column in device.transmit_drops.values():
                for queue, value in zip(*column, strict=True):
                    drops[queue] = drops.get(queue, 0) + value
            yield (device.link.ifindex, _DROPS), {q: (v,) for q, v in drops.items()}


def _advance(before: Queues, readings: Readings) -> Queues:
    links = readings[LINKS]
    drivers = readings.get(DRIVERS)
    raw = readings.get(DRIVER_STATISTICS) or {}
    kernel = readings.get(QUEUE_STATISTICS) or _NO_STATISTICS
    channels = readings.get(CHANNELS) or {}
    napis = readings.get(QUEUE_NAPIS) or {}
    read: dict[int, DriverReading] = {}
    devices: list[DeviceQueues] = []
    for link in links.shown:
        index = link.ifindex
        # Of a device that has just come it may not be known yet how to read them.
        if index in raw and (drivers is None or index in drivers):
            read[index] = understand(drivers[index].name if drivers else "", raw[index])
        received = kernel.receive.get(index, {})
        sent = kernel.transmit.get(index, {})
        numbers = _numbers(napis.get(index), channels.get(index))
        devices.append(_device(link, received, sent, read.get(index), numbers))
    # An index alone may be another's: a namespace's devices come with those they had.
    shown = {(link.ifindex, link.name) for link in links.shown}
    same = {d.link.ifindex for d in before.devices if (d.link.ifindex, d.link.name) in shown}
    kept = {key: value for key, value in before.sums.items() if key[0] in same}
    return Queues(tuple(devices), read, sums.advance(kept, dict(_transmit_members(devices))))


_NO_STATISTICS = QueueStatistics({}, {})

QUEUES = Derived[Queues](
    "queues",
    (LINKS, QUEUE_STATISTICS, QUEUE_NAPIS, DRIVERS, DRIVER_STATISTICS, CHANNELS),
    Queues((), {}, {}),
    _advance,
)
