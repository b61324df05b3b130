"""namespaces: how many network namespaces this host has, and how many of them are observed."""

from __future__ import annotations

from collections.abc import Iterator

from netperf_exporter.metric import Block, Rows, gauge
from netperf_exporter.sources import NETWORK_NAMESPACES, Readings

NEEDS = (NETWORK_NAMESPACES,)

NAMESPACES = gauge(
    "network_namespaces",
    "Network namespaces in which there are processes: the one that this exporter tells of (true), "
    "and those whose losses it does not see (false). Counted once a minute at most, so a change "
    "may show that much later. Not counted: a namespace without a process, as ip netns add makes "
    "it, and one that only single threads of processes are in. Absent where the processes of the "
    "host are hidden: in a PID namespace, by hidepid or ProtectProc. (/proc/PID/net; "
    "proc_tgid_net_lookup() in fs/proc/proc_net.c)",
    "observed",
)

FAMILIES = (NAMESPACES,)

_ROWS: Rows = (("true",), ("false",))


def collect(readings: Readings) -> Iterator[Block]:
    """Two rows, always."""
    namespaces = readings[NETWORK_NAMESPACES]
    yield Block(FAMILIES, _ROWS, (1, len(namespaces.others)))
