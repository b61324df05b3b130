"""Settings of network devices, asked for only when they may have changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from netperf_exporter.kernel.netlink import generic
from netperf_exporter.kernel.netlink.notifications import Subscription

REMEMBERED_SECONDS = 60.0
"""How old an answer may be. Whoever sets something through ethtool, netlink or ioctl, is notified
of (ethnl_notify() in net/ethtool/netlink.c); a driver that changes its mind by itself is not."""

_NETLINK_GENERIC = 16


class _Kept(NamedTuple):
    answer: bytes
    watched: object
    at: float


class Settings:
    """Keeps the dumps of the netlink family ethtool that tell of settings."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = (
            threading.Lock()
        )  # never held while the kernel is asked: that may take for ever
        self._monitor: Subscription | None = None
        self._changes = 0
        self._kept: dict[str, _Kept] = {}

    def dump(self, request: generic.Request, watched: object) -> bytes:
        """The dump; the same object as the last time if nothing was changed meanwhile.

        watched: what else must be equal to what it was then: the devices and their states, since
        a link that comes up has a speed, and a driver that comes back its own ideas.
        """
        with self._lock:
            self._listen()
            kept = self._kept.get(request.name)
            changes = self._changes
            now = self._clock()
        if kept and kept.watched == watched and now - kept.at < REMEMBERED_SECONDS:
            return kept.answer
        answer = generic.dump(request)
        with self._lock:
            self._listen()
            if changes == self._changes:
                if kept and kept.answer == answer:
                    answer = kept.answer
                self._kept[request.name] = _Kept(answer, watched, now)
        return answer

    def _listen(self) -> None:
        """Forget everything if anything was notified."""
        if self._monitor is None:
            group = generic.family("ethtool").groups["monitor"]
            self._monitor = Subscription(_NETLINK_GENERIC, [group])
        if self._monitor.drain() != []:
            self._changes += 1
            self._kept.clear()
