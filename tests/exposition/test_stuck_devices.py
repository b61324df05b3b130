"""A driver that does not answer, and a kernel that does not list its devices: what is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netperf_exporter.collectors import COLLECTORS, OFF_BY_DEFAULT
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.ethtool import Statistics
from tests import messages
from tests.exposition.fake_host import FakeHost

DEVICES = {2: "eth0", 3: "eth1", 4: "eth2"}
SCRAPES = 50
DEADLINE = 0.4
SLACK = 0.5  # a busy machine wakes threads late

SUM = 'netperf_interfaces_receive_packets_total{kind="other"} '

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    made = FakeHost(tmp_path, {i: name.encode() for i, name in DEVICES.items()})
    yield made
    made.release_all()


def exporter_of(host: FakeHost) -> Exporter:
    wanted = {n: c for n, c in COLLECTORS.items() if n not in OFF_BY_DEFAULT}
    return Exporter(host, wanted)


def scraped(exporter: Exporter) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exporter.scrape(seconds=DEADLINE).decode())
        for sample in family.samples
    }


def with_packets(samples: Samples) -> set[str]:
    """The devices that have all of their queues."""
    name = "netperf_queue_receive_packets_total"
    found = [dict(labels)["device"] for (said, labels) in samples if said == name]
    return {device for device in found if found.count(device) == 4}


def succeeded(samples: Samples, collector: str) -> bool:
    return bool(samples["netperf_scrape_collector_success", (("collector", collector),)])


def lane_threads() -> int:
    return sum(thread.name.startswith("lane-") for thread in threading.enumerate())


def until_well(exporter: Exporter) -> Samples:
    deadline = time.monotonic() + 20
    while True:
        samples = scraped(exporter)
        if with_packets(samples) == set(DEVICES.values()):
            return samples
        assert time.monotonic() < deadline, "it does not recover"


def test_a_driver_that_does_not_answer_costs_its_device_and_one_thread(host: FakeHost) -> None:
    exporter = exporter_of(host)
    assert with_packets(scraped(exporter)) == {"eth0", "eth1", "eth2"}
    before = lane_threads()
    host.hold("eth1")
    scraped(exporter)
    started = time.monotonic()
    for _ in range(SCRAPES):
        samples = scraped(exporter)

        assert with_packets(samples) == {"eth0", "eth2"}
        assert succeeded(samples, "queues")
        assert succeeded(samples, "link")
    assert time.monotonic() - started < SCRAPES * DEADLINE / 2  # nobody waited for it again
    assert lane_threads() <= before + 1

    host.release("eth1")
    until_well(exporter)
    wait_for_threads(before)


def test_a_driver_that_is_slow_each_time_costs_its_device_and_not_the_others(
    host: FakeHost,
) -> None:
    """It returns before the next scrape, which therefore asks it again."""
    exporter = exporter_of(host)
    scraped(exporter)
    before = lane_threads()
    for _ in range(3):
        host.hold("eth1")
        samples = scraped(exporter)

        assert with_packets(samples) == {"eth0", "eth2"}
        assert succeeded(samples, "queues")
        host.release("eth1")
        wait_for_threads(before)


def test_every_driver_that_does_not_answer_costs_one_thread(host: FakeHost) -> None:
    exporter = exporter_of(host)
    scraped(exporter)
    before = lane_threads()
    host.hold("eth0")
    host.hold("eth2")
    for _ in range(2):
        scraped(exporter)
    for _ in range(SCRAPES):
        assert with_packets(scraped(exporter)) == {"eth1"}
    assert lane_threads() <= before + 2

    host.release("eth0")
    host.release("eth2")
    until_well(exporter)
    wait_for_threads(before)


def test_a_device_that_answers_once_more_is_counted_from_where_it_was(host: FakeHost) -> None:
    """Nothing was wrong with its counters, so nothing may look like a reset."""
    exporter = exporter_of(host)
    before = scraped(exporter)
    host.hold("eth1")
    for _ in range(3):
        scraped(exporter)
    host.release("eth1")
    after = until_well(exporter)

    wanted = {key for key in before if key[0].startswith(("netperf_queue", "netperf_interface"))}
    assert {key: after[key] for key in wanted} == {key: before[key] for key in wanted}


def test_devices_that_cannot_be_listed_cost_a_bounded_number_of_threads(host: FakeHost) -> None:
    """rtnl is held: whatever is not about devices is complete and in time, scrape after scrape."""
    exporter = exporter_of(host)
    scraped(exporter)
    before = lane_threads()
    host.hold("rtnl")
    lost = []
    for number in range(SCRAPES):
        started = time.monotonic()
        samples = scraped(exporter)
        took = time.monotonic() - started

        assert took < DEADLINE + SLACK
        if number > 2:  # by then it is known who does not answer
            assert took < DEADLINE
        assert succeeded(samples, "cpu")
        assert samples["netperf_cpu_seconds_total", (("cpu", "0"), ("mode", "idle"))] == 0.04
        for collector in ("link", "nic", "queues"):
            assert not succeeded(samples, collector)
        assert not any(name.startswith("netperf_interface") for (name, _) in samples)
        lost.append(lane_threads() - before)
    assert lost[-1] == lost[4]  # all that can be lost is lost at once
    assert lost[-1] <= 17  # one for each source that waits for rtnl

    host.release("rtnl")
    until_well(exporter)
    wait_for_threads(before)


def test_a_scrape_that_began_earlier_and_ends_later_does_not_disturb_sums(host: FakeHost) -> None:
    """It has older figures; taken for newer ones, they would look like a reset."""
    host.shown = lambda name, kind: name == "eth0"
    exporter = exporter_of(host)

    def summed(*names: str) -> float:
        text = exporter.scrape(names, seconds=DEADLINE * 5).decode()
        (line,) = [said for said in text.splitlines() if said.startswith(SUM)]
        return float(line.removeprefix(SUM))

    assert summed("link") == 0
    host.counted = 1000
    host.hold("eth0")
    early: list[float] = []
    thread = threading.Thread(target=lambda: early.append(summed("link", "queues")))
    thread.start()
    time.sleep(DEADLINE)  # by now it has read all but what is held
    host.counted = 1007
    late = summed("link")
    host.release("eth0")
    thread.join()

    assert late == 2 * 1007  # of the two devices that are summed
    assert early == [late]
    assert summed("link") == late


def wait_for_threads(count: int) -> None:
    deadline = time.monotonic() + 20
    while lane_threads() > count:
        assert time.monotonic() < deadline, "a thread that returned did not end"
        time.sleep(0.01)


def test_what_is_wrong_with_what_is_derived_costs_only_its_collectors(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A driver whose values are no numbers of 64 bits: said once, and the rest is there."""
    exporter = exporter_of(host)
    monkeypatch.setattr(host, "statistics", lambda *_: Statistics(messages.strings("a"), b"odd"))
    for _ in range(3):
        samples = scraped(exporter)

        assert not succeeded(samples, "queues")
        assert succeeded(samples, "link")
        assert succeeded(samples, "cpu")
    said = [record.getMessage() for record in caplog.records if "queues" in record.getMessage()]
    assert len(said) == 1

    monkeypatch.undo()
    assert with_packets(scraped(exporter)) == set(DEVICES.values())
