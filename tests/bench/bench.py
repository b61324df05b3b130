"""Measures the exporter beside node_exporter and prometheus_client, both sides in one run.

    python -m tests.bench.bench [--quick] [--pin CPU]

CPU time is that of a whole process over a round of scrapes, in which all sides take turns; what
is shown is the median of the rounds, and of a ratio the quartiles too. Before anything is
measured, both sides have to say the same of the same files: if they do not, the exit code is 1.
Network devices are made in network namespaces of their own, which takes root, ip, tc and ethtool.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

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
from tests.bench.devices import CPUS, DEVICES, QUEUES_OF_A_DEVICE, DeviceBench
from tests.bench.measure import (
    QUICK,
    THOROUGH,
    Difference,
    Effort,
    ratios,
    reached,
    show,
    spread,
    table,
    take_turns,
    title,
)
from tests.bench.sameness import compare, samples
from tests.bench.served import HERE, NODE_EXPORTER, OURS, Served, serving
from tests.bench.wires import Wires, can_make
from tests.live.lab import Namespace

# The same daemon on a machine for which there is no isal.
_WITHOUT_ISAL = "import sys; sys.modules['isal'] = None; from netperf_exporter.cli import main; "
OURS_ZLIB = [sys.executable, "-c", _WITHOUT_ISAL + "sys.exit(main())"]

OF_FILES = ("softirqs", "cpu", "softnet", "ip", "udp", "tcp", "snmp")
"""Our collectors that read files and nothing else."""

ALL_FIELDS = [
    "--collector.disable-defaults",
    *[f"--collector.{name}" for name in OF_FILES if name != "softirqs"],
]
"""Our flags for what node_exporter has with NODE_ALL_FIELDS."""

NODE_MATCHING = [
    "--collector.disable-defaults",
    "--collector.cpu",
    "--collector.softnet",
    "--collector.netstat",
]
"""Its collectors for the files that our default set reads. It has none for softirqs."""

NODE_MATCHING_DEVICES = [
    *NODE_MATCHING,
    "--collector.ethtool",
    "--collector.netclass",
    "--collector.netdev",
]
"""The same, and those for network devices. It has none for steering."""

# It has three modes of a CPU more than we do, each a sample: hence the costs of a sample. Guest
# time, which it has a second time under a name of its own, is left out.
NODE_ALL_FIELDS = [*NODE_MATCHING, "--no-collector.cpu.guest", "--collector.netstat.fields=.*"]


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
        DeviceBench(self._effort, self._pin, self._node).run()

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
                table(sides, take_turns(sides, self._effort, host.advance))
            # Two at a time: more servers in turns would only fight over the caches.
            for one, other in pairs:
                turns = take_turns([one, other], self._effort, host.advance)
                counts = table([one, other], turns)
                each = ratios(turns.cpu[one.name], turns.cpu[other.name])
                more = counts[other.name] / counts[one.name]
                name = f"{one.name} : {other.name}"
                show(f"{name}, a scrape", spread(each))
                per_sample = [ratio * more for ratio in each]
                # The target is for machines that have isal; zlib is shown for those that have not.
                target = "" if "zlib" in one.name else reached(per_sample, 0.1)
                show(f"{name}, a sample", spread(per_sample), target)

    def _rendering(self, host: BigHost) -> None:
        title("b. rendering alone, the same blocks, every value changing")
        replayed = ReplayedHost(self._folder)
        rounds: list[list[Block]] = []
        for _ in range(self._effort.renders):
            host.advance()
            readings = Readings({source: read(source, replayed) for source in SOURCES})
            collectors = [COLLECTORS[name] for name in OF_FILES]
            rounds.append([block for c in collectors for block in c.collect(readings)])
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
        self._beside_node("ours", OURS, ["--collector.interrupts"])
        without = [*OURS, "--no-collector.irq", "--no-collector.steering"]
        self._beside_node("ours, no irq, no steering", without, [])

    def _beside_node(self, name: str, command: Sequence[str], more: Sequence[str]) -> None:
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(serving(f"{name}, gzip", command, pin=self._pin))
            sides = [ours]
            if self._node:
                flags = [self._node, *NODE_MATCHING_DEVICES, *more]
                flags += _only_devices_of_ours(ours, HERE)
                sides.append(stack.enter_context(serving("node, gzip", flags, pin=self._pin)))
            turns = take_turns(sides, self._effort, least=self._effort.scrapes)
            table(sides, turns)
            if self._node:
                each = ratios(turns.cpu[ours.name], turns.cpu[sides[1].name])
                show(f"{name} : node, a scrape", spread(each), reached(each, 0.25))
            self._show_memory(ours, len(turns.wall[ours.name]), 48)

    def _big_host(self, host: BigHost) -> None:
        title(
            f"d. {CPUS} CPUs and, if they can be made, {DEVICES} ifb with {QUEUES_OF_A_DEVICE} "
            "queues, our default set and node_exporter's collectors for the same"
        )
        with contextlib.ExitStack() as stack:
            where, advance = HERE, host.advance
            if not can_make(QUEUES_OF_A_DEVICE):
                wires = stack.enter_context(Wires(DEVICES, QUEUES_OF_A_DEVICE, ifbs=True))
                where = wires.namespace

                def advance() -> None:
                    host.advance()
                    wires.send()

            flags = [*OURS, *self._tree, "--device.include=ifb.*"]
            ours = stack.enter_context(serving("ours, gzip", flags, pin=self._pin, where=where))
            sides = [ours]
            if self._node:
                flags = [self._node, f"--path.procfs={self._folder}/proc", *NODE_MATCHING_DEVICES]
                flags += _only_devices_of_ours(ours, where)
                node = serving("node, gzip", flags, pin=self._pin, where=where)
                sides.append(stack.enter_context(node))
            turns = take_turns(sides, self._effort, advance, self._effort.scrapes)
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


def _only_devices_of_ours(ours: Served, where: Namespace) -> list[str]:
    """Flags that make node_exporter look at the devices that ours shows one by one."""
    answer = ours.scrape()
    said = samples(answer.content_type, answer.body)
    shown = {dict(labels)["device"] for name, labels in said if name == "netperf_interface_up"}
    those = "|".join(sorted(shown))
    others = sorted({name for _, name in where.inside(socket.if_nameindex)} - shown)
    return [
        f"--collector.ethtool.device-include=^({those})$",
        f"--collector.netdev.device-exclude=^({'|'.join(others)})$",
        f"--collector.netclass.ignored-devices=^({'|'.join(others)})$",
    ]


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
