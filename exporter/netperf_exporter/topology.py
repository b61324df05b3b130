"""Who serves whom: a device's queues, their NAPI instances, interrupts, and its NUMA node.

Identity only, which changes when devices, queues or interrupts come and go. What is set, such as
masks and affinity, is read anew each time and belongs to steering.py.

The kernel says which NAPI instance serves a queue and which interrupt schedules it (netdev_nl_
queue_fill_one() and netdev_nl_napi_fill_one() in net/core/netdev-genl.c), if the driver told it.
Otherwise the names are asked that drivers gave their interrupts. A name is as old as the request of
the interrupt: it may be that of the device before it was renamed, or of one that has this name
now. So hardware decides whose an interrupt is, and a name only where hardware cannot. What stays
in doubt belongs to nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from netperf_exporter.parsers import irq_names
from netperf_exporter.parsers.interrupts import Interrupts
from netperf_exporter.parsers.irq_names import Vector
from netperf_exporter.parsers.links import Link, Links
from netperf_exporter.parsers.netdev import Napi, Queues
from netperf_exporter.parsers.nic import Channels
from netperf_exporter.sources import (
    CHANNELS,
    DRIVERS,
    INTERRUPTS,
    LINKS,
    NAPIS,
    QUEUE_NAPIS,
    QUEUE_STEERING,
    VECTORS,
    ByIndex,
    Derived,
    Driver,
    QueueSteering,
    Readings,
    Vectors,
)

Direction = Literal["receive", "transmit"]


class ServedQueue(NamedTuple):
    """A queue, the id of the NAPI instance that serves it, and the interrupt that schedules it.

    None where nobody tells.
    """

    queue: int
    napi: int | None
    irq: int | None


class DeviceTopology(NamedTuple):
    """What belongs to a device.

    numa_node: where its hardware is attached; None if that is nowhere or not known.
    vectors: its interrupts, those that serve no queue included.
    """

    link: Link
    numa_node: int | None
    receive: tuple[ServedQueue, ...]
    transmit: tuple[ServedQueue, ...]
    vectors: tuple[int, ...]


class QueueOfIrq(NamedTuple):
    """A queue that an interrupt serves."""

    device: DeviceTopology
    direction: Direction
    queue: int


class Inputs(NamedTuple):
    """What a topology is made of; it is the same for as long as this is.

    irqs: those in /proc/interrupts.
    listed: receive and transmit queues as /sys/class/net/*/queues has them.
    """

    links: Links
    queues: ByIndex[Queues]
    napis: Mapping[int, Napi]
    vectors: ByIndex[Vectors]
    irqs: tuple[int, ...]
    drivers: ByIndex[Driver]
    channels: ByIndex[Channels]
    listed: ByIndex[tuple[tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True, eq=False)
class Topology:
    """The devices that are shown. ``devices`` is the same object while nothing changed.

    settled: whether the interrupts were read after whatever changed last.
    """

    devices: tuple[DeviceTopology, ...] = ()
    queues_of_irq: Mapping[int, tuple[QueueOfIrq, ...]] = field(default_factory=dict)
    made_of: Inputs | None = None
    settled: bool = False

    def label(self, device: DeviceTopology, irq: int) -> str:
        """Which queues of a device an interrupt serves: ``3``, or ``0-3`` if it is several.

        Receive queue 3 and transmit queue 3 are ``3``. Transmit queues are named where there is
        no receive queue beside them: a driver has more of them (XDP, traffic classes), and a name
        that lists all would fit no other metric's label. "" if it serves none.
        """
        index = device.link.ifindex
        served = [of for of in self.queues_of_irq.get(irq, ()) if of.device.link.ifindex == index]
        for direction in ("receive", "transmit"):
            if numbers := [queue for _, of, queue in served if of == direction]:
                return ranges(tuple(numbers))
        return ""


@lru_cache(maxsize=2048)
def ranges(numbers: tuple[int, ...]) -> str:
    """Ascending numbers as the kernel prints lists (%*pbl): ``0-3,8``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join(["-".join(map(str, part)) for part in parts])


class _Line(NamedTuple):
    """What /proc/interrupts says of an interrupt, as far as its names are understood."""

    actions: tuple[str, ...]
    vectors: tuple[Vector, ...]

    def devices(self) -> set[str]:
        """The network devices that it names."""
        return {vector.device for vector in self.vectors if vector.device}


_Lines = dict[int, _Line]
_Queues = Mapping[int, int | None]
_NO_HARDWARE = Vectors((), ())


class _Builder:
    """Makes a topology of one reading.

    holders: by interrupt, the devices whose hardware has it.
    told: by interrupt, the devices whose NAPI instances it schedules, as the kernel says.
    """

    def __init__(self, inputs: Inputs, interrupts: Interrupts | None) -> None:
        self.inputs = inputs
        self.interrupts = interrupts
        self.names = {link.name: link for link in inputs.links.by_index.values()}
        self.holders: defaultdict[int, list[Link]] = defaultdict(list)
        for link in inputs.links.shown:
            for irq in self.hardware(link).irqs:
                self.holders[irq].append(link)
        self.told: defaultdict[int, set[int]] = defaultdict(set)
        for napi in inputs.napis.values():
            if napi.irq:
                self.told[napi.irq].add(napi.ifindex)

    def read(self, link: Link, irqs: Iterable[int]) -> _Lines:
        """What the names of interrupts mean in the driver of a device. Not of idle interrupts."""
        found: _Lines = {}
        driver = self.inputs.drivers.get(link.ifindex)
        name = driver.name if driver else ""
        for irq in irqs:
            if actions := self.interrupts.actions(irq) if self.interrupts else ():
                vectors = [v for action in actions if (v := irq_names.read(action, name))]
                found[irq] = _Line(actions, tuple(vectors))
        return found

    @cached_property
    def unlisted(self) -> tuple[int, ...]:
        """Interrupts that no hardware lists and need not: message-signalled ones it would."""
        found = [irq for irq in self.inputs.irqs if irq not in self.holders]
        chip = self.interrupts.chip if self.interrupts else str
        return tuple([irq for irq in found if "MSI" not in chip(irq)])

    def hardware(self, link: Link) -> Vectors:
        return self.inputs.vectors.get(link.ifindex, _NO_HARDWARE)

    def device(self, link: Link) -> DeviceTopology:
        lines = self.by_hardware(link) if self.hardware(link).irqs else self.by_name(link)
        told = {irq for irq, devices in self.told.items() if link.ifindex in devices}
        receive, transmit = self.queues(link)
        driver = self.inputs.drivers.get(link.ifindex)
        return DeviceTopology(
            link,
            int(driver.numa_node) if driver and driver.numa_node else None,
            self.served(receive, _by_names(link, lines, receive, "receive")),
            self.served(transmit, _by_names(link, lines, transmit, "transmit")),
            tuple(sorted(told | lines.keys())),
        )

    def queues(self, link: Link) -> tuple[_Queues, _Queues]:
        """Its queues by number and their NAPI instances, as whoever knows best lists them."""
        index = link.ifindex
        if index in self.inputs.queues:
            return self.inputs.queues[index]
        receive, transmit = self.inputs.listed.get(index, ((), ()))
        if channels := self.inputs.channels.get(index):
            receive = receive or tuple(range(channels.rx + channels.combined))
            transmit = transmit or tuple(range(channels.tx + channels.combined))
        return dict.fromkeys(receive), dict.fromkeys(transmit)

    def served(self, queues: _Queues, by_names: Mapping[int, int]) -> tuple[ServedQueue, ...]:
        found = []
        for queue, id in queues.items():
            napi = self.inputs.napis.get(id) if id is not None else None
            irq = napi.irq if napi is not None and napi.irq else by_names.get(queue)
            found.append(ServedQueue(queue, id, irq))
        return tuple(found)

    def by_hardware(self, link: Link) -> _Lines:
        """The interrupts of its hardware that are its own.

        Hardware may be a controller of which the device is but a part; then none of its interrupts
        has a name as network devices give them.
        """
        lines = self.read(link, self.hardware(link).irqs)
        on_hardware: set[str] = set().union(*[line.devices() for line in lines.values()])
        found: _Lines = {}
        for irq, line in lines.items():
            told = self.told.get(irq)
            if link.ifindex in told if told else self.owner(irq, line, on_hardware) is link:
                found[irq] = line
        for irq, line in found.items():
            if line.vectors or link.name in line.actions or irq in self.told:
                return found
        return {}

    def owner(self, irq: int, line: _Line, on_hardware: set[str]) -> Link | None:
        """Which of the devices on its hardware an interrupt belongs to.

        on_hardware: the devices that interrupts of this hardware name.
        """
        holders = self.holders[irq]
        for vector in line.vectors:
            if vector.hardware:
                holders = [h for h in holders if vector.hardware in self.hardware(h).hardware]
        names = line.devices()
        if named := [holder for holder in holders if holder.name in names]:
            return named[0] if len(names) == 1 else None
        if len(holders) == 1 and all(
            self.is_former(name, holders[0], on_hardware) for name in names
        ):
            return holders[0]
        return None

    def is_former(self, name: str, link: Link, on_hardware: set[str]) -> bool:
        """Whether a name is what the device was called when it requested its interrupts.

        And not that of another port of the same hardware, which may be hidden, or be in another
        namespace.
        """
        if name in self.names:  # by now another device's, which is that port or has its own
            return bool(self.hardware(self.names[name]).irqs)
        return link.enabled and on_hardware == {name}

    def by_name(self, link: Link) -> _Lines:
        """The interrupts with the name of a device whose hardware lists none (platform, Xen).

        A device that is made of software requests none, whatever it is called.
        """
        if link.kind:
            return {}
        lines = self.read(link, self.unlisted)
        return {irq: line for irq, line in lines.items() if self.is_named(link, line)}

    def is_named(self, link: Link, line: _Line) -> bool:
        named = {vector.hardware for vector in line.vectors if vector.hardware}
        if named:
            return named <= set(self.hardware(link).hardware)
        return line.devices() == {link.name} or (not line.vectors and link.name in line.actions)


def _by_names(
    link: Link, lines: _Lines, queues: Collection[int], direction: Direction
) -> dict[int, int]:
    """Which interrupt serves which queue, as the names of a device's interrupts have it.

    With fewer vectors than queues each serves several, and the number in its name is none of
    theirs (i40e_vsi_map_rings_to_vectors() in drivers/net/ethernet/intel/i40e/i40e_main.c). So
    names count if there is one for every queue. A queue that two have gets none.
    """
    claims: defaultdict[int, set[int]] = defaultdict(set)
    numbered = False
    for irq, line in lines.items():
        for vector in line.vectors:
            number = vector.receive if direction == "receive" else vector.transmit
            numbered |= vector.receive is not None or vector.transmit is not None
            if number is not None:
                claims[number].add(irq)
    if claims.keys() >= set(queues):
        return {queue: irq for queue in queues for irq in claims[queue] if len(claims[queue]) == 1}
    only = None if numbered else _only(link, lines)
    return {} if only is None else dict.fromkeys(queues, only)


def _only(link: Link, lines: _Lines) -> int | None:
    """The interrupt of a device that has one for everything. It may have the device's name."""
    serving = [
        irq
        for irq, line in lines.items()
        if not line.vectors or not all(vector.other for vector in line.vectors)
    ]
    if len(serving) == 1:
        line = lines[serving[0]]
        if line.vectors or (len(lines) == 1 and link.name in line.actions):
            return serving[0]
    return None


def _queues_of_irq(
    devices: Iterable[DeviceTopology],
) -> dict[int, tuple[QueueOfIrq, ...]]:
    found: defaultdict[int, list[QueueOfIrq]] = defaultdict(list)
    for device in devices:
        for queue in device.receive:
            if queue.irq is not None:
                found[queue.irq].append(QueueOfIrq(device, "receive", queue.queue))
        for queue in device.transmit:
            if queue.irq is not None:
                found[queue.irq].append(QueueOfIrq(device, "transmit", queue.queue))
    return {irq: tuple(queues) for irq, queues in found.items()}


def _inputs(before: Inputs | None, readings: Readings) -> Inputs:
    interrupts = readings.get(INTERRUPTS)
    steering = readings.spare(QUEUE_STEERING)
    listed = {} if steering is None else {index: _listed(of) for index, of in steering.items()}
    napis = readings.get(NAPIS)
    now = Inputs(
        readings[LINKS],
        readings.get(QUEUE_NAPIS) or {},
        napis or {},
        readings.get(VECTORS) or {},
        interrupts.irqs if interrupts else (),
        readings.spare(DRIVERS) or {},
        readings.spare(CHANNELS) or {},
        listed,
    )
    if before is None:
        return now
    # What a stuck driver did not let us read has not changed for that.
    return now._replace(
        drivers=now.drivers or before.drivers,
        channels=now.channels or before.channels,
        listed=now.listed or before.listed,
    )


def _listed(of: QueueSteering) -> tuple[tuple[int, ...], tuple[int, ...]]:
    # A single transmit queue has no files of XPS (xps_cpus_show() in net/core/net-sysfs.c).
    return tuple(of.rps_cpus), tuple(of.xps_cpus) or (0,)


def advance(before: Topology, readings: Readings) -> Topology:
    """The same topology while nothing came or went.

    The interrupts are read before the devices, so those of a device that was just set up may have
    been read too early: what is made of a change is made once more at the next reading.
    """
    inputs = _inputs(before.made_of, readings)
    changed = inputs != before.made_of
    if before.settled and not changed:
        return before
    builder = _Builder(inputs, readings.get(INTERRUPTS))
    devices = tuple([builder.device(link) for link in inputs.links.shown])
    if devices == before.devices:
        return replace(before, made_of=inputs, settled=not changed)
    return Topology(devices, _queues_of_irq(devices), inputs, settled=not changed)


TOPOLOGY = Derived[Topology](
    "topology",
    (
        LINKS,
        QUEUE_NAPIS,
        NAPIS,
        INTERRUPTS,
        VECTORS,
        DRIVERS,
        CHANNELS,
        QUEUE_STEERING,
    ),
    Topology(),
    advance,
)
