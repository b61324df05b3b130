"""One scrape: bad input costs one collector or one line, is said once, and other data is intact."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netperf_exporter.collectors import COLLECTORS, OFF_BY_DEFAULT
from netperf_exporter.exposition.render import Format
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.host import LiveHost, ReplayedHost
from netperf_exporter.metric import Block, gauge
from netperf_exporter.sources import CPU_TIMES, Options, Readings

HOSTS = Path(__file__).parents[1] / "hosts"
DEFAULT = {name: c for name, c in COLLECTORS.items() if name not in OFF_BY_DEFAULT}

Samples = dict[str, float]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A captured host that may be broken."""
    return shutil.copytree(HOSTS / "linux-6.18", tmp_path / "host", symlinks=True)


def samples(body: bytes) -> Samples:
    """Values by ``name{labels}``, labels sorted."""
    return {
        sample.name + str(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def of(collector: str, family: str) -> str:
    """The key of a self metric."""
    return f"netperf_{family}{[('collector', collector)]}"


def is_of(collector: str, key: str) -> bool:
    """Whether a sample is of one of a collector's families."""
    return any(key.startswith(f"{family.name}[") for family in COLLECTORS[collector].FAMILIES)


def break_file(path: Path, how: str) -> None:
    """Make a file something that the kernel does not write."""
    match how:
        case "empty":
            path.write_bytes(b"")
        case "binary":
            path.write_bytes(os.urandom(4096))
        case "a folder":
            path.unlink()
            path.mkdir()
        case "another file":
            path.write_bytes(b"Inter-|   Receive\n face |bytes\n")


@pytest.mark.parametrize("how", ["empty", "binary", "a folder", "another file"])
@pytest.mark.parametrize(
    ("file", "lost"),
    [
        ("proc/net/softnet_stat", {"softnet"}),
        ("proc/softirqs", {"softirqs"}),
        ("proc/stat", {"cpu"}),
        ("proc/net/snmp", {"ip", "udp", "tcp"}),
        ("proc/net/netstat", {"ip", "udp", "tcp"}),
    ],
)
def test_a_broken_file_costs_those_who_read_it(
    folder: Path, file: str, lost: set[str], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Success 0, none of its samples, one line in the log; all others as before."""
    assert Path(file).name in said_when_broken(folder, file, how, lost, caplog)


@pytest.mark.parametrize("how", ["binary", "another file"])
@pytest.mark.parametrize(
    ("source", "answer", "lost"),
    [
        ("link_statistics", "link-stats", {"link"}),
        ("qstats", "qstats", {"nic", "queues"}),
        ("channels", "channels", {"nic", "queues"}),
        ("rings", "rings", {"nic"}),
        ("features", "features", {"nic", "steering"}),
    ],
)
def test_a_broken_answer_costs_those_who_asked(
    folder: Path,
    source: str,
    answer: str,
    lost: set[str],
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same of what the kernel says over netlink."""
    assert source in said_when_broken(folder, f"netlink/{answer}.bin", how, lost, caplog)


def said_when_broken(
    folder: Path, file: str, how: str, lost: set[str], caplog: pytest.LogCaptureFixture
) -> str:
    """The line in the log that says so."""
    exporter = Exporter(ReplayedHost(folder), DEFAULT)
    before = samples(exporter.scrape())
    break_file(folder / file, how)
    caplog.set_level(logging.INFO)
    for _ in range(3):
        after = samples(exporter.scrape())

    for name in DEFAULT:
        assert after[of(name, "scrape_collector_success")] == (name not in lost)
        mine = {key: value for key, value in before.items() if is_of(name, key)}
        assert mine
        for key, value in mine.items():
            assert after.get(key) == (None if name in lost else value)
    assert len(caplog.records) == 1, caplog.messages
    assert all(name in caplog.messages[0] for name in lost)
    return caplog.messages[0]


def test_a_file_that_vanishes_and_comes_back(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a kernel does not have is no failure; when it has it again, so does the next scrape."""
    caplog.set_level(logging.INFO)
    exporter = Exporter(ReplayedHost(folder), DEFAULT)
    before = samples(exporter.scrape())
    file = folder / "proc/net/softnet_stat"
    content = file.read_bytes()
    file.unlink()
    without = samples(exporter.scrape())
    file.write_bytes(content)
    again = samples(exporter.scrape())

    assert without[of("softnet", "scrape_collector_success")] == 1
    assert not any(is_of("softnet", key) for key in without)
    unavailable = [k for k, v in without.items() if "collector_available" in k and v == 0]
    assert len(unavailable) == 1
    assert "softnet" in unavailable[0]
    assert "No such file or directory: /proc/net/softnet_stat" in unavailable[0]
    assert {k: v for k, v in again.items() if is_of("softnet", k)} == {
        k: v for k, v in before.items() if is_of("softnet", k)
    }
    assert [message.partition(":")[0] for message in caplog.messages] == ["softnet", "softnet"]


def test_a_file_that_may_not_be_read(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Permission denied is a failure: the feature is there."""

    class Forbidden(ReplayedHost):
        def proc(self, name: str) -> bytes:
            if name == "softirqs":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
            return super().proc(name)

    after = samples(Exporter(Forbidden(folder), DEFAULT).scrape())

    assert after[of("softirqs", "scrape_collector_success")] == 0
    assert after[of("cpu", "scrape_collector_success")] == 1
    assert caplog.messages == [
        "source softirqs: Permission denied: softirqs; no samples from softirqs"
    ]


def test_without_ipv6_the_rest_of_ip_is_there(folder: Path) -> None:
    """snmp6 is asked for, not needed."""
    (folder / "proc/net/snmp6").unlink()
    after = samples(Exporter(ReplayedHost(folder), DEFAULT).scrape())

    assert after[of("ip", "scrape_collector_success")] == 1
    assert any(key.startswith("netperf_ip_receive_packets_total") for key in after)
    assert not any(key.startswith("netperf_ip6_") for key in after)


def test_without_sys_every_cpu_is_taken_as_online(folder: Path) -> None:
    """A container may see no /sys."""
    shutil.rmtree(folder / "sys")
    after = samples(Exporter(ReplayedHost(folder), DEFAULT).scrape())

    assert all(after[of(name, "scrape_collector_success")] == 1 for name in DEFAULT)
    assert after["netperf_cpu_info[('cpu', '1'), ('numa_node', '')]"] == 1


def test_a_malformed_line_is_skipped_counted_and_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when it reads differently at every scrape, as moving counters do."""
    exporter = Exporter(ReplayedHost(folder), DEFAULT)
    file = folder / "proc/net/softnet_stat"
    good = file.read_bytes().splitlines(keepends=True)[0]
    for scrape in range(3):
        file.write_bytes(good + b"%08x nonsense\n" % scrape)
        after = samples(exporter.scrape())

    assert after["netperf_parse_errors_total[('source', 'softnet_stat')]"] == 3
    assert after[of("softnet", "scrape_collector_success")] == 1
    assert after[of("softnet", "series")] == 7
    assert len(caplog.records) == 1
    assert "nonsense" in caplog.messages[0]


def test_an_error_in_a_collector_costs_only_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a family is never published, however late the error comes."""

    class Broken:
        FAMILY = gauge("broken", "Broken.")
        NEEDS = (CPU_TIMES,)
        FAMILIES = (FAMILY,)

        def collect(self, readings: Readings) -> Iterator[Block]:
            yield Block((self.FAMILY,), ((),), [1])
            raise ZeroDivisionError("oh\nno")

    exporter = Exporter(ReplayedHost(folder), {"broken": Broken(), **DEFAULT})
    after = samples([exporter.scrape() for _ in range(3)][-1])

    assert after[of("broken", "scrape_collector_success")] == 0
    assert "netperf_broken[]" not in after
    assert after[of("cpu", "scrape_collector_success")] == 1
    assert len(caplog.records) == 1


def test_too_many_series_are_cut_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The limit bites per collector: of softnet's two CPUs, all of the first."""
    after = samples(Exporter(ReplayedHost(folder), DEFAULT, series_limit=10).scrape())
    kept = [key for key in after if is_of("softnet", key)]

    assert len(kept) == 7 == after[of("softnet", "series")]
    assert all("('cpu', '0')" in key for key in kept)
    assert after[of("softnet", "series_omitted")] == 7
    assert any("softnet: 7 series left out, the limit is 10" in m for m in caplog.messages)


def test_only_some_collectors_are_asked(folder: Path) -> None:
    """Nothing is read for the others."""
    (folder / "proc/stat").unlink()
    os.mkfifo(folder / "proc/stat")
    after = samples(Exporter(ReplayedHost(folder), DEFAULT).scrape(("softnet",)))

    assert {key for key in after if key.startswith("netperf_scrape_collector_success")} == {
        of("softnet", "scrape_collector_success")
    }


def test_the_rest_of_the_fields_under_a_flag(folder: Path) -> None:
    """Every field of the three files is exported once: by name, or by snmp under its own."""
    every = samples(Exporter(ReplayedHost(folder), COLLECTORS).scrape())
    some = samples(
        Exporter(
            ReplayedHost(folder),
            COLLECTORS,
            Options(snmp_include=re.compile(r"TcpExt\.TCPPure.*")),
        ).scrape()
    )
    passed = [key for key in every if key.startswith("netperf_snmp_field_total")]

    assert len(passed) > 100
    passed_on = {key.split("'")[3] for key in passed}
    assert not passed_on & {"RetransSegs", "CurrEstab", "RtoMin", "ListenDrops"}
    assert passed_on >= {"TCPPureAcks", "InEchos", "OutMcastPkts"}
    assert [key for key in some if key.startswith("netperf_snmp_field_total")] == [
        "netperf_snmp_field_total[('field', 'TCPPureAcks'), ('name', 'TcpExt')]"
    ]


def test_a_level_below_zero_is_not_a_huge_one(folder: Path) -> None:
    """CurrEstab is summed over CPUs that move meanwhile: 2⁶⁴ − 1 is −1."""
    file = folder / "proc/net/snmp"
    lines = file.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Tcp:"))
    names, values = lines[at].split(), lines[at + 1].split()
    values[names.index("CurrEstab")] = str(2**64 - 1)
    lines[at + 1] = " ".join(values)
    file.write_text("\n".join(lines) + "\n")
    after = samples(Exporter(ReplayedHost(folder), DEFAULT).scrape())

    assert after["netperf_tcp_established_sockets[]"] == -1


def test_a_fifo_as_softnet_stat(folder: Path) -> None:
    """At every scrape the others are there, and after it is a file again, so is softnet."""
    file = folder / "proc/net/softnet_stat"
    content = file.read_bytes()
    exporter = Exporter(ReplayedHost(folder), DEFAULT)
    file.unlink()
    os.mkfifo(file)
    for _ in range(5):
        started = time.monotonic()
        after = samples(exporter.scrape(seconds=0.5))
        assert time.monotonic() - started < 0.5 + 0.25
        for name in DEFAULT:
            assert after[of(name, "scrape_collector_success")] == (name != "softnet")
    fifo = folder / "fifo"
    file.rename(fifo)
    file.write_bytes(content)
    os.close(os.open(fifo, os.O_WRONLY))  # whoever hung in open() returns
    deadline = time.monotonic() + 5
    while samples(exporter.scrape())[of("softnet", "scrape_collector_success")] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_simultaneous_scrapes_share_one_flight(folder: Path) -> None:
    """A second Prometheus costs nothing: both get the body of one reading."""
    reads: list[float] = []

    class Counted(ReplayedHost):
        def proc(self, name: str) -> bytes:
            if name == "stat":
                reads.append(time.monotonic())
                time.sleep(0.05)
            return super().proc(name)

    exporter = Exporter(Counted(folder), DEFAULT)
    bodies: list[bytes] = []
    barrier = threading.Barrier(8)

    def scrape() -> None:
        barrier.wait()
        bodies.append(exporter.scrape())

    scrapes = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in scrapes:
        thread.start()
    for thread in scrapes:
        thread.join()

    assert len(bodies) == 8
    assert len(reads) < 8
    assert len(set(bodies)) == len(reads)


def test_overrun_is_seen_while_a_scrape_is_late(folder: Path) -> None:
    """What the watchdog asks: nothing under way is no overrun."""

    class Slow:
        NEEDS = ()
        FAMILIES = ()

        def collect(self, readings: Readings) -> Iterator[Block]:
            time.sleep(0.3)
            return iter(())

    exporter = Exporter(ReplayedHost(folder), {"slow": Slow()})
    assert exporter.overrun() == 0
    thread = threading.Thread(target=lambda: exporter.scrape(seconds=0.05))
    thread.start()
    time.sleep(0.2)
    late = exporter.overrun()
    thread.join()

    assert 0.05 < late < 0.3
    assert exporter.overrun() == 0


def test_descriptors_and_threads_do_not_grow() -> None:
    """A hundred scrapes of the live host leave what the first one left."""
    exporter = Exporter(LiveHost(), DEFAULT)
    exporter.scrape()
    held, threads = os.listdir("/proc/self/fd"), threading.active_count()
    for _ in range(100):
        exporter.scrape(format=Format.OPENMETRICS, compress=True)

    assert len(os.listdir("/proc/self/fd")) == len(held)
    assert threading.active_count() == threads
