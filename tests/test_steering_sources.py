"""Vectors, affinity, queues and indirection tables, from hosts that the tests write."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.kernel.files import Folder
from netperf_exporter.kernel.host import ReplayedHost
from netperf_exporter.kernel.netlink import codec
from netperf_exporter.sources import (
    AFFINITY,
    NAPIS,
    QUEUE_STEERING,
    RFS_ENTRIES,
    RSS,
    VECTORS,
    Affinity,
    Failed,
    Outcome,
    QueueSteering,
    Source,
    Value,
    Vectors,
    read,
)
from netperf_exporter.sources.steering import QUEUES_READ_AGAIN
from tests import messages

T = TypeVar("T")
IRQS = st.sets(st.integers(0, 4000), max_size=20)


class Host(ReplayedHost):
    """A host whose files and devices a test changes.

    changes: how often somebody set something through ethtool.
    opened: the folders of devices that were.
    meanwhile: called when a folder of a device was opened.
    """

    def __init__(self, folder: Path, names: Mapping[int, str]) -> None:
        for name in ("proc", "sys/class/net"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.folder = folder
        self.changes = 0
        self.opened: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.called(names)

    def called(self, names: Mapping[int, str], **given: bytes) -> None:
        """The devices have these names from now on, and, by name, these addresses."""
        made = []
        for index, name in names.items():
            link = messages.link(index, name.encode())
            if name in given:
                link = messages.message(16, link[16:] + codec.attribute(1, given[name]))
            made.append(link)
        self.messages = tuple(made)

    def links(self) -> tuple[bytes, ...]:
        return self.messages

    def settings_changes(self) -> int:
        return self.changes

    def sys_folder(self, name: str) -> Folder:
        folder = super().sys_folder(name)
        self.opened.append(name)
        self.meanwhile()
        return folder

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def device(self, index: int, name: str, where: str = "virtual/net") -> Path:
        """A folder below sys/devices, as /sys/class/net has it."""
        self.write(f"sys/devices/{where}/{name}/ifindex", f"{index}\n")
        link = self.folder / "sys/class/net" / name
        link.symlink_to(Path("../../devices", where, name))
        return link

    def with_hardware(self, index: int, name: str, where: str) -> None:
        """The same for one with hardware."""
        device = self.device(index, name, f"{where}/net")
        (device / "device").symlink_to(self.folder / "sys/devices" / where)

    def on_bus(self, where: str, bus: str) -> None:
        (self.folder / "sys/bus" / bus).mkdir(parents=True, exist_ok=True)
        (self.folder / "sys/devices" / where).mkdir(parents=True, exist_ok=True)
        link = self.folder / "sys/devices" / where / "subsystem"
        link.symlink_to(self.folder / "sys/bus" / bus)

    def vectors(self, where: str, *irqs: int) -> None:
        for irq in irqs:
            self.write(f"sys/devices/{where}/msi_irqs/{irq}", "msix\n")

    def affinity(self, irq: int, allowed: str, effective: str | None = None) -> None:
        self.write(f"proc/irq/{irq}/smp_affinity_list", allowed)
        if effective is not None:
            self.write(f"proc/irq/{irq}/effective_affinity_list", effective)

    def queues(self, name: str, count: int, mask: str = "0") -> None:
        for number in range(count):
            rx, tx = (f"sys/class/net/{name}/queues/{way}-{number}" for way in ("rx", "tx"))
            self.write(f"{rx}/rps_cpus", f"{mask}\n")
            self.write(f"{rx}/rps_flow_cnt", "0\n")
            self.write(f"{tx}/xps_cpus", f"{mask}\n")
            self.write(f"{tx}/xps_rxqs", "0\n")


def value(source: Source[T], host: Host, problems: tuple[str, ...] = ()) -> T:
    outcome = read(source, host)
    assert isinstance(outcome, Value), outcome
    assert outcome.problems == problems
    found: T = outcome.value
    return found


# Vectors.


def test_vectors_of_a_pci_function(tmp_path: Path) -> None:
    """In the order of their numbers, not of their digits; its name is what handlers are told."""
    host = Host(tmp_path, {2: "eth0"})
    where = "pci0000:40/0000:41:00.0"
    host.vectors(where, 101, 99, 100)
    host.with_hardware(2, "eth0", where)

    assert value(VECTORS, host) == {2: Vectors((99, 100, 101), ("0000:41:00.0",))}


def test_a_virtio_device_is_interrupted_by_the_function_above(tmp_path: Path) -> None:
    host = Host(tmp_path, {2: "eth0"})
    where = "pci0000:00/0000:00:03.0"
    host.vectors(where, 37, 38)
    host.on_bus(f"{where}/virtio2", "virtio")
    host.with_hardware(2, "eth0", f"{where}/virtio2")

    assert value(VECTORS, host) == {2: Vectors((37, 38), ("virtio2", "0000:00:03.0"))}


def test_vectors_of_a_bridge_are_not_those_of_what_is_behind_it(tmp_path: Path) -> None:
    """A function without vectors has its line, or nothing if that is 0."""
    host = Host(tmp_path, {2: "eth0", 3: "eth1"})
    bridge = "pci0000:00/0000:00:01.0"
    host.vectors(bridge, 24)
    for index, name, irq in ((2, "eth0", 16), (3, "eth1", 0)):
        where = f"{bridge}/0000:01:00.{index}"
        host.write(f"sys/devices/{where}/irq", f"{irq}\n")
        host.on_bus(where, "pci")
        host.with_hardware(index, name, where)

    assert value(VECTORS, host) == {
        2: Vectors((16,), ("0000:01:00.2",)),
        3: Vectors((), ("0000:01:00.3",)),
    }


def test_vectors_of_a_controller_are_not_those_of_what_is_plugged_in(tmp_path: Path) -> None:
    """The interrupt of a USB controller is for all that hangs on it."""
    host = Host(tmp_path, {2: "usb0"})
    controller = "pci0000:00/0000:00:14.0"
    host.vectors(controller, 24)
    host.on_bus(f"{controller}/usb1/1-1/1-1:1.0", "usb")
    host.with_hardware(2, "usb0", f"{controller}/usb1/1-1/1-1:1.0")

    assert value(VECTORS, host) == {2: Vectors((), ("1-1:1.0",))}


def test_a_device_without_hardware_has_no_vectors(tmp_path: Path) -> None:
    host = Host(tmp_path, {2: "veth0"})
    host.device(2, "veth0")

    assert value(VECTORS, host) == {2: Vectors((), ())}


def test_vectors_come_and_go(tmp_path: Path) -> None:
    """And while they do not, what is said is the same object."""
    host = Host(tmp_path, {2: "eth0"})
    host.vectors("pci0000:00/0000:01:00.0", 30, 31)
    host.with_hardware(2, "eth0", "pci0000:00/0000:01:00.0")
    first = value(VECTORS, host)
    assert value(VECTORS, host) is first
    host.vectors("pci0000:00/0000:01:00.0", 40)
    assert value(VECTORS, host)[2].irqs == (30, 31, 40)
    (tmp_path / "sys/devices/pci0000:00/0000:01:00.0/msi_irqs/30").unlink()

    assert value(VECTORS, host)[2].irqs == (31, 40)


def test_a_captured_host_has_vectors_where_its_links_begin(tmp_path: Path) -> None:
    """Its folders tell no names; the kernel told that of the parent."""
    host = Host(tmp_path, {2: "eth0"})
    link = messages.link(2, b"eth0")
    parent = codec.attribute(56, b"0000:41:00.0\0")
    host.messages = (messages.message(16, link[16:] + parent),)
    host.write("sys/class/net/eth0/ifindex", "2\n")
    host.write("sys/class/net/eth0/device/msi_irqs/99", "msix\n")

    assert value(VECTORS, host) == {2: Vectors((99,), ("0000:41:00.0",))}


# Whose /sys it is.


@pytest.mark.parametrize(
    ("theirs", "address", "is_it"),
    [
        ("2", "02:00:00:00:00:01", True),
        ("3", "02:00:00:00:00:01", False),
        ("2", "02:00:00:00:00:02", False),
        ("2", "", False),
    ],
)
def test_what_has_the_name_in_another_namespace_is_not_read(
    tmp_path: Path, theirs: str, address: str, is_it: bool
) -> None:
    """Nor if it has the same number there."""
    host = Host(tmp_path, {2: "eth0"})
    host.called({2: "eth0"}, eth0=bytes((2, 0, 0, 0, 0, 1)))
    host.vectors("pci0000:00/0000:01:00.0", 30)
    host.with_hardware(2, "eth0", "pci0000:00/0000:01:00.0")
    host.queues("eth0", 2, "3")
    host.write("sys/class/net/eth0/ifindex", f"{theirs}\n")
    host.write("sys/class/net/eth0/address", f"{address}\n")
    found = value(QUEUE_STEERING, host), value(VECTORS, host)

    assert [bool(each) for each in found] == [is_it, is_it]


@pytest.mark.parametrize(
    ("there", "is_it"),
    [
        (["lo", "tun0"], True),
        (["lo", "tun0", "bonding_masters"], True),
        (["lo", "tun0", "eth0"], False),
        (["lo"], False),
    ],
)
def test_a_device_without_an_address_is_told_by_the_others(
    tmp_path: Path, there: list[str], is_it: bool
) -> None:
    host = Host(tmp_path, {1: "lo", 2: "tun0"})
    host.called({1: "lo", 2: "tun0"}, lo=bytes(6))
    for index, name in enumerate(there, 1):
        host.device(index, name)
    host.write("sys/class/net/lo/address", "00:00:00:00:00:00\n")
    host.queues("lo", 1, "1")

    assert (1 in value(QUEUE_STEERING, host)) == is_it


# Affinity.


def test_affinity_is_that_of_all_vectors_and_of_what_napi_instances_name(tmp_path: Path) -> None:
    host = Host(tmp_path, {2: "eth0"})
    host.vectors("pci0000:00/0000:01:00.0", 30, 31, 32)
    host.with_hardware(2, "eth0", "pci0000:00/0000:01:00.0")
    host.affinity(30, "0-3\n", "2\n")
    host.affinity(31, "0,2\n")  # a kernel without effective masks
    host.affinity(7, "0-1\n", "1\n")
    host.affinity(8, "0-1\n", "1\n")  # of nobody
    napi = struct.pack("=BBxx", 11, 1) + codec.u32(1, 2) + codec.u32(2, 257) + codec.u32(3, 7)
    (tmp_path / "netlink").mkdir()
    (tmp_path / "netlink/napis.bin").write_bytes(messages.message(31, napi))

    assert value(NAPIS, host)[257].irq == 7
    assert value(AFFINITY, host) == {
        7: Affinity((0, 1), (1,)),
        30: Affinity((0, 1, 2, 3), (2,)),
        31: Affinity((0, 2), ()),
    }


def test_affinity_follows_and_is_the_same_object_until_then(tmp_path: Path) -> None:
    """What a broken line tells of is left out, and only that."""
    host = Host(tmp_path, {2: "eth0"})
    host.vectors("pci0000:00/0000:01:00.0", 30, 31)
    host.with_hardware(2, "eth0", "pci0000:00/0000:01:00.0")
    for irq in (30, 31):
        host.affinity(irq, "0-3\n", "0\n")
    first = value(AFFINITY, host)
    assert value(AFFINITY, host) is first
    host.affinity(30, "3\n", "3\n")
    assert value(AFFINITY, host) == {30: Affinity((3,), (3,)), 31: Affinity((0, 1, 2, 3), (0,))}
    host.affinity(30, "3-\n", "3\n")

    problem = "interrupt 30: b'3-' is no range of CPUs"
    left = value(AFFINITY, host, (problem,))
    assert list(left) == [31]


@given(IRQS, IRQS)
def test_affinity_has_the_vectors_of_this_scrape(
    tmp_path_factory: pytest.TempPathFactory, first: set[int], then: set[int]
) -> None:
    """Whether they were asked for before or not."""
    host = Host(tmp_path_factory.mktemp("host"), {2: "eth0"})
    where = "pci0000:00/0000:01:00.0"
    host.vectors(where, 5000)
    host.with_hardware(2, "eth0", where)
    for irq in first | then:
        host.affinity(irq, "0\n", "0\n")
    host.vectors(where, *first)
    value(VECTORS, host)
    found = value(AFFINITY, host)
    assert set(found) == first
    for irq in first:
        (host.folder / f"sys/devices/{where}/msi_irqs/{irq}").unlink()
    host.vectors(where, *then)
    found = value(AFFINITY, host)

    assert set(found) == then


# Queues.


def test_the_files_of_queues(tmp_path: Path) -> None:
    """A device with one queue has no XPS: the file is there and cannot be read."""
    host = Host(tmp_path, {2: "eth0", 3: "eth1"})
    for index, name in ((2, "eth0"), (3, "eth1")):
        host.device(index, name)
    host.queues("eth0", 12)
    host.write("sys/class/net/eth0/queues/rx-10/rps_cpus", "00000001,80000003\n")
    host.write("sys/class/net/eth0/queues/rx-10/rps_flow_cnt", "4096\n")
    host.write("sys/class/net/eth0/queues/tx-2/xps_rxqs", "804\n")
    host.queues("eth1", 1)
    (tmp_path / "sys/class/net/eth1/queues/tx-0/xps_cpus").unlink()
    found = value(QUEUE_STEERING, host)

    nowhere: dict[int, tuple[int, ...]] = dict.fromkeys(range(12), ())
    assert found[2] == QueueSteering(
        nowhere | {10: (0, 1, 31, 32)},
        dict.fromkeys(range(12), 0) | {10: 4096},
        nowhere,
        nowhere | {2: (2, 11)},
    )
    assert list(found[2].rps_cpus) == list(range(12))
    assert found[3] == QueueSteering({0: ()}, {0: 0}, {}, {0: ()})


def test_a_mask_that_is_none_costs_only_itself(tmp_path: Path) -> None:
    host = Host(tmp_path, {2: "eth0"})
    host.device(2, "eth0")
    host.queues("eth0", 2)
    host.write("sys/class/net/eth0/queues/rx-0/rps_cpus", "f,f\n")
    host.write("sys/class/net/eth0/queues/rx-1/rps_flow_cnt", "-1\n")
    outcome = read(QUEUE_STEERING, host)

    assert isinstance(outcome, Value)
    assert outcome.value[2].rps_cpus == {1: ()}
    assert outcome.value[2].rps_flows == {0: 0}
    assert [problem.partition(":")[0] for problem in outcome.problems] == [
        "eth0, queue 0",
        "eth0, queue 1",
    ]


COUNT = 150  # receive and transmit queues of a device, more than are read in a scrape


def big(tmp_path: Path) -> Host:
    """Three devices with many queues, read once."""
    host = Host(tmp_path, {2: "eth0", 3: "eth1", 4: "eth2"})
    for index, name in ((2, "eth0"), (3, "eth1"), (4, "eth2")):
        host.device(index, name)
        host.queues(name, COUNT)
    found = value(QUEUE_STEERING, host)
    assert [len(found[index].xps_cpus) for index in (2, 3, 4)] == [COUNT] * 3
    return host


def scrapes_until(host: Host, seen: Callable[[Mapping[int, QueueSteering]], bool]) -> int:
    """How many it takes."""
    for count in range(1, 100):
        if seen(value(QUEUE_STEERING, host)):
            return count
    raise AssertionError("never")


def test_every_queue_is_read_again_in_its_turn(tmp_path: Path) -> None:
    """Whichever it is, in about as many scrapes as it takes to read all. Then all are, again."""
    host = big(tmp_path)
    most = -(-3 * 2 * COUNT // QUEUES_READ_AGAIN) + 2
    for round, path in enumerate(
        ("eth0/queues/rx-0", "eth2/queues/tx-149", "eth1/queues/rx-77", "eth2/queues/rx-149"), 1
    ):
        way, number = path.rpartition("/")[2].split("-")
        index = {"eth0": 2, "eth1": 3, "eth2": 4}[path[:4]]
        host.write(f"sys/class/net/{path}/{'rps' if way == 'rx' else 'xps'}_cpus", f"{round}\n")

        def seen(found: Mapping[int, QueueSteering]) -> bool:
            of = found[index].rps_cpus if way == "rx" else found[index].xps_cpus  # noqa: B023
            return bool(of[int(number)])  # noqa: B023

        assert scrapes_until(host, seen) <= most


def test_what_reads_the_same_is_the_same_object(tmp_path: Path) -> None:
    """For all devices, and for each if one changed."""
    host = big(tmp_path)
    first = value(QUEUE_STEERING, host)
    for _ in range(20):
        assert value(QUEUE_STEERING, host) is first
    host.queues("eth1", COUNT, "5")
    scrapes_until(host, lambda found: found[3].rps_cpus[0] == (0, 2))
    now = value(QUEUE_STEERING, host)

    assert now[2] is first[2]
    assert now[4] is first[4]


def test_a_device_that_changed_is_read_as_a_whole_at_once(tmp_path: Path) -> None:
    host = big(tmp_path)
    for name in ("eth0", "eth1", "eth2"):
        host.queues(name, COUNT, "5")
    host.messages = (
        *host.messages[:2],
        messages.link(4, b"eth2", carrier_changes=1),
    )

    assert set(value(QUEUE_STEERING, host)[4].xps_cpus.values()) == {(0, 2)}


def test_all_are_read_at_once_when_ethtool_set_something(tmp_path: Path) -> None:
    """Which may be the number of queues."""
    host = big(tmp_path)
    for name in ("eth0", "eth1", "eth2"):
        host.queues(name, COUNT + 1, "5")
    host.changes += 1
    found = value(QUEUE_STEERING, host)

    for index in (2, 3, 4):
        assert found[index].rps_cpus == dict.fromkeys(range(COUNT + 1), (0, 2))


def test_queues_that_went_are_forgotten_in_their_turn(tmp_path: Path) -> None:
    """Even without a word from ethtool, as tc does it."""
    host = big(tmp_path)
    folder = tmp_path / "sys/class/net/eth1/queues/tx-149"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()

    scrapes_until(host, lambda found: 149 not in found[3].xps_cpus)


def test_the_files_of_many_small_devices_are_few_at_a_time(tmp_path: Path) -> None:
    host = Host(tmp_path, {index: f"p{index}" for index in range(2, 202)})
    for index in range(2, 202):
        host.device(index, f"p{index}")
        host.queues(f"p{index}", 1)
    assert len(value(QUEUE_STEERING, host)) == 200
    host.opened.clear()
    host.queues("p201", 1, "3")

    # Two queues each, and something for the device itself.
    assert (
        1 < scrapes_until(host, lambda found: found[201].rps_cpus[0] == (0, 1)) <= 200 * 3 / 96 + 2
    )
    assert host.opened == []  # each is kept


def test_devices_that_exchange_names_meanwhile_keep_their_masks(tmp_path: Path) -> None:
    """What was read while it happened does not count, and the next scrape reads all."""
    host = Host(tmp_path, {2: "eth0", 3: "eth1"})
    host.device(2, "eth0")
    host.device(3, "eth1")
    host.queues("eth0", 1, "1")
    host.queues("eth1", 1, "2")
    before = value(QUEUE_STEERING, host)
    assert (before[2].rps_cpus, before[3].rps_cpus) == ({0: (0,)}, {0: (1,)})
    host.changes += 1
    host.meanwhile = lambda: host.called({2: "eth0", 3: "eth1"})  # there and back again
    assert value(QUEUE_STEERING, host) == before
    host.meanwhile = lambda: None
    host.queues("eth0", 1, "4")
    host.queues("eth1", 1, "8")
    now = value(QUEUE_STEERING, host)

    assert (now[2].rps_cpus, now[3].rps_cpus) == ({0: (2,)}, {0: (3,)})


def test_a_device_that_is_renamed_while_it_is_new_is_not_there_yet(tmp_path: Path) -> None:
    host = Host(tmp_path, {2: "eth0"})
    host.device(2, "eth0")
    host.queues("eth0", 1, "1")
    host.meanwhile = lambda: host.called({2: "lan0"})
    assert value(QUEUE_STEERING, host) == {}
    host.meanwhile = lambda: None
    os.rename(tmp_path / "sys/class/net/eth0", tmp_path / "sys/class/net/lan0")

    assert value(QUEUE_STEERING, host)[2].rps_cpus == {0: (0,)}


# The rest.


def test_the_table_of_rfs(tmp_path: Path) -> None:
    host = Host(tmp_path, {})
    assert not isinstance(read(RFS_ENTRIES, host), Value | Failed)
    host.write("proc/sys/net/core/rps_sock_flow_entries", "32768\n")
    assert value(RFS_ENTRIES, host) == 32768
    host.write("proc/sys/net/core/rps_sock_flow_entries", "many\n")
    outcome: Outcome = read(RFS_ENTRIES, host)

    assert isinstance(outcome, Failed)
    assert outcome.malformed


def test_indirection_tables_by_the_ioctl_where_there_is_no_dump(tmp_path: Path) -> None:
    host = Host(tmp_path, {2: "eth0", 3: "eth1", 4: "eth2"})
    assert not isinstance(read(RSS, host), Value | Failed)
    (tmp_path / "ioctl").mkdir()
    for name, table in (("eth0", (0, 1, 0, 1)), ("eth2", (5,))):
        answer = struct.pack(f"=II{len(table)}I", 0x38, len(table), *table)
        (tmp_path / f"ioctl/{name}.grxfhindir.bin").write_bytes(answer)
    assert value(RSS, host) == {2: (0, 1, 0, 1), 4: (5,)}
    (tmp_path / "netlink").mkdir()
    dump = messages.ethtool(3, "eth1", codec.attribute(4, struct.pack("=2I", 6, 7)))
    (tmp_path / "netlink/rss.bin").write_bytes(dump)

    assert value(RSS, host) == {3: (6, 7)}
