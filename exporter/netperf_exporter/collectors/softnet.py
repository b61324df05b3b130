"""softnet: the queue between the driver and the protocol stack, one per CPU.

Host-global: the same in every network namespace.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from netperf_exporter.collectors import rows
from netperf_exporter.metric import Block, counter, gauge
from netperf_exporter.sources import SOFTNET_STAT, Readings

NEEDS = (SOFTNET_STAT,)

PROCESSED = counter(
    "softnet_processed",
    "Packets that __netif_receive_skb_core() took on this CPU; one that changes its device on "
    "the way up (VLAN, bond) counts again. (softnet_stat column 1, processed)",
    "cpu",
)
DROPPED = counter(
    "softnet_dropped",
    "Packets lost because this CPU's backlog was full (net.core.netdev_max_backlog) or the flow "
    "limit struck: RPS and devices without NAPI queue here, NAPI drivers do not. The receiving "
    "device's rx_dropped counts the same packets. (softnet_stat column 2, dropped; "
    "enqueue_to_backlog() in net/core/dev.c)",
    "cpu",
)
TIME_SQUEEZED = counter(
    "softnet_time_squeezed",
    "Times net_rx_action() stopped with work left, because net.core.netdev_budget packets or "
    "netdev_budget_usecs were used up. Nothing is lost by it; the rest waits for the next "
    "softirq. (softnet_stat column 3, time_squeeze)",
    "cpu",
)
RECEIVED_RPS = counter(
    "softnet_received_rps",
    "Times this CPU was woken by another one to take packets that RPS steered to it. A wake-up "
    "may bring many packets. (softnet_stat column 10, received_rps; rps_trigger_softirq() in "
    "net/core/dev.c)",
    "cpu",
)
FLOW_LIMITED = counter(
    "softnet_flow_limited",
    "Packets of a dominating flow dropped before a backlog more than half full; counted on the "
    "CPU that steered the packet, and again in the dropped counter of the CPU it was meant for. "
    "(softnet_stat column 11, flow_limit_count; skb_flow_limit() in net/core/dev.c)",
    "cpu",
)
INPUT_QUEUE_LENGTH = gauge(
    "softnet_input_queue_length",
    "Packets in the part of this CPU's backlog that is being filled, at the time of the scrape. "
    "(softnet_stat column 14, input_pkt_queue)",
    "cpu",
)
PROCESS_QUEUE_LENGTH = gauge(
    "softnet_process_queue_length",
    "Packets in the part of this CPU's backlog that is being worked off, at the time of the "
    "scrape. (softnet_stat column 15, process_queue)",
    "cpu",
)
BACKLOG_LENGTH = gauge(
    "softnet_backlog_length",
    "Packets in both parts of this CPU's backlog, at the time of the scrape; only from kernels "
    "that do not tell the parts apart. (softnet_stat column 12)",
    "cpu",
)

FAMILIES = (
    PROCESSED,
    DROPPED,
    TIME_SQUEEZED,
    RECEIVED_RPS,
    FLOW_LIMITED,
    INPUT_QUEUE_LENGTH,
    PROCESS_QUEUE_LENGTH,
    BACKLOG_LENGTH,
)


def collect(readings: Readings) -> Iterator[Block]:
    """One row per online CPU; no family for a column that this kernel does not write."""
    stat = readings[SOFTNET_STAT]
    columns = {
        PROCESSED: stat.processed,
        DROPPED: stat.dropped,
        TIME_SQUEEZED: stat.time_squeeze,
        RECEIVED_RPS: stat.received_rps,
        FLOW_LIMITED: stat.flow_limit_count,
        INPUT_QUEUE_LENGTH: stat.input_qlen,
        PROCESS_QUEUE_LENGTH: stat.process_qlen,
        BACKLOG_LENGTH: stat.backlog_length if stat.input_qlen is None else None,
    }
    there = {family: column for family, column in columns.items() if column is not None}
    yield Block(tuple(there), rows.of_cpus(stat.cpus), tuple(chain.from_iterable(there.values())))
