"""One module per place on a packet's path: what is exported there, and what each number means.

A collector is a module with NEEDS, FAMILIES and a pure collect(readings). A needed source that
could not be read fails the collector whole; one the kernel does not have makes it unavailable,
unless the collector asks for it with Readings.get().
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from netperf_exporter.collectors import (
    bql,
    coalescing,
    cpu,
    fec,
    ip,
    irq,
    link,
    namespaces,
    nic,
    nicstatistics,
    pause,
    queues,
    snmp,
    softirqs,
    softnet,
    steering,
    tcp,
    udp,
)
from netperf_exporter.metric import Block, Family
from netperf_exporter.sources import Derived, Readings, Source


class Collector(Protocol):
    """What the modules of this package have in common."""

    @property
    def NEEDS(self) -> Sequence[Source[Any] | Derived[Any]]:  # noqa: N802
        """The sources it reads."""

    @property
    def FAMILIES(self) -> Sequence[Family]:  # noqa: N802
        """Every family it may export, in the order in which it does."""

    def collect(self, readings: Readings) -> Iterable[Block]:
        """The samples. Pure."""


COLLECTORS: dict[str, Collector] = {
    "link": link,
    "nic": nic,
    "nicstatistics": nicstatistics,
    "coalescing": coalescing,
    "pause": pause,
    "fec": fec,
    "queues": queues,
    "bql": bql,
    "irq": irq,
    "steering": steering,
    "softirqs": softirqs,
    "cpu": cpu,
    "softnet": softnet,
    "ip": ip,
    "udp": udp,
    "tcp": tcp,
    "snmp": snmp,
    "namespaces": namespaces,
}
"""Every collector by the name its flag has, in the order of a received packet's path."""

OFF_BY_DEFAULT = frozenset({"bql", "nicstatistics", "coalescing", "pause", "fec", "snmp"})
