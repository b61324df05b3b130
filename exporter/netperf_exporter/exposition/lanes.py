"""Lanes: threads that read sources, so that one that hangs delays no other.

A read that never returns cannot be interrupted; its thread is lost until it does. So each lane
has one persistent daemon thread, and when a read outlasts the lane's patience, the lane goes on
with a fresh thread while the slow read keeps the old one. If that read ends before the scrape's
deadline, it still counts. If not, the source is left alone until it returns: it costs that one
thread, however many scrapes pass, and nobody waits for it again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from netperf_exporter.kernel.host import Host
from netperf_exporter.sources import Failed, Outcome, Source, read

PATIENCE = 0.1
"""Seconds after which the next source of a lane no longer waits for the one before it; less if
the scrape itself has little time."""


_NO_ANSWER = "no answer within its deadline"


class _Results:
    """What one scrape gets; closed at its deadline, so that nothing comes late."""

    def __init__(self, wanted: int) -> None:
        self.open = True
        self._wanted = wanted
        self._outcomes: dict[Source[Any], Outcome] = {}
        self._complete = threading.Condition()

    def put(self, source: Source[Any], outcome: Outcome) -> None:
        with self._complete:
            if self.open:
                self._outcomes[source] = outcome
                if len(self._outcomes) == self._wanted:
                    self._complete.notify_all()  # waking the scrape for less costs a switch each

    def wait(self, seconds: float) -> bool:
        """Whether everything is there, within so many seconds."""
        with self._complete:
            if len(self._outcomes) < self._wanted:
                self._complete.wait(seconds)
            return len(self._outcomes) == self._wanted

    def close(self) -> dict[Source[Any], Outcome]:
        with self._complete:
            self.open = False
            return self._outcomes


class _Order(NamedTuple):
    """One source to read for one scrape."""

    source: Source[Any]
    results: _Results


class Lane:
    """Reads the sources it is given, one after the other."""

    def __init__(self, name: str, host: Host) -> None:
        self._name = name
        self._host = host
        self._orders: deque[_Order] = deque()
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None
        self._running: Source[Any] | None = None
        self._running_since = 0.0
        # Reads that were overtaken and have not returned, and since when they run.
        self._held: dict[Source[Any], float] = {}

    def order(self, sources: Iterable[Source[Any]], results: _Results) -> None:
        """Have sources read. One that is still held by an earlier read fails at once."""
        with self._changed:
            for source in sources:
                held = self._held.get(source)
                if held is not None:
                    seconds = time.monotonic() - held
                    results.put(source, Failed(_NO_ANSWER, seconds))
                else:
                    self._orders.append(_Order(source, results))
            if self._worker is None:
                self._start_worker()
            self._changed.notify_all()

    def overtake(self, patience: float) -> None:
        """Go on without the read that is running, if it has taken so many seconds."""
        with self._changed:
            if self._running is None or time.monotonic() - self._running_since < patience:
                return
            self._held[self._running] = self._running_since
            self._running = None
            for order in [o for o in self._orders if o.source in self._held]:
                self._orders.remove(order)
                order.results.put(order.source, Failed(_NO_ANSWER, patience))
            self._start_worker()

    def _start_worker(self) -> None:
        self._worker = None  # should the system refuse a thread, the next scrape asks again
        worker = threading.Thread(target=self._work, name=f"lane-{self._name}", daemon=True)
        worker.start()
        self._worker = worker

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                while not self._orders:
                    self._changed.wait()
                    if self._worker is not me:
                        return
                source, results = self._orders.popleft()
                if not results.open:
                    continue
                self._running, self._running_since = source, time.monotonic()
            outcome = read(source, self._host)
            results.put(source, outcome)
            with self._changed:
                if self._worker is not me:
                    del self._held[source]
                    return
                self._running = None


class Lanes:
    """All lanes of the exporter."""

    def __init__(self, host: Host, sources: Iterable[Source[Any]]) -> None:
        self._sources = tuple(sources)
        self._lanes = {s.lane: Lane(s.lane, host) for s in self._sources}

    def read(self, wanted: set[Source[Any]], seconds: float) -> dict[Source[Any], Outcome]:
        """Read sources, each at most once, all within so many seconds.

        Returns an outcome for each source wanted.
        """
        deadline = time.monotonic() + seconds
        results = _Results(len(wanted))
        orders: dict[str, list[Source[Any]]] = {}
        for source in self._sources:
            if source in wanted:
                orders.setdefault(source.lane, []).append(source)
        for name, sources in orders.items():
            self._lanes[name].order(sources, results)
        waited_for = [self._lanes[name] for name in orders]
        patience = min(PATIENCE, seconds / 8)
        left = seconds
        while left > 0 and not results.wait(min(left, patience / 2)):
            for lane in waited_for:
                lane.overtake(patience)
            left = deadline - time.monotonic()
        outcomes = results.close()
        return {s: outcomes.get(s) or Failed(_NO_ANSWER, seconds) for s in wanted}
