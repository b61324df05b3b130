"""Drivers of real cards, emulated: what is exported is what ip and ethtool say at that moment.

All of it happens in one guest (nic_scenario.py), which is looked at afterwards. Nothing but what
the scenario sends moves in its namespaces, so what the tools said before and after a scrape was
the same, and figures have to be equal.
"""

from __future__ import annotations

import re
import shutil

import pytest

from tests.guest.guest import missing, run
from tests.guest.kernels import KERNELS, KernelUnavailableError, fetch
from tests.guest.nic_recording import (
    STEPS,
    Recording,
    Step,
    by,
    by_device,
    ip_link,
    names_by_driver,
    of_queues,
    read,
    samples,
    sizes,
    statistics,
)

pytestmark = pytest.mark.guest

NICS = ("vmxnet3", "virtio-net-pci,mq=on", "e1000e", "rtl8139", "e1000")
UNKNOWN = "8139cp"
QUEUES = range(4)

# Words of `ip -s -s -j link` → families of collector link.
RECEIVE = {
    "bytes": "receive_bytes",
    "packets": "receive_packets",
    "errors": "receive_errors",
    "dropped": "receive_dropped",
    "over_errors": "receive_over_errors",
    "length_errors": "receive_length_errors",
    "crc_errors": "receive_crc_errors",
    "frame_errors": "receive_frame_errors",
    "fifo_errors": "receive_fifo_errors",
    "missed_errors": "receive_missed",
}
TRANSMIT = {
    "bytes": "transmit_bytes",
    "packets": "transmit_packets",
    "errors": "transmit_errors",
    "dropped": "transmit_dropped",
    "carrier_errors": "transmit_carrier_errors",
    "aborted_errors": "transmit_aborted_errors",
    "fifo_errors": "transmit_fifo_errors",
    "window_errors": "transmit_window_errors",
    "heartbeat_errors": "transmit_heartbeat_errors",
    "carrier_changes": "carrier_changes",
}
# ethtool shows these under names of its own.
FEATURES = {
    "rx-checksumming": "rx-checksum",
    "generic-segmentation-offload": "tx-generic-segmentation",
    "generic-receive-offload": "rx-gro",
    "large-receive-offload": "rx-lro",
    "rx-vlan-offload": "rx-vlan-hw-parse",
    "tx-vlan-offload": "tx-vlan-hw-insert",
    "ntuple-filters": "rx-ntuple-filter",
    "receive-hashing": "rx-hashing",
    "udp-fragmentation-offload": "tx-udp-fragmentation",
}
SUMS = ("tx-checksumming", "scatter-gather", "tcp-segmentation-offload")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    reason = missing()
    if reason:
        pytest.skip(reason)
    if shutil.which("ethtool") is None:
        pytest.skip("no program ethtool")
    kernel = KERNELS["6.12"]
    try:
        fetch(kernel)
    except KernelUnavailableError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("guest")
    command = "PYTHONPATH=. .venv/bin/python -m tests.guest.nic_scenario /out"
    result = run(kernel, command, output=folder, cpus=len(QUEUES), nics=NICS, timeout=400)
    assert result.status == 0, result.console
    return read(folder)


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest, recording: Recording) -> Step:
    found: Step = recording.steps[request.param]
    return found


def test_tools_say_the_same_before_and_after_a_scrape(step: Step) -> None:
    """Without this, the others prove nothing."""
    quiet = {name: text for name, text in step.before.items() if name != "link"}

    assert quiet == {name: text for name, text in step.after.items() if name != "link"}
    cards = set(step.devices.values()) | {"again"}
    before, after = ip_link(step.before), ip_link(step.after)
    assert {name: before[name] for name in before if name in cards} == {
        name: after[name] for name in after if name in cards
    }


def test_interfaces_are_what_ip_says(step: Step) -> None:
    found: dict[tuple[str, str], float] = {}
    expected: dict[tuple[str, str], float] = {}
    for name, link in ip_link(step.after).items():
        if name == "lo":  # over which the scrape came
            continue
        for side, words in (("rx", RECEIVE), ("tx", TRANSMIT)):
            for word, family in words.items():
                expected[name, family] = link["stats64"][side][word]
                found[name, family] = by_device(step.metrics, f"interface_{family}")[name]
        expected[name, "mtu"] = link["mtu"]
        found[name, "mtu"] = by_device(step.metrics, "interface_mtu_bytes")[name]
        expected[name, "up"] = "LOWER_UP" in link["flags"]
        found[name, "up"] = by_device(step.metrics, "interface_up")[name]

    assert len(expected) == 4 * (len(RECEIVE) + len(TRANSMIT) + 2)
    assert found == expected


def test_drivers_are_what_the_guest_says(recording: Recording) -> None:
    step = recording.steps["start"]

    assert names_by_driver(step.metrics) == {"": "lo", **step.devices}


def test_driver_statistics_are_what_ethtool_says(step: Step) -> None:
    """Every one in its place; a name that was there before has a number behind it."""
    for name in ip_link(step.after):
        found = [
            (re.sub(r"#\d+$", "", labels["name"]).strip(), value)
            for labels, value in samples(step.metrics, "nic_statistic")
            if labels["device"] == name
        ]

        assert found == [(said.strip(), value) for said, value in statistics(step.after, name)]


def test_queues_of_vmxnet3(step: Step) -> None:
    """The kernel has no queue statistics of this driver; ethtool shows them by position."""
    device = step.devices["vmxnet3"]
    rows = statistics(step.after, device)
    expected = {
        family: of_queues(rows, heading, *[f"{kind}cast {word}" for kind in ("u", "m", "b")])
        for family, heading, word in (
            ("receive_packets", "Rx Queue#", "pkts rx"),
            ("receive_bytes", "Rx Queue#", "bytes rx"),
            ("transmit_packets", "Tx Queue#", "pkts tx"),
            ("transmit_bytes", "Tx Queue#", "bytes tx"),
        )
    }

    assert [len(by_queue) for by_queue in expected.values()] == [4, 4, 4, 4]
    assert expected == {
        family: by(step.metrics, f"queue_{family}", device, "queue") for family in expected
    }


def test_queues_of_virtio_are_those_that_frames_were_sent_on(recording: Recording) -> None:
    """Each CPU sends on the queue of its number (virtnet_set_affinity())."""
    start, traffic = recording.steps["start"], recording.steps["traffic"]
    device = traffic.devices["virtio_net"]
    sent = [
        by(step.metrics, "queue_transmit_packets", device, "queue") for step in (start, traffic)
    ]
    grown = {queue: value - sent[0][queue] for queue, value in sent[1].items()}
    expected = traffic.done["by_cpu"]["virtio_net"]

    assert grown == {str(queue): expected[queue] for queue in QUEUES}


@pytest.mark.parametrize("name", ["start", "traffic", "rings"])
def test_queues_of_virtio_add_up_to_what_ip_says(recording: Recording, name: str) -> None:
    """Until there are fewer: what queues that are gone have counted is in the sum of ip only."""
    step = recording.steps[name]
    device = step.devices["virtio_net"]
    said = ip_link(step.after)[device]["stats64"]
    found = {
        family: sum(by(step.metrics, f"queue_{family}", device, "queue").values())
        for family in ("receive_packets", "receive_bytes", "transmit_packets", "transmit_bytes")
    }

    assert found == {
        "receive_packets": said["rx"]["packets"],
        "receive_bytes": said["rx"]["bytes"],
        "transmit_packets": said["tx"]["packets"],
        "transmit_bytes": said["tx"]["bytes"],
    }


def test_frames_that_were_sent_are_counted(recording: Recording) -> None:
    """Neither fewer nor more, in both directions, for every driver."""
    start, traffic = recording.steps["start"], recording.steps["traffic"]
    for family, expected in (
        ("interface_receive_packets", traffic.done["to"]),
        (
            "interface_transmit_packets",
            {driver: sum(frames) for driver, frames in traffic.done["by_cpu"].items()},
        ),
    ):
        before, after = by_device(start.metrics, family), by_device(traffic.metrics, family)
        grown = {d: after[name] - before[name] for d, name in traffic.devices.items()}

        assert grown == expected


def test_who_tells_of_queues(step: Step) -> None:
    """virtio the kernel, vmxnet3 its driver, the others nobody."""
    rows = [labels for labels, _ in samples(step.metrics, "queue_statistics_source_info")]
    sources = {row["device"]: row["source"] for row in rows}
    expected = {"virtio_net": "qstats", "vmxnet3": "driver", UNKNOWN: "none"}

    assert {driver: sources[step.devices[driver]] for driver in expected} == expected


def test_frames_that_are_too_long_are_lost_by_the_card(recording: Recording) -> None:
    before, after = recording.steps["traffic"], recording.steps["long"]
    device = after.devices["e1000e"]

    def losses(step: Step) -> dict[str, float]:
        return by(step.metrics, "nic_receive_losses", device, "cause")

    grown = {cause: value - losses(before)[cause] for cause, value in losses(after).items()}
    assert grown == {"fifo_full": 0, "link": 0, "oversize": 6}


def test_a_burst_is_received_or_lost_to_a_full_ring(recording: Recording) -> None:
    """What was sent is what came and what the ring had no room for; ip knows nothing of it."""
    before, after = recording.steps["rings"], recording.steps["burst"]
    device = after.devices["vmxnet3"]

    def grown(family: str, **labels: str) -> float:
        wanted = {"device": device, **labels}.items()
        values = [
            sum(value for found, value in samples(step.metrics, family) if wanted <= found.items())
            for step in (before, after)
        ]
        return values[1] - values[0]

    lost = grown("queue_receive_drops", cause="ring_full")
    assert lost >= 50
    assert grown("interface_receive_packets") + lost == after.done["sent"]
    assert grown("queue_receive_drops") == lost
    assert grown("interface_receive_missed") == 0
    assert grown("interface_receive_dropped") == 0


def test_rings_are_what_ethtool_says(step: Step) -> None:
    for device in ip_link(step.after):
        maximum, current = sizes(step.after[f"{device}.g"])
        for family, said in (("nic_ring_size", current), ("nic_ring_maximum_size", maximum)):
            found = by(step.metrics, family, device, "ring")

            assert found == {name: said[name] for name in ("rx", "tx") if name in said}


def test_channels_are_what_ethtool_says(step: Step) -> None:
    for device in ip_link(step.after):
        maximum, current = sizes(step.after.get(f"{device}.l", ""))
        for family, said in (("nic_channels", current), ("nic_maximum_channels", maximum)):
            found = by(step.metrics, family, device, "type")

            assert found == {name: number for name, number in said.items() if number}


def test_what_was_set_is_exported(recording: Recording) -> None:
    """The tests above would not notice if nothing had been set."""
    rings, channels = recording.steps["rings"], recording.steps["channels"]

    vmxnet3 = by(rings.metrics, "nic_ring_size", rings.devices["vmxnet3"], "ring")
    e1000e = by(rings.metrics, "nic_ring_size", rings.devices["e1000e"], "ring")
    assert (vmxnet3["rx"], vmxnet3["tx"]) == (32, 256)
    assert e1000e == {"rx": 512, "tx": 128}
    device = channels.devices["virtio_net"]
    assert by(channels.metrics, "nic_channels", device, "type") == {"combined": 2}
    assert list(by(channels.metrics, "queue_receive_packets", device, "queue")) == ["0", "1"]
    assert list(by(channels.metrics, "queue_transmit_packets", device, "queue")) == ["0", "1"]


def test_offloads_are_what_ethtool_says(step: Step) -> None:
    """What a device cannot do has no sample."""
    for device in ip_link(step.after):
        text = step.after[f"{device}.k"]
        said = re.findall(r"^\t?([\w-]+): (on|off)( \[fixed\])?", text, re.MULTILINE)
        expected = {
            FEATURES.get(name, name): int(state == "on")
            for name, state, fixed in said
            if name not in SUMS and not (state == "off" and fixed)
        }

        assert by(step.metrics, "nic_offload_enabled", device, "offload") == expected


def test_an_unknown_driver_is_hinted_at_once_and_nothing_of_it_is_guessed(
    recording: Recording,
) -> None:
    hints = [line for line in recording.log.splitlines() if "not in the table of drivers" in line]

    assert len(hints) == 1
    assert f"driver {UNKNOWN}:" in hints[0]
    for step in recording.steps.values():
        names = ("nic_receive_losses", "nic_transmit_losses", "queue_receive_drops")
        of_it = [labels for name in names for labels, _ in samples(step.metrics, name)]
        assert step.devices[UNKNOWN] not in {labels["device"] for labels in of_it}


def test_the_log_has_nothing_else(recording: Recording) -> None:
    """Through all that happened: no collector failed, no source was malformed."""
    assert not re.findall(r"level=(?:warn|error)|Traceback", recording.log)


def test_cards_that_exchange_names_keep_their_figures(recording: Recording) -> None:
    """In each scrape, whatever it calls them. What could not be read for sure is not there."""
    before = recording.steps["channels"]
    drivers = ("vmxnet3", UNKNOWN)
    packets = by_device(before.metrics, "interface_receive_packets")
    lists = {driver: statistics(before.after, before.devices[driver]) for driver in drivers}
    seen = set()
    complete = dict.fromkeys(drivers, 0)
    scrapes = recording.scrapes[: recording.scrapes.index("reload")]
    for scrape in scrapes:
        names = names_by_driver(scrape)
        received = by_device(scrape, "interface_receive_packets")
        assert sorted({**received, "lo": 0}.values()) == sorted({**packets, "lo": 0}.values())
        for driver in names.keys() & drivers:
            assert received[names[driver]] == packets[before.devices[driver]]
            values = [*by(scrape, "nic_statistic", names[driver], "name").values()]
            assert values in ([], [value for _, value in lists[driver]])
            complete[driver] += bool(values)
        rows = {labels["device"] for labels, _ in samples(scrape, "queue_receive_packets")}
        assert rows <= {names.get("vmxnet3"), names["virtio_net"]}
        seen.add(tuple(names.get(driver) for driver in drivers))

    first, second = (before.devices[driver] for driver in drivers)
    assert {(first, second), (second, first)} <= seen
    assert min(complete.values()) > len(scrapes) / 2


def test_a_device_that_is_gone_has_no_series(recording: Recording) -> None:
    """Not even one, of no collector, and the one that comes instead begins anew."""
    before = recording.steps["channels"]
    old = before.devices["e1000e"]
    states = []
    for scrape in recording.scrapes[recording.scrapes.index("reload") + 1 :]:
        names = {labels["device"] for labels, _ in samples(scrape, "interface_info")}
        for name in (old, "again"):
            assert name in names or f'device="{name}"' not in scrape
        states.append(tuple(name in names for name in (old, "again")))

    order = [state for state, last in zip(states, [None, *states], strict=False) if state != last]
    assert order == [(True, False), (False, False), (False, True)]
    last = recording.steps["end"]
    packets = by_device(last.metrics, "interface_transmit_packets")
    assert packets["again"] == 0 < by_device(before.metrics, "interface_transmit_packets")[old]
