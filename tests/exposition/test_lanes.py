"""A source that hangs delays no other, costs one thread however often it is asked, and recovers."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netperf_exporter.exposition.lanes import PATIENCE, Lanes, _Results
from netperf_exporter.kernel.host import Host, ReplayedHost
from netperf_exporter.sources import Failed, Source, Value

DEADLINE = 0.5
SLACK = 0.25  # a busy machine wakes threads late


def quick(name: str, lane: str = "files") -> Source[str]:
    """A source that answers at once."""
    return Source(name, lambda host: name, lambda answer, problems: answer, lane)


def blocked(read: Callable[[Host], Any], lane: str = "files") -> Source[Any]:
    """A source whose read does what it likes."""
    return Source("stuck", read, lambda answer, problems: answer, lane)


def threads(*lanes: str) -> int:
    """Threads of some lanes that are alive. Lanes of other tests have other names."""
    names = {f"lane-{lane}" for lane in lanes}
    return sum(thread.name in names for thread in threading.enumerate())


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class Blockade:
    """A pipe to hang on: in Python, in a C call that knows nothing of Python, or in open()."""

    def __init__(self, folder: Path) -> None:
        self._reading, self._writing = os.pipe()
        self._fifo = folder / "fifo"
        os.mkfifo(self._fifo)
        self._inside = 0
        self.event = threading.Event()

    def in_python(self, host: Host) -> str:
        """Wait for minutes."""
        self.event.wait(300)
        return "python"

    def in_a_c_call(self, host: Host) -> str:
        """read(2) through ctypes, which returns when a byte comes."""
        buffer = ctypes.create_string_buffer(1)
        self._inside += 1
        ctypes.CDLL(None).read(self._reading, buffer, 1)
        self._inside -= 1
        return "c"

    def in_open(self, host: Host) -> str:
        """open(2) of a FIFO nobody writes to, until it is released."""
        if not self.event.is_set():
            os.close(os.open(self._fifo, os.O_RDONLY))
        return "fifo"

    def release(self) -> None:
        """Let whoever hangs go."""
        self.event.set()
        os.write(self._writing, b"x" * 16)
        with contextlib.suppress(OSError):  # nobody waits to read
            os.close(os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK))

    def close(self) -> None:
        """Give the pipe back, once nobody reads from it any more."""
        os.close(self._writing)
        until(lambda: self._inside == 0)
        os.close(self._reading)


@pytest.fixture
def blockade(tmp_path: Path) -> Iterator[Blockade]:
    """Something to hang on, released at the end."""
    blockade = Blockade(tmp_path)
    yield blockade
    blockade.release()
    blockade.close()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host nobody asks anything."""
    return ReplayedHost(tmp_path)


@pytest.mark.parametrize("way", ["in_python", "in_a_c_call", "in_open"])
@pytest.mark.parametrize("own_lane", [False, True], ids=["in the common lane", "in its own"])
def test_a_stuck_source_delays_no_other(
    host: Host, blockade: Blockade, way: str, own_lane: bool
) -> None:
    """At every scrape: the others are there and in time; one thread is lost, not one a scrape."""
    common, own = f"common-{way}-{own_lane}", f"own-{way}"
    stuck = blocked(getattr(blockade, way), own if own_lane else common)
    before, after = quick("before", common), quick("after", common)
    lanes = Lanes(host, [before, stuck, after])
    everything = {before, stuck, after}
    for scrape in range(10):
        started = time.monotonic()
        outcomes = lanes.read(everything, DEADLINE)
        took = time.monotonic() - started

        assert isinstance(outcomes[before], Value)
        assert isinstance(outcomes[after], Value)
        assert isinstance(outcomes[stuck], Failed)
        assert took < (DEADLINE if scrape == 0 else PATIENCE) + SLACK
    lost = 1
    assert threads(common, own) == (2 if own_lane else 1) + lost

    blockade.release()
    until(lambda: isinstance(lanes.read(everything, DEADLINE)[stuck], Value))
    until(lambda: threads(common, own) == (2 if own_lane else 1))


def test_a_slow_source_is_overtaken_and_still_counts(host: Host) -> None:
    """Slower than the lane's patience but within the deadline: in the scrape, delaying none."""
    order: list[str] = []

    def slow_read(host: Host) -> str:
        time.sleep(PATIENCE * 2)
        order.append("slow")
        return "slow"

    def quick_read(host: Host) -> str:
        order.append("quick")
        return "quick"

    slow, fast = blocked(slow_read), blocked(quick_read)
    outcomes = Lanes(host, [slow, fast]).read({slow, fast}, 2.0)

    assert isinstance(outcomes[slow], Value)
    assert order == ["quick", "slow"]


def test_many_stuck_sources_still_leave_the_others_in_time(host: Host, blockade: Blockade) -> None:
    """Each is overtaken in its turn."""
    stuck = [blocked(blockade.in_python) for _ in range(3)]
    last = quick("last")
    outcomes = Lanes(host, [*stuck, last]).read({*stuck, last}, 2.0)

    assert isinstance(outcomes[last], Value)
    assert all(isinstance(outcomes[source], Failed) for source in stuck)


def test_what_comes_after_the_deadline_is_not_in_the_scrape(host: Host, blockade: Blockade) -> None:
    """Nor in the next one: values are read when they are asked for, or they are absent."""
    stuck = blocked(blockade.in_python, "late")
    lanes = Lanes(host, [stuck])
    late = lanes.read({stuck}, 0.2)
    assert threads("late") == 2
    blockade.release()
    until(lambda: threads("late") == 1)  # the read returned and its thread ended
    assert isinstance(late[stuck], Failed)

    blockade.event.clear()
    assert isinstance(lanes.read({stuck}, 0.2)[stuck], Failed)


def test_scrapes_at_the_same_time_read_one_after_the_other(host: Host) -> None:
    """A source is never read by two threads at once, whoever asks."""
    inside = 0
    most = 0

    def read(host: Host) -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return ""

    source = blocked(read)
    lanes = Lanes(host, [source])
    results: list[Any] = []
    scrapes = [
        threading.Thread(target=lambda: results.append(lanes.read({source}, 2.0))) for _ in range(5)
    ]
    for scrape in scrapes:
        scrape.start()
    for scrape in scrapes:
        scrape.join()

    assert most == 1
    assert all(isinstance(result[source], Value) for result in results)


def test_lanes_that_finish_together(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever stores last says so, once, even if threads are switched in between."""

    class Dawdling(dict[Source[Any], Any]):
        def __setitem__(self, source: Source[Any], asked: Any) -> None:
            super().__setitem__(source, asked)
            time.sleep(0.001)  # let the other lane store before this one looks

    real = _Results.__init__

    def dawdling(results: _Results, wanted: int) -> None:
        real(results, wanted)
        results._answers = Dawdling()

    monkeypatch.setattr(_Results, "__init__", dawdling)
    sources = {quick(f"s{i}", f"together-{i}") for i in range(4)}
    lanes = Lanes(host, sources)
    for _ in range(20):
        outcomes = lanes.read(sources, 2.0)
        assert all(isinstance(outcome, Value) for outcome in outcomes.values())


def test_no_source_wanted_is_no_wait(host: Host) -> None:
    """An empty scrape ends at once."""
    assert Lanes(host, []).read(set(), 2.0) == {}
