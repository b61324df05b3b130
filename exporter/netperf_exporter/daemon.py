"""The life of the process: from its sockets to its last answer."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

from netperf_exporter import __version__
from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.config import PROGRAM, Config
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.http.pages import UNHEALTHY_OVERRUN, Pages
from netperf_exporter.http.server import Server, listen
from netperf_exporter.kernel.host import LiveHost

DRAIN_SECONDS = 5.0
"""How long answers under way may take after SIGTERM."""

log = logging.getLogger(__name__)


def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises ListenError if an address cannot be had."""
    _allow_descriptors()
    sockets: list[socket.socket] = []
    try:
        # One by one: those opened before one that cannot be had are closed again.
        for address in config.listen_addresses:
            sockets.append(listen(address))  # noqa: PERF401
        _serve(config, sockets)
    finally:
        for listening in sockets:
            listening.close()


def _allow_descriptors() -> None:
    """Have as many descriptors as this process can without a privilege.

    The soft limit is 1,024 for the sake of select(2), which nobody here uses, and two for each
    vector of the network cards are kept open (kernel/files.py). Where the limit cannot be raised,
    fewer are kept.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(config: Config, sockets: list[socket.socket]) -> None:
    exporter = Exporter(
        LiveHost(config.procfs, config.sysfs, config.devices),
        {name: COLLECTORS[name] for name in config.collectors},
        config.options,
        config.series_limit,
    )
    pages = Pages(exporter, config, COLLECTORS)
    server = Server(sockets, pages.answer)
    systemd = _Systemd()

    def stop(_number: int, _frame: FrameType | None) -> None:
        pages.stopping = True
        server.stop()

    def reload(_number: int, _frame: FrameType | None) -> None:
        log.info("SIGHUP: all configuration is in flags, nothing to read again")

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)

    log.info("%s %s, collectors: %s", PROGRAM, __version__, ", ".join(config.collectors))
    for listening in sockets:
        log.info("metrics at %s", _url(listening, config.telemetry_path))
    systemd.notify("READY=1")

    def feed_watchdog() -> None:
        overrun = exporter.overrun()
        if overrun < UNHEALTHY_OVERRUN:
            systemd.notify("WATCHDOG=1")
        else:
            log.error("a scrape is %.0f s past its deadline: the watchdog goes unfed", overrun)

    _settle_memory()
    server.serve(feed_watchdog if systemd.watchdog_seconds else None, systemd.watchdog_seconds)
    systemd.notify("STOPPING=1")
    log.info("stopping")
    if not server.drain(DRAIN_SECONDS):
        log.warning("some answers took over %.0f s and were cut off", DRAIN_SECONDS)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 8 << 20
_GC_THRESHOLD = 20_000


def _settle_memory() -> None:
    """Spare each scrape the same work again.

    What was made at the start stays, so the collector of garbage need not look at it, and a
    scrape makes no cycles, so it need not look often. And a body
    of some hundred kilobytes is made and freed at each scrape: glibc would give that memory back
    to the kernel and take it again, page by page (mallopt(3)).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    with contextlib.suppress(AttributeError):  # another libc than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)


class _Systemd:
    """What systemd is told, if it asked to be told anything (sd_notify(3))."""

    def __init__(self) -> None:
        self._send: Callable[[str], Any] | None = None
        if not os.environ.get("NOTIFY_SOCKET"):
            return
        try:
            self._send = importlib.import_module("systemd.daemon").notify
        except ImportError as error:
            log.error(
                "systemd waits to be notified, but systemd-python is not installed (%s): install "
                "%s[systemd] or python3-systemd, or set Type=exec NotifyAccess=none WatchdogSec=0",
                error,
                PROGRAM,
            )

    @property
    def watchdog_seconds(self) -> float | None:
        """Half the interval in which systemd wants to hear that we live; None if it does not."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        if self._send is None or not microseconds.isdigit():
            return None
        if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None
        return int(microseconds) / 2e6

    def notify(self, state: str) -> None:
        """Tell systemd, if it listens."""
        if self._send is None:
            return
        try:
            self._send(state)
        except OSError as error:
            log.warning("systemd did not take %s: %s", state, error)


def _url(listening: socket.socket, path: str) -> str:
    host, port = listening.getsockname()[:2]
    if host in ("::", "0.0.0.0"):  # noqa: S104  (a name to show, not an address to bind)
        host = "localhost"
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"
