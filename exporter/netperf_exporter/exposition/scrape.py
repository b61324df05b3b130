"""One scrape: sources read once, collectors asked, text made of it, accounts kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from netperf_exporter.collectors import Collector
from netperf_exporter.exposition import selfmetrics
from netperf_exporter.exposition.compression import gzipped
from netperf_exporter.exposition.lanes import Lanes
from netperf_exporter.exposition.process import OwnProcess
from netperf_exporter.exposition.render import END, Format, Renderer
from netperf_exporter.exposition.selfmetrics import Account
from netperf_exporter.kernel.host import Host
from netperf_exporter.metric import Block
from netperf_exporter.sources import (
    SOURCES,
    Absent,
    Derived,
    Failed,
    NotRead,
    NotThere,
    Options,
    Outcome,
    Readings,
    Source,
    Value,
)

DEADLINE = 2.0
"""Seconds a scrape waits for its sources, unless the scraper gives it less."""

SERIES_LIMIT = 20_000
"""Samples a collector may have in one scrape."""

log = logging.getLogger(__name__)


class _Key(NamedTuple):
    """Scrapes that are alike in all of this are one."""

    names: tuple[str, ...]
    format: Format
    gzip: bool


class _State(NamedTuple):
    """What a Derived is, and when the scrape began that made it so."""

    value: Any
    started: float


class _Flight:
    """A scrape under way, and those who wait for its body."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.done = threading.Event()
        self.body: bytes | None = None


class Exporter:
    """Scrapes one host.

    collectors: by name, in the order of the output.
    """

    def __init__(
        self,
        host: Host,
        collectors: Mapping[str, Collector],
        options: Options | None = None,
        series_limit: int = SERIES_LIMIT,
    ) -> None:
        self.collectors = dict(collectors)
        self._options = options or Options()
        self._series_limit = series_limit
        self._lanes = Lanes(host, SOURCES)
        self._process = OwnProcess()
        self._flights: dict[_Key, _Flight] = {}
        self._flights_lock = threading.Lock()
        # What follows is used by one scrape at a time.
        self._writing = threading.Lock()
        self._renderers = {format: Renderer(format) for format in Format}
        self._derived: dict[Derived[Any], _State] = {}
        needed = _sources(self.collectors.values())
        self._parse_errors = {s.name: 0 for s in SOURCES if s in needed}
        self._said: dict[str, str] = {}

    def scrape(
        self,
        names: tuple[str, ...] | None = None,
        format: Format = Format.TEXT,
        compress: bool = False,
        seconds: float = DEADLINE,
    ) -> bytes:
        """The exposition of some collectors, or of all.

        Sources that have not answered after so many seconds are left out. A scrape that asks
        for the same while one is under way gets that one's body.
        """
        chosen = tuple(n for n in self.collectors if names is None or n in names)
        key = _Key(chosen, format, compress)
        with self._flights_lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = _Flight(time.monotonic() + seconds)
                self._flights[key] = flight
        if not mine:
            flight.done.wait()
            if flight.body is None:
                raise RuntimeError("the scrape this one had joined failed")
            return flight.body
        try:
            flight.body = self._scrape(key, seconds)
            return flight.body
        finally:
            with self._flights_lock:
                del self._flights[key]
            flight.done.set()

    def overrun(self) -> float:
        """Seconds by which the oldest scrape under way is past its deadline; 0 if none is."""
        now = time.monotonic()
        with self._flights_lock:
            return max([0.0, *[now - flight.deadline for flight in self._flights.values()]])

    def _scrape(self, key: _Key, seconds: float) -> bytes:
        collectors = {name: self.collectors[name] for name in key.names}
        started = time.monotonic()
        outcomes = self._lanes.read(_sources(collectors.values()), seconds)
        with self._writing:
            readings = self._derive(collectors.values(), outcomes, started)
            texts = self._write(collectors, readings, key.format)
        return gzipped(texts) if key.gzip else b"".join(texts)

    def _derive(
        self,
        collectors: Iterable[Collector],
        outcomes: Mapping[Source[Any], Outcome],
        started: float,
    ) -> Readings:
        """Advance what is derived from the sources that were read."""
        together: dict[Source[Any] | Derived[Any], Outcome] = dict(outcomes.items())
        readings = Readings(together, self._options)
        for derived in {n for c in collectors for n in c.NEEDS if isinstance(n, Derived)}:
            together[derived] = self._advance(derived, readings, started)
        return readings

    def _advance(self, derived: Derived[Any], readings: Readings, started: float) -> Outcome:
        since = time.perf_counter()
        state = self._derived.get(derived) or _State(derived.start, 0.0)
        # Scrapes overlap. One that began before the last one that was written has older figures,
        # and what they add is in the newer ones.
        if started >= state.started:
            try:
                state = _State(derived.advance(state.value, readings), started)
            except NotThere as missing:
                return Absent(str(missing), 0.0)
            except NotRead as error:
                return Failed(str(error), 0.0)
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                self._say(f"derived {derived.name}", type(error).__name__, f"failed: {said}")
                log.debug("derived %s failed", derived.name, exc_info=True)
                return Failed(said, 0.0)
            self._say(f"derived {derived.name}", "")
            self._derived[derived] = state
        return Value(state.value, (), time.perf_counter() - since)

    def _write(
        self, collectors: Mapping[str, Collector], readings: Readings, format: Format
    ) -> list[bytes]:
        self._note(readings.outcomes)
        renderer = self._renderers[format]
        texts: list[bytes] = []
        accounts: dict[str, Account] = {}
        for name, collector in collectors.items():
            text, accounts[name] = self._collect(name, collector, readings, renderer)
            texts.append(text)
        texts.append(renderer.render(selfmetrics.blocks(accounts, self._parse_errors)))
        texts.append(renderer.render(self._process.blocks()))
        texts.append(END[format])
        return texts

    def _collect(
        self, name: str, collector: Collector, readings: Readings, renderer: Renderer
    ) -> tuple[bytes, Account]:
        """All of a collector's text or none of it."""
        started = time.perf_counter()
        read = sum(readings.outcomes[source].seconds for source in collector.NEEDS)

        def account(success: bool, reason: str = "", series: int = 0, omitted: int = 0) -> Account:
            microseconds = int((read + time.perf_counter() - started) * 1e6)
            return Account(microseconds, success, reason, series, omitted)

        try:
            blocks, series, omitted = _limited(
                list(collector.collect(readings)), self._series_limit
            )
            text = renderer.render(blocks)
        except NotThere as missing:
            reason = str(missing)
            self._say(name, reason, f"not available here: {reason}", logging.INFO)
            return b"", account(success=True, reason=reason)
        except NotRead:  # said where the source is
            return b"", account(success=False)
        except Exception as error:
            kind = type(error).__name__
            self._say(name, kind, f"failed: {kind}: {error}")
            log.debug("collector %s failed", name, exc_info=True)
            return b"", account(success=False)
        if omitted:
            limit = self._series_limit
            self._say(name, "limit", f"{omitted} series left out, the limit is {limit}")
        else:
            self._say(name, "")
        return text, account(True, "", series, omitted)

    def _note(self, outcomes: Mapping[Source[Any] | Derived[Any], Outcome]) -> None:
        """Count and say what was left out or could not be read."""
        for source, outcome in outcomes.items():
            if isinstance(source, Derived):  # said where its sources are
                continue
            who = f"source {source.name}"
            if isinstance(outcome, Failed):
                self._parse_errors[source.name] += outcome.malformed
                needing = [n for n, c in self.collectors.items() if source in _sources([c])]
                without = ", ".join(needing)
                cause = "malformed" if outcome.malformed else outcome.reason
                self._say(who, cause, f"{outcome.reason}; no samples from {without}")
            elif isinstance(outcome, Value) and outcome.problems:
                self._parse_errors[source.name] += len(outcome.problems)
                count, first = len(outcome.problems), outcome.problems[0]
                self._say(who, "lines", f"left out {count} of its lines: {first}")
            else:
                self._say(who, "")

    def _say(self, who: str, cause: str, text: str = "", level: int = logging.WARNING) -> None:
        """Log what ails somebody, once for as long as the cause is the same."""
        if cause == self._said.get(who, ""):
            return
        self._said[who] = cause
        if cause:
            log.log(level, "%s: %s", who, text)
        else:
            log.info("%s: well again", who)


def _sources(collectors: Iterable[Collector]) -> set[Source[Any]]:
    """Every source that collectors need, and what is derived for them needs."""
    needs = {need for collector in collectors for need in collector.NEEDS}
    return {
        source
        for need in needs
        for source in (need.needs if isinstance(need, Derived) else (need,))
    }


def _limited(blocks: list[Block], limit: int) -> tuple[list[Block], int, int]:
    """Blocks cut to a number of samples, how many are left, and how many were cut away."""
    total = sum([len(block.values) for block in blocks])
    if total <= limit:
        return blocks, total, 0
    kept: list[Block] = []
    left = limit
    for families, rows, values in blocks:
        height = min(len(rows), left // len(families))
        columns = [values[i * len(rows) :][:height] for i in range(len(families))]
        kept.append(Block(families, rows[:height], [v for column in columns for v in column]))
        left -= len(kept[-1].values)
    return kept, limit - left, total - (limit - left)
