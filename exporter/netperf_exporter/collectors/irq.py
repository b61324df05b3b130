"""irq: how often each interrupt of a network device was taken, where, and which queue it serves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from netperf_exporter.metric import Block, Rows, counter, info
from netperf_exporter.parsers.interrupts import Interrupts, Moved
from netperf_exporter.sources import (
    AFFINITY,
    CPUS,
    INTERRUPTS,
    Affinity,
    Cpus,
    Derived,
    Readings,
)
from netperf_exporter.topology import TOPOLOGY, Topology, ranges

_QUEUE = (
    'Label queue: the queues it serves, receive queues first ("3", or "0-3" if one serves several '
    'channels); "" if none, or none that is known.'
)

INTERRUPT_COUNTS = counter(
    "queue_interrupts",
    "Interrupts of a network device that a CPU handled. Not packets: NAPI polls many for each, and "
    "a busy poller needs none. CPUs that the interrupt goes to now, and those on which it was seen "
    f"to move. {_QUEUE} (/proc/interrupts; show_interrupts() in kernel/irq/proc.c)",
    "device",
    "queue",
    "irq",
    "cpu",
)
IRQ = info(
    "queue_irq",
    "Where an interrupt of a network device goes to: cpus as the kernel lists them "
    "(effective_affinity_list; smp_affinity_list where the kernel does not tell), numa_node that "
    f"of the first. {_QUEUE} (/proc/irq/*; show_irq_affinity() in kernel/irq/proc.c)",
    "device",
    "queue",
    "irq",
    "cpus",
    "numa_node",
)

FAMILIES = (INTERRUPT_COUNTS, IRQ)

_Affinities = Mapping[int, Affinity]
_Watched = Mapping[int, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Seen:
    """What is shown of the interrupts, and what of it depends on earlier readings.

    watched: by interrupt, the labels device and queue it has. A device may share it with others.
    seen: by interrupt, the CPUs it went to or moved on. One once seen stays.
    cells: by interrupt, the counts of these CPUs, as far as they are online.
    rows, infos: label rows. The same objects while nothing changed.
    values: of the rows.
    """

    topology: Topology = TOPOLOGY.start
    interrupts: Interrupts | None = None
    affinity: _Affinities = field(default_factory=dict)
    cpus: Cpus | None = None
    watched: _Watched = field(default_factory=dict)
    seen: Mapping[int, frozenset[int]] = field(default_factory=dict)
    cells: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    rows: Rows = ()
    infos: Rows = ()
    values: Sequence[int] = ()


def _advance(before: Seen, readings: Readings) -> Seen:
    interrupts = readings[INTERRUPTS]
    topology = TOPOLOGY.advance(before.topology, readings)
    affinity = readings.get(AFFINITY) or {}
    cpus = readings.get(CPUS)
    same = topology.devices is before.topology.devices
    watched = before.watched if same else _watched(topology)
    moved = _moved(before.interrupts, interrupts, watched)
    seen = {irq: before.seen.get(irq, _NOWHERE) for irq in watched}
    more: dict[int, frozenset[int]] = {}
    for irq in moved if same and affinity == before.affinity else watched:
        on = seen[irq].union(_effective(affinity, irq), [cpu for cpu, _ in moved.get(irq, ())])
        if on != seen[irq]:
            seen[irq] = more[irq] = on
    if same and _same_cells(before.interrupts, interrupts):
        cells = dict(before.cells)
        for irq, counts in moved.items():
            cells[irq] = {**cells[irq], **dict(counts)}
        cells |= {irq: _counts(interrupts, irq, on) for irq, on in more.items()}
        rows = _rows(watched, cells) if more else before.rows
    else:
        cells = {irq: _counts(interrupts, irq, on) for irq, on in seen.items()}
        rows = _rows(watched, cells)
    infos = before.infos
    if not same or affinity != before.affinity or cpus is not before.cpus:
        infos = tuple(_infos(watched, affinity, cpus))
    values = [n for irq, shown in watched.items() for _ in shown for n in cells[irq].values()]
    return Seen(topology, interrupts, affinity, cpus, watched, seen, cells, rows, infos, values)


_NOWHERE: frozenset[int] = frozenset()


def _same_cells(before: Interrupts | None, now: Interrupts) -> bool:
    """Whether the table has the same rows and columns."""
    return before is not None and before.irqs == now.irqs and before.cpus == now.cpus


def _watched(topology: Topology) -> _Watched:
    found: dict[int, tuple[tuple[str, str], ...]] = {}
    for device in topology.devices:
        for irq in device.vectors:
            labels = (device.link.name, topology.label(device, irq))
            found[irq] = (*found.get(irq, ()), labels)
    return found


def _moved(before: Interrupts | None, now: Interrupts, irqs: Iterable[int]) -> Moved:
    """The counts that changed. One that appeared, with its row or its CPU, is not known to have."""
    if before is None:
        return {}
    if now.irqs != before.irqs:
        listed = set(before.irqs)
        irqs = [irq for irq in irqs if irq in listed]
    moved = now.changed(before, irqs)
    if now.cpus != before.cpus:
        old = set(before.cpus)
        moved = {irq: tuple([c for c in counts if c[0] in old]) for irq, counts in moved.items()}
    return moved


def _effective(affinity: _Affinities, irq: int) -> tuple[int, ...]:
    return affinity[irq].effective if irq in affinity else ()


def _counts(interrupts: Interrupts, irq: int, cpus: Collection[int]) -> dict[int, int]:
    counts = zip(interrupts.cpus, interrupts.counts(irq), strict=False)
    return {cpu: count for cpu, count in counts if cpu in cpus}


def _rows(watched: _Watched, cells: Mapping[int, Iterable[int]]) -> Rows:
    return tuple(
        [
            (*labels, str(irq), str(cpu))
            for irq, shown in watched.items()
            for labels in shown
            for cpu in cells[irq]
        ]
    )


def _infos(
    watched: _Watched, affinity: _Affinities, cpus: Cpus | None
) -> Iterator[tuple[str, ...]]:
    node_of = cpus.node_of if cpus else {}
    for irq, shown in watched.items():
        allowed, effective = affinity.get(irq, ((), ()))
        goes_to = effective or allowed
        node = node_of.get(goes_to[0], "") if goes_to else ""
        for labels in shown:
            yield (*labels, str(irq), ranges(goes_to), str(node))


SEEN = Derived[Seen]("irq", (*TOPOLOGY.needs, AFFINITY, CPUS), Seen(), _advance)

NEEDS = (SEEN,)


def collect(readings: Readings) -> Iterator[Block]:
    """Interrupts of every device that is shown."""
    seen = readings[SEEN]
    if seen.rows:
        yield Block((INTERRUPT_COUNTS,), seen.rows, seen.values)
    if seen.infos:
        yield Block((IRQ,), seen.infos, (1,) * len(seen.infos))
