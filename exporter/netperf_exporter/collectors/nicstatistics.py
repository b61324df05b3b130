"""nicstatistics: every statistic of every driver in the driver's own words. Off by default.

Hundreds of series for one device, whose names mean what each driver pleases: for drivers that the
exporter's table does not know, and for looking closer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from netperf_exporter.metric import Block, Rows, Value, gauge
from netperf_exporter.queues import QUEUES
from netperf_exporter.sources import Readings

NEEDS = (QUEUES,)

STATISTIC = gauge(
    "nic_statistic",
    "A statistic as the driver names it; most are counters. Where a driver gives several the same "
    "name (vmxnet3 does for each queue), the second and later ones have their number in it. "
    "(ethtool -S; ETHTOOL_GSTATS)",
    "device",
    "name",
)

FAMILIES = (STATISTIC,)


def collect(readings: Readings) -> Iterator[Block]:
    """Whatever the drivers say."""
    queues = readings[QUEUES]
    labels: list[tuple[str, ...]] = []
    values: list[Value] = []
    for device in queues.devices:
        reading = queues.drivers.get(device.link.ifindex)
        if reading is not None:
            labels += _rows(device.link.name, reading.plan.names)
            values += reading.values
    if values:
        yield Block(FAMILIES, tuple(labels), values)


@lru_cache(maxsize=256)
def _rows(device: str, names: tuple[str, ...]) -> Rows:
    seen: Counter[str] = Counter()
    labels = []
    taken = set(names)
    for name in names:
        seen[name] += 1
        shown = name
        if seen[name] > 1:
            # Another statistic may really be called that.
            number = seen[name]
            while (shown := f"{name}#{number}") in taken:
                number += 1
            taken.add(shown)
        labels.append((device, shown))
    return tuple(labels)
