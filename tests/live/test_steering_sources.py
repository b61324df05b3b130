"""Vectors, affinity, queues and indirection tables as this kernel has them."""

from __future__ import annotations

import ctypes
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from netperf_exporter.kernel.files import Files
from netperf_exporter.kernel.host import LiveHost
from netperf_exporter.sources import (
    AFFINITY,
    INTERRUPTS,
    NAPIS,
    QUEUE_NAPIS,
    QUEUE_STEERING,
    RFS_ENTRIES,
    RSS,
    VECTORS,
    Absent,
    Affinity,
    Outcome,
    QueueSteering,
    Source,
    Value,
    Vectors,
    read,
)
from netperf_exporter.sources.steering import QUEUES_READ_AGAIN
from tests.live.lab import CommandError, Lab, Namespace, need

T = TypeVar("T")

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


class Inside:
    """A host that is a namespace: one thread in it, and a /sys of its own if wanted."""

    def __init__(self, namespace: Namespace, sysfs: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self.namespace = namespace
        self.sysfs = Path(sysfs)
        self._thread.submit(self._enter).result()
        self.host = LiveHost(sysfs=sysfs)

    def _enter(self) -> None:
        with Path(f"/run/netns/{self.namespace.name}").open("rb") as namespace:
            if _LIBC.setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

    def call(self, function: Callable[[], T]) -> T:
        return self._thread.submit(function).result()

    def outcome(self, source: Source[T]) -> Outcome:
        return self.call(lambda: read(source, self.host))

    def value(self, source: Source[T]) -> T:
        found: T = valued(self.outcome(source))
        return found

    def index(self, device: str) -> int:
        (link,) = json.loads(self.namespace.ip("-j", "link", "show", "dev", device))
        return int(link["ifindex"])

    def write(self, path: str, text: str) -> None:
        """A file of a device. Skip if the kernel does not have it."""
        file = self.sysfs / "class/net" / path
        if not file.exists():
            pytest.skip(f"no {path}")
        file.write_text(text)

    def close(self) -> None:
        self._thread.shutdown()


def valued(outcome: Outcome) -> Any:
    """What a source of a host without broken lines said."""
    assert isinstance(outcome, Value), outcome
    assert outcome.problems == ()
    return outcome.value


@contextmanager
def mounted(namespace: Namespace) -> Iterator[str]:
    """The /sys of a namespace: what is mounted in it belongs to it (sysfs_get_tree())."""
    with tempfile.TemporaryDirectory() as folder:
        where = os.fsencode(folder)

        def mount() -> None:
            if _LIBC.mount(b"sysfs", where, b"sysfs", 0, None):
                raise OSError(ctypes.get_errno(), "mount")

        namespace.inside(mount)
        try:
            yield folder
        finally:
            assert not _LIBC.umount2(where, 2)  # MNT_DETACH


@pytest.fixture
def inside(lab: Lab) -> Iterator[Inside]:
    """A new namespace, with its own /sys."""
    namespace = lab.namespace()
    with mounted(namespace) as sysfs:
        made = Inside(namespace, sysfs)
        yield made
        made.close()


@pytest.fixture
def here() -> LiveHost:
    return LiveHost()


def veth(namespace: Namespace, name: str, queues: int) -> None:
    """Both ends in the namespace: name and its peer."""
    many = ("numtxqueues", str(queues), "numrxqueues", str(queues))
    namespace.ip(
        *("link", "add", "name", name, *many, "type", "veth"),
        *("peer", "name", f"{name}p", *many),
    )
    for device in (name, f"{name}p"):
        namespace.ip("link", "set", device, "up")


def test_masks_that_were_set_are_read_back(inside: Inside) -> None:
    """Sixteen queues, every file of theirs, at once."""
    veth(inside.namespace, "k4v", 16)
    index = inside.index("k4v")
    first = inside.value(QUEUE_STEERING)
    assert first[index].rps_cpus == dict.fromkeys(range(16), ())
    assert first[index].rps_flows == dict.fromkeys(range(16), 0)
    assert list(first[index].xps_cpus) == list(first[index].xps_rxqs) == list(range(16))
    cpus = os.cpu_count() or 1
    for queue in range(16):
        inside.write(f"k4v/queues/rx-{queue}/rps_cpus", f"{1 << queue % cpus:x}")
        inside.write(f"k4v/queues/rx-{queue}/rps_flow_cnt", str(64 << queue))
        inside.write(f"k4v/queues/tx-{queue}/xps_cpus", f"{1 << queue % cpus:x}")
        inside.write(f"k4v/queues/tx-{queue}/xps_rxqs", f"{1 << (15 - queue):x}")
    found = inside.value(QUEUE_STEERING)[index]

    assert found == QueueSteering(
        {queue: (queue % cpus,) for queue in range(16)},
        {queue: 64 << queue for queue in range(16)},
        {queue: (queue % cpus,) for queue in range(16)},
        {queue: (15 - queue,) for queue in range(16)},
    )


def test_a_device_with_one_queue(inside: Inside) -> None:
    """Its xps_cpus cannot be read, which is no error."""
    veth(inside.namespace, "k4v", 1)
    with pytest.raises(FileNotFoundError):
        (inside.sysfs / "class/net/k4v/queues/tx-0/xps_cpus").read_bytes()
    found = inside.value(QUEUE_STEERING)

    assert found[inside.index("k4v")] == QueueSteering({0: ()}, {0: 0}, {}, {0: ()})


def test_more_queues_than_are_read_at_once(inside: Inside) -> None:
    """A mask is seen when its turn comes, the number of queues at once: ethtool tells of it."""
    need("ethtool")
    veth(inside.namespace, "k4v", 100)
    inside.namespace.run("ethtool", "-L", "k4v", "rx", "90", "tx", "90")
    index = inside.index("k4v")
    assert list(inside.value(QUEUE_STEERING)[index].rps_cpus) == list(range(90))
    inside.write("k4v/queues/rx-89/rps_cpus", "1")
    seen = [inside.value(QUEUE_STEERING)[index].rps_cpus[89] for _ in range(10)]
    turn = seen.index((0,))
    assert turn <= 2 * (90 + 100) // QUEUES_READ_AGAIN + 2
    assert seen[turn:] == [(0,)] * (10 - turn)
    inside.namespace.run("ethtool", "-L", "k4v", "rx", "100", "tx", "7")
    found = inside.value(QUEUE_STEERING)[index]

    assert list(found.rps_cpus) == list(range(100))
    assert list(found.xps_cpus) == list(range(7))


def test_a_renamed_device_keeps_its_masks(inside: Inside) -> None:
    """Also when another one takes its name."""
    veth(inside.namespace, "k4v", 2)
    veth(inside.namespace, "k4w", 2)
    first, second = inside.index("k4v"), inside.index("k4w")
    inside.write("k4v/queues/rx-1/rps_cpus", "1")
    assert inside.value(QUEUE_STEERING)[first].rps_cpus == {0: (), 1: (0,)}
    for old, new in (("k4v", "k4x"), ("k4w", "k4v"), ("k4x", "k4w")):
        inside.namespace.ip("link", "set", old, "down")
        inside.namespace.ip("link", "set", old, "name", new)
        found = inside.value(QUEUE_STEERING)

        assert found[first].rps_cpus == {0: (), 1: (0,)}
        assert found[second].rps_cpus == {0: (), 1: ()}


def test_a_folder_of_a_device_is_opened_once_and_for_all(inside: Inside) -> None:
    """A rename does not lead it to another device, and after a deletion nothing answers."""
    veth(inside.namespace, "k4v", 1)
    first = inside.index("k4v")
    with Files(str(inside.sysfs), "/sys").folder("class/net/k4v") as folder:
        inside.namespace.ip("link", "set", "k4v", "down")
        inside.namespace.ip("link", "set", "k4v", "name", "k4x")
        inside.namespace.ip("link", "set", "k4vp", "name", "k4xp")
        veth(inside.namespace, "k4v", 1)
        assert inside.index("k4v") != first
        assert folder.read("ifindex") == b"%d\n" % first
        assert folder.listdir("queues") == ["rx-0", "tx-0"]
        inside.namespace.ip("link", "del", "k4x")
        with pytest.raises(OSError, match="class/net/k4v/ifindex"):
            folder.read("ifindex")


def test_the_files_of_another_namespace_are_not_read(lab: Lab) -> None:
    """Here /sys is that of this host, and in it there is a device of the same name and number."""
    ours = Path("/sys/class/net/lo").resolve().parent
    index = max((int((d / "ifindex").read_text()) for d in ours.iterdir()), default=1)
    name = next(d.name for d in ours.iterdir() if int((d / "ifindex").read_text()) == index)
    namespace = lab.namespace()
    if index > 1:
        peer = ("peer", "name", "k4p")
        namespace.ip("link", "add", "name", name, "index", str(index), "type", "veth", *peer)
    abroad = Inside(namespace, "/sys")
    try:
        assert abroad.value(QUEUE_STEERING) == {}
        assert not any(found.irqs for found in abroad.value(VECTORS).values())
        assert abroad.value(AFFINITY) == {}
    finally:
        abroad.close()


def test_only_the_first_namespace_has_the_table_of_rfs(inside: Inside, here: LiveHost) -> None:
    there = Path("/proc/sys/net/core/rps_sock_flow_entries")
    if not there.exists():
        pytest.skip("kernel without CONFIG_RPS")

    assert valued(read(RFS_ENTRIES, here)) == int(there.read_text())
    assert isinstance(inside.outcome(RFS_ENTRIES), Absent)


def test_files_that_went_are_noticed_by_reading(lab: Lab) -> None:
    """No fstat tells that a file of /proc is gone: reading does, and what came instead is read."""
    namespace = lab.namespace()

    def known() -> list[bytes | None]:
        files = Files("/proc/thread-self/net", "/proc/net")
        found: list[bytes | None] = []
        for _ in range(2):
            veth(namespace, "k4v", 1)
            for _ in range(2):
                found += files.read_each(["dev_snmp6/k4v"])
            namespace.ip("link", "del", "k4v")
            found += files.read_each(["dev_snmp6/k4v"])
        files.close()
        return found

    first, second, none, third, fourth, gone = namespace.inside(known)
    assert none is gone is None
    assert first is not None
    assert first.startswith(b"ifIndex")
    assert first.split()[:2] == (second or b"").split()[:2]
    assert first.split()[:2] != (third or b"").split()[:2] == (fourth or b"").split()[:2]


# This machine.


def handlers() -> dict[int, str]:
    """The names of the handlers of each interrupt."""
    found: dict[int, str] = {}
    for line in Path("/proc/interrupts").read_text().splitlines()[1:]:
        if match := re.match(r" *(\d+):.*  (\S.*)", line):
            found[int(match[1])] = match[2].strip()
    return found


def virtio_devices() -> dict[int, str]:
    """What the kernel calls the hardware of this machine's virtio cards, by ifindex."""
    found = {}
    for device in Path("/sys/class/net").glob("*/device"):
        if (name := device.resolve().name).startswith("virtio"):
            found[int((device.parent / "ifindex").read_text())] = name
    if not found:
        pytest.skip("no virtio card")
    return found


def test_vectors_of_virtio_are_those_whose_handlers_have_its_name(here: LiveHost) -> None:
    vectors: Mapping[int, Vectors] = valued(read(VECTORS, here))
    for index, name in virtio_devices().items():
        expected = [irq for irq, said in handlers().items() if said.startswith(f"{name}-")]

        assert vectors[index].irqs == tuple(expected)
        assert vectors[index].hardware[0] == name


def test_affinity_is_what_the_files_of_the_vectors_say(here: LiveHost) -> None:
    vectors: Mapping[int, Vectors] = valued(read(VECTORS, here))
    irqs = {irq for found in vectors.values() for irq in found.irqs}

    def cpus(irq: int, name: str) -> tuple[int, ...]:
        found: list[int] = []
        for part in Path(f"/proc/irq/{irq}/{name}").read_text().strip().split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
        return tuple(found)

    expected = {
        irq: Affinity(cpus(irq, "smp_affinity_list"), cpus(irq, "effective_affinity_list"))
        for irq in irqs
        if Path(f"/proc/irq/{irq}/effective_affinity_list").exists()
    }
    assert {irq: valued(read(AFFINITY, here))[irq] for irq in expected} == expected


def test_interrupts_have_the_vectors_in_them(here: LiveHost) -> None:
    found = valued(read(INTERRUPTS, here))

    assert {irq: ", ".join(found.actions(irq)) for irq in found.irqs} == handlers()


def test_each_queue_is_served_by_a_napi_instance_that_is_listed(here: LiveHost) -> None:
    napis, queues = read(NAPIS, here), read(QUEUE_NAPIS, here)
    if isinstance(napis, Absent):
        pytest.skip(napis.reason)
    listed = valued(napis)
    for index, found in valued(queues).items():
        for napi in {*found.rx.values(), *found.tx.values()} - {None}:
            assert listed[napi].ifindex == index


def test_indirection_tables_are_those_of_ethtool(here: LiveHost) -> None:
    """Row by row; a device without a table has none here."""
    need("ethtool")
    found = valued(read(RSS, here))
    for folder in Path("/sys/class/net").glob("*/ifindex"):
        try:
            said = Namespace().run("ethtool", "-x", folder.parent.name)
        except CommandError:
            said = ""
        rows = re.findall(r"^ *\d+: +(\d[\d ]*)$", said, re.MULTILINE)
        table = tuple(int(queue) for row in rows for queue in row.split())

        assert found.get(int(folder.read_text()), ()) == table
