"""Queues: exact numbers of packets on each, as the driver and an independent reader say them."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from netperf_exporter.metric import PREFIX
from tests.live.lab import CommandError, Daemon, Lab, Namespace, Samples, need, wait_until

EVERY_DEVICE = "--device.include=.*"
PRIMES = (101, 211, 307, 401)
FRAME = b"\xff" * 6 + b"\2\0\0\0\0\1" + struct.pack("!H", 0x88CC) + bytes(46)  # LLDP

PerQueue = dict[int, int]


def per_queue(samples: Samples, family: str, device: str) -> PerQueue:
    """A family of one device by queue; causes added up."""
    found: PerQueue = {}
    for (name, labels), value in samples.items():
        said = dict(labels)
        if name == PREFIX + family and said["device"] == device:
            queue = int(said["queue"])
            found[queue] = found.get(queue, 0) + int(value)
    return found


def source_of(samples: Samples, device: str) -> str:
    name = f"{PREFIX}queue_statistics_source_info"
    (source,) = [
        dict(labels)["source"]
        for (said, labels) in samples
        if said == name and dict(labels)["device"] == device
    ]
    return source


def ethtool_statistics(namespace: Namespace, device: str) -> dict[str, int]:
    lines = namespace.run("ethtool", "-S", device).splitlines()[1:]
    return {name.strip(): int(value) for name, _, value in [line.rpartition(":") for line in lines]}


@contextmanager
def multi_queue_tap(namespace: Namespace, name: str, queues: int) -> Iterator[list[int]]:
    """A tap device, and one descriptor for each of its queues."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("no /dev/net/tun")
    flags = 0x0002 | 0x1000 | 0x0100  # IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE
    request = struct.pack("16sH22x", name.encode(), flags)

    def attach() -> int:
        made = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        stack.callback(os.close, made)
        fcntl.ioctl(made, 0x400454CA, request)  # TUNSETIFF
        return made

    with ExitStack() as stack:
        descriptors = [namespace.inside(attach) for _ in range(queues)]
        namespace.ip("link", "set", "dev", name, "multicast", "off", "arp", "off", "up")
        yield descriptors


def redirect(namespace: Namespace, device: str, to: str) -> None:
    """Have everything that a device receives go through another one."""
    try:
        namespace.tc("qdisc", "add", "dev", device, "ingress")
        action = ("action", "mirred", "egress", "redirect", "dev", to)
        where = ("dev", device, "parent", "ffff:", "protocol", "all")
        namespace.tc("filter", "add", *where, "u32", "match", "u32", "0", "0", *action)
    except CommandError as error:
        pytest.skip(f"no redirection: {error}")


def test_packets_of_each_queue_of_an_ifb(lab: Lab) -> None:
    """What comes in at a queue of a tap leaves by that queue of the ifb (skb_tx_hash())."""
    need("ethtool", "tc")
    namespace = lab.namespace()
    queues = len(PRIMES)
    namespace.ip(
        *("link", "add", "name", "through", "numtxqueues", str(queues)),
        *("numrxqueues", str(queues), "type", "ifb"),
    )
    namespace.ip("link", "set", "dev", "through", "multicast", "off", "up")
    daemon = lab.daemon(namespace, EVERY_DEVICE, "--collector.nicstatistics")
    if source_of(daemon.scrape(), "through") == "none":
        pytest.skip("an ifb of this kernel does not count by queue")
    with multi_queue_tap(namespace, "tap0", queues) as descriptors:
        redirect(namespace, "tap0", "through")
        for queue, count in enumerate(PRIMES):
            for _ in range(count):
                os.write(descriptors[queue], FRAME)
        expected = dict(enumerate(PRIMES))

        def received() -> PerQueue:
            return per_queue(daemon.scrape(), "queue_transmit_packets_total", "through")

        assert wait_until(lambda: received() == expected), received()
        samples = daemon.scrape()
        driver = ethtool_statistics(namespace, "through")

    assert source_of(samples, "through") == "driver"
    assert per_queue(samples, "queue_receive_packets_total", "through") == expected
    in_bytes = {queue: 60 * count for queue, count in expected.items()}
    assert per_queue(samples, "queue_receive_bytes_total", "through") == in_bytes
    assert per_queue(samples, "queue_transmit_bytes_total", "through") == in_bytes
    raw = {
        dict(labels)["name"]: int(value)
        for (name, labels), value in samples.items()
        if name == f"{PREFIX}nic_statistic" and dict(labels)["device"] == "through"
    }
    assert raw == driver
    assert {f"rx_queue_{queue}_packets": count for queue, count in expected.items()}.items() <= (
        driver.items()
    )


def test_queues_of_a_veth_follow_its_channels(lab: Lab) -> None:
    """Without XDP and GRO it counts no packets by queue, so there are none, only what it has."""
    need("ethtool")
    namespace = lab.namespace()
    queues = ("numtxqueues", "8", "numrxqueues", "8")
    namespace.ip("link", "add", "name", "many", *queues, "type", "veth", "peer", "name", "peer")
    namespace.ip("link", "set", "dev", "many", "up")
    daemon = lab.daemon(namespace, EVERY_DEVICE)
    for rx, tx in ((8, 8), (3, 5), (1, 1), (5, 2), (8, 8)):
        namespace.run("ethtool", "-L", "many", "rx", str(rx), "tx", str(tx))
        samples = daemon.scrape()
        rows = {
            int(match[1])
            for name in ethtool_statistics(namespace, "many")
            if (match := re.fullmatch(r"rx_queue_(\d+)_drops", name))
        }

        assert rows == set(range(rx))
        assert set(per_queue(samples, "queue_receive_drops_total", "many")) == rows
        assert per_queue(samples, "queue_receive_packets_total", "many") == {}
        assert source_of(samples, "many") == "none"


# A second reader of the netdev family, which shares nothing with the exporter's.

QSTATS = {8: "rx_packets", 9: "rx_bytes", 10: "tx_packets", 11: "tx_bytes", 13: "rx_drops"}
QSTATS |= {33: "tx_stop", 34: "tx_wake"}


def attributes(text: bytes) -> dict[int, bytes]:
    found = {}
    while len(text) >= 4:
        length, kind = struct.unpack_from("=HH", text)
        found[kind & 0x3FFF] = text[4:length]
        text = text[(length + 3) & ~3 :]
    return found


def exchange(handle: socket.socket, family: int, flags: int, body: bytes) -> list[bytes]:
    """The payloads of an answer, behind struct genlmsghdr."""
    handle.send(
        struct.pack("=IHHIIBBH", 20 + len(body[4:]), family, flags, 9, 0, *body[:2], 0) + body[4:]
    )
    found: list[bytes] = []
    while True:
        text = handle.recv(1 << 20)
        while text:
            length, kind = struct.unpack_from("=IH", text)
            if kind == 3 or (kind == 2 and not struct.unpack_from("=i", text, 16)[0]):
                return found
            if kind == 2:
                code = -struct.unpack_from("=i", text, 16)[0]
                raise OSError(code, os.strerror(code))
            found.append(text[20:length])
            text = text[(length + 3) & ~3 :]


def kernels_queues(device: str) -> dict[tuple[str, int], int]:
    """What qstats-get says of a device: by measure and queue."""
    index = socket.if_nametoindex(device)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as handle:
        name = struct.pack("=HH", 11, 2) + b"netdev\0\0"
        try:
            (family,) = exchange(handle, 16, 0x5, b"\3\1\0\0" + name)
            number = struct.unpack("=H", attributes(family)[1])[0]
            scope = struct.pack("=HHI", 8, 4, 1)
            answers = exchange(handle, number, 0x301, b"\x0c\1\0\0" + scope)
        except OSError as error:
            pytest.skip(f"no queue statistics: {error}")
    found: dict[tuple[str, int], int] = {}
    for answer in answers:
        said = {kind: int.from_bytes(value, "little") for kind, value in attributes(answer).items()}
        if said[1] == index:
            found |= {(QSTATS[k], said[3]): value for k, value in said.items() if k in QSTATS}
    return found


EXPORTED = {
    "rx_packets": "queue_receive_packets_total",
    "rx_bytes": "queue_receive_bytes_total",
    "tx_packets": "queue_transmit_packets_total",
    "tx_bytes": "queue_transmit_bytes_total",
    "rx_drops": "queue_receive_drops_total",
    "tx_stop": "queue_transmit_stops_total",
    "tx_wake": "queue_transmit_wakes_total",
}


@pytest.fixture(scope="module")
def with_details() -> Iterator[Daemon]:
    with Daemon(Namespace(), "--collector.queues.transmit-details") as made:
        yield made


def hardware() -> list[str]:
    return [d.name for d in sorted(Path("/sys/class/net").iterdir()) if (d / "device").exists()]


def test_queues_of_this_host_are_what_the_kernel_says(with_details: Daemon) -> None:
    devices = [device for device in hardware() if kernels_queues(device)]
    if not devices:
        pytest.skip("no device here has queue statistics of the kernel")
    for device in devices:
        before = kernels_queues(device)
        samples = with_details.scrape()
        after = kernels_queues(device)

        assert source_of(samples, device) == "qstats"
        compared = 0
        for measure, family in EXPORTED.items():
            said = per_queue(samples, family, device)
            low = {queue: value for (m, queue), value in before.items() if m == measure}
            for queue, value in low.items():
                assert value <= said[queue] <= after[measure, queue], (measure, queue)
                compared += 1
        assert compared == len(before) > 0


def test_queues_of_this_host_move_with_its_traffic(with_details: Daemon) -> None:
    """As many packets on all queues as the device says; a look at each end of the reading."""
    for device in hardware():
        folder = Path(f"/sys/class/net/{device}/statistics")
        for way, family in (("rx", "receive"), ("tx", "transmit")):
            before = int((folder / f"{way}_packets").read_text())
            samples = with_details.scrape()
            after = int((folder / f"{way}_packets").read_text())
            rows = per_queue(samples, f"queue_{family}_packets_total", device)
            if not rows:
                pytest.skip(f"{device} does not count packets by queue")

            assert before <= sum(rows.values()) <= after


def test_sums_of_this_host_begin_at_zero_and_the_worst_is_part_of_them() -> None:
    with Daemon(Namespace()) as daemon:
        for number in range(3):
            samples = daemon.scrape()
            for (name, labels), value in samples.items():
                found = re.fullmatch(rf"{PREFIX}queues_transmit_(?!worst_)(\w+)_total", name)
                if found:
                    worst = samples[f"{PREFIX}queues_transmit_worst_{found[1]}_total", labels]
                    assert 0 <= worst <= value
                    assert value == 0 or number > 0


def test_statistics_that_only_the_driver_has(with_details: Daemon) -> None:
    """virtio_net counts timeouts in its own statistics alone."""
    for device in hardware():
        driver = os.path.realpath(f"/sys/class/net/{device}/device/driver").rpartition("/")[2]
        if driver != "virtio_net":
            continue
        said = ethtool_statistics(Namespace(), device)
        timeouts = {
            int(match[1]): value
            for name, value in said.items()
            if (match := re.fullmatch(r"tx(\d+)_tx_timeouts", name))
        }
        if not timeouts:
            pytest.skip("a virtio_net without timeouts in its statistics")

        samples = with_details.scrape()
        assert per_queue(samples, "queue_transmit_timeouts_total", device) == timeouts
        return
    pytest.skip("no virtio_net here")


def test_a_device_that_is_down_is_not_asked(lab: Lab) -> None:
    """Its driver would have to wake it. Its channels and name are still known."""
    namespace = lab.namespace()
    namespace.ip("link", "add", "name", "asleep", "type", "ifb")
    daemon = lab.daemon(namespace, EVERY_DEVICE, "--collector.nicstatistics")

    def told() -> bool:
        return any(
            name == f"{PREFIX}nic_statistic" and dict(labels)["device"] == "asleep"
            for (name, labels) in daemon.scrape()
        )

    assert not told()
    namespace.ip("link", "set", "dev", "asleep", "up")
    assert told()
    namespace.ip("link", "set", "dev", "asleep", "down")
    assert not told()


def test_the_second_reader_reads_what_a_tool_reads() -> None:
    """Or it would be no witness: rtnetlink's own totals are the sum of its queues."""
    for device in hardware():
        file = Path(f"/sys/class/net/{device}/statistics/rx_packets")
        low = int(file.read_text())
        queues = [value for (m, _), value in kernels_queues(device).items() if m == "rx_packets"]
        high = int(file.read_text())

        assert not queues or low <= sum(queues) <= high
