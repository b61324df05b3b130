"""cpu: the time each CPU gave to softirqs and interrupts, and the NUMA node it sits on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

from netperf_exporter.collectors import rows
from netperf_exporter.metric import Block, Rows, counter, info
from netperf_exporter.sources import CPU_TIMES, CPUS, Cpus, Readings

NEEDS = (CPU_TIMES, CPUS)

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
    cpus = readings.get(CPUS)
    nodes = _nodes_of(cpus) if cpus else rows.of_cpus_and(times.cpus, ("",))
    yield Block((INFO,), nodes, (1,) * len(nodes))


@lru_cache(maxsize=16)
def _nodes_of(cpus: Cpus) -> Rows:
    return tuple([(str(cpu), str(cpus.node_of.get(cpu, ""))) for cpu in cpus.online])
