"""bql: byte queue limits of each transmit queue, from a captured host and from this one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.host import Host, LiveHost, ReplayedHost

HOST = Path(__file__).parent / "hosts" / "linux-6.18"
FILES = {"limit": "11823\n", "limit_max": "1879048192\n", "inflight": "4242\n", "stall_cnt": "3\n"}


@pytest.fixture
def queues(tmp_path: Path) -> Path:
    """The folder of eth0's queues on a host that may be changed."""
    folder = shutil.copytree(HOST, tmp_path / "host", symlinks=True)
    found = folder / "sys/class/net/eth0/queues"
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir()
    return found


def queue(queues: Path, number: int, **files: str) -> None:
    limits = queues / f"tx-{number}" / "byte_queue_limits"
    limits.mkdir(parents=True)
    for name, text in files.items():
        (limits / name).write_text(text)


def scraped(host: Host) -> dict[str, dict[tuple[str, str], float]]:
    """By family without its prefix, by device and queue."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    body = Exporter(host, {"bql": COLLECTORS["bql"]}).scrape().decode()
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            name = sample.name.removeprefix("netperf_")
            if name.startswith("queue_transmit"):
                labels = (sample.labels["device"], sample.labels["queue"])
                found.setdefault(name, {})[labels] = sample.value
            elif "success" in name or name == "parse_errors_total":
                found.setdefault(name, {})[next(iter(sample.labels.values())), ""] = sample.value
    return found


def replayed(queues: Path) -> dict[str, dict[tuple[str, str], float]]:
    return scraped(ReplayedHost(queues.parents[4], lambda name, _: name == "eth0"))


def test_what_the_files_of_each_queue_say(queues: Path) -> None:
    queue(queues, 0, **FILES)
    queue(queues, 10, **{**FILES, "limit": "7\n", "inflight": "0\n", "stall_cnt": "0\n"})
    found = replayed(queues)

    eth0, eth0_10 = ("eth0", "0"), ("eth0", "10")
    assert found["queue_transmit_limit_bytes"] == {eth0: 11823, eth0_10: 7}
    assert found["queue_transmit_limit_maximum_bytes"] == {eth0: 1879048192, eth0_10: 1879048192}
    assert found["queue_transmit_inflight_bytes"] == {eth0: 4242, eth0_10: 0}
    assert found["queue_transmit_stalls_total"] == {eth0: 3, eth0_10: 0}
    assert found["scrape_collector_success"] == {("bql", ""): 1}


def test_a_kernel_that_does_not_count_stalls(queues: Path) -> None:
    queue(queues, 0, **{name: text for name, text in FILES.items() if name != "stall_cnt"})
    found = replayed(queues)

    assert found["queue_transmit_limit_bytes"] == {("eth0", "0"): 11823}
    assert "queue_transmit_stalls_total" not in found


def test_a_queue_without_limits_is_not_there(queues: Path) -> None:
    """As on devices whose packets do not wait in a queue of the driver."""
    (queues / "tx-0").mkdir()
    queue(queues, 1, **FILES)

    assert replayed(queues)["queue_transmit_inflight_bytes"] == {("eth0", "1"): 4242}


@pytest.mark.parametrize("text", ["", "-3\n", "many\n", "\0"])
def test_a_file_that_is_no_number_costs_its_queue(queues: Path, text: str) -> None:
    queue(queues, 0, **{**FILES, "inflight": text})
    queue(queues, 1, **FILES)
    found = replayed(queues)

    assert found["queue_transmit_limit_bytes"] == {("eth0", "1"): 11823}
    assert found["parse_errors_total"]["byte_queue_limits", ""] == 1
    assert found["scrape_collector_success"] == {("bql", ""): 1}


def test_this_host_says_what_its_files_say() -> None:
    """limit_max does not move by itself."""
    files = {
        (path.parts[4], path.parts[6].removeprefix("tx-")): float(path.read_text())
        for path in Path("/sys/class/net").glob("*/queues/tx-*/byte_queue_limits/limit_max")
    }
    if not files:
        pytest.skip("no device here has byte queue limits")

    assert scraped(LiveHost())["queue_transmit_limit_maximum_bytes"] == files
