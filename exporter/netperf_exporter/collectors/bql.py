"""bql: how much of each transmit ring is filled, and may be. Off by default: four files a queue."""

from __future__ import annotations

from collections.abc import Iterator

from netperf_exporter.metric import Block, counter, gauge
from netperf_exporter.sources import BYTE_QUEUE_LIMITS, LINKS, Readings

NEEDS = (LINKS, BYTE_QUEUE_LIMITS)

LIMIT = gauge(
    "queue_transmit_limit_bytes",
    "Bytes that may be in a transmit queue of the driver before the stack is held back; adapts to "
    "how fast they go out. (byte_queue_limits/limit; dql_completed() in "
    "lib/dynamic_queue_limits.c)",
    "device",
    "queue",
    unit="bytes",
)
MAXIMUM = gauge(
    "queue_transmit_limit_maximum_bytes",
    "The most that the limit may become. (byte_queue_limits/limit_max)",
    "device",
    "queue",
    unit="bytes",
)
INFLIGHT = gauge(
    "queue_transmit_inflight_bytes",
    "Bytes given to the driver and not yet sent. At the limit, packets wait in the qdisc. "
    "(byte_queue_limits/inflight; bql_show_inflight() in net/core/net-sysfs.c)",
    "device",
    "queue",
    unit="bytes",
)
STALLS = counter(
    "queue_transmit_stalls",
    "Times bytes were in flight and none was sent for longer than stall_thrs, which is 0, off, "
    "unless somebody sets it. (byte_queue_limits/stall_cnt; dql_check_stall() in "
    "lib/dynamic_queue_limits.c)",
    "device",
    "queue",
)

FAMILIES = (LIMIT, MAXIMUM, INFLIGHT, STALLS)


def collect(readings: Readings) -> Iterator[Block]:
    """Every transmit queue that has limits."""
    found = readings[BYTE_QUEUE_LIMITS]
    there = {
        (link.name, str(queue)): limits
        for link in readings[LINKS].shown
        for queue, limits in found.get(link.ifindex, {}).items()
    }
    if there:
        columns = zip(*[limits[:3] for limits in there.values()], strict=True)
        figures = [figure for column in columns for figure in column]
        yield Block((LIMIT, MAXIMUM, INFLIGHT), tuple(there), figures)
    stalls = {label: limits.stalls for label, limits in there.items() if limits.stalls is not None}
    if stalls:
        yield Block((STALLS,), tuple(stalls), tuple(stalls.values()))
