"""Runs the exporter as its users do: a process, its log, its port."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[1]


class Daemon:
    """A running exporter.

    log: the lines it has written so far.
    """

    def __init__(self, arguments: Sequence[str], prefix: Sequence[str]) -> None:
        command = [*prefix, sys.executable, "-m", "netperf_exporter", *arguments]
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.log: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.url = self.wait_for(r"metrics at (http://[^/]+)/").group(1)

    def wait_for(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        """The first line of the log that matches, now or later."""
        deadline = time.monotonic() + seconds
        with self._more:
            while True:
                for line in self.log:
                    if match := re.search(pattern, line):
                        return match
                left = deadline - time.monotonic()
                ended = self.process.poll() is not None and not self._reader.is_alive()
                if left <= 0 or ended:
                    raise AssertionError(f"no {pattern!r} in the log: {self.log}")
                self._more.wait(min(left, 0.2))

    def get(self, path: str = "/metrics", **headers: str) -> bytes:
        """The body of an answer. Raises HTTPError on other states than 200."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, headers=names)
        with urllib.request.urlopen(request, timeout=30) as answer:
            body: bytes = answer.read()
            return body

    def stop(self, seconds: float = 20) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def __enter__(self) -> Self:
        """See close."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process, however."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.log.append(line.rstrip("\n"))
                self._more.notify_all()


@contextmanager
def exporter(
    *arguments: str, address: str = "127.0.0.1:0", prefix: Sequence[str] = ()
) -> Iterator[Daemon]:
    """A running exporter that is ended afterwards. prefix: what to run it under."""
    with Daemon([f"--web.listen-address={address}", *arguments], prefix) as daemon:
        yield daemon


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The exporter run to its end, for those runs that have one."""
    return subprocess.run(
        [sys.executable, "-m", "netperf_exporter", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
