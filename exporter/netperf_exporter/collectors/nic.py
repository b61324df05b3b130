"""nic: what the hardware lost and why, how large its rings are, and what it does by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from netperf_exporter.metric import Block, Family, Value, counter, gauge, info
from netperf_exporter.parsers.ethtool_statistics import Layout
from netperf_exporter.parsers.links import Link
from netperf_exporter.parsers.nic import Channels, Features, Rings
from netperf_exporter.queues import QUEUES, DriverReading
from netperf_exporter.sources import (
    CHANNELS,
    DRIVERS,
    FEATURES,
    LINKS,
    RINGS,
    ByIndex,
    Driver,
    Readings,
)

NEEDS = (LINKS, QUEUES, DRIVERS, RINGS, CHANNELS, FEATURES)

CAUSES = (
    "ring_full (the host had no descriptor or buffer free), fifo_full (the device's own memory "
    "overflowed), host_alloc (the driver got no memory), pci (the bus was too slow or failed), "
    "link (bad checksums, symbols, lengths: cable, optics, duplex), filter (dropped on purpose), "
    "oversize, down (the device or queue was off), "
    "tx_full, tx_drop, timeout, checksum, pause, mixed (one counter for several causes)"
)
_LIMIT = "allowance"
_TABLE = "(the driver's own statistics, ethtool -S, through the exporter's table of drivers)"

RECEIVE_LOSSES = counter(
    "nic_receive_losses",
    "Received packets that the device or its driver lost, by cause: "
    f"{CAUSES}. No packet is in two causes, and none that queue_receive_drops has by queue is "
    f"here. {_TABLE}",
    "device",
    "cause",
)
TRANSMIT_LOSSES = counter(
    "nic_transmit_losses",
    "Packets that the stack gave to the driver and that were not sent, by cause, as in "
    f"nic_receive_losses. {_TABLE}",
    "device",
    "cause",
)
RECEIVE_EVENTS = counter(
    "nic_receive_events",
    "What the device or its driver counted that is no lost packet but tells of trouble, by cause "
    "as in nic_receive_losses: allocations that are tried again, pause frames, checksums that "
    f"were wrong. Units differ: look at its rate, do not add it to losses. {_TABLE}",
    "device",
    "cause",
)
TRANSMIT_EVENTS = counter(
    "nic_transmit_events",
    f"The same of sending: rings that were full, timeouts, pause frames. {_TABLE}",
    "device",
    "cause",
)
ALLOWANCE = counter(
    "nic_allowance_exceeded",
    "Packets that the hypervisor queued or dropped because the instance was over one of its "
    "limits, by the name that the driver has for the limit: no setting of this host helps. "
    f"{_TABLE}",
    "device",
    "name",
)
RING_SIZE = gauge(
    "nic_ring_size",
    "Descriptors of each receive or transmit ring. (ETHTOOL_MSG_RINGS_GET)",
    "device",
    "ring",
)
RING_MAXIMUM = gauge(
    "nic_ring_maximum_size",
    "The most descriptors that such a ring may be set to: ethtool -G. (ETHTOOL_MSG_RINGS_GET)",
    "device",
    "ring",
)
CHANNELS_USED = gauge(
    "nic_channels",
    "Channels in use, by what they serve: rx, tx, combined (both) or other. Each has an interrupt "
    "of its own. (ETHTOOL_MSG_CHANNELS_GET)",
    "device",
    "type",
)
CHANNELS_MAXIMUM = gauge(
    "nic_maximum_channels",
    "The most channels that may be set: ethtool -L. (ETHTOOL_MSG_CHANNELS_GET)",
    "device",
    "type",
)
OFFLOAD = gauge(
    "nic_offload_enabled",
    "1 if the device does this by itself, 0 if it could and is told not to. No sample for what it "
    "cannot do. (ETHTOOL_MSG_FEATURES_GET; netdev_features_strings in net/ethtool/common.c)",
    "device",
    "offload",
)
INFO = info(
    "nic",
    "The driver of a device, its version and that of its firmware; and, where udevd runs, whose "
    "hardware it is. (ETHTOOL_GDRVINFO; ID_VENDOR_FROM_DATABASE, ID_MODEL_FROM_DATABASE)",
    "device",
    "driver",
    "driver_version",
    "firmware_version",
    "vendor",
    "model",
)

FAMILIES = (
    RECEIVE_LOSSES,
    TRANSMIT_LOSSES,
    RECEIVE_EVENTS,
    TRANSMIT_EVENTS,
    ALLOWANCE,
    RING_SIZE,
    RING_MAXIMUM,
    CHANNELS_USED,
    CHANNELS_MAXIMUM,
    OFFLOAD,
    INFO,
)


def collect(readings: Readings) -> Iterator[Block]:
    """What each device that is shown can tell."""
    shown = readings[LINKS].shown
    read = readings[QUEUES].drivers
    yield from _causes(RECEIVE_LOSSES, shown, read, lambda layout: layout.receive_losses)
    yield from _causes(TRANSMIT_LOSSES, shown, read, lambda layout: layout.transmit_losses)
    yield from _causes(RECEIVE_EVENTS, shown, read, lambda layout: layout.receive_events)
    yield from _causes(TRANSMIT_EVENTS, shown, read, lambda layout: layout.transmit_events)
    yield from _allowances(shown, read)
    yield from _rings(shown, readings.get(RINGS) or {})
    yield from _channels(shown, readings.get(CHANNELS) or {})
    yield from _offloads(shown, readings.get(FEATURES) or {}, readings.options.offload_include)
    yield from _infos(shown, readings.get(DRIVERS) or {})


def _causes(
    family: Family,
    shown: tuple[Link, ...],
    read: Mapping[int, DriverReading],
    choose: Callable[[Layout], Mapping[str, tuple[int, ...]]],
) -> Iterator[Block]:
    labels: list[tuple[str, str]] = []
    values: list[Value] = []
    for link in shown:
        if link.ifindex in read:
            plan, figures = read[link.ifindex]
            for cause, positions in choose(plan.layout).items():
                if cause == _LIMIT:
                    continue
                labels.append((link.name, cause))
                values.append(sum([figures[position] for position in positions]))
    if values:
        yield Block((family,), tuple(labels), values)


def _allowances(shown: tuple[Link, ...], read: Mapping[int, DriverReading]) -> Iterator[Block]:
    figures: dict[tuple[str, str], int] = {}
    for link in shown:
        if link.ifindex in read:
            plan, values = read[link.ifindex]
            for events in (plan.layout.receive_events, plan.layout.transmit_events):
                for position in events.get(_LIMIT, ()):
                    figures[link.name, plan.names[position].strip()] = values[position]
    if figures:
        yield Block((ALLOWANCE,), tuple(figures), tuple(figures.values()))


def _pairs(
    families: tuple[Family, Family], figures: Mapping[tuple[str, str], tuple[int, int]]
) -> Iterator[Block]:
    """Two families with the same rows."""
    if figures:
        columns = zip(*figures.values(), strict=True)
        yield Block(families, tuple(figures), [value for column in columns for value in column])


def _rings(shown: tuple[Link, ...], rings: ByIndex[Rings]) -> Iterator[Block]:
    figures = {}
    for link in shown:
        if link.ifindex in rings:
            rx, rx_max, tx, tx_max = rings[link.ifindex]
            figures[link.name, "rx"] = (rx, rx_max)
            figures[link.name, "tx"] = (tx, tx_max)
    # Without a maximum there is no such ring.
    there = {key: (size, most) for key, (size, most) in figures.items() if most}
    yield from _pairs((RING_SIZE, RING_MAXIMUM), there)


def _channels(shown: tuple[Link, ...], channels: ByIndex[Channels]) -> Iterator[Block]:
    figures = {}
    for link in shown:
        if link.ifindex in channels:
            said = channels[link.ifindex]
            figures[link.name, "rx"] = (said.rx, said.max_rx)
            figures[link.name, "tx"] = (said.tx, said.max_tx)
            figures[link.name, "combined"] = (said.combined, said.max_combined)
            figures[link.name, "other"] = (said.other, said.max_other)
    there = {key: (used, most) for key, (used, most) in figures.items() if most}
    yield from _pairs((CHANNELS_USED, CHANNELS_MAXIMUM), there)


def _offloads(
    shown: tuple[Link, ...], features: ByIndex[Features], wanted: re.Pattern[str]
) -> Iterator[Block]:
    figures: dict[tuple[str, str], int] = {}
    for link in shown:
        if link.ifindex in features:
            said = features[link.ifindex]
            for name in _chosen(said.hw | said.active, wanted):
                figures[link.name, name] = int(name in said.active)
    if figures:
        yield Block((OFFLOAD,), tuple(figures), tuple(figures.values()))


@lru_cache(maxsize=256)
def _chosen(names: frozenset[str], wanted: re.Pattern[str]) -> tuple[str, ...]:
    return tuple([name for name in sorted(names) if wanted.fullmatch(name)])


def _infos(shown: tuple[Link, ...], drivers: ByIndex[Driver]) -> Iterator[Block]:
    labels = [
        (link.name, said.name, said.info.version, said.info.firmware_version, *said.hardware)
        for link in shown
        if (said := drivers.get(link.ifindex)) is not None
    ]
    if labels:
        yield Block((INFO,), tuple(labels), (1,) * len(labels))
