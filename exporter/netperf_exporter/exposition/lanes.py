"""Lanes: threads that read sources, so that one that hangs delays no other.

A read that never returns cannot be interrupted; its thread is lost until it does. So each lane
has one persistent daemon thread, and when a read outlasts the lane's patience, the lane goes on
with a fresh thread while the slow read keeps the old one. If that read ends before the scrape's
deadline, it still counts. If not, the source is left alone until it returns: it costs that one
thread, however many scrapes pass, and nobody waits for it again. Only a source that says of
itself that it may overlap is asked all the same: it knows what its earlier read waits for. It is
even asked twice in one scrape, shortly before the deadline, so that what is slow each time does
not cost the rest each time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from queue import SimpleQueue
from typing import Any

from netperf_exporter.kernel.host import Host
from netperf_exporter.sources import Absent, Answer, Failed, Outcome, Source, ask, understand

PATIENCE = 0.1
"""Seconds after which the next source of a lane no longer waits for the one before it; less if
the scrape itself has little time."""


_NO_ANSWER = "no answer within its deadline"


_Asked = Answer | Absent | Failed


class _Job:
    """Sources of one lane to read for one scrape."""

    def __init__(self, due: Iterable[Source[Any]], results: _Results) -> None:
        self.due = deque(due)
        self.results = results


class _Results:
    """What one scrape gets; closed at its deadline, so that nothing comes late."""

    def __init__(self, wanted: int) -> None:
        self.open = True
        self._wanted = wanted
        self._answers: dict[Source[Any], _Asked] = {}
        self._storing = threading.Lock()
        self._incomplete = threading.Lock()  # held for as long as something is missing
        if wanted:
            self._incomplete.acquire()

    def put(self, source: Source[Any], asked: _Asked) -> None:
        with self._storing:  # two lanes may store at once, and only one of them is the last
            if self.open:
                self._answers[source] = asked
                if len(self._answers) == self._wanted:
                    self._incomplete.release()

    def lacks(self, source: Source[Any]) -> bool:
        """Whether a source is missing."""
        return source not in self._answers

    def wait(self, seconds: float) -> bool:
        """Whether everything is there, within so many seconds."""
        return self._incomplete.acquire(timeout=seconds)

    def close(self) -> dict[Source[Any], _Asked]:
        with self._storing:
            self.open = False
            return self._answers


class Lane:
    """Reads the sources it is given, one after the other."""

    def __init__(self, name: str, host: Host) -> None:
        self._name = name
        self._host = host
        # Handed over through a queue in C and waited for on a bare lock: a scrape of an ordinary
        # host is so short that threading's conditions would be a tenth of it.
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._lock = threading.Lock()  # of what follows
        self._worker: threading.Thread | None = None
        self._job: _Job | None = None
        self._running: Source[Any] | None = None
        self._running_since = 0.0
        # Reads that were overtaken and have not returned, and since when they run.
        self._held: dict[Source[Any], float] = {}

    def order(self, sources: Iterable[Source[Any]], results: _Results) -> None:
        """Have sources read."""
        if self._worker is None:
            with self._lock:
                if self._worker is None:
                    self._start_worker()
        self._jobs.put(_Job(sources, results))

    def overtake(self, patience: float) -> None:
        """Go on without the read that is running, if it has taken so many seconds."""
        with self._lock:
            if self._running is None or time.monotonic() - self._running_since < patience:
                return
            if not self._running.overlapping:
                self._held[self._running] = self._running_since
            self._running = None
            self._start_worker()

    def _start_worker(self) -> None:
        self._worker = None  # should the system refuse a thread, the next scrape asks again
        worker = threading.Thread(target=self._work, name=f"lane-{self._name}", daemon=True)
        worker.start()
        self._worker = worker

    def _work(self) -> None:
        source: Source[Any] | None = None
        while True:
            with self._lock:
                if self._worker is not threading.current_thread():
                    # Overtaken: the read has returned after all, and may be tried again.
                    if source is not None:
                        self._held.pop(source, None)
                    return
                self._running = None
                job = self._job
                source = self._next_of(job) if job is not None else None
            if job is None or source is None:
                self._job = self._jobs.get()
            else:
                job.results.put(source, ask(source, self._host))

    def _next_of(self, job: _Job) -> Source[Any] | None:
        """The next source to read; one that is still held by an earlier read fails at once."""
        while job.due and job.results.open:
            source = job.due.popleft()
            since = self._held.get(source)
            if since is None:
                self._running, self._running_since = source, time.monotonic()
                return source
            job.results.put(source, Failed(_NO_ANSWER, time.monotonic() - since))
        self._job = None
        return None


class Lanes:
    """All lanes of the exporter. Each source wanted is in one of them."""

    def __init__(self, host: Host, sources: Iterable[Source[Any]]) -> None:
        self._sources = tuple(sources)
        self._lanes = {s.lane: Lane(s.lane, host) for s in self._sources}

    def read(self, wanted: set[Source[Any]], seconds: float) -> dict[Source[Any], Outcome]:
        """Read sources, all within so many seconds.

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
        second: _Results | None = None
        while left > 0 and not results.wait(min(left, patience / 2)):
            for lane in waited_for:
                lane.overtake(patience)
            left = deadline - time.monotonic()
            if second is None and left < 2 * patience:
                again = [s for s in wanted if s.overlapping and results.lacks(s)]
                second = _Results(len(again))
                for source in again:
                    self._lanes[source.lane].order([source], second)
        answers = results.close()
        if second is not None:
            answers = {**second.close(), **answers}
        # Parsed here: it cannot hang, and what it makes is wanted by this thread.
        return {s: understand(s, answers.get(s) or Failed(_NO_ANSWER, seconds)) for s in wanted}
