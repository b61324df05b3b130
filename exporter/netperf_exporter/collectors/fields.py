"""What the collectors of protocol counters share: a table of fields and families."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from netperf_exporter.metric import UNLABELLED, Block, Family
from netperf_exporter.sources import NETSTAT, SNMP, SNMP6, Readings

NEEDS = (SNMP, NETSTAT, SNMP6)

_SIGN = 1 << 63


class Table:
    """The family of each curated ``<protocol>.<field>``, in the order of the output."""

    def __init__(self, families: Mapping[str, Family]) -> None:
        self.families = dict(families)

    def block(self, readings: Readings) -> Block:
        """A sample for each field that this kernel has."""
        names, values = counters(readings)
        plan = _plan(self, names)
        picked = plan.pick(values)
        for position in plan.gauges:
            # Summed over CPUs that are not read at one instant (snmp_get_cpu_field_batch() in
            # net/ipv4/af_inet.c), a level can come out below zero for a moment.
            if picked[position] >= _SIGN:
                below = picked[position] - (1 << 64)
                picked = (*picked[:position], below, *picked[position + 1 :])
        return Block(plan.families, UNLABELLED, picked)


Names = tuple[tuple[str, ...], ...]
"""The names in each of the files; the same objects while the kernel writes the same headers."""


def counters(readings: Readings) -> tuple[Names, tuple[int, ...]]:
    """Every protocol counter of this namespace. IPv6 may be absent."""
    files = [readings[SNMP], readings[NETSTAT]]
    if (ipv6 := readings.get(SNMP6)) is not None:
        files.append(ipv6)
    return tuple([f.names for f in files]), sum([f.values for f in files], start=())


class _Plan(NamedTuple):
    families: tuple[Family, ...]
    pick: Callable[[tuple[int, ...]], tuple[int, ...]]
    gauges: tuple[int, ...]  # positions among the families


@lru_cache(maxsize=16)
def _plan(table: Table, names: Names) -> _Plan:
    """Where the values of a table's fields are, when the files have these names."""
    at = {name: i for i, name in enumerate([name for file in names for name in file])}
    there = {name: family for name, family in table.families.items() if name in at}
    families = tuple(there.values())
    gauges = tuple([i for i, family in enumerate(families) if family.type == "gauge"])
    return _Plan(families, picker([at[name] for name in there]), gauges)


def picker(positions: list[int]) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    """What takes the values at these positions, in this order."""
    if len(positions) < 2:  # itemgetter() makes a tuple only of two and more
        return lambda values: tuple([values[position] for position in positions])
    return itemgetter(*positions)
