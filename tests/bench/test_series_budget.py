"""How many series the default set has on an ordinary and on a big host, and that they are right.

The limits are those that docs and capacity plans of Prometheus rest on, so a collector that wants
more has to leave something else out.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netperf_exporter.collectors import COLLECTORS, OFF_BY_DEFAULT
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.host import ReplayedHost
from netperf_exporter.policy import DevicePolicy
from tests.bench.bighost import BigHost
from tests.bench.nics import RECEIVED, SENT, Nics
from tests.bench.sameness import Samples, key

DEFAULT = {name: c for name, c in COLLECTORS.items() if name not in OFF_BY_DEFAULT}


@pytest.mark.parametrize(
    ("cpus", "nodes", "cards", "queues", "most"),
    [(16, 1, 1, 16, 1_000), (256, 8, 8, 64, 11_000)],
    ids=["16 CPUs, a card with 16 queues", "256 CPUs, 8 cards with 64 queues"],
)
def test_the_default_set_stays_within_its_budget(
    tmp_path: Path, cpus: int, nodes: int, cards: int, queues: int, most: int
) -> None:
    host = BigHost(tmp_path, cpus, nodes, cards=cards, queues=queues)
    host.close()
    by_collector = series(said(tmp_path))
    total = len(said(tmp_path))
    print(f"{total} series of at most {most}: {by_collector}")

    assert sum(by_collector.values()) <= total <= most
    # All of it is there: a collector that fails costs nothing.
    assert by_collector["queues"] > 4 * cards * queues
    assert all(by_collector[name] for name in DEFAULT if name != "namespaces")


def test_every_link_and_queue_has_the_numbers_that_were_written(tmp_path: Path) -> None:
    host = BigHost(tmp_path, 2, 1, cards=3, queues=5)
    exporter = exporter_of(tmp_path)
    assert host.nics is not None
    for _ in range(2):
        samples = parsed(exporter.scrape())

        assert {name: samples.get(name) for name in expected(host.nics)} == expected(host.nics)
        assert samples[key("netperf_scrape_collector_success", collector="nic")] == 1
        host.advance()
    host.close()


def test_a_card_is_what_was_written(tmp_path: Path) -> None:
    BigHost(tmp_path, 2, 1, cards=1, queues=5).close()
    samples = said(tmp_path)

    expected = {
        key("netperf_interface_speed_bytes", device="eth0"): 12.5e9,
        key("netperf_interface_mtu_bytes", device="eth0"): 1500,
        key("netperf_interface_up", device="eth0"): 1,
        key("netperf_nic_channels", device="eth0", type="combined"): 5,
        key("netperf_nic_ring_size", device="eth0", ring="rx"): 1024,
        key("netperf_nic_ring_maximum_size", device="eth0", ring="tx"): 8192,
        key("netperf_nic_offload_enabled", device="eth0", offload="rx-gro"): 1,
        key("netperf_queue_statistics_source_info", device="eth0", source="qstats"): 1,
        key(
            "netperf_nic_info",
            device="eth0",
            driver="mlx5_core",
            driver_version="7.3.0",
            firmware_version="28.42.1000 (MT_0000000834)",
            vendor="",
            model="",
        ): 1,
        key(
            "netperf_interface_info",
            device="eth0",
            driver="mlx5_core",
            bus_info="0000:00:00.0",
            numa_node="0",
            operstate="up",
            master="",
            kind="",
        ): 1,
    }
    assert {name: samples.get(name) for name in expected} == expected


def expected(nics: Nics) -> Samples:
    """What is to be said of the packets of each card and queue."""
    found: Samples = {}
    for device, fields in zip(nics.devices, nics.links, strict=True):
        for name, value in zip(
            ("packets", "bytes", "errors", "dropped"), fields[::2], strict=False
        ):
            found[key(f"netperf_interface_receive_{name}_total", device=device)] = value
    found |= of_queues(nics, "receive", nics.received, RECEIVED)
    found |= of_queues(nics, "transmit", nics.sent, SENT)
    return found


def of_queues(
    nics: Nics, direction: str, cards: list[list[list[int]]], measures: tuple[str, ...]
) -> Samples:
    """Packets and bytes of every queue in one direction: the first two measures."""
    return {
        key(
            f"netperf_queue_{direction}_{measure[3:]}_total", device=device, queue=str(queue)
        ): value
        for device, card in zip(nics.devices, cards, strict=True)
        for queue, values in enumerate(card)
        for measure, value in zip(measures[:2], values, strict=False)
    }


def exporter_of(folder: Path) -> Exporter:
    """With the collectors and the choice of devices that are the default."""
    return Exporter(ReplayedHost(folder, DevicePolicy()), DEFAULT)


def said(folder: Path) -> Samples:
    """All samples of the first scrape."""
    return parsed(exporter_of(folder).scrape())


def parsed(body: bytes) -> Samples:
    """By name and labels."""
    return {
        key(sample.name, **sample.labels): float(sample.value)
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def series(samples: Samples) -> dict[str, int]:
    """By collector, as the exporter counts them."""
    return {
        dict(labels)["collector"]: int(value)
        for (name, labels), value in samples.items()
        if name == "netperf_series"
    }
