"""Devices that are not exported one by one: what all of one kind have counted together."""

from __future__ import annotations

from netperf_exporter import sums
from netperf_exporter.sources import LINK_STATISTICS, LINKS, Derived, Readings

FIELDS = 8
"""The first fields of struct rtnl_link_stats64: packets, bytes, errors and dropped, of both
directions."""


def _advance(before: sums.Sums[str], readings: Readings) -> sums.Sums[str]:
    statistics = readings[LINK_STATISTICS]
    members: dict[str, sums.Members] = {kind: {} for kind in before}  # those of it may be gone
    members |= {
        kind: {
            # An index alone may be another's: a namespace's devices come with those they had.
            (link.ifindex, link.name): statistics[link.ifindex][:FIELDS]
            for link in links
            if link.ifindex in statistics
        }
        for kind, links in readings[LINKS].rolled_up.items()
    }
    return sums.advance(before, members)


ROLLED_UP = Derived[sums.Sums[str]]("rolled_up", (LINKS, LINK_STATISTICS), {}, _advance)
"""By kind: the sum of FIELDS over its devices."""
