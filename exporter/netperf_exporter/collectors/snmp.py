"""snmp: every protocol counter that no other collector exports, under the kernel's own name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from netperf_exporter.collectors import fields, ip, tcp, udp
from netperf_exporter.metric import Block, Rows, counter
from netperf_exporter.sources import Readings

NEEDS = fields.NEEDS

FIELD = counter(
    "snmp_field",
    "A counter of /proc/net/snmp, netstat or snmp6 as the kernel names it; those exported under "
    "a name of their own are left out. (net/ipv4/proc.c, net/ipv6/proc.c)",
    "name",
    "field",
)

FAMILIES = (FIELD,)

_CURATED = frozenset([*ip.FIELDS, *udp.FIELDS, *tcp.FIELDS])

# Settings, not counters: what RFC 1213 wants beside them in these files.
_SETTINGS = frozenset(
    {
        "Ip.Forwarding",
        "Ip.DefaultTTL",
        "Tcp.RtoAlgorithm",
        "Tcp.RtoMin",
        "Tcp.RtoMax",
        "Tcp.MaxConn",
    }
)


def collect(readings: Readings) -> Iterator[Block]:
    """One row a field."""
    names, values = fields.counters(readings)
    pick, rows = _rest(names, readings.options.snmp_include)
    yield Block((FIELD,), rows, pick(values))


@lru_cache(maxsize=4)
def _rest(
    names: fields.Names, include: re.Pattern[str]
) -> tuple[Callable[[tuple[int, ...]], tuple[int, ...]], Rows]:
    """What takes the other fields' values, and their rows."""
    every = [name for file in names for name in file]
    kept = {
        name: position
        for position, name in enumerate(every)
        if name not in _CURATED and name not in _SETTINGS and include.fullmatch(name)
    }
    rows = tuple([tuple(name.split(".", 1)) for name in kept])
    return fields.picker(list(kept.values())), rows
