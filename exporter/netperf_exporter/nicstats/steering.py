"""Who serves the queues of one device, as a table; and what the exporter makes of that.

The table shows the readings side by side. Verdicts are those of netperf_exporter.steering, which
has the kernel's reasons; here they are only put into words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from netperf_exporter import steering
from netperf_exporter.kernel.host import Host, LiveHost, show_all
from netperf_exporter.nicstats.report import Row, aligned, indented, shown
from netperf_exporter.parsers.interrupts import Interrupts
from netperf_exporter.queues import QUEUES, Measures
from netperf_exporter.sources import (
    AFFINITY,
    CPUS,
    DRIVER_STATISTICS,
    DRIVERS,
    INTERRUPTS,
    LINKS,
    QUEUE_STEERING,
    SOURCES,
    Affinity,
    Cpus,
    Derived,
    NotThere,
    Outcome,
    QueueSteering,
    Readings,
    Source,
    Value,
    read,
)
from netperf_exporter.steering import DeviceSteering, Steering
from netperf_exporter.topology import TOPOLOGY, DeviceTopology, Topology, ranges

NEEDS = {*TOPOLOGY.needs, *steering.NEEDS, *QUEUES.needs}

_NONE = "-"
_WIDEST_MASK = 24
_BOTH = "rx tx"
_NO_STEERING = QueueSteering({}, {}, {}, {})

Shown = Callable[[str, str], bool]


def _live(shown: Shown) -> Host:
    return LiveHost(shown=shown)


def readings(device: str, host_of: Callable[[Shown], Host] = _live) -> Readings | None:
    """Ask a host, or None if it has no such device.

    The other devices are read too: a vector may be a sibling's, and flow tables of another device
    are what the table of all sockets is for. But not their statistics, which cost the most.
    """
    host = host_of(show_all)
    alone = host_of(lambda name, _kind: name == device)
    outcomes: dict[Source[Any] | Derived[Any], Outcome] = {LINKS: read(LINKS, alone)}
    if not Readings(outcomes)[LINKS].shown:
        return None
    for source in SOURCES:
        if source in NEEDS:
            outcomes[source] = read(source, alone if source is DRIVER_STATISTICS else host)
    return Readings(outcomes)


class _Served(NamedTuple):
    """A line of the table: a queue of both directions if one interrupt serves both."""

    queue: int
    directions: str
    irq: int | None


class _Picture(NamedTuple):
    """All that is known of the device."""

    device: DeviceTopology
    topology: Topology
    facts: DeviceSteering
    rfs_entries: int | None
    driver: str
    set_up: QueueSteering
    affinity: Mapping[int, Affinity]
    interrupts: Interrupts | None
    cpus: Cpus | None
    received: Mapping[int, int]
    sent: Mapping[int, int]


def picture(readings: Readings, name: str) -> str:
    """The table of a device that is among those read, and the verdicts.

    Raises NotThere or NotRead.
    """
    found = _gathered(readings, name)
    masks = _Masks()
    table = _queue_table(found, masks)
    others = [irq for irq in found.device.vectors if not found.topology.label(found.device, irq)]
    sections = [
        [_head(found), *table, *masks.legend()],
        _others(found, others),
        _verdicts(found),
        _left_out(readings, name),
    ]
    return "\n\n".join(["\n".join(lines) for lines in sections if lines]) + "\n"


def _gathered(readings: Readings, name: str) -> _Picture:
    topology = TOPOLOGY.advance(TOPOLOGY.start, readings)
    every: Steering = steering.facts(readings, topology)
    both = zip(topology.devices, every.devices, strict=True)
    found = [pair for pair in both if pair[0].link.name == name]
    if not found:
        raise NotThere("the device went away")
    device, facts = found[0]
    index = device.link.ifindex
    known = QUEUES.advance(QUEUES.start, readings).devices
    queues = next(of for of in known if of.link.ifindex == index)
    driver = (readings.get(DRIVERS) or {}).get(index)
    set_up = readings.get(QUEUE_STEERING) or {}
    affinity = readings.get(AFFINITY) or {}
    return _Picture(
        device,
        topology,
        facts,
        every.rfs_entries,
        driver.name if driver else "",
        set_up.get(index, _NO_STEERING),
        affinity,
        readings.get(INTERRUPTS),
        readings.get(CPUS),
        _packets(queues.receive),
        _packets(queues.transmit),
    )


def _packets(measures: Measures) -> dict[int, int]:
    return dict(zip(*measures["packets"], strict=True)) if "packets" in measures else {}


def _head(of: _Picture) -> str:
    """What is the same for all queues. What is off has no column."""
    device = of.device
    who = [f"driver {shown(of.driver)}" if of.driver else "no driver is known"]
    if device.numa_node is not None:
        who.append(f"NUMA node {device.numa_node}")
    if not device.link.enabled:
        who.append("down")
    said = [
        ", ".join(who),
        f"{_queues(device)}, {_count(len(device.vectors), 'interrupt')}",
    ]
    for word, masks in (("RPS", of.set_up.rps_cpus), ("XPS", of.set_up.xps_cpus)):
        if masks and not any(masks.values()):
            said.append(f"{word} off")
    if of.rfs_entries is not None:
        said.append(f"RFS table {of.rfs_entries} entries")
    if of.facts.arfs is not None:
        said.append(f"aRFS {'on, if the driver has it' if of.facts.arfs else 'off'}")
    return f"{shown(device.link.name)}: {'; '.join(said)}"


def _queues(device: DeviceTopology) -> str:
    """How many. Not that there are none: of a device that is down they may not be told."""
    numbers = {"receive": len(device.receive), "transmit": len(device.transmit)}
    if len(set(numbers.values())) == 1:
        return _count(len(device.receive), "queue")
    return " and ".join([_count(n, f"{which} queue") for which, n in numbers.items() if n])


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


class _Masks:
    """CPUs as the kernel lists them; what is too long for a cell is written below the table."""

    def __init__(self) -> None:
        self._long: dict[str, str] = {}

    def cell(self, cpus: Sequence[int]) -> str:
        text = ranges(tuple(cpus))
        if len(text) <= _WIDEST_MASK:
            return text or _NONE
        return self._long.setdefault(text, f"{len(cpus)} CPUs #{len(self._long) + 1}")

    def legend(self) -> list[str]:
        return [f"{cell.rpartition(' ')[2]}: {text}" for text, cell in self._long.items()]


def _served(device: DeviceTopology) -> Iterator[_Served]:
    receive = {queue.queue: queue.irq for queue in device.receive}
    transmit = {queue.queue: queue.irq for queue in device.transmit}
    for queue in sorted({*receive, *transmit}):
        if queue in receive and queue in transmit and receive[queue] == transmit[queue]:
            yield _Served(queue, _BOTH, receive[queue])
            continue
        if queue in receive:
            yield _Served(queue, "rx", receive[queue])
        if queue in transmit:
            yield _Served(queue, "tx", transmit[queue])


def _queue_table(of: _Picture, masks: _Masks) -> list[str]:
    """One line for each queue and interrupt; columns that say nothing are left out."""
    served = list(_served(of.device))

    def column(title: str, direction: str, cells: Mapping[int, str]) -> Row:
        found = [cells.get(q, _NONE) if direction in of_q else _NONE for q, of_q, _ in served]
        return (title, *found)

    split = any(line.directions != _BOTH for line in served)
    facts, set_up = of.facts, of.set_up
    columns = [
        ("queue", *[str(line.queue) for line in served]),
        ("side", *[line.directions if split else _NONE for line in served]),
        *_irq_columns(of, [line.irq for line in served], masks),
        column("RSS", "rx", {q: f"{share:.1%}" for q, share in facts.rss_weights.items()}),
        column("RPS CPUs", "rx", {q: masks.cell(m) for q, m in set_up.rps_cpus.items()}),
        column("RPS flows", "rx", {q: str(flows) for q, flows in facts.rps_flows.items()}),
        column("XPS CPUs", "tx", {q: masks.cell(m) for q, m in set_up.xps_cpus.items()}),
        column("XPS queues", "tx", {q: ranges(m) or _NONE for q, m in set_up.xps_rxqs.items()}),
        column("rx packets", "rx", {q: str(count) for q, count in of.received.items()}),
        column("tx packets", "tx", {q: str(count) for q, count in of.sent.items()}),
    ]
    if all({*column[1:]} <= {_NONE} for column in columns[2:]):
        return ["Nothing is known of single queues."]
    return _table(columns)


def _table(columns: Iterable[Row], left: Sequence[int] = ()) -> list[str]:
    said = [column for column in columns if {*column[1:]} != {_NONE}]
    return aligned(list(zip(*said, strict=True)), left)


def _irq_columns(of: _Picture, irqs: Sequence[int | None], masks: _Masks) -> list[Row]:
    columns = [("irq", "interrupts", "CPUs", "node")]
    columns += [_irq_cells(of, irq, masks) if irq is not None else (_NONE,) * 4 for irq in irqs]
    return list(zip(*columns, strict=True))


def _irq_cells(of: _Picture, irq: int, masks: _Masks) -> tuple[str, str, str, str]:
    """On a host of one node there is nothing to say of nodes."""
    counts = of.interrupts.counts(irq) if of.interrupts else ()
    allowed, effective = of.affinity.get(irq, ((), ()))
    cpus = effective or allowed
    node_of = of.cpus.node_of if of.cpus else {}
    nodes = tuple(sorted({node_of[cpu] for cpu in cpus if cpu in node_of}))
    several = len(set(node_of.values())) > 1
    count = str(sum(counts)) if counts else _NONE
    return str(irq), count, masks.cell(cpus), (ranges(nodes) if several else "") or _NONE


def _others(of: _Picture, irqs: Sequence[int]) -> list[str]:
    """Also all of a driver whose names do not say which queue they are of."""
    if not irqs:
        return []
    masks = _Masks()
    actions = [of.interrupts.actions(irq) if of.interrupts else () for irq in irqs]
    names = ("name", *[shown(", ".join(of_irq)) if of_irq else _NONE for of_irq in actions])
    lines = _table([names, *_irq_columns(of, irqs, masks)], left=(0,))
    title = "Interrupts of no queue, or of none that is known:"
    return [title, *indented([*lines, *masks.legend()])]


class _Verdict(NamedTuple):
    """What a verdict means if it is so, and the file that decides."""

    name: str
    so: bool | None
    means: str
    file: str


def _judged(of: _Picture) -> Iterator[_Verdict]:
    facts, queues = of.facts, f"/sys/class/net/{of.device.link.kernel_name}/queues"
    yield _remote(of)
    yield _Verdict(
        "rps_covers_all_cpus",
        facts.rps_covers_all_cpus,
        "RPS spreads packets of a receive queue over all online CPUs, whatever else these do and "
        "whichever node they are on.",
        f"{queues}/rx-*/rps_cpus",
    )
    yield _Verdict(
        "rps_redundant",
        facts.rps_redundant,
        "The NIC spreads packets over as many CPUs already; RPS queues them a second time, "
        "interrupts a second CPU, and gains none.",
        f"{queues}/rx-*/rps_cpus",
    )
    table = f"The table of all sockets has {of.rfs_entries} entries"
    if facts.rps_flows:
        means = f"{table}, so the flow tables of receive queues do nothing."
        file = "/proc/sys/net/core/rps_sock_flow_entries"
    else:
        means = f"{table}, but no receive queue of any device has a flow table: RFS does nothing."
        file = f"{queues}/rx-*/rps_flow_cnt"
    yield _Verdict("rfs_ineffective", facts.rfs_ineffective, means, file)
    yield _Verdict(
        "xps_gap",
        facts.xps_gap,
        "An online CPU is in no transmit queue's mask, and sends through queues of other CPUs.",
        f"{queues}/tx-*/xps_cpus",
    )


def _remote(of: _Picture) -> _Verdict:
    remote, node = of.facts.remote, of.device.numa_node
    labels = [label for label, so in remote.items() if so]
    node_of = of.cpus.node_of if of.cpus else {}
    irqs = [
        irq
        for irq in of.device.vectors
        if of.topology.label(of.device, irq) in labels and irq in of.affinity and node is not None
        if steering.irq_on_remote_node(of.affinity[irq], node, node_of)
    ]
    served = [of_irq for irq in irqs for of_irq in of.topology.queues_of_irq[irq]]
    queues = tuple(sorted({queue for device, _, queue in served if device is of.device}))
    return _Verdict(
        "irq_remote_node",
        any(remote.values()) if remote else None,
        f"CPUs of another NUMA node than the device's ({node}) poll queue {ranges(queues)}: they "
        "read each packet from far away.",
        f"/proc/irq/N/smp_affinity_list, N = {ranges(tuple(irqs))}",
    )


def _verdicts(of: _Picture) -> list[str]:
    """What is so, and below it what was looked for and is not."""
    judged = list(_judged(of))
    lines: list[str] = []
    for verdict in judged:
        if verdict.so:
            lines += [f"{verdict.name}: {verdict.means}", f"  look at {verdict.file}"]
    for title, which in (("not so", False), ("not known", None)):
        if names := [verdict.name for verdict in judged if verdict.so is which]:
            lines.append(f"{title}: {', '.join(names)}")
    return ["Verdicts, as netperf_steering_* has them:", *indented(lines)]


def _left_out(readings: Readings, name: str) -> list[str]:
    """What was not what the kernel writes, or could not be read, of this device."""
    said = [
        problem
        for outcome in readings.outcomes.values()
        if isinstance(outcome, Value)
        for problem in outcome.problems
        if problem.startswith((f"{name}:", f"{name},"))
    ]
    return ["Left out:", *indented(map(shown, said))] if said else []
