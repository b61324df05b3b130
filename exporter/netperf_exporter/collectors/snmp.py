"""snmp: every protocol counter that no other collector exports, under the kernel's own name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from netperf_exporter.collectors import fields, ip, tcp, udp
from netperf_exporter.metric import Block, Rows, counter
from netperf_exporter.sources import Readings

NEEDS = fields.ALL

FIELD = counter(
    "snmp_field",
    "A counter of /proc/net/snmp, netstat or snmp6 as the kernel names it; those exported under "
    "a name of their own are left out. (net/ipv4/proc.c, net/ipv6/proc.c)",
    "name",
    "field",
)

FAMILIES = (FIELD,)

_CURATED = frozenset(ip.FIELDS) | frozenset(tcp.FIELDS) | frozenset(udp.FIELDS)

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
    values = fields.counters(readings)
    kept, rows = _kept(tuple(values), readings.options.snmp_include)
    yield Block(FIELD, rows, [values[key] for key in kept])


@lru_cache(maxsize=4)
def _kept(keys: tuple[str, ...], include: re.Pattern[str]) -> tuple[tuple[str, ...], Rows]:
    kept = tuple(
        [k for k in keys if k not in _CURATED and k not in _SETTINGS and include.fullmatch(k)]
    )
    return kept, tuple([tuple(key.split(".", 1)) for key in kept])
