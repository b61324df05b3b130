"""Netlink on the running kernel: the programs ip and ethtool are the witnesses."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from netperf_exporter.kernel.netlink import codec, generic, requests
from netperf_exporter.kernel.netlink import socket as netlink
from netperf_exporter.parsers import ethtool_netlink, netdev
from netperf_exporter.parsers.nic import Named
from tests.live.lab import CommandError, Lab, Namespace, command, need

T = TypeVar("T")

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
PROGRAM = """
from netperf_exporter.kernel.netlink import generic, requests, socket

for name, request in vars(requests).items():
    if isinstance(request, socket.Request):
        print(name, len(socket.dump(request)))
    elif isinstance(request, generic.Request):
        ask = generic.ask if request is requests.FEATURE_NAMES else generic.dump
        try:
            print(name, len(ask(request)))
        except OSError as error:
            print(name, error.strerror)
"""
HERE = Namespace()


def names_of(dump: bytes) -> list[str]:
    """The names of the devices in a dump of links, in its order: IFLA_IFNAME is 3."""
    return [
        codec.text(dump, span)
        for message in codec.messages(dump)
        for span in codec.attributes(dump, message.start + 16, message.end)
        if span.type == 3
    ]


def links_of(namespace: Namespace) -> list[dict[str, Any]]:
    """As ip lists them."""
    enter = ("-n", namespace.name) if namespace.name else ()
    listed: list[dict[str, Any]] = json.loads(command("ip", *enter, "-j", "link"))
    return listed


def if_supported(call: Callable[[], T]) -> T:
    """Skip the test on a kernel without the family or the command."""
    try:
        return call()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
            raise
        pytest.skip(str(error))


def dumped(namespace: Namespace, request: generic.Request) -> bytes:
    """A dump as somebody inside gets it."""
    return if_supported(lambda: namespace.inside(lambda: generic.dump(request)))


def by_name(found: dict[int, Named[T]]) -> dict[str, T]:
    return {named.device: named.value for named in found.values()}


def table(text: str) -> list[tuple[str, str]]:
    """The lines ``NAME: VALUE`` of ethtool; what is set now comes last where names repeat."""
    return re.findall(r"^\s*([\w -]+):[ \t]+(\S+)", text, re.MULTILINE)


def pairs(text: str, *names: str) -> list[int]:
    """The maximum and the current value of each; 0 where ethtool says that it is n/a."""
    said = table(text)
    return [
        int(value) if value != "n/a" else 0
        for name in names
        for known, value in said
        if known == name
    ]


@pytest.fixture(scope="module")
def devices() -> Iterator[Namespace]:
    """A namespace with a veth pair of eight queues, up, and an ifb of four."""
    need("ethtool")
    with Lab() as lab:
        namespace = lab.namespace()
        number = ("numrxqueues", "8", "numtxqueues", "8")
        ends = ("name", "b0", *number, "type", "veth", "peer", "name", "b1", *number)
        namespace.ip("link", "add", *ends)
        try:
            namespace.ip("link", "add", "bifb", "numtxqueues", "4", "type", "ifb")
        except CommandError as error:
            if "Unknown device type" not in str(error):
                raise
        for device in ("b0", "b1"):
            namespace.run("ethtool", "-L", device, "rx", "3", "tx", "5")
            namespace.ip("link", "set", device, "up")
        yield namespace


def test_every_link_is_in_the_dump(devices: Namespace) -> None:
    for namespace in (HERE, devices):
        before = [link["ifname"] for link in links_of(namespace)]
        names = names_of(namespace.inside(lambda: netlink.dump(requests.LINKS)))
        if before == [link["ifname"] for link in links_of(namespace)]:
            assert names == before


def test_statistics_of_every_link_are_in_the_dump(devices: Namespace) -> None:
    """And nothing but struct rtnl_link_stats64, the attribute IFLA_STATS_LINK_64."""
    dump = devices.inside(lambda: netlink.dump(requests.LINK_STATS))
    found = {
        struct.unpack_from("=I", dump, message.start + 4)[0]: [
            (span.type, (span.end - span.start) % 8, span.end - span.start >= 23 * 8)
            for span in codec.attributes(dump, message.start + 12, message.end)
        ]
        for message in codec.messages(dump)
    }

    assert sorted(found) == sorted(link["ifindex"] for link in links_of(devices))
    assert {tuple(spans) for spans in found.values()} == {((1, 0, True),)}


def test_every_qdisc_is_in_the_dump(devices: Namespace) -> None:
    """TCA_KIND is 1."""
    dump = devices.inside(lambda: netlink.dump(requests.QDISCS))
    kinds = [
        codec.text(dump, span)
        for message in codec.messages(dump)
        for span in codec.attributes(dump, message.start + 20, message.end)
        if span.type == 1
    ]

    assert kinds == [qdisc["kind"] for qdisc in json.loads(devices.tc("-j", "qdisc"))]


def test_the_kernel_says_what_it_does_not_like() -> None:
    """The text of an NLMSG_DONE that ends a dump before it began."""
    filtered = requests.LINKS._replace(body=struct.pack("=BxHiII", 0, 0, 1, 0, 0))
    with pytest.raises(OSError, match="'links'") as raised:
        netlink.dump(filtered)

    assert raised.value.errno == errno.EINVAL
    assert raised.value.strerror == (
        f"{os.strerror(errno.EINVAL)}: Filter by device index not supported for link dumps"
    )


def test_the_kernel_says_which_attribute_is_malformed() -> None:
    """The text of an NLMSG_ERROR: the flags of an ethtool header are a u32."""
    header = codec.nested(1, codec.attribute(3, b"\1"))
    malformed = requests.RINGS._replace(body=header)
    if_supported(lambda: generic.family("ethtool"))
    with pytest.raises(OSError, match="'rings'") as raised:
        generic.dump(malformed)

    code = raised.value.errno
    assert code in (errno.EINVAL, errno.ERANGE)
    assert str(raised.value.strerror).startswith(f"{os.strerror(code)}: ")
    assert "ttribute" in str(raised.value.strerror)


def test_a_family_that_the_kernel_does_not_have() -> None:
    with pytest.raises(FileNotFoundError, match="family nosuchfamily"):
        generic.dump(generic.Request("rows", "nosuchfamily", 1))


class Disturbed:
    """A namespace in which a device comes or goes in the middle of the first few dumps.

    The kernel lists a part of the links in advance whenever a part has been read, so a change
    after the first of many parts falls into the dump.
    """

    def __init__(self, namespace: Namespace, patch: pytest.MonkeyPatch, times: int) -> None:
        self.namespace = namespace
        self.dumps: list[netlink._Socket] = []
        batch = "".join(f"link add a{n} type veth peer name z{n}\n" for n in range(100))
        namespace.run("ip", "-b", "-", stdin=batch)
        receive = netlink._Socket._receive

        def disturbed(socket: netlink._Socket, request: netlink.Request) -> int:
            received = receive(socket, request)
            if socket not in self.dumps:
                self.dumps.append(socket)
                if len(self.dumps) <= times:
                    change = "add" if len(self.dumps) % 2 else "del"
                    namespace.ip("link", change, "came", *(("type", "bridge") * (change == "add")))
            return received

        patch.setattr(netlink._Socket, "_receive", disturbed)

    def dump(self) -> bytes:
        """Dump the links from inside."""
        return self.namespace.inside(lambda: netlink.dump(requests.LINKS))


def test_a_dump_that_links_interrupt_is_whole(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for again until nothing came or went meanwhile; no device is missing or twice."""
    disturbed = Disturbed(lab.namespace(), monkeypatch, times=3)
    names = names_of(disturbed.dump())

    assert len(disturbed.dumps) == 4
    assert names == [link["ifname"] for link in links_of(disturbed.namespace)]
    assert "came" in names
    assert len(names) > 200


def test_a_dump_that_links_always_interrupt_is_given_up(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather none than a wrong one."""
    disturbed = Disturbed(lab.namespace(), monkeypatch, times=99)
    with pytest.raises(netlink.Interrupted, match="interrupted 10 times: 'links'"):
        disturbed.dump()

    assert len(disturbed.dumps) == 10


def test_nobody_may_ask_for_everything() -> None:
    """No user, no group, no capability: each request gets the same answer as root's."""
    need("setpriv")
    if os.geteuid():
        pytest.skip("only root can become nobody")
    root, nobody = (
        dict(
            line.split(" ", 1) for line in command(*who, sys.executable, "-c", PROGRAM).splitlines()
        )
        for who in ((), NOBODY)
    )
    sent = [
        name
        for name, value in vars(requests).items()
        if isinstance(value, (netlink.Request, generic.Request))
    ]

    assert list(root) == list(nobody) == sent
    assert {name: said for name, said in root.items() if not said.isdecimal()} == {
        name: said for name, said in nobody.items() if not said.isdecimal()
    }


def test_rings_are_what_ethtool_says() -> None:
    """veth has none, so those of this machine."""
    need("ethtool")
    found = by_name(ethtool_netlink.rings(dumped(HERE, requests.RINGS), []))
    if not found:
        pytest.skip("no device here has rings")
    for device, rings in found.items():
        said = pairs(command("ethtool", "-g", device), "RX", "TX")
        assert [rings.rx_max, rings.rx, rings.tx_max, rings.tx] == said


def test_channels_are_what_ethtool_says(devices: Namespace) -> None:
    for namespace in (HERE, devices):
        for device, channels in by_name(
            ethtool_netlink.channels(dumped(namespace, requests.CHANNELS), [])
        ).items():
            said = namespace.run("ethtool", "-l", device)
            maxima_and_now = list(zip(channels[4:], channels[:4], strict=True))
            assert pairs(said, "RX", "TX", "Other", "Combined") == [
                number for pair in maxima_and_now for number in pair
            ]
    assert channels[:4] == (3, 5, 0, 0)


def test_speed_and_duplex_are_what_ethtool_says(devices: Namespace) -> None:
    """veth says 10 Gb/s whatever it can."""
    found = by_name(ethtool_netlink.linkmodes(dumped(devices, requests.LINKMODES), []))
    said = dict(table(devices.run("ethtool", "b0")))

    assert f"{found['b0'].speed}Mb/s" == said["Speed"]
    assert found["b0"].duplex == said["Duplex"].lower()
    assert found["b0"].speed == 10000


def test_coalescing_is_what_ethtool_says() -> None:
    need("ethtool")
    found = by_name(ethtool_netlink.coalesce(dumped(HERE, requests.COALESCE), []))
    names = {
        "rx_coalesce_usecs": "rx-usecs",
        "rx_max_coalesced_frames": "rx-frames",
        "tx_coalesce_usecs": "tx-usecs",
        "tx_max_coalesced_frames_irq": "tx-frames-irq",
        "rate_sample_interval": "sample-interval",
    }
    if not found:
        pytest.skip("no device here coalesces")
    for device, fields in found.items():
        said = dict(table(command("ethtool", "-c", device)))
        assert {name: str(fields.get(name, "n/a")) for name in names} == {
            name: said[called] for name, called in names.items()
        }
        adaptive = {0: "off", 1: "on", None: "n/a"}[fields.get("use_adaptive_rx_coalesce")]
        assert said["Adaptive RX"] == adaptive


def test_flow_control_is_what_ethtool_says() -> None:
    need("ethtool")
    found = by_name(ethtool_netlink.pause(dumped(HERE, requests.PAUSE), []))
    if not found:
        pytest.skip("no device here has flow control")
    for device, pause in found.items():
        said = dict(table(command("ethtool", "-a", device)))
        words = ["on" if value else "off" for value in pause[:3]]
        assert [said["Autonegotiate"], said["RX"], said["TX"]] == words


def test_features_are_what_ethtool_says(devices: Namespace) -> None:
    """ethtool has groups of its own beside the kernel's names; those are left out here."""
    names = if_supported(lambda: ethtool_netlink.feature_names(generic.ask(requests.FEATURE_NAMES)))
    for namespace in (HERE, devices):
        problems: list[str] = []
        dump = dumped(namespace, requests.FEATURES)
        found = by_name(ethtool_netlink.features(dump, names, problems))

        assert problems == []
        assert sorted(found) == sorted(link["ifname"] for link in links_of(namespace))
        for device, features in found.items():
            (said,) = json.loads(namespace.run("ethtool", "--json", "-k", device))
            known = [name for name in said if name in names]
            assert len(known) > 40
            for name in known:
                assert said[name]["active"] == (name in features.active), (device, name)
                changeable = name in features.hw and name not in features.nochange
                assert said[name]["fixed"] == (not changeable), (device, name)


def test_the_kernel_lists_the_same_features_verbosely(devices: Namespace) -> None:
    """Without the flag for compact bitsets."""
    header = codec.nested(1, codec.u32(3, 0))
    names = if_supported(lambda: ethtool_netlink.feature_names(generic.ask(requests.FEATURE_NAMES)))
    compact, verbose = (
        dumped(devices, request)
        for request in (requests.FEATURES, requests.FEATURES._replace(body=header))
    )

    assert len(verbose) > 4 * len(compact)
    assert ethtool_netlink.features(verbose, names, []) == ethtool_netlink.features(
        compact, names, []
    )


def test_queues_are_those_that_are_in_use(devices: Namespace) -> None:
    """Three of eight for receiving, five for transmitting; an ifb that is down has none."""
    problems: list[str] = []
    found = netdev.queues(dumped(devices, requests.QUEUES), problems)
    indexes = {link["ifname"]: link["ifindex"] for link in links_of(devices)}

    assert problems == []
    assert {name for name, index in indexes.items() if index in found} == {"lo", "b0", "b1"}
    for name in ("b0", "b1"):
        queues = found[indexes[name]]
        assert (list(queues.rx), list(queues.tx)) == ([0, 1, 2], [0, 1, 2, 3, 4])


def test_queues_belong_to_napi_instances_that_are_there() -> None:
    problems: list[str] = []
    found = netdev.queues(dumped(HERE, requests.QUEUES), problems)
    napis = netdev.napis(dumped(HERE, requests.NAPIS), problems)
    used = {
        (index, napi)
        for index, queues in found.items()
        for napi in (*queues.rx.values(), *queues.tx.values())
        if napi is not None
    }
    if not used:
        pytest.skip("no driver here says which NAPI instance serves a queue")

    assert problems == []
    assert used <= {(napi.ifindex, id) for id, napi in napis.items()}


def test_a_napi_instance_has_the_settings_of_its_device() -> None:
    """Those in /sys/class/net, while nobody gave the instance others of its own."""
    napis = netdev.napis(dumped(HERE, requests.NAPIS), [])
    names = dict(socket.if_nameindex())
    told = [napi for napi in napis.values() if napi.gro_flush_timeout is not None]
    if not told:
        pytest.skip("no NAPI instance here tells its settings")
    for napi in told:
        device = Path("/sys/class/net", names[napi.ifindex])
        assert int((device / "gro_flush_timeout").read_text()) == napi.gro_flush_timeout
        assert int((device / "napi_defer_hard_irqs").read_text()) == napi.defer_hard_irqs


def test_the_queues_of_a_device_count_its_packets() -> None:
    """virtio_net adds up its queues for the device (virtnet_stats() in drivers/net/virtio_net.c).

    Their sum is between two readings of that.
    """
    drivers = Path("/sys/class/net").glob("*/device/driver")
    devices = {
        path.parts[4]: socket.if_nametoindex(path.parts[4])
        for path in drivers
        if path.resolve().name == "virtio_net"
    }
    counters = {
        (device, f"{direction}-{unit}"): Path("/sys/class/net", device, f"statistics/{name}")
        for device in devices
        for direction, unit in itertools.product(("rx", "tx"), ("packets", "bytes"))
        for name in [f"{direction}_{unit}"]
    }
    dump = dumped(HERE, requests.QSTATS)
    if not dump or not counters:
        pytest.skip("no virtio_net here")

    before = {which: int(path.read_text()) for which, path in counters.items()}
    problems: list[str] = []
    statistics = netdev.queue_statistics(dumped(HERE, requests.QSTATS), problems)
    after = {which: int(path.read_text()) for which, path in counters.items()}

    assert problems == []
    for (device, measure), least in before.items():
        kind = statistics.receive if measure.startswith("rx") else statistics.transmit
        total = sum(kind[devices[device]][measure].values())
        assert least <= total <= after[device, measure]
