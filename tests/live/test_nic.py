"""What a device is set to: as ethtool says it, and at once when somebody changes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from netperf_exporter.metric import PREFIX
from tests.live.lab import CommandError, Daemon, Lab, Namespace, Samples, need

EVERY_DEVICE = "--device.include=.*"
EVERY_OFFLOAD = "--collector.nic.offload-include=.*"

# ethtool -k calls some features by older names (off_flag_def[] in ethtool.c).
OLDER_NAMES = {
    "rx-checksumming": "rx-checksum",
    "generic-segmentation-offload": "tx-generic-segmentation",
    "generic-receive-offload": "rx-gro",
    "large-receive-offload": "rx-lro",
    "rx-vlan-offload": "rx-vlan-hw-parse",
    "tx-vlan-offload": "tx-vlan-hw-insert",
    "ntuple-filters": "rx-ntuple-filter",
    "receive-hashing": "rx-hashing",
}
GROUPS = {"tx-checksumming", "scatter-gather", "tcp-segmentation-offload"}
COALESCING = {
    "rx-usecs": "rx_coalesce_usecs",
    "rx-frames": "rx_max_coalesced_frames",
    "tx-usecs": "tx_coalesce_usecs",
    "tx-frames": "tx_max_coalesced_frames",
}


def labelled(samples: Samples, family: str, device: str, label: str) -> dict[str, int]:
    return {
        dict(labels)[label]: int(value)
        for (name, labels), value in samples.items()
        if name == PREFIX + family and dict(labels)["device"] == device
    }


def sections(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """Maximums and settings of ethtool -g and -l; n/a left out."""
    found: list[dict[str, int]] = []
    for line in text.splitlines():
        if line.startswith(("Pre-set maximums", "Current hardware settings")):
            found.append({})
        elif match := re.fullmatch(r"(RX|TX|Other|Combined):\s+(\d+)", line):
            found[-1][match[1].lower()] = int(match[2])
    most, now = found
    return most, now


def asked(namespace: Namespace, option: str, device: str) -> str | None:
    """What ethtool says, or None where the device does not have that."""
    try:
        return namespace.run("ethtool", option, device)
    except CommandError as error:
        if "not supported" not in str(error):
            raise
        return None


def features(namespace: Namespace, device: str) -> dict[str, int]:
    """Those that the device has or could have; what is off and fixed it cannot do."""
    found = {}
    text = namespace.run("ethtool", "-k", device)
    for line in text.splitlines()[1:]:
        name, state = line.strip().split(": ")
        if name not in GROUPS and state != "off [fixed]":
            found[OLDER_NAMES.get(name, name)] = int(state.startswith("on"))
    return found


def agree(namespace: Namespace, daemon: Daemon, device: str) -> None:
    """Everything that ethtool says of a device, in one scrape."""
    samples = daemon.scrape()
    assert labelled(samples, "nic_offload_enabled", device, "offload") == (
        features(namespace, device)
    )
    for option, size, maximum, label in (
        ("-g", "nic_ring_size", "nic_ring_maximum_size", "ring"),
        ("-l", "nic_channels", "nic_maximum_channels", "type"),
    ):
        text = asked(namespace, option, device)
        most, now = sections(text) if text else ({}, {})
        there = {name: value for name, value in most.items() if value}

        assert labelled(samples, maximum, device, label) == there
        assert labelled(samples, size, device, label) == {name: now[name] for name in there}
    said = dict(
        line.partition(": ")[::2] for line in (asked(namespace, "-i", device) or "").splitlines()
    )
    assert info(samples, device) == (
        {
            "driver": said["driver"],
            # That there is none, some drivers say in words.
            "driver_version": said["version"].strip().removesuffix("N/A"),
            "firmware_version": said["firmware-version"].strip().removesuffix("N/A"),
        }
        if said
        else None
    )


def info(samples: Samples, device: str) -> dict[str, str] | None:
    for name, labels in samples:
        said = dict(labels)
        if name == f"{PREFIX}nic_info" and said["device"] == device:
            return {key: said[key] for key in ("driver", "driver_version", "firmware_version")}
    return None


@pytest.fixture(scope="module")
def here() -> Iterator[Daemon]:
    need("ethtool")
    with Daemon(Namespace(), EVERY_OFFLOAD, "--collector.coalescing") as made:
        yield made


def hardware() -> list[str]:
    return [d.name for d in sorted(Path("/sys/class/net").iterdir()) if (d / "device").exists()]


def test_this_host_is_as_ethtool_sees_it(here: Daemon) -> None:
    devices = hardware()
    if not devices:
        pytest.skip("no device with hardware")
    for device in devices:
        agree(Namespace(), here, device)


def test_coalescing_of_this_host(here: Daemon) -> None:
    compared = 0
    for device in hardware():
        text = asked(Namespace(), "-c", device)
        said = labelled(here.scrape(), "nic_coalescing", device, "name")
        for line in (text or "").splitlines():
            name, _, value = line.partition(":")
            if name in COALESCING and value.strip().isdecimal():
                assert said[COALESCING[name]] == int(value)
                compared += 1
    if not compared:
        pytest.skip("no device with coalescing parameters")


def test_the_default_offloads_are_some_of_all(here: Daemon) -> None:
    with Daemon(Namespace()) as ordinary:
        for device in hardware():
            every = labelled(here.scrape(), "nic_offload_enabled", device, "offload")
            some = labelled(ordinary.scrape(), "nic_offload_enabled", device, "offload")

            assert "rx-gro" in some
            assert some.items() <= every.items()
            assert len(some) < len(every)


def test_a_change_shows_in_the_next_scrape(lab: Lab) -> None:
    need("ethtool")
    namespace = lab.namespace()
    queues = ("numtxqueues", "8", "numrxqueues", "8")
    namespace.ip("link", "add", "name", "v0", *queues, "type", "veth", "peer", "name", "v1")
    namespace.ip("link", "set", "dev", "v0", "up")
    daemon = lab.daemon(namespace, EVERY_DEVICE, EVERY_OFFLOAD)
    agree(namespace, daemon, "v0")
    for rx, tx in ((3, 5), (8, 1), (1, 8)):
        namespace.run("ethtool", "-L", "v0", "rx", str(rx), "tx", str(tx))
        used = labelled(daemon.scrape(), "nic_channels", "v0", "type")

        assert used == {"rx": rx, "tx": tx}
        agree(namespace, daemon, "v0")
    for feature in ("rx-gro", "tx-generic-segmentation", "tx-tcp-segmentation", "rx-gro-list"):
        for state in ("off", "on", "off"):
            namespace.run("ethtool", "-K", "v0", feature, state)
            said = labelled(daemon.scrape(), "nic_offload_enabled", "v0", "offload")

            assert said[feature] == (state == "on")
            agree(namespace, daemon, "v0")
    agree(namespace, daemon, "v1")
    agree(namespace, daemon, "lo")


KINDS = {
    "ifb": ("type", "ifb"),
    "bridge": ("type", "bridge"),
    "macvlan": ("link", "{port}", "type", "macvlan"),
    "vxlan": ("type", "vxlan", "id", "7", "dstport", "4789", "local", "127.0.0.1"),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_devices_without_hardware_say_what_they_have(lab: Lab, kind: str) -> None:
    """No ring of size 0, no channel of which there can be none."""
    need("ethtool")
    _, right = lab.pair()
    namespace = right.namespace
    words = [word.format(port=right.device) for word in KINDS[kind]]
    link = words[:2] if words[0] == "link" else []
    try:
        namespace.ip("link", "add", *link, "name", "it", *words[len(link) :])
    except CommandError as error:
        pytest.skip(f"no {kind}: {error}")
    daemon = lab.daemon(namespace, EVERY_DEVICE, EVERY_OFFLOAD)

    agree(namespace, daemon, "it")
    agree(namespace, daemon, right.device)


def test_pause_and_fec_have_no_sample_where_there_is_none(lab: Lab) -> None:
    flags = ("--collector.pause", "--collector.fec")
    daemon = lab.daemon(lab.namespace(), EVERY_DEVICE, *flags)
    samples = daemon.scrape()

    assert not [name for (name, _) in samples if re.match(rf"{PREFIX}nic_(\w+_)?(pause|fec)", name)]
    for collector in ("pause", "fec"):
        assert samples[f"{PREFIX}scrape_collector_success", (("collector", collector),)] == 1


def test_losses_of_this_host_are_what_its_driver_counts(here: Daemon) -> None:
    """virtio_net: no name of its own is a loss that is not counted by queue already."""
    for device in hardware():
        driver = os.path.realpath(f"/sys/class/net/{device}/device/driver").rpartition("/")[2]
        if driver == "virtio_net":
            samples = here.scrape()
            for family in ("nic_receive_losses_total", "nic_transmit_losses_total"):
                assert labelled(samples, family, device, "cause") == {}
            return
    pytest.skip("no virtio_net here")
