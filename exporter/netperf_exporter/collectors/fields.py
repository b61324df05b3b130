"""What the collectors of protocol counters share: a table of fields and families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netperf_exporter.metric import UNLABELLED, Block, Family
from netperf_exporter.sources import NETSTAT, SNMP, SNMP6, Readings

Fields = Mapping[str, Family]
"""The family of each curated ``<protocol>.<field>``."""

ALL = (SNMP, NETSTAT, SNMP6)

_SIGN = 1 << 63


def counters(readings: Readings) -> dict[str, int]:
    """Every protocol counter of this namespace. IPv6 may be absent."""
    return readings[SNMP] | readings[NETSTAT] | (readings.get(SNMP6) or {})


def blocks(fields: Fields, values: Mapping[str, int]) -> Iterator[Block]:
    """A block for each field that this kernel has."""
    for field, family in fields.items():
        value = values.get(field)
        if value is None:
            continue
        if family.type == "gauge" and value >= _SIGN:
            # Summed over CPUs that are not read at one instant (snmp_get_cpu_field_batch() in
            # net/ipv4/af_inet.c), a level can come out below zero for a moment.
            value -= 1 << 64
        yield Block(family, UNLABELLED, (value,))
