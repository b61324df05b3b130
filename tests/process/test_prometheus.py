"""A real Prometheus scrapes the exporter, and promtool finds nothing to say about its names."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.host import LiveHost, ReplayedHost
from tests.daemon import exporter

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: netperf
    static_configs: [{{targets: ["{target}"]}}]
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


class Prometheus:
    """The query API of a running Prometheus."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str, seconds: float = 30) -> float:
        """The first value of an expression, as soon as it has one."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                result = self.ask("query", query=expression)["result"]
                if result:
                    return float(result[0]["value"][1])
            assert time.monotonic() < deadline, f"{expression} has no value"
            time.sleep(0.1)


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """A Prometheus that scrapes one target every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus: apt-get install prometheus")
    (folder / "prometheus.yml").write_text(CONFIG.format(target=target))
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
            process.wait(20)


def test_prometheus_scrapes_this_host(tmp_path: Path) -> None:
    """Up, with every sample taken, each family with its type and help, and the kernel's values."""
    with exporter() as daemon, prometheus(tmp_path, daemon.url.removeprefix("http://")) as server:
        assert server.value("up{job='netperf'} == 1") == 1
        scraped = server.value("scrape_samples_scraped{job='netperf'}")
        sent = sum(not line.startswith(b"#") for line in daemon.get().splitlines())
        assert scraped == sent
        assert server.value("scrape_samples_post_metric_relabeling{job='netperf'}") == scraped
        assert server.value("min(netperf_scrape_collector_success)") == 1
        assert server.value("count(rate(netperf_softnet_processed_total[10s]))") >= 1
        assert server.value("sum(rate(netperf_cpu_seconds_total[10s]))") > 0
        softnet = Path("/proc/net/softnet_stat").read_text().splitlines()
        stored = server.value("sum(netperf_softnet_processed_total)")
        assert 0 < stored <= sum(int(line.split()[0], 16) for line in softnet) + 2**32
        retransmits = "netperf_tcp_retransmitted_segments"
        (said,) = server.ask("metadata", metric=retransmits)[retransmits]
        assert said["type"] == "counter"
        assert "RetransSegs" in said["help"]


def test_prometheus_keeps_every_digit_it_can(tmp_path: Path) -> None:
    """A captured host's counters are stored as they stand in its expected output."""
    host = Path(__file__).parents[1] / "hosts" / "linux-6.18"
    flags = (f"--path.procfs={host}/proc", f"--path.sysfs={host}/sys")
    expected = {
        line.rpartition(b" ")[0].decode(): float(line.rpartition(b" ")[2])
        for line in (host / "metrics.txt").read_bytes().splitlines()
        if line.startswith((b"netperf_ip_", b"netperf_tcp_", b"netperf_udp_", b"netperf_cpu_s"))
    }
    with (
        exporter(*flags) as daemon,
        prometheus(tmp_path, daemon.url.removeprefix("http://")) as server,
    ):
        server.value("up == 1")
        query = '{__name__=~"netperf_(ip|tcp|udp|cpu_seconds)_.*"}'
        result = server.ask("query", query=query)["result"]
        stored = {}
        for series in result:
            labels = series["metric"]
            own = sorted((k, v) for k, v in labels.items() if k in ("cpu", "mode"))
            shown = ",".join(f'{key}="{value}"' for key, value in own)
            name = labels["__name__"] + (f"{{{shown}}}" if shown else "")
            stored[name] = float(series["value"][1])

    assert len(expected) > 80
    assert stored == expected


@pytest.mark.parametrize("kind", ["live", "captured"])
def test_promtool_finds_nothing(kind: str) -> None:
    """Names, types, units and help of every collector, without exceptions."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: apt-get install prometheus")
    captured = ReplayedHost(Path(__file__).parents[1] / "hosts" / "linux-6.18")
    host = LiveHost() if kind == "live" else captured
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=Exporter(host, COLLECTORS).scrape(),
        capture_output=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
