"""Measures the exporter beside node_exporter and prometheus_client, both sides in one run.

    python -m tests.bench.bench [--quick] [--pin CPU]

CPU time is that of a whole process over a round of scrapes, in which all sides take turns; what
is shown is the median of the rounds, and of a ratio the quartiles too. Before anything is
measured, both sides have to say the same of the same files: if they do not, the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.exposition.client import metrics_of
from netperf_exporter.exposition.render import END, Format, Renderer
from netperf_exporter.kernel.host import ReplayedHost
from netperf_exporter.metric import Block
from netperf_exporter.sources import SOURCES, Readings, read
from tests.bench.bighost import BigHost
from tests.bench.sameness import compare, samples
from tests.bench.served import Served, serving

CPUS = 256
ROUND = 20
"""Scrapes of each server in a round."""

NODE_EXPORTER = "prometheus-node-exporter"

OURS = [sys.executable, "-m", "netperf_exporter"]
# The same daemon where the extra isal is not installed.
_WITHOUT_ISAL = "import sys; sys.modules['isal'] = None; from netperf_exporter.cli import main; "
OURS_ZLIB = [sys.executable, "-c", _WITHOUT_ISAL + "sys.exit(main())"]

ALL_FIELDS = ["--collector.snmp", "--no-collector.softirqs"]
"""Our flags for what node_exporter has with NODE_ALL_FIELDS."""

NODE_MATCHING = [
    "--collector.disable-defaults",
    "--collector.cpu",
    "--collector.softnet",
    "--collector.netstat",
]
"""Its collectors for what our default set reads. It has none for softirqs."""

# It has three modes of a CPU more than we do, each a sample: hence the costs of a sample. Guest
# time, which it has a second time under a name of its own, is left out.
NODE_ALL_FIELDS = [*NODE_MATCHING, "--no-collector.cpu.guest", "--collector.netstat.fields=.*"]


class Effort(NamedTuple):
    """How much to measure.

    cpu_seconds: of every server of a comparison, at the least, unless the time ends.
    seconds: of a comparison, at the most.
    scrapes: of a server whose latency or memory is looked at.
    """

    cpu_seconds: float
    seconds: float
    scrapes: int
    starts: int
    renders: int


THOROUGH = Effort(cpu_seconds=1.2, seconds=60.0, scrapes=1000, starts=9, renders=60)
QUICK = Effort(cpu_seconds=0.2, seconds=7.0, scrapes=100, starts=3, renders=10)


class Difference(Exception):
    """The two sides do not say the same: there is nothing to compare."""


class Turns(NamedTuple):
    """What came of some rounds, by the server's name.

    cpu: seconds a scrape, one for each round.
    wall: seconds of each scrape as its client saw it.
    """

    cpu: dict[str, list[float]]
    wall: dict[str, list[float]]


class Bench:
    """One run.

    folder: where the big host is made up.
    node: the path of node_exporter, or "" where it is not installed.
    """

    def __init__(self, folder: Path, effort: Effort, pin: int | None, node: str) -> None:
        self._effort = effort
        self._pin = pin
        self._node = node
        self._folder = folder
        self._tree = [f"--path.procfs={folder}/proc", f"--path.sysfs={folder}/sys"]

    def run(self) -> None:
        """Measure all there is."""
        with contextlib.closing(BigHost(self._folder, CPUS)) as host:
            self._same_sources(host)
            self._rendering(host)
            self._live_host()
            self._big_host(host)
            self._start()

    def _same_sources(self, host: BigHost) -> None:
        title(f"a. the same sources of one tree, {CPUS} CPUs, every counter moving")
        with contextlib.ExitStack() as stack:

            def ours(name: str, command: Sequence[str] = OURS, gzip: bool = True) -> Served:
                flags = [*command, *self._tree, *ALL_FIELDS]
                return stack.enter_context(serving(name, flags, gzip=gzip, pin=self._pin))

            def node(name: str, gzip: bool) -> Served:
                flags = [self._node, *self._tree, *NODE_ALL_FIELDS]
                return stack.enter_context(serving(name, flags, gzip=gzip, pin=self._pin))

            sides: list[Served] = []
            if importlib.util.find_spec("isal"):
                sides.append(ours("ours, gzip by isal"))
            else:
                print("  isal is not installed")
            plain = ours("ours, no gzip", gzip=False)
            sides += [ours("ours, gzip by zlib", OURS_ZLIB), plain]
            pairs: list[tuple[Served, Served]] = []
            if self._node:
                node_gzip, node_plain = node("node, gzip", True), node("node, no gzip", False)
                pairs = [(o, node_plain if o is plain else node_gzip) for o in sides]
                prove_equal(node_gzip, *sides)
                sides += [node_gzip, node_plain]

            if not pairs:
                table(sides, self._take_turns(sides, host.advance))
            # Two at a time: more servers in turns would only fight over the caches.
            for one, other in pairs:
                turns = self._take_turns([one, other], host.advance)
                counts = table([one, other], turns)
                each = ratios(turns.cpu[one.name], turns.cpu[other.name])
                more = counts[other.name] / counts[one.name]
                name = f"{one.name} : {other.name}"
                show(f"{name}, a scrape", spread(each))
                per_sample = [ratio * more for ratio in each]
                show(f"{name}, a sample", spread(per_sample), reached(per_sample, 0.1))

    def _rendering(self, host: BigHost) -> None:
        title("b. rendering alone, the same blocks, every value changing")
        replayed = ReplayedHost(self._folder)
        rounds: list[list[Block]] = []
        for _ in range(self._effort.renders):
            host.advance()
            readings = Readings({source: read(source, replayed) for source in SOURCES})
            rounds.append([b for c in COLLECTORS.values() for b in c.collect(readings)])
        size = sum(len(block.values) for block in rounds[0])
        print(f"  {size} samples")
        for format in Format:
            ours, theirs = render_both(rounds, format)
            each = [seconds / size * 1e6 for seconds in ours]
            name = format.name.lower()
            show(f"{name}, a sample", f"{statistics.median(each):.3f} µs", reached(each, 0.1))
            other = statistics.median(theirs) / size * 1e6
            show(f"{name}, generate_latest", f"{other:.3f} µs")
            show(f"{name}, ratio", spread(ratios(ours, theirs)))

    def _live_host(self) -> None:
        title("c. this machine, our default set and node_exporter's collectors for the same")
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(serving("ours, gzip", OURS, pin=self._pin))
            sides = [ours]
            if self._node:
                flags = [self._node, *NODE_MATCHING]
                sides.append(stack.enter_context(serving("node, gzip", flags, pin=self._pin)))
            turns = self._take_turns(sides, least=self._effort.scrapes)
            table(sides, turns)
            if self._node:
                each = ratios(turns.cpu[ours.name], turns.cpu[sides[1].name])
                show("ours : node, a scrape", spread(each), reached(each, 0.25))
            self._show_memory(ours, len(turns.wall[ours.name]), 48)

    def _big_host(self, host: BigHost) -> None:
        title(f"d. {CPUS} CPUs, our default set and node_exporter's collectors for the same")
        with contextlib.ExitStack() as stack:
            flags = [*OURS, *self._tree]
            ours = stack.enter_context(serving("ours, gzip", flags, pin=self._pin))
            sides = [ours]
            if self._node:
                flags = [self._node, *self._tree, *NODE_MATCHING]
                sides.append(stack.enter_context(serving("node, gzip", flags, pin=self._pin)))
            turns = self._take_turns(sides, host.advance, self._effort.scrapes)
            table(sides, turns)
            each = [seconds * 1e3 for seconds in turns.cpu[ours.name]]
            show("CPU a scrape", f"{statistics.median(each):.2f} ms", reached(each, 25, " ms"))
            for side in sides:
                wall = statistics.quantiles([w * 1e3 for w in turns.wall[side.name]], n=100)
                target = reached([wall[98]], 60, " ms") if side is ours else ""
                show(f"{side.name}: wall p50, p99", f"{wall[49]:.2f}, {wall[98]:.2f} ms", target)
            self._show_memory(ours, len(turns.wall[ours.name]), 56)

    def _start(self) -> None:
        title("e. from the start of the process to the end of its first scrape, this machine")
        commands = {"ours": OURS} | ({"node": [self._node, *NODE_MATCHING]} if self._node else {})
        took: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(self._effort.starts):
            for name, command in commands.items():
                with serving(name, command, pin=self._pin) as side:
                    took[name].append(side.start_seconds * 1e3)
        for name, each in took.items():
            target = reached(each, 300, " ms") if name == "ours" else ""
            show(name, f"{statistics.median(each):.0f} ms", target)

    def _take_turns(
        self,
        sides: Sequence[Served],
        between: Callable[[], None] = lambda: None,
        least: int = 5 * ROUND,
    ) -> Turns:
        """Scrape all sides in turns, ``between`` before each turn."""
        cpu: dict[str, list[float]] = {side.name: [] for side in sides}
        wall: dict[str, list[float]] = {side.name: [] for side in sides}
        deadline = time.monotonic() + self._effort.seconds
        for side in sides:
            side.fetch()
        while time.monotonic() < deadline:
            before = {side.name: side.cpu_seconds() for side in sides}
            for turn in range(ROUND):
                between()
                for place in range(len(sides)):
                    side = sides[(turn + place) % len(sides)]
                    wall[side.name].append(side.fetch())
            for side in sides:
                cpu[side.name].append((side.cpu_seconds() - before[side.name]) / ROUND)
            spent = [sum(each) * ROUND for each in cpu.values()]
            if min(spent) >= self._effort.cpu_seconds and len(wall[sides[0].name]) >= least:
                break
        return Turns(cpu, wall)

    def _show_memory(self, ours: Served, scrapes: int, most: int) -> None:
        show("RSS after the first scrape", f"{ours.first_rss:.1f} MiB")
        rss = ours.rss()
        show(f"RSS after {scrapes} scrapes", f"{rss:.1f} MiB", reached([rss], most, " MiB"))


class _Given(Collector):
    """A collector of prometheus_client with families that are made already."""

    def __init__(self) -> None:
        self.families: list[Metric] = []

    def collect(self) -> Iterator[Metric]:
        return iter(self.families)


def render_both(
    rounds: Sequence[Sequence[Block]], format: Format
) -> tuple[list[float], list[float]]:
    """CPU seconds of our renderer and of prometheus_client's for each round but the first.

    The first one, in which our templates are made, is compared. So is the last.
    """
    given = _Given()
    registry = CollectorRegistry()
    registry.register(given)

    def by_prometheus_client() -> bytes:
        if format is Format.TEXT:
            return generate_latest(registry)
        text: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
        return text

    renderer = Renderer(format)
    ours: list[float] = []
    theirs: list[float] = []
    for blocks in rounds:
        given.families = list(metrics_of(blocks))
        started = time.thread_time()
        text = renderer.render(blocks)
        between = time.thread_time()
        other = by_prometheus_client()
        ended = time.thread_time()
        ours.append(between - started)
        theirs.append(ended - between)
        if blocks is rounds[0] or blocks is rounds[-1]:
            one = samples(format.value, text + END[format])
            if one != samples(format.value, other):
                raise Difference(f"{format.name}: our renderer and prometheus_client's")
    return ours[1:], theirs[1:]


def prove_equal(node: Served, *ours: Served) -> None:
    """Compare what both sides say of a tree that stands still."""
    answer = node.scrape()
    theirs = samples(answer.content_type, answer.body)
    for side in ours:
        answer = side.scrape()
        same = compare(theirs, samples(answer.content_type, answer.body))
        if same.differing or same.missing or not same.equal:
            counts = f"{len(same.differing)} values differ, {len(same.missing)} samples are missing"
            raise Difference(f"{side.name}: {counts}: {(same.differing + same.missing)[:5]}")
        print(f"  {side.name}: {same.equal} samples are node_exporter's too, all with equal values")


def table(sides: Sequence[Served], turns: Turns) -> dict[str, int]:
    """Print what each side costs. Returns how many samples each has."""
    cells = "{:24}{:>9}{:>10}{:>9}{:>15}{:>11}{:>9}".format
    print(
        " ",
        cells("", "samples", "body B", "sent B", "CPU ms/scrape", "µs/sample", "RSS MiB"),
    )
    counts = {}
    for side in sides:
        rss = side.rss()
        answer = side.scrape()
        lines = answer.body.splitlines()
        count = counts[side.name] = sum(not line.startswith(b"#") for line in lines)
        cpu = statistics.median(turns.cpu[side.name])
        costs = f"{cpu * 1e3:.3f}", f"{cpu * 1e6 / count:.3f}", f"{rss:.1f}"
        print(" ", cells(side.name, count, len(answer.body), answer.sent, *costs))
    return counts


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """One ratio a round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def spread(each: Sequence[float]) -> str:
    """The median, and the quartiles around it."""
    low, middle, high = statistics.quantiles(each, n=4)
    return f"{middle:.3f} × ({low:.3f} to {high:.3f})"


def reached(each: Sequence[float], most: float, unit: str = "") -> str:
    """A target, and whether the median reaches it."""
    verdict = "reached" if statistics.median(each) <= most else "MISSED"
    return f"≤ {most}{unit}: {verdict}"


def title(text: str) -> None:
    """Print what follows."""
    print(f"\n{text}", flush=True)


def show(what: str, value: str, target: str = "") -> None:
    """Print a line of results."""
    print(f"  {what:46}{value:28}{target}".rstrip(), flush=True)


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description="measure against node_exporter")
    parser.add_argument("--quick", action="store_true", help="half a minute instead of minutes")
    parser.add_argument("--pin", type=int, metavar="CPU", help="run all servers on one CPU")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are ended
    node = shutil.which(NODE_EXPORTER) or ""
    print(f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    if not node:
        print(f"{NODE_EXPORTER} is not installed: only our side is measured")
    with tempfile.TemporaryDirectory(prefix="bighost-") as folder:
        bench = Bench(Path(folder), QUICK if given.quick else THOROUGH, given.pin, node)
        try:
            bench.run()
        except Difference as difference:
            print(f"NOT EQUAL: {difference}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
