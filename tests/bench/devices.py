"""Measures what network devices, their queues and their drivers cost."""

from __future__ import annotations

import contextlib
import itertools
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from netperf_exporter.collectors import COLLECTORS, OFF_BY_DEFAULT, queues
from netperf_exporter.exposition.render import Format, Renderer
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.ethtool import StatisticsReader
from netperf_exporter.kernel.host import ReplayedHost
from netperf_exporter.kernel.netlink import requests
from netperf_exporter.parsers import netdev
from netperf_exporter.policy import DevicePolicy
from netperf_exporter.queues import QUEUES
from netperf_exporter.sources import (
    LINKS,
    QUEUE_STATISTICS,
    Absent,
    Derived,
    Outcome,
    Readings,
    Source,
    Value,
    read,
)
from tests.bench.bighost import BigHost
from tests.bench.measure import (
    Difference,
    Effort,
    Turns,
    extremes,
    ratios,
    reached,
    show,
    table,
    take_turns,
    title,
)
from tests.bench.sameness import Samples, compare_devices, samples
from tests.bench.served import OURS, Served, serving
from tests.bench.wires import Wires, can_make

CPUS = 256
QUEUES_OF_A_DEVICE = 64
DEVICES = 8
LINK_PAIRS = 500
CHURNED_PAIRS = 10

OURS_OF_DEVICES = (
    *OURS,
    "--collector.disable-defaults",
    "--collector.link",
    "--collector.nic",
    "--collector.queues",
)
NODE_OF_DEVICES = (
    "--collector.disable-defaults",
    "--collector.ethtool",
    "--collector.netclass",
    "--collector.netdev",
)


class DeviceBench:
    """The sections about network devices. node: as of Bench."""

    def __init__(self, effort: Effort, pin: int | None, node: str) -> None:
        self._effort = effort
        self._pin = pin
        self._node = node

    def run(self) -> None:
        """Measure all there is."""
        why_not = can_make(QUEUES_OF_A_DEVICE)
        if why_not:
            title(f"f, g, h: left out, {why_not}")
        else:
            self._many_queues("veth", r"v\d+[ab]", ifbs=False)
            self._many_queues("ifb", r"ifb\d+", ifbs=True)
            self._many_links()
            self._reading()
        self._queue_statistics()
        self._whole()

    def _many_queues(self, kind: str, devices: str, ifbs: bool) -> None:
        count = DEVICES if ifbs else 2 * DEVICES
        title(f"f. {count} {kind} with {QUEUES_OF_A_DEVICE} queues, packets on each of them")
        with (
            Wires(DEVICES, QUEUES_OF_A_DEVICE, ifbs) as wires,
            contextlib.ExitStack() as stack,
        ):
            wires.send()

            def side(name: str, command: Sequence[str]) -> Served:
                where = wires.namespace
                return stack.enter_context(serving(name, command, pin=self._pin, where=where))

            flags = [*OURS_OF_DEVICES, f"--device.include={devices}"]
            sides = [side("ours", flags), side("ours, raw as well", [*flags, _RAW])]
            if self._node:
                others = r"^(lo|v.*)$" if ifbs else "^lo$"
                node = side(
                    "node",
                    [
                        self._node,
                        *NODE_OF_DEVICES,
                        f"--collector.ethtool.device-include=^({devices})$",
                        f"--collector.netdev.device-exclude={others}",
                        f"--collector.netclass.ignored-devices={others}",
                    ],
                )
                for ours in sides:
                    _prove_devices_equal(node, ours)
            _prove_moving(sides[-1], wires.send)
            if not self._node:
                table(sides, take_turns(sides, self._effort, wires.send))
                return
            for ours in sides:
                turns = take_turns([ours, node], self._effort, wires.send)
                table([ours, node], turns)
                each = ratios(turns.cpu[ours.name], turns.cpu[node.name])
                show(f"{ours.name} : node, a scrape", extremes(each), reached(each, 0.2))
                _show_kernel(turns)

    def _many_links(self) -> None:
        title(f"g. {2 * LINK_PAIRS} links (veth), collector link alone")
        flags = [*OURS, "--collector.disable-defaults", "--collector.link"]
        every = [*flags, "--device.include=.*"]
        with Wires(LINK_PAIRS, 0) as wires, contextlib.ExitStack() as stack:

            def side(name: str, command: Sequence[str]) -> Served:
                where = wires.namespace
                return stack.enter_context(serving(name, command, pin=self._pin, where=where))

            sides = [side("summed by kind", flags), side("each shown", every)]
            self._links_cost(sides, wires, "", lambda: None)
            churn = _churn(wires)
            self._links_cost(sides, wires, ", 20 come or go", lambda: next(churn))

    def _links_cost(
        self, sides: Sequence[Served], wires: Wires, how: str, between: Callable[[], None]
    ) -> None:
        turns = take_turns(sides, self._effort, between)
        table(sides, turns)
        for side in sides:
            each = [seconds * 1e3 for seconds in turns.cpu[side.name]]
            # The target is for devices that stay: a thousand new templates are another matter.
            target = "" if how else reached(each, 5, " ms")
            show(f"{side.name}{how}", extremes(each, " ms"), target)
        _show_kernel(turns)

    def _reading(self) -> None:
        title(f"h. reading {DEVICES} veth with {QUEUES_OF_A_DEVICE} queues, in this process")
        with Wires(DEVICES, QUEUES_OF_A_DEVICE) as wires:
            listed = wires.namespace.run("ip", "-o", "link", "show", "type", "veth")
            found = [line.split(": ")[:2] for line in listed.splitlines()]
            indexes = {name.partition("@")[0]: int(index) for index, name in found}
            devices = [f"v{pair}a" for pair in range(DEVICES)]

            def measure() -> None:
                with contextlib.closing(StatisticsReader()) as reader:

                    def read_all() -> None:
                        for device in devices:
                            reader.read(device, indexes[device])

                    _show_split("ETHTOOL_GSTATS, all", read_all, self._effort.cpu_seconds)

            wires.namespace.inside(measure)

    def _queue_statistics(self) -> None:
        count = 2 * DEVICES * QUEUES_OF_A_DEVICE
        title(f"i. {count} queues of the family netdev, made up, every counter moving")
        with (
            tempfile.TemporaryDirectory(prefix="bighost-") as folder,
            contextlib.closing(BigHost(Path(folder), 2, 1, cards=DEVICES)) as host,
        ):
            replayed = ReplayedHost(Path(folder))
            outcomes: dict[Source[Any] | Derived[Any], Outcome] = {
                source: Absent("not of interest", 0.0) for source in QUEUES.needs
            }
            outcomes[LINKS] = read(LINKS, replayed)
            renderer = Renderer(Format.OPENMETRICS)
            state = QUEUES.start
            took: dict[str, list[float]] = {"parse": [], "collect": [], "render": []}
            series = 0
            for _ in range(self._effort.renders):
                host.advance()
                dump = replayed.dump(requests.QSTATS)
                started = time.thread_time()
                outcomes[QUEUE_STATISTICS] = Value(netdev.queue_statistics(dump, []), (), 0.0)
                parsed = time.thread_time()
                readings = Readings(outcomes)
                state = QUEUES.advance(state, readings)
                outcomes[QUEUES] = Value(state, (), 0.0)
                blocks = list(queues.collect(readings))
                collected = time.thread_time()
                renderer.render(blocks)
                rendered = time.thread_time()
                took["parse"].append(parsed - started)
                took["collect"].append(collected - parsed)
                took["render"].append(rendered - collected)
                series = sum([len(block.values) for block in blocks])
        print(f"  {len(dump)} bytes, {series} samples")
        for what, each in took.items():
            # The first one makes layouts and templates.
            per_sample = [seconds / series * 1e6 for seconds in each[1:]]
            target = reached(per_sample, 0.1, " µs") if what == "render" else ""
            show(f"{what}, a sample", extremes(per_sample, " µs"), target)

    def _whole(self) -> None:
        title(f"j. {CPUS} CPUs and {DEVICES} cards with {QUEUES_OF_A_DEVICE} queues, replayed here")
        with (
            tempfile.TemporaryDirectory(prefix="bighost-") as folder,
            contextlib.closing(BigHost(Path(folder), CPUS, cards=DEVICES)) as host,
        ):
            default = {name: c for name, c in COLLECTORS.items() if name not in OFF_BY_DEFAULT}
            exporter = Exporter(ReplayedHost(Path(folder), DevicePolicy()), default)
            each = []
            for _ in range(self._effort.renders):
                host.advance()
                started = time.process_time()
                exporter.scrape(format=Format.OPENMETRICS, compress=True)
                each.append((time.process_time() - started) * 1e3)
            lines = exporter.scrape().splitlines()
        print(f"  {sum(not line.startswith(b'#') for line in lines)} samples")
        # Without the kernel's and the firmware's time, but with that of reading files instead.
        show("CPU a scrape", extremes(each[1:], " ms"), reached(each[1:], 25, " ms"))


_RAW = "--collector.nicstatistics"


def _prove_devices_equal(node: Served, ours: Served) -> None:
    same = compare_devices(_samples(node), _samples(ours))
    if same.differing or same.missing or not same.equal:
        counts = f"{len(same.differing)} values differ, {len(same.missing)} samples are missing"
        raise Difference(f"{ours.name}: {counts}: {(same.differing + same.missing)[:5]}")
    print(f"  {ours.name}: {same.equal} samples are node_exporter's too, all with equal values")


def _prove_moving(ours: Served, send: Callable[[], None]) -> None:
    """No queue may have stood still between two scrapes."""
    before = _packets(_samples(ours))
    send()
    after = _packets(_samples(ours))
    still = [name for name, value in after.items() if before.get(name) == value]
    if still or not after:
        raise Difference(f"of {len(after)} counters of packets of queues, {len(still)} stand still")
    print(f"  {len(after)} counters of packets of queues, all of which move")


def _packets(said: Samples) -> Samples:
    """The statistics of drivers that count what queues received."""
    names = {
        sample: dict(sample[1]).get("name", "")
        for sample in said
        if sample[0].endswith("statistic")
    }
    ends = ("_packets", "_xdp_packets")
    return {
        sample: said[sample]
        for sample, name in names.items()
        if name.startswith("rx_queue_") and name.endswith(ends)
    }


def _samples(side: Served) -> Samples:
    answer = side.scrape()
    return samples(answer.content_type, answer.body)


def _churn(wires: Wires) -> Iterator[None]:
    """Devices come, and at the next scrape as many go."""
    for number in itertools.count():
        pairs = [f"n{number}x{pair}" for pair in range(CHURNED_PAIRS)]
        wires.batch([f"link add name {p}a type veth peer name {p}b" for p in pairs])
        yield
        wires.batch([f"link del {p}a" for p in pairs])
        yield


def _show_kernel(turns: Turns) -> None:
    for name, share in turns.kernel.items():
        took = statistics.median(turns.cpu[name]) * share * 1e3
        show(f"{name}: in the kernel", f"{took:.2f} ms of a scrape, {share:.0%}")


def _show_split(what: str, call: Callable[[], None], seconds: float) -> None:
    """CPU time of a call, and which part of it was the kernel's, from so many seconds of it."""
    call()
    before = resource.getrusage(resource.RUSAGE_THREAD)
    started = time.thread_time()
    rounds, took = 0, 0.0
    while took < seconds:
        call()
        rounds += 1
        took = time.thread_time() - started
    after = resource.getrusage(resource.RUSAGE_THREAD)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    each = took / rounds * 1e6
    in_kernel = each * system / max(user + system, 1e-9)
    show(what, f"{each:.0f} µs, in the kernel {in_kernel:.0f} µs")
