"""Network devices: every number is what ip and /sys say, and what a test sent is found exactly."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from netperf_exporter.collectors import link
from netperf_exporter.metric import PREFIX
from netperf_exporter.parsers.links import STATISTICS
from tests.live.lab import CommandError, Daemon, End, Lab, Namespace, Samples, command, wait_until
from tests.live.packets import V4, ethernet

LLDP, IP = 0x88CC, 0x0800
EVERY_DEVICE = "--device.include=.*"

# By family: where ip keeps the figure in "stats64", and the file of /sys/class/net/X/statistics.
WITNESSES = {
    "receive_packets": ("rx", "packets", "rx_packets"),
    "transmit_packets": ("tx", "packets", "tx_packets"),
    "receive_bytes": ("rx", "bytes", "rx_bytes"),
    "transmit_bytes": ("tx", "bytes", "tx_bytes"),
    "receive_errors": ("rx", "errors", "rx_errors"),
    "transmit_errors": ("tx", "errors", "tx_errors"),
    "receive_dropped": ("rx", "dropped", "rx_dropped"),
    "transmit_dropped": ("tx", "dropped", "tx_dropped"),
    "receive_missed": ("rx", "missed_errors", "rx_missed_errors"),
    "receive_nohandler": ("rx", "nohandler", "rx_nohandler"),
    "receive_otherhost_dropped": ("rx", "otherhost_dropped", ""),
    "receive_crc_errors": ("rx", "crc_errors", "rx_crc_errors"),
    "receive_frame_errors": ("rx", "frame_errors", "rx_frame_errors"),
    "receive_length_errors": ("rx", "length_errors", "rx_length_errors"),
    "receive_over_errors": ("rx", "over_errors", "rx_over_errors"),
    "receive_fifo_errors": ("rx", "fifo_errors", "rx_fifo_errors"),
    "transmit_carrier_errors": ("tx", "carrier_errors", "tx_carrier_errors"),
    "transmit_aborted_errors": ("tx", "aborted_errors", "tx_aborted_errors"),
    "transmit_fifo_errors": ("tx", "fifo_errors", "tx_fifo_errors"),
    "transmit_heartbeat_errors": ("tx", "heartbeat_errors", "tx_heartbeat_errors"),
    "transmit_window_errors": ("tx", "window_errors", "tx_window_errors"),
}
FAMILIES = {family.base_name.removeprefix(f"{PREFIX}interface_") for family in link.FIELDS.values()}

Counters = dict[str, dict[str, int]]
"""By device, then by family: what is not zero."""


def of_device(samples: Samples, family: str, device: str) -> float | None:
    return samples.get((f"{PREFIX}interface_{family}", (("device", device),)))


def exported(daemon: Daemon) -> Counters:
    """What the exporter counts, and every family of every device that ip lists."""
    samples = daemon.scrape()
    found: Counters = {}
    for (name, labels), value in samples.items():
        family = name.removeprefix(f"{PREFIX}interface_").removesuffix("_total")
        if name.startswith(f"{PREFIX}interface_") and family in WITNESSES:
            found.setdefault(dict(labels)["device"], {})[family] = int(value)
    return found


def listed(namespace: Namespace) -> list[dict[str, Any]]:
    said = namespace.run("ip", "-s", "-s", "-d", "-j", "link", "show")
    devices: list[dict[str, Any]] = json.loads(said)
    return devices


def by_ip(namespace: Namespace) -> Counters:
    """The same of ip -s -s. An ip that is too old for a field leaves it out."""
    return {
        device["ifname"]: {
            family: device["stats64"][side][field]
            for family, (side, field, _) in WITNESSES.items()
            if field in device["stats64"][side]
        }
        for device in listed(namespace)
    }


def by_sysfs(namespace: Namespace, device: str) -> dict[str, int]:
    """The same of /sys, which lacks some fields."""
    folder = f"/sys/class/net/{device}/statistics"
    files = [(family, file) for family, (_, _, file) in WITNESSES.items() if file]
    texts = namespace.run("cat", *[f"{folder}/{file}" for _, file in files]).split()
    return {family: int(text) for (family, _), text in zip(files, texts, strict=True)}


def agree(namespace: Namespace, daemon: Daemon) -> None:
    """Every counter of every device is what ip and /sys say, or between two answers."""
    for _ in range(20):
        before = by_ip(namespace)
        said = exported(daemon)
        sysfs = {device: by_sysfs(namespace, device) for device in said}
        after = by_ip(namespace)

        assert said.keys() == before.keys() == after.keys()
        for device, families in said.items():
            assert families.keys() == FAMILIES
            for family, low in before[device].items():
                assert low <= families[family] <= after[device][family], (device, family)
            for family, later in sysfs[device].items():
                assert families[family] <= later, (device, family)
        if before == after:  # then nothing moved, and all of that was equality
            break
        time.sleep(0.2)  # a device that just came up says so to its group (MLD), again and again
    else:
        # Over lo goes the scrape itself, over eth0 whatever the machine does.
        moving = {device for device in before if before[device] != after[device]}
        assert moving <= {"lo", "eth0"}


def moved(before: Counters, after: Counters) -> Counters:
    """What each device counted, lo left out: over that one comes the scrape."""
    steps = {
        device: {
            family: after[device][family] - value
            for family, value in families.items()
            if after[device][family] != value
        }
        for device, families in before.items()
        if device != "lo"
    }
    return {device: families for device, families in steps.items() if families}


def raw(namespace: Namespace, device: str) -> socket.socket:
    """A socket that sends frames as they are, and hears none."""
    made = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.bind((device, 0))
    return made


def frame(target: bytes, source: bytes, protocol: int, size: int) -> bytes:
    return target + source + struct.pack("!H", protocol) + bytes(size - 14)


def send(end: End, there: End, protocol: int, size: int, count: int) -> None:
    with raw(end.namespace, end.device) as made:
        for _ in range(count):
            with suppress(OSError):  # ENOBUFS, where the driver drops it
                made.send(frame(there.mac, end.mac, protocol, size))


def settled(namespace: Namespace, device: str) -> None:
    """Wait until the kernel has told of a device's state (linkwatch waits up to a second)."""
    path = f"/sys/class/net/{device}/operstate"
    assert wait_until(lambda: namespace.run("cat", path).strip() in {"up", "unknown"})


@pytest.fixture(scope="module")
def module_lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def wired(module_lab: Lab) -> tuple[End, End, Daemon]:
    """A cable, and an exporter in the namespace of its right end."""
    left, right = module_lab.pair()
    settled(right.namespace, right.device)
    return left, right, module_lab.daemon(right.namespace, EVERY_DEVICE)


def test_each_family_has_a_witness() -> None:
    assert set(WITNESSES) == FAMILIES
    assert {STATISTICS[at] for at in link.FIELDS} == {
        {
            "missed_errors": "rx_missed_errors",
            "nohandler": "rx_nohandler",
            "otherhost_dropped": "rx_otherhost_dropped",
        }.get(field, f"{side}_{field}")
        for side, field, _ in WITNESSES.values()
    }


def test_packets_and_bytes_of_a_veth(wired: tuple[End, End, Daemon]) -> None:
    """An IPv4 packet that is no packet: the device counts it all the same."""
    left, right, daemon = wired
    before = exported(daemon)
    send(left, right, IP, 60, 4801)
    send(right, left, IP, 101, 997)

    assert moved(before, exported(daemon)) == {
        right.device: {
            "receive_packets": 4801,
            "receive_bytes": 4801 * 60,
            "transmit_packets": 997,
            "transmit_bytes": 997 * 101,
        }
    }
    agree(right.namespace, daemon)


def test_a_frame_that_nobody_handles_is_dropped(wired: tuple[End, End, Daemon]) -> None:
    left, right, daemon = wired
    before = exported(daemon)
    send(left, right, LLDP, 60, 31)

    assert moved(before, exported(daemon))[right.device] == {
        "receive_packets": 31,
        "receive_bytes": 31 * 60,
        "receive_dropped": 31,
    }
    agree(right.namespace, daemon)


def test_a_packet_for_another_host_is_apart(wired: tuple[End, End, Daemon]) -> None:
    left, right, daemon = wired
    stranger = bytes((2, 0xEE, 0, 0, 0, 1))
    packet = V4.packet(left.v4, right.v4, 17, bytes(8))
    right.namespace.ip("link", "set", "dev", right.device, "promisc", "on")
    before = exported(daemon)
    try:
        with raw(left.namespace, left.device) as made:
            for _ in range(37):
                made.send(ethernet(left.mac, stranger, packet))
    finally:
        right.namespace.ip("link", "set", "dev", right.device, "promisc", "off")
    steps = moved(before, exported(daemon))[right.device]

    if "receive_otherhost_dropped" not in exported(daemon)[right.device]:
        pytest.skip("this kernel does not count rx_otherhost_dropped")
    assert steps == {
        "receive_packets": 37,
        "receive_bytes": 37 * (14 + len(packet)),
        "receive_otherhost_dropped": 37,
    }
    agree(right.namespace, daemon)


def test_a_packet_that_the_driver_does_not_take_is_dropped_by_the_sender(lab: Lab) -> None:
    """Longer than the other end's MTU: veth_forward_skb() refuses it."""
    left, right = lab.pair()
    right.namespace.ip("link", "set", "dev", right.device, "mtu", "1000")
    settled(left.namespace, left.device)
    daemon = lab.daemon(left.namespace, EVERY_DEVICE)
    before = exported(daemon)
    send(left, right, IP, 1400, 23)

    assert moved(before, exported(daemon)) == {left.device: {"transmit_dropped": 23}}
    agree(left.namespace, daemon)


@contextmanager
def tun(namespace: Namespace, name: str) -> Iterator[int]:
    """A tun device whose packets have a virtio_net_hdr of 10 bytes before them."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("no /dev/net/tun")
    flags = 0x0001 | 0x1000 | 0x4000  # IFF_TUN, IFF_NO_PI, IFF_VNET_HDR
    made = namespace.inside(lambda: os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
    try:
        request = struct.pack("16sH22x", name.encode(), flags)
        namespace.inside(lambda: fcntl.ioctl(made, 0x400454CA, request))  # TUNSETIFF
        namespace.ip("link", "set", "dev", name, "multicast", "off", "up")
        yield made
    finally:
        os.close(made)


def test_a_frame_error_is_its_own_counter(lab: Lab) -> None:
    """A tun counts one for a header it cannot follow (tun_get_user() in drivers/net/tun.c)."""
    namespace = lab.namespace()
    with tun(namespace, "tun0") as made:
        settled(namespace, "tun0")
        daemon = lab.daemon(namespace, EVERY_DEVICE)
        before = exported(daemon)
        good, bad = bytes(10), bytes((0, 2)) + bytes(8)  # a GSO type that does not exist
        packet = b"\x45" + bytes(59)
        for _ in range(41):
            os.write(made, good + packet)
        for _ in range(43):
            with pytest.raises(OSError):
                os.write(made, bad + packet)
        steps = moved(before, exported(daemon))

        assert steps["tun0"] == {
            "receive_packets": 41,
            "receive_bytes": 41 * 60,
            "receive_frame_errors": 43,
        }
        agree(namespace, daemon)


STACKS: dict[str, tuple[str, ...]] = {
    "vlan": ("link", "{port}", "name", "upper0", "type", "vlan", "id", "7"),
    "macvlan": ("link", "{port}", "name", "upper0", "type", "macvlan", "mode", "bridge"),
    "bridge": ("name", "upper0", "type", "bridge"),
    "bond": ("name", "upper0", "type", "bond", "mode", "active-backup"),
    "ifb": ("name", "upper0", "type", "ifb"),
    "dummy": ("name", "upper0", "type", "dummy"),
    "vrf": ("name", "upper0", "type", "vrf", "table", "19"),
}
MASTERS = {"bridge", "bond", "vrf"}


@pytest.mark.parametrize("kind", list(STACKS))
def test_a_device_upon_another(lab: Lab, kind: str) -> None:
    """Its kind, its member's master, and every counter while packets go through."""
    left, right = lab.pair()
    namespace = right.namespace
    daemon = lab.daemon(namespace, EVERY_DEVICE)
    daemon.scrape()
    try:
        namespace.ip("link", "add", *[word.format(port=right.device) for word in STACKS[kind]])
    except CommandError as error:
        if "nknown device type" not in str(error) and "not supported" not in str(error):
            raise
        pytest.skip(f"no {kind}: {error}")
    if kind in MASTERS:
        namespace.ip("link", "set", "dev", right.device, "down")
        namespace.ip("link", "set", "dev", right.device, "master", "upper0")
        namespace.ip("link", "set", "dev", right.device, "up")
    namespace.ip("link", "set", "dev", "upper0", "multicast", "off", "up")
    settled(namespace, right.device)
    (device,) = [d for d in listed(namespace) if d["ifname"] == "upper0"]
    send(left, right, IP, 60, 53)
    with raw(left.namespace, left.device) as made:
        for _ in range(59):
            made.send(frame(bytes.fromhex(device["address"].replace(":", "")), left.mac, IP, 60))
    agree(namespace, daemon)
    known = infos(daemon.scrape())

    assert known["upper0"]["kind"] == device["linkinfo"]["info_kind"] == kind
    assert known[right.device]["kind"] == "veth"
    assert known[right.device]["master"] == ("upper0" if kind in MASTERS else "")
    assert known["upper0"]["driver"] == driver_of(namespace, "upper0")

    if kind in MASTERS:
        namespace.ip("link", "set", "dev", right.device, "nomaster")

        assert infos(daemon.scrape())[right.device]["master"] == ""
    namespace.ip("link", "del", "dev", "upper0")

    assert "upper0" not in infos(daemon.scrape())
    agree(namespace, daemon)


def driver_of(namespace: Namespace, device: str) -> str:
    try:
        lines = namespace.run("ethtool", "-i", device).splitlines()
    except CommandError:
        return ""
    return dict(line.partition(": ")[::2] for line in lines)["driver"]


def infos(samples: Samples) -> dict[str, dict[str, str]]:
    return {
        dict(labels)["device"]: dict(labels)
        for (name, labels) in samples
        if name == f"{PREFIX}interface_info"
    }


def test_state_of_a_link(lab: Lab) -> None:
    """MTU, operational state, carrier: at once, or as soon as the kernel has told."""
    left, right = lab.pair()
    namespace, device = right.namespace, right.device
    daemon = lab.daemon(namespace, EVERY_DEVICE)

    def carrier_changes() -> int:
        return int(namespace.run("cat", f"/sys/class/net/{device}/carrier_changes"))

    def operstate() -> str:
        return namespace.run("cat", f"/sys/class/net/{device}/operstate").strip()

    def said(family: str) -> float | None:
        return of_device(daemon.scrape(), family, device)

    settled(namespace, device)
    first = carrier_changes()
    assert wait_until(lambda: said("carrier_changes_total") == first)
    assert said("up") == 1
    assert infos(daemon.scrape())[device]["operstate"] == "up"

    for mtu in (1280, 9000, 65535, 68):
        namespace.ip("link", "set", "dev", device, "mtu", str(mtu))
        assert said("mtu_bytes") == mtu

    left.namespace.ip("link", "set", "dev", left.device, "down")
    assert wait_until(lambda: said("up") == 0)
    assert infos(daemon.scrape())[device]["operstate"] == operstate() != "up"
    assert carrier_changes() == first + 1
    assert said("carrier_changes_total") == first + 1

    left.namespace.ip("link", "set", "dev", left.device, "up")
    assert wait_until(lambda: said("up") == 1)
    assert said("carrier_changes_total") == first + 2

    namespace.ip("link", "set", "dev", device, "down")
    assert said("up") == 0
    assert infos(daemon.scrape())[device]["operstate"] == operstate() == "down"


def test_the_speed_of_a_link(lab: Lab) -> None:
    """A veth says 10 Gbit/s. An unknown speed has no sample, and a new one shows at once."""
    _, right = lab.pair()
    namespace = right.namespace
    daemon = lab.daemon(namespace, EVERY_DEVICE)
    settled(namespace, right.device)

    assert of_device(daemon.scrape(), "speed_bytes", right.device) == 10**10 / 8
    assert of_device(daemon.scrape(), "speed_bytes", "lo") is None

    with tun(namespace, "tun0"):
        for speed in ("100", "25000"):
            try:
                namespace.run("ethtool", "-s", "tun0", "speed", speed, "autoneg", "off")
            except CommandError as error:
                pytest.skip(f"a tun's speed cannot be set: {error}")
            said = int(namespace.run("cat", "/sys/class/net/tun0/speed"))

            assert said == int(speed)
            assert of_device(daemon.scrape(), "speed_bytes", "tun0") == said * 10**6 / 8
    assert of_device(daemon.scrape(), "speed_bytes", "tun0") is None


def test_this_host(this_host: Daemon) -> None:
    """Devices with hardware are shown, with their driver, and count as ip and /sys say."""
    here = Namespace()
    hardware = [d.name for d in Path("/sys/class/net").iterdir() if (d / "device").exists()]
    if not hardware:
        pytest.skip("no device with hardware")
    for device in hardware:
        before = by_ip(here)[device]
        said = exported(this_host)[device]
        after = by_ip(here)[device]
        known = infos(this_host.scrape())[device]
        driver = os.path.realpath(f"/sys/class/net/{device}/device/driver").rpartition("/")[2]

        assert {family: before[family] <= said[family] <= after[family] for family in before} == (
            dict.fromkeys(before, True)
        )
        assert known["driver"] == driver
        assert known["bus_info"] in command("ethtool", "-i", device)
        assert known["operstate"] == Path(f"/sys/class/net/{device}/operstate").read_text().strip()


# Devices that are summed by kind.


def summed(daemon: Daemon, kind: str = "veth") -> dict[str, int]:
    return {
        name.removeprefix(f"{PREFIX}interfaces_").removesuffix("_total"): int(value)
        for (name, labels), value in daemon.scrape().items()
        if name.startswith(f"{PREFIX}interfaces") and labels == (("kind", kind),)
    }


class Herd:
    """Veth pairs: the ends of one namespace are watched, those in the other send to them."""

    def __init__(self, lab: Lab) -> None:
        self.inside, self.outside = lab.namespace(), lab.namespace()
        self._numbers = itertools.count()
        self.members: list[int] = []

    def add(self, count: int) -> list[int]:
        new = [next(self._numbers) for _ in range(count)]
        self._batch(
            [f"link add name v{n} type veth peer name w{n} netns {self.outside.name}" for n in new]
            + [f"link set dev v{n} multicast off arp off up" for n in new]
        )
        self._batch([f"link set dev w{n} multicast off arp off up" for n in new], self.outside)
        assert wait_until(
            lambda: all(
                device["operstate"] == "UP"
                for device in json.loads(self.outside.run("ip", "-j", "link"))
                if device["ifname"] in {f"w{n}" for n in new}
            )
        )
        self.members += new
        return new

    def delete(self, members: list[int]) -> None:
        self._batch([f"link del dev v{n}" for n in members])
        self.members = [n for n in self.members if n not in members]

    def send(self, members: list[int]) -> int:
        """A prime number of frames to each that is inside; how many in all."""
        primes = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
        total = 0
        for n in members:
            with raw(self.outside, f"w{n}") as made:
                for _ in range(primes[n % len(primes)]):
                    made.send(frame(b"\xff" * 6, b"\2\0\0\0\0\1", LLDP, 60))
                    total += 1
        return total

    def move(self, members: list[int], here: Namespace, there: Namespace) -> None:
        self._batch([f"link set dev v{n} netns {there.name}" for n in members], here)
        self._batch([f"link set dev v{n} up" for n in members], there)
        assert wait_until(
            lambda: all(
                device["operstate"] == "UP"
                for device in json.loads(there.run("ip", "-j", "link"))
                if device["ifname"] in {f"v{n}" for n in members}
            )
        )

    def _batch(self, lines: list[str], namespace: Namespace | None = None) -> None:
        where = namespace or self.inside
        command("ip", "-n", where.name, "-batch", "-", stdin="\n".join(lines) + "\n")


def test_thirty_veths_are_one_sum_that_neither_falls_nor_jumps(lab: Lab) -> None:
    herd = Herd(lab)
    first = herd.add(30)
    daemon = lab.daemon(herd.inside)
    expected = 0

    def check(devices: int) -> None:
        said = summed(daemon)
        assert said.pop("interfaces", None) is None
        assert said.pop(f"{PREFIX}interfaces") == devices
        assert said == {
            "receive_packets": expected,
            "receive_bytes": expected * 60,
            "receive_dropped": expected,  # nobody handles LLDP
            "receive_errors": 0,
            **dict.fromkeys(
                (f"transmit_{what}" for what in ("packets", "bytes", "errors", "dropped")), 0
            ),
        }

    herd.send(first)  # before anybody looked: not counted
    check(30)
    expected += herd.send(first)
    check(30)
    assert not infos(daemon.scrape()).keys() & {f"v{n}" for n in first}

    expected += herd.send(first)
    check(30)
    herd.delete(first[::2])
    check(15)
    later = herd.add(20)
    herd.send(later)  # again not seen yet
    check(35)
    expected += herd.send(later) + herd.send(first[1::2])
    check(35)

    # Elsewhere and back: what it counts there is not ours.
    elsewhere = lab.namespace()
    herd.move(later, herd.inside, elsewhere)
    herd.send(later)
    check(15)
    herd.move(later, elsewhere, herd.inside)
    check(35)
    expected += herd.send(later)
    check(35)

    # All at once between two scrapes: some go, some come, some only leave and return.
    herd.delete(first[1::2])
    herd.move(later[:10], herd.inside, elsewhere)
    newest = herd.add(7)
    check(17)
    herd.move(later[:10], elsewhere, herd.inside)
    check(27)
    expected += herd.send(newest) + herd.send(later)
    check(27)

    herd.delete(later + newest)
    check(0)


def test_a_device_that_takes_the_index_of_another_is_another(lab: Lab) -> None:
    """Namespaces number their devices alike, so a container's may come with a number just freed."""
    herd = Herd(lab)
    (old,) = herd.add(1)
    daemon = lab.daemon(herd.inside)
    herd.send([old])
    index = json.loads(herd.inside.run("ip", "-j", "link", "show", "dev", f"v{old}"))[0]["ifindex"]
    before = summed(daemon)
    elsewhere = lab.namespace()
    new = ("name", "new", "index", str(index))
    elsewhere.ip("link", "add", *new, "type", "veth", "peer", "name", "far", "index", "9000")
    for device in ("new", "far"):
        elsewhere.ip("link", "set", "dev", device, "multicast", "off", "arp", "off", "up")
    with raw(elsewhere, "far") as made:
        for _ in range(997):
            made.send(frame(b"\xff" * 6, b"\2\0\0\0\0\1", LLDP, 60))
    herd.delete([old])
    elsewhere.ip("link", "set", "dev", "new", "netns", herd.inside.name)
    (moved_there,) = json.loads(herd.inside.run("ip", "-j", "link", "show", "dev", "new"))

    assert moved_there["ifindex"] == index
    assert summed(daemon) == before


def test_devices_can_be_chosen_by_name(lab: Lab) -> None:
    left, right = lab.pair()
    namespace = right.namespace
    namespace.ip("link", "add", "name", "mine", "type", "ifb")
    shown = infos(lab.daemon(namespace, "--device.include=mine|lo").scrape())
    hidden = infos(lab.daemon(namespace, "--device.exclude=m.*").scrape())

    assert set(shown) == {"mine", "lo"}
    assert hidden == {}
    assert left.device not in shown
