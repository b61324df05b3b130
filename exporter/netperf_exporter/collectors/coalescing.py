"""coalescing: how long a device lets packets wait before it interrupts. Off by default."""

from __future__ import annotations

from collections.abc import Iterator

from netperf_exporter.metric import Block, gauge
from netperf_exporter.sources import COALESCE, LINKS, Readings

NEEDS = (LINKS, COALESCE)

COALESCING = gauge(
    "nic_coalescing",
    "A parameter of interrupt coalescing, as ethtool -c shows it: times in microseconds, frames, "
    "or 1 for what is adaptive. Longer waits cost latency and save interrupts. "
    "(ETHTOOL_MSG_COALESCE_GET)",
    "device",
    "name",
)

FAMILIES = (COALESCING,)


def collect(readings: Readings) -> Iterator[Block]:
    """Every parameter that a device's driver supports."""
    said = readings[COALESCE]
    figures = {
        (link.name, name): value
        for link in readings[LINKS].shown
        for name, value in said.get(link.ifindex, {}).items()
    }
    if figures:
        yield Block(FAMILIES, tuple(figures), tuple(figures.values()))
