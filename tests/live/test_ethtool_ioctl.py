"""The ethtool ioctl on real devices; the program ethtool is the witness."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.ethtool.guarded import GuardedRoom
from netperf_exporter.kernel.ethtool.ioctl import ask, open_socket
from netperf_exporter.parsers import ethtool_ioctl as parser
from tests.live.lab import PATIENCE, CommandError, Lab, Namespace, need

SECONDS = 3.0
ENOUGH = 4
"""What has to be seen at least so often; a slow machine is given more time for it."""

SCHANNELS, GSTATS = 0x3D, 0x1D
SIOCSIFNAME = 0x8923


def veth(namespace: Namespace, device: str, peer: str, queues: int = 16) -> None:
    """A pair whose both ends have so many queues."""
    number = ("numrxqueues", str(queues), "numtxqueues", str(queues))
    words = ("link", "add", "name", device, *number, "type", "veth", "peer", "name", peer, *number)
    namespace.ip(*words)


def in_a_process(namespace: Namespace, function: Callable[..., object], *arguments: object) -> str:
    """Call a function of this module in a process inside, so that a crash is only its own."""
    name = function.__name__
    code = f"from tests.live.test_ethtool_ioctl import {name}; {name}(*{arguments!r})"
    root = str(Path(__file__).parents[2])
    return namespace.run("env", "-C", root, sys.executable, "-X", "faulthandler", "-c", code)


@contextmanager
def meanwhile(call: Callable[[], None]) -> Iterator[None]:
    """Call something again and again while the block runs."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def loop() -> None:
        while not stop.is_set():
            try:
                call()
            except BaseException as error:
                errors.append(error)
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert errors == []


def set_channels(handle: socket.socket, device: str, channels: int) -> None:
    """Do as ethtool -L does, fast."""
    name = device.encode()
    said = parser.channels(ethtool.call(device, ethtool.GCHANNELS))
    wanted = struct.pack("=5I", SCHANNELS, said.max_rx, said.max_tx, said.max_other, 0)
    buffer = ctypes.create_string_buffer(wanted + struct.pack("=4I", channels, channels, 0, 0), 36)
    ask(handle, name, ctypes.addressof(buffer))


def read_while_channels_change(device: str) -> None:
    """Print how often which number of queues was read, and that all of it was consistent."""
    ifindex = socket.if_nametoindex(device)
    peer = int(parser.statistics(*ethtool.statistics(device))[1][0])
    seen: dict[int, int] = {1: 0, 16: 0}
    unsettled = changes = 0

    def change() -> None:
        nonlocal changes
        set_channels(handle, device, 16 if changes % 2 else 1)
        changes += 1

    deadline = time.monotonic() + SECONDS
    patience = time.monotonic() + PATIENCE
    with closing(ethtool.StatisticsReader()) as reader, open_socket() as handle, meanwhile(change):
        while time.monotonic() < (deadline if min(seen.values()) >= ENOUGH else patience):
            try:
                names, values = parser.statistics(*reader.read(device, ifindex))
            except ethtool.Unsettled:
                unsettled += 1
                continue
            queues = {int(name.split("_")[2]) for name in names if name.startswith("rx_queue_")}
            assert names[0] == "peer_ifindex"
            assert values[0] == peer
            assert queues == set(range(len(queues)))
            # Receive queues are changed before transmit queues (veth_set_channels() in
            # drivers/net/veth.c), both under rtnl: nobody sees the state between.
            assert f"tx_queue_{len(queues) - 1}_xdp_xmit" in names
            assert f"tx_queue_{len(queues)}_xdp_xmit" not in names
            seen[len(queues)] += 1
    print(json.dumps({"1": seen[1], "16": seen[16], "unsettled": unsettled, "changes": changes}))


def test_reading_while_the_number_of_queues_changes(lab: Lab) -> None:
    need("ethtool")
    namespace = lab.namespace()
    veth(namespace, "veth0", "veth1")
    try:
        namespace.run("ethtool", "-L", "veth0", "rx", "1", "tx", "1")
    except CommandError as error:
        if "not supported" not in str(error):
            raise
        pytest.skip("this kernel's veth keeps the number of its queues")

    said = json.loads(in_a_process(namespace, read_while_channels_change, "veth0"))
    assert min(said["1"], said["16"], said["changes"]) >= ENOUGH, said


def overflow(device: str) -> None:
    """Have the kernel write more than there is room for, as old ones do unasked."""
    room = GuardedRoom(1)
    struct.pack_into("=II", room.view, 0, GSTATS, 0)  # 0 asks for as many as there are
    with open_socket() as handle:
        try:
            ask(handle, device.encode(), room.address)
        except OSError as error:
            assert error.errno == errno.EFAULT
        else:
            raise AssertionError("the kernel wrote over the guard")
    _, count = struct.unpack_from("=II", room.view)
    print(json.dumps({"count": count, "room": room.size}))


def test_the_guard_stops_the_kernel(lab: Lab) -> None:
    namespace = lab.namespace()
    veth(namespace, "veth0", "veth1", 128)

    said = json.loads(in_a_process(namespace, overflow, "veth0"))
    assert 8 + 8 * said["count"] > said["room"]


def rename(handle: socket.socket, device: str, name: str) -> None:
    """Give a device that is down another name."""
    fcntl.ioctl(handle, SIOCSIFNAME, struct.pack("=16s16s8x", device.encode(), name.encode()))


def read_while_names_are_exchanged(device: str, other: str) -> None:
    """Print what was read of one device while its name was lent to another again and again."""
    ifindex, other_ifindex = map(socket.if_nametoindex, (device, other))
    peers = [int(parser.statistics(*ethtool.statistics(name))[1][0]) for name in (device, other)]
    own = strange = gone = lent = 0

    def exchange() -> None:
        begin = time.monotonic()
        rename(renaming, device, "spare")
        rename(renaming, other, device)
        rename(renaming, device, other)
        rename(renaming, "spare", device)
        time.sleep(time.monotonic() - begin)  # renaming holds rtnl, for which reading waits

    deadline = time.monotonic() + SECONDS
    patience = time.monotonic() + PATIENCE
    with (
        closing(ethtool.StatisticsReader()) as reader,
        open_socket() as renaming,
        meanwhile(exchange),
    ):
        while time.monotonic() < (deadline if min(own, gone, lent) >= ENOUGH else patience):
            try:
                _, values = parser.statistics(*reader.read(device, ifindex))
            except OSError as error:
                assert error.errno in (errno.ENODEV, errno.EAGAIN)
                gone += 1
            else:
                own += values[0] == peers[0]
                strange += values[0] != peers[0]
            with suppress(OSError):
                lent += socket.if_nametoindex(device) == other_ifindex
    print(json.dumps({"own": own, "strange": strange, "gone": gone, "lent": lent}))


def test_a_name_that_is_lent_to_another_device(lab: Lab) -> None:
    namespace = lab.namespace()
    veth(namespace, "veth0", "veth1")
    veth(namespace, "veth2", "veth3")

    said = json.loads(in_a_process(namespace, read_while_names_are_exchanged, "veth0", "veth2"))
    assert said["strange"] == 0, said
    assert min(said["own"], said["gone"], said["lent"]) >= ENOUGH, said


def test_a_rename_between_the_calls_is_heard(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name comes back before anybody looks again; the values in between were another's."""
    namespace = lab.namespace()
    veth(namespace, "veth0", "veth1")
    veth(namespace, "veth2", "veth3")
    real, lend = fcntl.ioctl, False

    def ioctl(handle: socket.socket, number: int, request: bytes) -> bytes:
        nonlocal lend
        _, address = struct.unpack_from("16sP", request)
        if not lend or number != 0x8946 or ctypes.c_uint32.from_address(address).value != GSTATS:
            return real(handle, number, request)
        lend = False
        with open_socket() as renaming:

            def name(old: str, new: str) -> None:
                content = struct.pack("=16s16s8x", old.encode(), new.encode())
                real(renaming, SIOCSIFNAME, content)

            name("veth0", "spare")
            name("veth2", "veth0")
            answer = real(handle, number, request)
            name("veth0", "veth2")
            name("spare", "veth0")
        strange.append(ctypes.c_uint64.from_address(address + 8).value)
        return answer

    strange: list[int] = []

    def read() -> tuple[int, int, int]:
        nonlocal lend
        peers = [socket.if_nametoindex(peer) for peer in ("veth1", "veth3")]
        with closing(ethtool.StatisticsReader()) as reader:
            lend = True
            statistics = reader.read("veth0", socket.if_nametoindex("veth0"))
        return parser.statistics(*statistics)[1][0], peers[0], peers[1]

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    found, own, other = namespace.inside(read)

    assert strange == [other]
    assert found == own


def test_a_device_whose_name_is_no_text(lab: Lab) -> None:
    namespace = lab.namespace()
    name = os.fsdecode(b"\xff\xe9t=;$*\x01 0"[:-2] + b"0123")
    veth(namespace, name, "veth1")

    def read() -> tuple[bytes, int, ethtool.Statistics]:
        with closing(ethtool.StatisticsReader()) as reader:
            statistics = reader.read(name, socket.if_nametoindex(name))
        index = socket.if_nametoindex("veth1")
        return ethtool.call(name, ethtool.GDRVINFO), index, statistics

    driver, index, statistics = namespace.inside(read)
    assert parser.driver_info(driver).driver == "veth"
    assert parser.statistics(*statistics)[1][0] == index


# What the program ethtool says, and what the ioctl says in its place.

Device = tuple[Namespace, str]


@pytest.fixture(params=["veth", "ifb", "this host"])
def device(request: pytest.FixtureRequest, lab: Lab) -> Device:
    """A device of each kind there is."""
    need("ethtool")
    if request.param == "this host":
        for path in sorted(Path("/sys/class/net").iterdir()):
            if (path / "device/driver").exists():
                return Namespace(), path.name
        pytest.skip("this host has no network hardware")
    namespace = lab.namespace()
    try:
        if request.param == "veth":
            veth(namespace, "dev0", "peer0", 4)
        else:
            namespace.ip("link", "add", "dev0", "numtxqueues", "2", "type", "ifb")
    except CommandError as error:
        pytest.skip(f"no {request.param}: {error}")
    return namespace, "dev0"


def witness(device: Device, option: str) -> str | None:
    """What ethtool prints, or None if the driver does not offer it."""
    namespace, name = device
    try:
        return namespace.run("ethtool", option, name)
    except CommandError as error:
        if "not supported" not in str(error) and "no stats available" not in str(error):
            raise
        return None


def answer(device: Device, command: ethtool.Command) -> bytes | None:
    """What the ioctl says, or None if the driver does not offer it."""
    namespace, name = device
    try:
        return namespace.inside(lambda: ethtool.call(name, command))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return None


def table(text: str) -> list[tuple[str, str]]:
    """Every line with a colon: what is before it and what is behind."""
    lines = [line.partition(":") for line in text.splitlines() if ":" in line]
    return [(name.strip(), value.strip()) for name, _, value in lines]


def number(shown: str) -> int:
    """Drivers that leave a field at 0 are shown as if they had none."""
    return 0 if shown == "n/a" else int(shown)


def test_statistics_are_as_ethtool_says(device: Device) -> None:
    namespace, name = device

    def read() -> ethtool.Statistics:
        with closing(ethtool.StatisticsReader()) as reader:
            return reader.read(name, socket.if_nametoindex(name))

    before = witness(device, "-S")
    if before is None:
        with pytest.raises(OSError, match="not supported"):
            namespace.inside(read)
        return
    names, values = parser.statistics(*namespace.inside(read))
    after = witness(device, "-S")
    assert after is not None
    rows = [table(text)[1:] for text in (before, after)]

    assert names
    assert [row[0] for row in rows[0]] == [row[0] for row in rows[1]] == list(names)
    for low, value, high in zip(rows[0], values, rows[1], strict=True):
        assert int(low[1]) <= value <= int(high[1])


@pytest.mark.parametrize("kind", ["rings", "channels"])
def test_rings_and_channels_are_as_ethtool_says(device: Device, kind: str) -> None:
    option, command = {
        "rings": ("-g", ethtool.GRINGPARAM),
        "channels": ("-l", ethtool.GCHANNELS),
    }[kind]
    said, found = witness(device, option), answer(device, command)
    assert (said is None) == (found is None)
    if said is None or found is None:
        return
    most, now = (dict(table(part)) for part in said.split("Current hardware settings:"))
    if kind == "rings":
        rings = parser.rings(found)
        names = {"RX": "rx", "TX": "tx"}
        maxima = {name: getattr(rings, f"{field}_max") for name, field in names.items()}
        current = {name: getattr(rings, field) for name, field in names.items()}
    else:
        channels = parser.channels(found)
        names = {"RX": "rx", "TX": "tx", "Other": "other", "Combined": "combined"}
        maxima = {name: getattr(channels, f"max_{field}") for name, field in names.items()}
        current = {name: getattr(channels, field) for name, field in names.items()}

    assert {name: number(most[name]) for name in names} == maxima
    assert {name: number(now[name]) for name in names} == current
    assert any(maxima.values())


# ethtool's older words for single features.
WORDS = {
    "generic-receive-offload": "rx-gro",
    "generic-segmentation-offload": "tx-generic-segmentation",
    "large-receive-offload": "rx-lro",
    "ntuple-filters": "rx-ntuple-filter",
    "receive-hashing": "rx-hashing",
    "rx-checksumming": "rx-checksum",
    "rx-vlan-offload": "rx-vlan-hw-parse",
    "tx-vlan-offload": "tx-vlan-hw-insert",
}
SUMS = {"tx-checksumming", "scatter-gather", "tcp-segmentation-offload"}


def test_features_are_as_ethtool_says(device: Device) -> None:
    namespace, name = device
    features = namespace.inside(
        lambda: parser.features(
            ethtool.call(name, ethtool.GFEATURES), ethtool.feature_strings(name)
        )
    )
    said = witness(device, "-k")
    assert said is not None
    rows = {WORDS.get(word, word): value.split()[0] == "on" for word, value in table(said)[1:]}

    expected = {word: active for word, active in rows.items() if word not in SUMS}
    assert {word for word, active in expected.items() if active} == features.active
    assert features.hw - features.nochange <= expected.keys()
    fixed = {WORDS.get(word, word) for word, value in table(said)[1:] if "[fixed]" in value}
    assert fixed - SUMS == expected.keys() - (features.hw - features.nochange)
    assert len(expected) > 40


def test_the_driver_is_as_ethtool_says(device: Device) -> None:
    found, said = answer(device, ethtool.GDRVINFO), witness(device, "-i")
    assert (found is None) == (said is None)
    if found is None or said is None:
        return
    rows = dict(table(said))

    assert parser.driver_info(found) == (
        rows["driver"],
        rows["version"],
        rows["firmware-version"],
        rows["bus-info"],
    )
    assert rows["driver"]


def test_coalescing_is_as_ethtool_says(device: Device) -> None:
    found, said = answer(device, ethtool.GCOALESCE), witness(device, "-c")
    assert (found is None) == (said is None)
    if found is None or said is None:
        return
    coalesce = parser.coalesce(found)
    adaptive = re.search(r"Adaptive RX: (\S+)\s+TX: (\S+)", said)
    assert adaptive
    for direction, shown in zip(("rx", "tx"), adaptive.groups(), strict=True):
        assert bool(coalesce.pop(f"use_adaptive_{direction}_coalesce")) == (shown == "on")
    rows = {name.replace("-frame-", "-frames-"): value for name, value in table(said)[2:]}

    assert {ethtool_word(field): value for field, value in coalesce.items()} == {
        word: number(rows[word]) for word in map(ethtool_word, coalesce)
    }


def ethtool_word(field: str) -> str:
    """How ethtool calls a field of struct ethtool_coalesce."""
    word = re.sub("_max_coalesced|_coalesce(?=_usecs)|^rate_(?=sample)", "", field)
    return word.replace("_", "-")


@pytest.mark.parametrize("kind", ["pause", "fec"])
def test_pause_and_fec_are_as_ethtool_says(device: Device, kind: str) -> None:
    if kind == "pause":
        found, said = answer(device, ethtool.GPAUSEPARAM), witness(device, "-a")
    else:
        found, said = answer(device, ethtool.GFECPARAM), witness(device, "--show-fec")
    assert (found is None) == (said is None)
    if found is None or said is None:
        return
    rows = dict(table(said))
    if kind == "pause":
        shown = tuple(rows[word] == "on" for word in ("Autonegotiate", "RX", "TX"))
        assert parser.pause(found)[:3] == shown
    else:
        words = rows["Configured FEC encodings"].lower().split()
        assert parser.fec(found).modes == set(words) - {"none"}


def test_speed_and_duplex_are_as_ethtool_says(device: Device) -> None:
    namespace, name = device
    try:
        settings = namespace.inside(lambda: ethtool.link_settings(name))
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
        with pytest.raises(CommandError):  # it has nothing to say
            namespace.run("ethtool", name)
        return
    said = dict(table(namespace.run("ethtool", name)))
    link = parser.link(settings)

    assert said["Speed"] == (f"{link.speed}Mb/s" if link.speed else "Unknown!")
    assert said["Duplex"].lower() == (link.duplex or "unknown! (255)")
