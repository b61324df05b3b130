"""A metrics server that is started to be measured, and is scraped as Prometheus would."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.live.lab import Namespace

NODE_EXPORTER = "prometheus-node-exporter"
OURS = (sys.executable, "-m", "netperf_exporter")

ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 sends."""

_PATIENCE = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
HERE = Namespace()


class Answer(NamedTuple):
    """body: as it was before it was compressed. sent: bytes of it on the wire."""

    content_type: str
    body: bytes
    sent: int
    seconds: float


class Served:
    """A running server.

    name: what the tables call it.
    start_seconds: from the start of the process to the end of its first scrape.
    first_rss: MiB of memory after that scrape.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], connected: socket.socket, gzip: bool
    ) -> None:
        self.name = name
        self._pid = process.pid
        self._gzip = gzip
        self._connection = http.client.HTTPConnection(*connected.getpeername())
        self._connection.sock = connected
        self._headers = {
            "Accept": ACCEPT,
            "Accept-Encoding": "gzip" if gzip else "identity",
            "X-Prometheus-Scrape-Timeout-Seconds": "10",
        }
        self.start_seconds = 0.0
        self.first_rss = 0.0

    def fetch(self) -> float:
        """Scrape, and throw the answer away. Returns seconds."""
        started = time.perf_counter()
        self._get()
        return time.perf_counter() - started

    def scrape(self) -> Answer:
        """Scrape, over a connection that is kept."""
        started = time.perf_counter()
        content_type, encoding, sent = self._get()
        seconds = time.perf_counter() - started
        if (encoding == "gzip") != self._gzip:
            raise RuntimeError(f"{self.name} answered in {encoding or 'identity'}")
        body = gzip.decompress(sent) if self._gzip else sent
        return Answer(content_type, body, len(sent), seconds)

    def cpu_seconds(self) -> float:
        """CPU time of all threads the process has had: clock_getcpuclockid(3)."""
        return time.clock_gettime(~self._pid << 3 | 2)

    def times(self) -> tuple[float, float]:
        """Seconds of CPU outside and inside the kernel: proc(5), in its ticks."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS

    def rss(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self._pid}/smaps_rollup").read_text()
        found = re.search(r"^Rss: +([0-9]+) kB$", status, re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _get(self) -> tuple[str, str, bytes]:
        self._connection.request("GET", "/metrics", headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{self.name} answered {response.status}: {body[:200]!r}")
        headers = response.headers
        return headers["Content-Type"], headers.get("Content-Encoding", ""), body


@contextlib.contextmanager
def serving(
    name: str,
    command: Sequence[str],
    *,
    gzip: bool = True,
    pin: int | None = None,
    where: Namespace = HERE,
) -> Iterator[Served]:
    """Run a server for as long as the context lasts; --web.listen-address is added."""
    port = where.inside(_free_port)
    with tempfile.TemporaryFile() as log:
        with _on(pin):
            started = time.perf_counter()
            process = subprocess.Popen(
                [*where.enter, *command, f"--web.listen-address=127.0.0.1:{port}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            connected = where.inside(lambda: _connected(process, port))
            with contextlib.closing(Served(name, process, connected, gzip)) as served:
                served.fetch()
                served.start_seconds = time.perf_counter() - started
                served.first_rss = served.rss()
                yield served
        except (OSError, RuntimeError, http.client.HTTPException):
            log.seek(0)
            print(log.read().decode(errors="replace")[-2000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _on(cpu: int | None) -> Iterator[None]:
    """What is started meanwhile runs on one CPU, if one is named."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed if cpu is None else {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _connected(process: subprocess.Popen[bytes], port: int) -> socket.socket:
    """Connect as soon as somebody listens."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        time.sleep(0.001)
    raise RuntimeError(f"it does not listen (exit code {process.poll()})")
