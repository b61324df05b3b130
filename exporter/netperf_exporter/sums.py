"""Sums over counters that come and go: of devices of one kind, of the queues of a device.

A sum of counters falls when one of them vanishes, and jumps when one appears that has counted
before; a rate over such a sum is wrong by as much. So a sum here is of what its counters have
grown by since the exporter first saw them, and keeps what those that vanished had added.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

Group = TypeVar("Group", bound=Hashable)

Figures = tuple[int, ...]
Members = Mapping[Hashable, Figures]
"""By member: its counters. All members of a group have as many."""


class Sum(NamedTuple):
    """The sum of one group.

    total: what the counters of all members have grown by, one figure for each counter.
    worst: at each reading what the one member has grown by that grew most, added up.
    last: what each member had at the last reading.
    """

    total: Figures
    worst: Figures
    last: Members


Sums = Mapping[Group, Sum]


def advance(before: Sums[Group], now: Mapping[Group, Members]) -> dict[Group, Sum]:
    """Add what has been counted since. A group that is not read keeps its sum."""
    sums = dict(before)
    for group, members in now.items():
        sums[group] = _advance(sums.get(group), members)
    return sums


def _advance(before: Sum | None, members: Members) -> Sum:
    if before is None or not before.total:
        width = len(next(iter(members.values()), ()))
        return Sum((0,) * width, (0,) * width, members)
    growths = [
        _growth(last, figures)
        for member, figures in members.items()
        if (last := before.last.get(member)) is not None and last != figures
    ]
    if not growths:
        return before._replace(last=members)
    columns = list(zip(*growths, strict=True))
    return Sum(
        tuple([total + sum(column) for total, column in zip(before.total, columns, strict=True)]),
        tuple([worst + max(column) for worst, column in zip(before.worst, columns, strict=True)]),
        members,
    )


def _growth(last: Figures, now: Figures) -> Figures:
    # A counter that fell was set back, and what it shows came since.
    return tuple([b - a if b >= a else b for a, b in zip(last, now, strict=True)])
