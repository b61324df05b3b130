"""The process from its first answer to its last."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
import urllib.error
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon import exporter

HOST = Path(__file__).parents[1] / "hosts" / "linux-6.18"


def values(body: bytes, family: str) -> dict[str, float]:
    """The samples of one family by the value of their first label."""
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for metric in text_string_to_metric_families(body.decode())
        for sample in metric.samples
        if sample.name == family
    }


def test_pages() -> None:
    """What is there, and what is not."""
    with exporter() as daemon:
        assert daemon.get("/-/healthy") == b"Healthy.\n"
        assert daemon.get("/-/ready") == b"Ready.\n"
        landing = daemon.get("/").decode()
        assert 'href="/metrics"' in landing
        assert "collect[]=softnet" in landing
        assert "{" not in landing.partition("</style>")[2]
        for path in ("/nothing", "/metrics/", "/-/", "//"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                daemon.get(path)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("collect[]=nope", b"missing collector: nope"),
        ("collect[]=snmp", b"disabled collector: snmp"),
        ("exclude[]=nope", b"missing collector: nope"),
        ("collect[]=", b"missing collector: "),
        ("collect[]=tcp&exclude[]=ip", b"together"),
    ],
)
def test_a_choice_of_collectors_that_cannot_be(query: str, said: bytes) -> None:
    """400 and why, as node_exporter's users know it."""
    with exporter() as daemon, pytest.raises(urllib.error.HTTPError, match="400") as raised:
        daemon.get(f"/metrics?{query}")

    assert said in raised.value.read()
    raised.value.close()


def test_a_choice_of_collectors() -> None:
    """collect[] takes only those, exclude[] all others."""
    with exporter() as daemon:
        only = values(daemon.get("/metrics?collect[]=softnet&collect[]=tcp"), "netperf_series")
        rest = values(daemon.get("/metrics?exclude[]=softnet"), "netperf_series")

    assert list(only) == ["softnet", "tcp"]
    assert "softnet" not in rest
    assert "tcp" in rest


def test_a_stuck_source_in_the_running_daemon(tmp_path: Path) -> None:
    """Others on time, within the scraper's patience; recovery; and a clean end meanwhile."""
    folder = shutil.copytree(HOST, tmp_path / "host", symlinks=True)
    file = folder / "proc/net/softnet_stat"
    content = file.read_bytes()
    with exporter(f"--path.procfs={folder}/proc", f"--path.sysfs={folder}/sys") as daemon:
        assert values(daemon.get(), "netperf_scrape_collector_success")["softnet"] == 1
        file.unlink()
        os.mkfifo(file)
        for scrape in range(5):
            started = time.monotonic()
            body = daemon.get(X_Prometheus_Scrape_Timeout_Seconds="1")
            took = time.monotonic() - started
            success = values(body, "netperf_scrape_collector_success")
            assert took < (1.0 if scrape == 0 else 0.5)
            assert success == {name: float(name != "softnet") for name in success}
        for _ in range(20):
            daemon.get(X_Prometheus_Scrape_Timeout_Seconds="1")
        expected = 4  # the main one, those of two lanes, and the one that hangs
        deadline = time.monotonic() + 5
        while len(os.listdir(f"/proc/{daemon.process.pid}/task")) > expected:
            assert time.monotonic() < deadline  # those of connections end with these
            time.sleep(0.05)
        complaints = [line for line in daemon.log if "softnet_stat" in line]
        assert len(complaints) == 1

        fifo = folder / "fifo"
        file.rename(fifo)
        file.write_bytes(content)
        os.close(os.open(fifo, os.O_WRONLY))
        deadline = time.monotonic() + 5
        while values(daemon.get(), "netperf_scrape_collector_success")["softnet"] != 1:
            assert time.monotonic() < deadline
        daemon.wait_for("softnet_stat: well again")

        file.unlink()
        os.mkfifo(file)
        daemon.get(X_Prometheus_Scrape_Timeout_Seconds="1")
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_answer_under_way_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    """A scrape that waits for a stuck source when the signal comes still gets its body."""
    folder = shutil.copytree(HOST, tmp_path / "host", symlinks=True)
    (folder / "proc/stat").unlink()
    os.mkfifo(folder / "proc/stat")
    with exporter(f"--path.procfs={folder}/proc", f"--path.sysfs={folder}/sys") as daemon:
        bodies: list[bytes] = []
        scrape = threading.Thread(target=lambda: bodies.append(daemon.get()))
        scrape.start()
        time.sleep(0.5)
        daemon.process.send_signal(number)
        scrape.join()

        assert daemon.process.wait(10) == 0
        assert values(bodies[0], "netperf_scrape_collector_success")["tcp"] == 1


def test_hostile_clients_do_not_keep_a_scrape_waiting() -> None:
    """300 heads that drip, 1,000 connections that say nothing, heads too long, and garbage."""
    with exporter() as daemon, ExitStack() as stack:
        host, port = daemon.url.removeprefix("http://").split(":")

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection((host, int(port)), timeout=5))

        quiet = min(timed(daemon.get) for _ in range(5))
        slow: list[float] = []
        loris = [connect() for _ in range(300)]
        for round in range(10):
            for client in loris:
                with suppress(OSError):  # many were sent away already
                    client.send(b"GET /metrics HTTP/1.1\r\n" if round == 0 else b"X-A: b\r\n")
            slow.append(timed(daemon.get))
        for _ in range(10):
            for _ in range(100):
                connect()
            slow.append(timed(daemon.get))
        for sent in (b"GET /" + b"a" * 100_000, os.urandom(5000), b"\r\n" * 9, b"\x16\x03\x01"):
            with suppress(OSError):
                connect().send(sent)
            slow.append(timed(daemon.get))

        assert max(slow) < quiet + 1.0
        assert not [line for line in daemon.log if "level=error" in line]


def timed(scrape: Callable[[], bytes]) -> float:
    """Seconds of a scrape that gives what it should."""
    started = time.monotonic()
    assert b"netperf_softnet_processed_total" in scrape()
    return time.monotonic() - started


def test_hangup_is_no_end() -> None:
    """systemctl reload, or a lost terminal."""
    with exporter() as daemon:
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("SIGHUP")
        assert daemon.get("/-/healthy")


def test_no_more_than_so_many_scrapes_at_once(tmp_path: Path) -> None:
    """The next one is told so, and its place is free again afterwards."""
    folder = shutil.copytree(HOST, tmp_path / "host", symlinks=True)
    (folder / "proc/stat").unlink()
    os.mkfifo(folder / "proc/stat")
    flags = (f"--path.procfs={folder}/proc", f"--path.sysfs={folder}/sys", "--web.max-requests=1")
    with exporter(*flags) as daemon:
        scrape = threading.Thread(target=daemon.get)
        scrape.start()
        time.sleep(0.5)
        with pytest.raises(urllib.error.HTTPError, match="503") as raised:
            daemon.get()
        raised.value.close()
        scrape.join()
        daemon.get()


def test_small_quick_and_unprivileged() -> None:
    """Runs as nobody; every collector of the default set works without any capability."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
    if shutil.which(user[0]) is None:
        pytest.skip("no setpriv")
    if not os.access("/proc/self/exe", os.R_OK):
        pytest.skip("no /proc")
    with exporter(prefix=user) as daemon:
        body = daemon.get()
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()

    assert "Uid:\t65534\t65534" in status
    assert "CapEff:\t0000000000000000" in status
    success = values(body, "netperf_scrape_collector_success")
    assert success
    assert all(success.values())
