"""Devices that come, go, are renamed, move and change their queues while they are scraped.

What a device is can be told from its name: ``a7`` and ``p7`` are the ends of one veth with an MTU
of 1007, ``g7`` is an ifb with that MTU. So a sample that was read from another device than the
one that it names is seen.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.metric import PREFIX
from tests.live.lab import (
    CommandError,
    Daemon,
    Lab,
    Namespace,
    Samples,
    command,
    need,
    samples_of,
    wait_until,
)

CYCLES = 1000
NAMES, INDICES = 97, 40  # numbers that come round at different times
ALIVE = 10
QUEUES = 8
EVERY_DEVICE = "--device.include=.*"
EVERYTHING = [f"--collector.{name}" for name in COLLECTORS]


def cycles(count: int, there: Namespace) -> Iterator[list[str]]:
    """Lines for ip -batch. Each cycle takes away what one of the last ones made."""
    made: list[list[str]] = []
    for n in range(count):
        number = n % NAMES
        index, peer = 1000 + n % INDICES, 5000 + number
        lines: list[str] = []
        match n % 5:
            case 0 | 2:
                lines.append(
                    f"link add name a{number} index {index} mtu {1000 + number} type veth "
                    f"peer name p{number} index {peer} mtu {1000 + number}"
                )
                lines += [f"link set dev a{number} up", f"link set dev p{number} up"]
                if n % 5 == 2:
                    lines.append(f"link set dev a{number} netns {there.name}")
                made.append([f"link del dev p{number}"])
            case 1:
                lines.append(f"link add name g{number} index {index} mtu {1000 + number} type ifb")
                lines.append(f"link set dev g{number} up")
                made.append([f"link del dev g{number}"])
            case 3:  # two devices of different kinds exchange their names
                lines += ["link set dev s name y", "link set dev t name s", "link set dev y name t"]
            case 4:
                old, new = n // 5 % NAMES + 100, (n // 5 + 1) % NAMES + 100
                lines.append(f"link set dev g{old} name y")
                lines.append(f"link set dev y mtu {1000 + new}")
                lines.append(f"link set dev y name g{new}")
        if len(made) > ALIVE:
            lines += made.pop(0)
        yield lines
    yield [line for lines in made for line in lines]


class Churn(threading.Thread):
    """Goes through all cycles as fast as the kernel can."""

    def __init__(self, here: Namespace, there: Namespace, count: int) -> None:
        super().__init__()
        self._here = here
        self._cycles = list(cycles(count, there))
        self.done = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for start in range(0, len(self._cycles), 10):
                chunk = self._cycles[start : start + 10]
                lines = [line for lines in chunk for line in lines]
                command("ip", "-n", self._here.name, "-batch", "-", stdin="\n".join(lines) + "\n")
                queues = str(start // 10 % QUEUES + 1)
                self._here.run("ethtool", "-L", "c", "rx", queues, "tx", queues)
                self._here.run("ethtool", "-K", "c", "gro", "on" if start % 20 else "off")
                self.done += len(chunk)
        except BaseException as error:
            self.error = error


def check(samples: Samples, late: set[str]) -> None:
    """What holds of every scrape, whatever happened while it was made.

    late: collectors of which the exporter said that the kernel did not answer in time.
    """
    infos = {}
    for (name, labels), value in samples.items():
        said = dict(labels)
        device = said.get("device", "")
        numbered = re.fullmatch(r"([apg])(\d+)", device)
        if name in {f"{PREFIX}scrape_collector_success", f"{PREFIX}collector_available"}:
            # No device here has the operations that these ask for.
            without = name.endswith("available") and said["collector"] in {"fec", "pause"}
            assert value == 1 or without or said["collector"] in late, labels
        elif name == f"{PREFIX}interface_info":
            infos[device] = said
        elif name == f"{PREFIX}interface_mtu_bytes" and numbered:
            assert value == 1000 + int(numbered[2]), device
        elif name == f"{PREFIX}nic_statistic" and said["name"] == "peer_ifindex" and numbered:
            assert numbered[1] in "ap", device
            if numbered[1] == "a":
                assert value == 5000 + int(numbered[2]), device
            else:
                assert value == 0 or 1000 <= value < 1000 + INDICES, device
        elif name.startswith(f"{PREFIX}queue_") and "queue" in said:
            assert int(said["queue"]) < QUEUES
        elif name == f"{PREFIX}nic_channels":
            assert 1 <= value <= (QUEUES if device in {"c", "cpeer"} else 1), device
    for device, said in infos.items():
        if device != "lo":
            assert said["driver"] in {said["kind"], ""}, said
            assert said["kind"] == {"a": "veth", "p": "veth", "c": "veth", "g": "ifb"}.get(
                device[0], said["kind"]
            )
    if infos:
        assert infos["c"]["driver"] == "veth"


def late_in(log: str) -> set[str]:
    said = re.findall(r"no answer within its deadline; no samples from ([\w, ]+)", log)
    return {collector for names in said for collector in names.split(", ")}


def all_succeeded(samples: Samples) -> bool:
    return all(
        value == 1 for (name, _), value in samples.items() if name.endswith("collector_success")
    )


def footprint(daemon: Daemon) -> tuple[int, int, int]:
    """Descriptors, threads and kilobytes."""
    process = Path(f"/proc/{daemon.pid}")
    resident = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    assert resident is not None
    return (
        len(os.listdir(process / "fd")),
        len(os.listdir(process / "task")),
        int(resident[1]),
    )


def listed(namespace: Namespace) -> dict[str, tuple[int, str]]:
    said = json.loads(namespace.run("ip", "-j", "link", "show"))
    return {d["ifname"]: (d["mtu"], d["operstate"].lower()) for d in said}


def shown(samples: Samples) -> dict[str, tuple[int, str]]:
    states = {
        dict(labels)["device"]: dict(labels)["operstate"]
        for (name, labels) in samples
        if name == f"{PREFIX}interface_info"
    }
    return {
        dict(labels)["device"]: (int(value), states[dict(labels)["device"]])
        for (name, labels), value in samples.items()
        if name == f"{PREFIX}interface_mtu_bytes"
    }


def devices_of(samples: Samples) -> set[str]:
    return {dict(labels)["device"] for (_, labels) in samples if "device" in dict(labels)}


def agrees_with_ip(namespace: Namespace, daemon: Daemon) -> None:
    """One scrape is enough, unless an operational state changes at that moment."""
    for _ in range(5):
        before = listed(namespace)
        samples = daemon.scrape()
        if before == listed(namespace):
            break
        time.sleep(1)

    assert shown(samples) == before
    assert devices_of(samples) == set(before)


def test_a_thousand_changes_under_unceasing_scrapes(lab: Lab) -> None:
    need("ethtool")
    here, there = lab.namespace(), lab.namespace()
    here.ip("link", "add", "name", "s", "type", "veth", "peer", "name", "speer")
    here.ip("link", "add", "name", "t", "numtxqueues", "4", "type", "ifb")
    here.ip("link", "add", "name", "g100", "mtu", "1100", "type", "ifb")
    queues = ("numrxqueues", str(QUEUES), "numtxqueues", str(QUEUES))
    here.ip("link", "add", "name", "c", *queues, "type", "veth", "peer", "name", "cpeer", *queues)
    for device in ("s", "t", "g100", "c"):
        here.ip("link", "set", "dev", device, "up")
    daemon = lab.daemon(here, EVERY_DEVICE, *EVERYTHING)
    churn = Churn(here, there, CYCLES)
    scrapes = late_scrapes = 0
    after_half: tuple[int, int, int] | None = None
    seen: set[str] = set()
    churn.start()
    try:
        while churn.is_alive():
            samples = samples_of(daemon.exposition())
            late_scrapes += not all_succeeded(samples)
            try:
                check(samples, late_in(daemon.log()))
            except AssertionError as error:
                error.add_note(daemon.log())
                raise
            seen |= devices_of(samples)
            scrapes += 1
            if after_half is None and churn.done >= CYCLES // 2:
                after_half = footprint(daemon)
    finally:
        churn.join()
    if churn.error is not None:
        raise churn.error
    agrees_with_ip(here, daemon)
    descriptors, threads, kilobytes = footprint(daemon)

    assert churn.done >= CYCLES
    assert scrapes > 50
    assert late_scrapes <= scrapes // 20  # a busy machine holds rtnl for seconds at times
    assert len(seen) > 100  # or they came and went unseen
    assert after_half is not None
    assert descriptors <= after_half[0] + 2
    assert threads <= after_half[1] + 2
    assert kilobytes <= after_half[2] + 8 * 1024
    said = daemon.log()
    assert "Traceback" not in said
    assert "level=error" not in said
    # A device that was changed at every attempt to read it is left out of that scrape, and said.
    for line in re.findall(r"level=warn.*", said):
        assert re.search(r"left out \d+ of its lines: |no answer within its deadline; ", line), line


def test_more_changes_than_the_socket_holds(lab: Lab) -> None:
    """Notifications that nobody read were lost; the next scrape is right all the same."""
    here = lab.namespace()
    daemon = lab.daemon(here, EVERY_DEVICE)
    daemon.scrape()
    here.ip("link", "add", "name", "first", "type", "ifb")
    lines = [f"link set dev first mtu {1000 + n}" for n in range(2000)]
    lines += ["link set dev first name last", "link add name other mtu 1234 type ifb"]
    command("ip", "-n", here.name, "-batch", "-", stdin="\n".join(lines) + "\n")
    dropped = dropped_messages(daemon)
    assert shown(daemon.scrape()) == listed(here)
    assert dropped > 0

    here.ip("link", "del", "dev", "other")  # and afterwards it hears again
    agrees_with_ip(here, daemon)


def dropped_messages(daemon: Daemon) -> int:
    """What the kernel could not put into the netlink sockets of a process."""
    numbers = set()
    for descriptor in Path(f"/proc/{daemon.pid}/fd").iterdir():
        found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor))
        numbers |= {found[1]} if found else set()
    rows = Path(f"/proc/{daemon.pid}/net/netlink").read_text().splitlines()
    header = rows[0].split()
    drops, inode = header.index("Drops"), header.index("Inode")
    return sum(int(row.split()[drops]) for row in rows[1:] if row.split()[inode] in numbers)


def test_ports_of_a_bridge_come_and_go(lab: Lab) -> None:
    """A bridge notifies of its ports under AF_BRIDGE, which says nothing of the devices."""
    here = lab.namespace()
    try:
        here.ip("link", "add", "name", "br", "type", "bridge")
    except CommandError as error:
        pytest.skip(f"no bridge: {error}")
    here.ip("link", "add", "name", "v0", "type", "veth", "peer", "name", "v1")
    for device in ("br", "v0", "v1"):
        here.ip("link", "set", "dev", device, "multicast", "off", "up")
    daemon = lab.daemon(here, EVERY_DEVICE)

    def masters() -> dict[str, str]:
        return {
            dict(labels)["device"]: dict(labels)["master"]
            for (name, labels) in daemon.scrape()
            if name == f"{PREFIX}interface_info"
        }

    assert masters() == {"lo": "", "br": "", "v0": "", "v1": ""}
    for _ in range(5):
        here.ip("link", "set", "dev", "v0", "master", "br")
        assert masters() == {"lo": "", "br": "", "v0": "br", "v1": ""}
        here.run("bridge", "link", "set", "dev", "v0", "cost", "7")
        here.run("bridge", "vlan", "show")
        here.ip("link", "set", "dev", "br", "name", "bridge7")
        assert masters() == {"lo": "", "bridge7": "", "v0": "bridge7", "v1": ""}
        here.ip("link", "set", "dev", "bridge7", "name", "br")
        here.ip("link", "set", "dev", "v0", "nomaster")
        assert masters() == {"lo": "", "br": "", "v0": "", "v1": ""}
    assert wait_until(lambda: shown(daemon.scrape()) == listed(here))
    here.ip("link", "set", "dev", "v0", "master", "br")
    here.ip("link", "del", "dev", "br")
    assert masters() == {"lo": "", "v0": "", "v1": ""}
    agrees_with_ip(here, daemon)


def test_a_scrape_after_each_change_is_right(lab: Lab) -> None:
    """No change is missed, and none is taken for another device's."""
    here, there = lab.namespace(), lab.namespace()
    here.ip("link", "add", "name", "s", "type", "ifb")
    here.ip("link", "add", "name", "t", "mtu", "1100", "type", "veth", "peer", "name", "tpeer")
    here.ip("link", "add", "name", "g100", "type", "ifb")
    daemon = lab.daemon(here, EVERY_DEVICE)
    for lines in cycles(100, there):
        for line in lines:
            here.ip(*line.split())
            samples = daemon.scrape()
            if shown(samples) != listed(here):  # an operational state that changed just now
                agrees_with_ip(here, daemon)
            else:
                assert devices_of(samples) == set(listed(here))


# No "%": that stands for a number that the kernel is to choose (dev_get_valid_name() in
# net/core/dev.c).
HOSTILE = [
    "日本🦆".encode(),
    b'quo"te',
    b"back\\slash",
    b"\xff\xfe\x80",
    b"\\xff\\xfe\\x80",
    b"a\xffb",
    b"a\\xffb",
    b"fifteen_bytes_x",
    b"{curly},=}",
    b"\x01\x02\x7f",
    b"#HELP",
    b"-dash",
    b"..dots",
]


@pytest.mark.parametrize("rename", [False, True], ids=["born so", "renamed"])
def test_names_that_are_hard_to_write(lab: Lab, rename: bool) -> None:
    here = lab.namespace()
    daemon = lab.daemon(here, EVERY_DEVICE, *EVERYTHING)
    daemon.scrape()
    for number, name in enumerate(HOSTILE):
        mtu = ("mtu", str(1000 + number))
        born = os.fsdecode(b"plain" if rename else name)
        add_ifb(here, born, *mtu)
        if rename:
            subprocess.run(
                ["ip", "-n", here.name, "link", "set", "dev", "plain", "name", os.fsdecode(name)],
                check=True,
            )
    text = daemon.exposition()
    samples = samples_of(text)
    mtus = {
        dict(labels)["device"]: int(value)
        for (name, labels), value in samples.items()
        if name == f"{PREFIX}interface_mtu_bytes" and dict(labels)["device"] != "lo"
    }

    assert sorted(mtus.values()) == [1000 + number for number in range(len(HOSTILE))]
    for number, name in enumerate(HOSTILE):
        plain = name.decode("utf-8", "backslashreplace")
        (said,) = [device for device, mtu in mtus.items() if mtu == 1000 + number]
        assert said == plain or said.startswith(f"{plain}#")
        statistics = {
            dict(labels)["name"]
            for (family, labels) in samples
            if family == f"{PREFIX}nic_statistic" and dict(labels)["device"] == said
        }
        assert "rx_queue_0_packets" in statistics
    check_success(samples)


def add_ifb(namespace: Namespace, name: str, *more: str) -> None:
    words = ["ip", "-n", namespace.name, "link", "add", "name", name, *more, "type", "ifb"]
    subprocess.run(words, check=True)
    subprocess.run(["ip", "-n", namespace.name, "link", "set", "dev", name, "up"], check=True)


def check_success(samples: Samples) -> None:
    for (name, labels), value in samples.items():
        if name == f"{PREFIX}scrape_collector_success":
            assert value == 1, labels
        if name == f"{PREFIX}parse_errors_total":
            assert value == 0, labels
