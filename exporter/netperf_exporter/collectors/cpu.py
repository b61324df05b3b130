"""cpu: the time each CPU gave to softirqs and interrupts, and the NUMA node it sits on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

from netperf_exporter.collectors import rows
from netperf_exporter.metric import Block, Rows, counter, info
from netperf_exporter.sources import CPU_NODES, CPU_TIMES, ONLINE_CPUS, CpuNodes, Readings

NEEDS = (CPU_TIMES, ONLINE_CPUS, CPU_NODES)

SECONDS = counter(
    "cpu_seconds",
    "Seconds this CPU spent in a mode. The rate of softirq is the share that mpstat calls %soft; "
    "busy is one minus the rates of idle and iowait. Modes that neither needs are left out. "
    "(/proc/stat; show_stat() in fs/proc/stat.c)",
    "cpu",
    "mode",
    unit="seconds",
    scale=-2,
)
INFO = info(
    "cpu",
    "Which NUMA node a CPU that is online belongs to; no node on a kernel without NUMA. "
    "(/sys/devices/system/node/node*/cpulist)",
    "cpu",
    "numa_node",
)

FAMILIES = (SECONDS, INFO)


def collect(readings: Readings) -> Iterator[Block]:
    """Times of every CPU the kernel lists, and the node of each that is online."""
    times = readings[CPU_TIMES]
    ticks = tuple(chain.from_iterable(times.ticks.values()))
    yield Block((SECONDS,), rows.of_cpus_and(times.cpus, tuple(times.ticks)), ticks)
    cpus = readings.get(ONLINE_CPUS) or times.cpus
    yield Block((INFO,), _nodes_of(cpus, readings[CPU_NODES]), (1,) * len(cpus))


@lru_cache(maxsize=16)
def _nodes_of(cpus: tuple[int, ...], nodes: CpuNodes) -> Rows:
    return tuple([(str(cpu), str(nodes.node_of.get(cpu, ""))) for cpu in cpus])
