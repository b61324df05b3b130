"""Sources about where packets are taken by the kernel itself: RPS, RFS and XPS."""

from __future__ import annotations

import errno
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.files import Folder
from netperf_exporter.kernel.host import Host
from netperf_exporter.parsers import Malformed, cpumask
from netperf_exporter.parsers.links import Link
from netperf_exporter.parsers.text import shown
from netperf_exporter.sources import reading
from netperf_exporter.sources.devices import ByIndex, LinksAsked, ask_links, unchanged, understood
from netperf_exporter.sources.reading import ABSENT, Source
from netperf_exporter.sources.sysfs import device_folder

T = TypeVar("T")
_Parse = Callable[[bytes], T]

QUEUES_READ_AGAIN = 96
"""How many queues are read anew in one scrape, two files each."""

LISTED_SECONDS = 60.0
"""How long the queues of a device are taken to be those that were listed. Whoever changes them
through ethtool is notified of; a driver that does so by itself is not."""

_DEVICE_COSTS = 1  # as much as so many queues

_NO_FILES = (None, None)

_QUEUE = re.compile(r"(rx|tx)-(0|[1-9][0-9]{0,8})")
_FILES = {"rx": ("rps_cpus", "rps_flow_cnt"), "tx": ("xps_cpus", "xps_rxqs")}
_ALL = ("",)  # in place of folders: those that the device has by then
# A queue has no XPS if it is the only one, or in no traffic class (xps_cpus_show() in
# net/core/net-sysfs.c).
_NOT_HAD = {*ABSENT, errno.EINVAL}


class QueueSteering(NamedTuple):
    """By queue, ascending. A queue that does not have a file is not in that dict.

    rps_cpus: CPUs that the packets of a receive queue are spread over; () if they are not.
    rps_flows: entries of its flow table, for RFS.
    xps_cpus: CPUs that send through a transmit queue.
    xps_rxqs: receive queues whose flows are sent through it.
    """

    rps_cpus: dict[int, tuple[int, ...]]
    rps_flows: dict[int, int]
    xps_cpus: dict[int, tuple[int, ...]]
    xps_rxqs: dict[int, tuple[int, ...]]


_Texts = dict[str, tuple[bytes | None, ...]]
"""By folder (``rx-0``): what its two files say."""


@dataclass(frozen=True, eq=False)
class _Device:
    """What was read of a device while it was as it is; the same object while it reads the same.

    doubted: it changed while it was read, and has to be read as a whole.
    """

    link: Link
    texts: _Texts
    doubted: bool = False


@dataclass
class _Memory:
    """What is known of a host.

    changes: Host.settings_changes() when it was read.
    listed: when all queues were listed.
    opened: the folder of each device, and the state in which the device was found to be the one.
    due: the devices of a round whose queues are still to be read again, and which of them.
    """

    changes: int = -1
    listed: float = 0.0
    opened: dict[int, tuple[Link, Folder]] = field(default_factory=dict)
    devices: dict[int, _Device] = field(default_factory=dict)
    due: deque[tuple[int, tuple[str, ...]]] = field(default_factory=deque)


_memories: WeakKeyDictionary[Host, _Memory] = WeakKeyDictionary()


class _Answers(NamedTuple):
    devices: tuple[tuple[int, _Device], ...]
    problems: tuple[str, ...]


class _Reader:
    """Reads queues in one scrape.

    links: the devices to read.
    problems: one sentence for each that could not be.
    """

    def __init__(self, host: Host, memory: _Memory) -> None:
        self._host = host
        self._opened = memory.opened
        before = memory.devices
        self._asked: LinksAsked = ask_links(host)
        self._before = before
        self._now = dict(before)
        self._read: set[int] = set()
        self._waited = False
        self.links = {link.ifindex: link for link in understood(self._asked)[0].shown}
        self.problems: list[str] = []

    def is_known(self, index: int) -> bool:
        """Whether a device was read as a whole since it is as it is."""
        known = self._before.get(index)
        return known is not None and known.link == self.links[index] and not known.doubted

    def read(
        self, index: int, folders: tuple[str, ...], most: int | None = None
    ) -> tuple[int, tuple[str, ...]]:
        """Read so many queues of a device. Returns how many it read, and the folders left."""
        link = self.links[index]
        texts = self._now[index].texts if self.is_known(index) else {}
        self._read.add(index)
        try:
            folder = self._folder(link, anew=folders is _ALL)
            if folders is _ALL:
                folders, texts = _folders(folder), {}
            for name in folders[:most]:
                if name.startswith("tx") and texts.get(name) != _NO_FILES:
                    self._wait_for_rtnl()
                    break
            texts = texts | {n: _read_queue(folder, n, texts.get(n)) for n in folders[:most]}
        except OSError as error:
            self._now.pop(index, None)
            self.close(index)
            if error.errno not in ABSENT:
                self.problems.append(f"{link.name}: {error.strerror or error}")
            return 0, ()
        if not self.is_known(index) or self._now[index].texts != texts:
            self._now[index] = _Device(link, texts)
        return len(folders[:most]), folders[most:] if most is not None else ()

    def _wait_for_rtnl(self) -> None:
        """Sleep until rtnl is free, if somebody has it; once in a scrape.

        Up to v6.12 the files of XPS do not sleep: while somebody has rtnl, the read is begun anew
        again and again (restart_syscall() in xps_cpus_show(), net/core/net-sysfs.c). The ioctl
        sleeps (dev_ethtool() in net/ethtool/ioctl.c), and of lo there is no hardware to be woken.
        """
        if not self._waited:
            self._waited = True
            with suppress(OSError):
                self._host.ethtool("lo", ethtool.GCHANNELS)

    def _folder(self, link: Link, anew: bool) -> Folder:
        """The folder of a device, which stays open for as long as the device is as it is."""
        opened = self._opened.get(link.ifindex)
        if opened is not None and opened[0] == link and not anew:
            return opened[1]
        self.close(link.ifindex)
        folder = device_folder(self._host, self._asked, link)
        self._opened[link.ifindex] = (link, folder)
        return folder

    def close(self, index: int) -> None:
        """Give the folder of a device back."""
        if index in self._opened:
            self._opened.pop(index)[1].close()

    def devices(self) -> dict[int, _Device]:
        """All that is known now."""
        for index in self._opened.keys() - self.links.keys():
            self.close(index)
        for index in self._read - unchanged(self._host, self._asked):
            self._now.pop(index, None)
            known = self._before.get(index)
            if known is not None and known.link.name == self.links[index].name:
                self._now[index] = _Device(known.link, known.texts, doubted=True)
        return {index: self._now[index] for index in self.links if index in self._now}


def _read_queue_steering(host: Host) -> _Answers:
    """Read some devices as a whole, and of the others some queues."""
    memory = _memories.setdefault(host, _Memory())
    changes = host.settings_changes()
    reader = _Reader(host, memory)
    now = time.monotonic()
    if now - memory.listed >= LISTED_SECONDS or changes != memory.changes:
        known = set()
        memory.listed = now
        memory.due.clear()
    else:
        known = {index for index in reader.links if reader.is_known(index)}
    for index in reader.links.keys() - known:
        reader.read(index, _ALL)
    if not memory.due:
        memory.due.extend([(i, tuple(memory.devices[i].texts)) for i in known])
    left = QUEUES_READ_AGAIN
    while memory.due and left > 0:
        index, folders = memory.due.popleft()
        if index in known:
            count, later = reader.read(index, folders, left)
            left -= count + _DEVICE_COSTS
            if later:
                memory.due.appendleft((index, later))
    memory.devices, memory.changes = reader.devices(), changes
    return _Answers(tuple(memory.devices.items()), tuple(reader.problems))


def _folders(folder: Folder) -> tuple[str, ...]:
    """Those of the queues that are in use, in their order."""
    matches = filter(None, map(_QUEUE.fullmatch, folder.listdir("queues")))
    numbered = sorted([(match[1], int(match[2])) for match in matches])
    return tuple([f"{kind}-{number}" for kind, number in numbered])


def _read_queue(
    folder: Folder, queue: str, before: tuple[bytes | None, ...] | None
) -> tuple[bytes | None, ...]:
    """What its files say. One that could not be read is not tried again until all are listed."""
    texts: list[bytes | None] = []
    for at, name in enumerate(_FILES[queue[:2]]):
        if before is not None and before[at] is None:
            texts.append(None)
            continue
        try:
            texts.append(folder.read(f"queues/{queue}/{name}"))
        except OSError as error:
            if error.errno not in _NOT_HAD:
                raise
            texts.append(None)
    return tuple(texts)


@lru_cache(maxsize=2)
def _by_index(
    devices: tuple[tuple[int, _Device], ...],
) -> tuple[ByIndex[QueueSteering], tuple[str, ...]]:
    found: dict[int, QueueSteering] = {}
    problems: list[str] = []
    for index, device in devices:
        found[index], said = _steering(device)
        problems += said
    return found, tuple(problems)


@lru_cache(maxsize=1024)
def _steering(device: _Device) -> tuple[QueueSteering, tuple[str, ...]]:
    found = QueueSteering({}, {}, {}, {})
    problems: list[str] = []

    def enter(into: dict[int, T], number: int, text: bytes | None, parse: _Parse[T]) -> None:
        if text is not None:
            try:
                into[number] = parse(text)
            except Malformed as error:
                problems.append(f"{device.link.name}, queue {number}: {error}")

    for folder in sorted(device.texts, key=lambda folder: (len(folder), folder)):
        first, second = device.texts[folder]
        kind, _, digits = folder.partition("-")
        number = int(digits)
        if kind == "rx":
            enter(found.rps_cpus, number, first, cpumask.parse)
            enter(found.rps_flows, number, second, _number)
        else:
            enter(found.xps_cpus, number, first, cpumask.parse)
            enter(found.xps_rxqs, number, second, cpumask.parse)
    return found, tuple(problems)


def _number(text: bytes) -> int:
    if not text.strip().isdigit():
        raise Malformed(f"{shown(text)} is no number")
    return int(text)


def _parse_queue_steering(asked: _Answers, problems: list[str]) -> ByIndex[QueueSteering]:
    problems += asked.problems
    found, said = _by_index(asked.devices)
    problems += said
    return found


QUEUE_STEERING = Source[ByIndex[QueueSteering]](
    "queue_steering", _read_queue_steering, _parse_queue_steering, reading.DRIVERS
)
"""/sys/class/net/*/queues: net/core/net-sysfs.c. Nobody notifies of a change to these files, and
each costs a call that may wait for rtnl. So all are read at first, those of a device again when it
changed, all when ethtool set something, and otherwise QUEUES_READ_AGAIN at a scrape, in turn: on a
host of 8 devices with 64 receive and 64 transmit queues each, what is said may be 11 scrapes old.
In the lane that may wait, since XPS wants rtnl. The same object while nothing changed."""

RFS_ENTRIES = Source[int](
    "rps_sock_flow_entries",
    lambda host: host.proc("sys/net/core/rps_sock_flow_entries"),
    lambda text, _: _number(text),
)
"""The table of RFS that all devices share: rps_sock_flow_sysctl() in net/core/sysctl_net_core.c.
Only the first network namespace has it."""
