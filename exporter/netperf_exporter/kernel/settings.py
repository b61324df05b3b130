"""Settings of network devices, asked for only when they may have changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from netperf_exporter.kernel.netlink import generic
from netperf_exporter.kernel.netlink.notifications import Subscription

REMEMBERED_SECONDS = 60.0
"""How old an answer may be. Whoever sets something through ethtool, netlink or ioctl, is notified
of (ethnl_notify() in net/ethtool/netlink.c); a driver that changes its mind by itself is not."""

_NETLINK_GENERIC = 16

T = TypeVar("T")


class _Kept(NamedTuple):
    answer: Any
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
        return self.keep(request.name, watched, lambda: generic.dump(request))

    def keep(self, name: str, watched: object, ask: Callable[[], T]) -> T:
        """The same for what is asked in another way.

        name: what the answer is kept as.
        """
        with self._lock:
            self._listen()
            kept = self._kept.get(name)
            changes = self._changes
            now = self._clock()
        if kept and kept.watched == watched and now - kept.at < REMEMBERED_SECONDS:
            known: T = kept.answer
            return known
        answer = ask()
        with self._lock:
            self._listen()
            if changes == self._changes:
                if kept and kept.answer == answer:
                    answer = kept.answer
                self._kept[name] = _Kept(answer, watched, now)
        return answer

    def changes(self) -> int:
        """A number that is another one when anything was notified."""
        with self._lock:
            self._listen()
            return self._changes

    def _listen(self) -> None:
        """Forget everything if anything was notified. Kernels before v5.6 do not notify."""
        if self._monitor is None:
            try:
                group = generic.family("ethtool").groups["monitor"]
            except OSError:
                return
            self._monitor = Subscription(_NETLINK_GENERIC, [group])
        if self._monitor.drain() != []:
            self._changes += 1
            self._kept.clear()
