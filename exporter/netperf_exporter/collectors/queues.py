"""queues: what each queue of a device received and sent, whoever can tell: kernel or driver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from netperf_exporter.collectors import rows
from netperf_exporter.metric import Block, Family, Value, counter, info
from netperf_exporter.queues import QUEUES, Column, DeviceQueues, Queues
from netperf_exporter.sources import Readings

NEEDS = (QUEUES,)

_SOURCES = (
    "(qstats-get of the netlink family netdev, else the driver's own statistics, ethtool -S: "
    "queue_statistics_source_info says which)"
)


def _per_queue(name: str, help: str, unit: str = "") -> Family:
    return counter(f"queue_{name}", f"{help} {_SOURCES}", "device", "queue", unit=unit)


RECEIVE = {
    "packets": _per_queue(
        "receive_packets",
        "Packets received on this queue. Drivers count before XDP and GRO, or after it.",
    ),
    "bytes": _per_queue("receive_bytes", "Bytes received on this queue.", "bytes"),
}
TRANSMIT = {
    "packets": _per_queue("transmit_packets", "Packets sent on this queue."),
    "bytes": _per_queue("transmit_bytes", "Bytes sent on this queue.", "bytes"),
}
RECEIVE_DROPS = counter(
    "queue_receive_drops",
    "Packets that reached this queue and were lost there, by cause: ring_full (no descriptor or "
    "buffer was free), host_alloc (the driver got no memory), pci (the transfer failed), "
    "allowance (a limit of the hypervisor), mixed (the driver discarded them for several reasons), "
    f"and others as the driver tells them apart. {_SOURCES}",
    "device",
    "queue",
    "cause",
)

_SUMMED = {
    "stops": "Times the driver stopped a queue because its ring was full. The stack waits in the "
    "qdisc meanwhile: no loss by itself.",
    "wakes": "Times the driver let a stopped queue go on.",
    "timeouts": "Times a queue stood still for so long that the driver was told to reset it.",
    "drops": "Packets that the stack gave to the driver and that were not sent.",
}
DETAILS = {
    name: _per_queue(f"transmit_{name}", help) for name, help in _SUMMED.items() if name != "drops"
}
TRANSMIT_DROPS = counter(
    "queue_transmit_drops",
    f"Packets given to this queue and not sent, by cause. {_SOURCES}",
    "device",
    "queue",
    "cause",
)
TOTAL = {
    name: counter(
        f"queues_transmit_{name}",
        f"{help} All queues of the device, since the exporter first saw it. {_SOURCES}",
        "device",
    )
    for name, help in _SUMMED.items()
}
WORST = {
    name: counter(
        f"queues_transmit_worst_{name}",
        f"What queues_transmit_{name}_total would be if only the queue were counted that added "
        "most since the last scrape: near the total, it is one queue's trouble. "
        f"{_SOURCES}",
        "device",
    )
    for name in _SUMMED
}
SOURCE = info(
    "queue_statistics_source",
    "Who says how many packets each queue had: qstats (the kernel's netdev family), driver (its "
    "own statistics, through the exporter's table of drivers), or none. (qstats-get; ethtool -S)",
    "device",
    "source",
)

FAMILIES = (
    *RECEIVE.values(),
    *TRANSMIT.values(),
    RECEIVE_DROPS,
    *TOTAL.values(),
    *WORST.values(),
    SOURCE,
    *DETAILS.values(),
    TRANSMIT_DROPS,
)


def collect(readings: Readings) -> Iterator[Block]:
    """Queues of every device that is shown. What a device does not count is not there."""
    queues = readings[QUEUES]
    devices = queues.devices
    yield from _per_measure(RECEIVE, [(device, device.receive) for device in devices])
    yield from _per_measure(TRANSMIT, [(device, device.transmit) for device in devices])
    yield from _drops(RECEIVE_DROPS, [(device, device.receive_drops) for device in devices])
    yield from _sums(queues)
    if devices:
        sources = tuple([(device.link.name, device.source) for device in devices])
        yield Block((SOURCE,), sources, (1,) * len(sources))
    if readings.options.transmit_queue_details:
        yield from _per_measure(DETAILS, [(device, device.transmit) for device in devices])
        yield from _drops(TRANSMIT_DROPS, [(device, device.transmit_drops) for device in devices])


_OfDevices = Iterable[tuple[DeviceQueues, Mapping[str, Column]]]


def _per_measure(families: Mapping[str, Family], devices: _OfDevices) -> Iterator[Block]:
    for measure, family in families.items():
        labels: list[tuple[str, tuple[int, ...]]] = []
        values: list[Value] = []
        for device, columns in devices:
            if measure in columns:
                labels.append((device.link.name, columns[measure].queues))
                values += columns[measure].values
        if values:
            yield Block((family,), rows.of_queues(tuple(labels)), values)


def _drops(family: Family, devices: _OfDevices) -> Iterator[Block]:
    labels: list[tuple[str, str, tuple[int, ...]]] = []
    values: list[Value] = []
    for device, columns in devices:
        for cause in sorted(columns):
            labels.append((device.link.name, cause, columns[cause].queues))
            values += columns[cause].values
    if values:
        yield Block((family,), rows.of_causes(tuple(labels)), values)


def _sums(queues: Queues) -> Iterator[Block]:
    for name in _SUMMED:
        figures = {
            device.link.name: queues.sums[device.link.ifindex, name]
            for device in queues.devices
            if (device.link.ifindex, name) in queues.sums
        }
        figures = {device: sum for device, sum in figures.items() if sum.total}
        if figures:
            totals = [sum.total[0] for sum in figures.values()]
            worst = [sum.worst[0] for sum in figures.values()]
            yield Block((TOTAL[name],), rows.of_words(tuple(figures)), totals)
            yield Block((WORST[name],), rows.of_words(tuple(figures)), worst)
