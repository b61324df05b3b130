"""Hosts that differ in who takes packets: what they export is what was worked out by hand.

The hosts are made in hardware/steered.py and written by make_steering.py. Nothing here comes from
the exporter's own output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netperf_exporter.collectors import COLLECTORS, irq, steering
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.host import ReplayedHost
from netperf_exporter.policy import DevicePolicy
from netperf_exporter.sources import Options
from tests.hosts.hardware import steered
from tests.hosts.make_steering import write

HERE = Path(__file__).parent

Samples = Mapping[str, float]
"""By the values of their labels with | between: the device first, then in the order of the labels'
names."""


def by_queue(device: str, *values: float) -> Samples:
    return {f"{device}|{queue}": value for queue, value in enumerate(values)}


def interrupts(device: str, *vectors: tuple[int, int, int, str, int]) -> dict[str, Samples]:
    """Each vector: its number, CPU, that CPU's node, the queue it serves, how often it came."""
    return {
        "queue_interrupts_total": {
            f"{device}|{cpu}|{number}|{queue}": count for number, cpu, _, queue, count in vectors
        },
        "queue_irq_info": {
            f"{device}|{cpu}|{number}|{node}|{queue}": 1 for number, cpu, node, queue, _ in vectors
        },
    }


def verdicts(
    device: str, *true: str, arfs: int | None = 0, remote: Sequence[int] | None = None
) -> dict[str, Samples]:
    """Those of the device that are 1; the others are 0.

    remote: by queue; None where the device has no node.
    """
    found: dict[str, Samples] = {
        f"steering_{verdict}": {device: int(verdict in true)}
        for verdict in ("rps_covers_all_cpus", "rps_redundant", "rfs_ineffective", "xps_gap")
    }
    if arfs is not None:
        found["steering_arfs_enabled"] = {device: arfs}
    if remote is not None:
        found["steering_irq_remote_node"] = by_queue(device, *remote)
    return found


def weights(device: str, *values: float) -> dict[str, Samples]:
    return {"steering_rss_weight_ratio": by_queue(device, *values)}


def xps(device: str, *values: int) -> dict[str, Samples]:
    return {"steering_xps_cpus": by_queue(device, *values)}


def table(entries: int) -> dict[str, Samples]:
    return {"steering_rfs_table_entries": {"": entries}}


def both(a: dict[str, Samples], b: dict[str, Samples]) -> dict[str, Samples]:
    return {family: {**a.get(family, {}), **b.get(family, {})} for family in {**a, **b}}


NODE_3 = [*range(48, 64), *range(176, 192)]

EXPECTED: dict[str, dict[str, Samples]] = {
    "steering-256-cpus": {
        # Not the 13 that came on CPU 255 before they were moved.
        **interrupts("eth0", (300, 0, 0, "", 77), *[
            (301 + queue, NODE_3[queue % 32], 3, f"{queue}", 1_000_000 + 7 * queue)
            for queue in range(64)]),
        "steering_rps_flows": by_queue("eth0", *[512] * 64),
        **xps("eth0", *[4] * 64), **weights("eth0", *[1 / 64] * 64), **table(32_768),
        **verdicts("eth0", arfs=1, remote=[0] * 64),
    },
    "steering-single-queue-vm": {
        # One vector receives and another one sends, on different CPUs, for queues of one number.
        **interrupts("eth0", (24, 0, 0, "", 0), (25, 0, 0, "0", 5_011), (26, 1, 0, "0", 5_022)),
        **table(0), **verdicts("eth0"),
    },
    "steering-rss-collapsed": {
        **interrupts("eth0",
            (40, 0, 0, "", 40_000), (41, 0, 0, "0", 40_013), (42, 1, 0, "1", 40_026),
            (43, 2, 0, "2", 40_039), (44, 3, 0, "3", 40_052), (45, 4, 0, "4", 40_065),
            (46, 5, 0, "5", 40_078), (47, 6, 0, "6", 40_091), (48, 7, 0, "7", 40_104)),
        **weights("eth0", 0, 0, 1, 0, 0, 0, 0, 0), **table(0),
        **verdicts("eth0", remote=[0] * 8),
    },
    "steering-remote-irqs": {
        **interrupts("eth0",
            (70, 2, 0, "", 9), (71, 0, 0, "0", 71_000), (72, 1, 0, "1", 71_013),
            (73, 2, 0, "2", 71_026), (74, 3, 0, "3", 71_039), (75, 0, 0, "4", 71_052),
            (76, 1, 0, "5", 71_065), (77, 6, 1, "6", 71_078), (78, 7, 1, "7", 71_091)),
        **xps("eth0", *[1] * 8), **weights("eth0", *[1 / 8] * 8), **table(0),
        # Queues 5 and 6 may go to either node; one of them does not.
        **verdicts("eth0", remote=[1, 1, 1, 1, 1, 1, 0, 0]),
    },
    "steering-rps-everywhere": {
        **interrupts("eth0",
            (50, 0, 0, "0", 50_000), (51, 1, 0, "1", 50_013), (52, 2, 0, "2", 50_026),
            (53, 3, 0, "3", 50_039), (54, 4, 0, "4", 50_052), (55, 5, 0, "5", 50_065),
            (56, 6, 0, "6", 50_078), (57, 7, 0, "7", 50_091), (58, 0, 0, "", 50_104)),
        "steering_rps_cpus": by_queue("eth0", *[8] * 8),
        **xps("eth0", *[1] * 8), **weights("eth0", *[1 / 8] * 8), **table(0),
        **verdicts("eth0", "rps_covers_all_cpus", "rps_redundant", remote=[0] * 8),
    },
    "steering-rfs-half": {
        **interrupts("eth0",
            (24, 0, 0, "", 0), (25, 0, 0, "0", 5_011), (26, 0, 0, "0", 5_022),
            (27, 1, 0, "1", 5_033), (28, 1, 0, "1", 5_044), (29, 2, 0, "2", 5_055),
            (30, 2, 0, "2", 5_066), (31, 3, 0, "3", 5_077), (32, 3, 0, "3", 5_088)),
        "steering_rps_flows": by_queue("eth0", *[4_096] * 4),
        **xps("eth0", 1, 1, 1, 1), **table(0),
        # Filters are on, but there is nothing by which RFS could tell the card a CPU.
        **verdicts("eth0", "rfs_ineffective", arfs=0),
    },
    "steering-rfs-table-only": {
        **interrupts("ens5",
            (27, 0, 0, "", 27_000), (28, 0, 0, "0", 27_013), (29, 1, 0, "1", 27_026),
            (30, 2, 0, "2", 27_039), (31, 3, 0, "3", 27_052)),
        **weights("ens5", *[1 / 4] * 4), **table(32_768), **verdicts("ens5", "rfs_ineffective"),
    },
    "steering-xps-gap": {
        # Two vectors for four queues.
        **interrupts("eth0",
            (80, 0, 0, "", 4), (81, 0, 0, "0-1", 81_000), (82, 1, 0, "2-3", 81_013)),
        **xps("eth0", 2, 1, 2, 1), **weights("eth0", *[1 / 4] * 4), **table(0),
        **verdicts("eth0", "xps_gap"),
        "steering_irq_remote_node": {"eth0|0-1": 0, "eth0|2-3": 0},
        "napi_threaded": by_queue("eth0", 0, 0, 1, 1),
        "napi_defer_hard_irqs": by_queue("eth0", 2, 2, 100, 100),
        "napi_gro_flush_timeout_seconds": by_queue("eth0", 0.000_2, 0.000_2, 0.000_02, 0.000_02),
    },
    "steering-offline-cpus": {
        **interrupts("eth0",
            (90, 0, 0, "0", 90_000), (91, 1, 0, "1", 90_013), (92, 4, 1, "2", 90_026),
            (93, 6, 1, "3", 90_039)),
        # Of CPUs 0 to 7, 2 and 3, 0 to 7, 3 and 5.
        "steering_rps_cpus": by_queue("eth0", 6, 0, 6, 1),
        **xps("eth0", 2, 2, 0, 2), **weights("eth0", *[1 / 4] * 4), **table(0),
        # Six CPUs are more than the four that the interrupts go to. Nobody tells of filters.
        **verdicts("eth0", "rps_covers_all_cpus", arfs=None, remote=[0, 0, 1, 1]),
    },
    "steering-spare-vectors": both(
        {
            **interrupts("lan0",
                (50, 0, 0, "0", 50_000), (51, 1, 0, "1", 50_013), (52, 2, 0, "2", 50_026),
                (53, 3, 0, "3", 50_039), (54, 4, 0, "4", 50_052), (55, 5, 0, "5", 50_065),
                (56, 6, 0, "6", 50_078), (57, 7, 0, "7", 50_091), (58, 8, 0, "", 50_104),
                (59, 9, 0, "", 50_117), (60, 10, 0, "", 50_130), (61, 11, 0, "", 50_143),
                (62, 0, 0, "", 50_156)),
            **xps("lan0", 2, 2, 2, 2, 1, 1, 1, 1), **weights("lan0", *[1 / 8] * 8), **table(0),
            **verdicts("lan0", remote=[0] * 8),
        },
        {
            **interrupts("eth0", (70, 5, 0, "0", 70_000)),
            **verdicts("eth0", arfs=None, remote=[0]),
        },
    ),
}  # fmt: skip
"""By host and family: every sample that the family has. A family that is not here has none."""

FAMILIES = [family.name.removeprefix("netperf_") for family in (*irq.FAMILIES, *steering.FAMILIES)]
VERDICTS = [
    name
    for name in FAMILIES
    if name.endswith(("_remote_node", "_covers_all_cpus", "_redundant", "_ineffective", "_gap"))
]

MEANT = {
    # RPS on the three CPUs that are online, which all have queues of their own; node 0 has but
    # one of them, and queues 1 and 2 are on the other node.
    "linux-6.1-offline-cpu": {
        "steering_rps_covers_all_cpus eth1", "steering_rps_redundant eth1",
        "steering_irq_remote_node eth1|1", "steering_irq_remote_node eth1|2"},
    "steering-remote-irqs": {f"steering_irq_remote_node eth0|{queue}" for queue in range(6)},
    "steering-rps-everywhere": {
        "steering_rps_covers_all_cpus eth0", "steering_rps_redundant eth0"},
    "steering-rfs-half": {"steering_rfs_ineffective eth0"},
    "steering-rfs-table-only": {"steering_rfs_ineffective ens5"},
    "steering-xps-gap": {"steering_xps_gap eth0"},
    "steering-offline-cpus": {
        "steering_rps_covers_all_cpus eth0",
        "steering_irq_remote_node eth0|2", "steering_irq_remote_node eth0|3"},
}  # fmt: skip
"""By host: the verdicts that find fault with something. None with any other host."""


@cache
def exported(host: str) -> dict[str, Samples]:
    """By family without its prefix: devices by the policy that is the default, all details on."""
    return samples(exporter(host).scrape())


def exporter(host: str) -> Exporter:
    replayed = ReplayedHost(HERE / host, DevicePolicy())
    return Exporter(replayed, COLLECTORS, Options(napi_settings=True))


def samples(body: bytes) -> dict[str, Samples]:
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for name, labels, value, *_ in family.samples:
            row = [labels[label] for label in sorted(labels, key=lambda n: (n != "device", n))]
            found.setdefault(name.removeprefix("netperf_"), {})["|".join(row)] = value
    return dict(found)


@pytest.mark.parametrize("host", EXPECTED)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_these_samples_and_no_others(host: str, family: str) -> None:
    assert EXPECTED[host].get(family, {}) == exported(host).get(family, {})


def test_every_family_is_expected_of_a_host() -> None:
    expected = {family for host in EXPECTED.values() for family in host}

    assert set(FAMILIES) == expected


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_is_1_somewhere_and_0_somewhere(verdict: str) -> None:
    found = {value for host in EXPECTED.values() for value in host.get(verdict, {}).values()}

    assert {0, 1} == found


def test_a_verdict_finds_no_fault_with_a_host_that_has_none(captured: Path) -> None:
    found = {
        f"{name} {row}"
        for name in VERDICTS
        for row, value in exported(captured.name).get(name, {}).items()
        if value
    }

    assert MEANT.get(captured.name, set()) == found


@pytest.mark.parametrize("host", EXPECTED)
def test_a_second_scrape_says_the_same(host: str) -> None:
    """What the first one remembers adds nothing while nothing moves."""
    twice = exporter(host)
    twice.scrape()
    found = samples(twice.scrape())

    assert EXPECTED[host] == {name: found[name] for name in FAMILIES if name in found}


@pytest.mark.parametrize("host", EXPECTED)
def test_nothing_fails(host: str) -> None:
    found = exported(host)

    assert set(found["parse_errors_total"].values()) == {0}
    assert set(found["scrape_collector_success"].values()) == {1}


@pytest.mark.parametrize("host", EXPECTED)
def test_the_folder_is_what_is_written(host: str, tmp_path: Path) -> None:
    """But for what it has from the captured host, which may be captured anew."""
    write(steered.hosts()[host], tmp_path)

    assert files(tmp_path) == files(HERE / host)


def files(folder: Path) -> dict[str, bytes]:
    theirs = {"metrics.txt", *steered.COPIED}
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    return {
        name: str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        for name, path in found.items()
        if name not in theirs and (path.is_symlink() or path.is_file())
    }
