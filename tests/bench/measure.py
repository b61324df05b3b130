"""Servers that take turns, and how what they cost is shown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from operator import sub
from typing import NamedTuple

from tests.bench.served import Served

ROUND = 20
"""Scrapes of each server in a round."""


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
    kernel: which share of the CPU time was spent in the kernel.
    """

    cpu: dict[str, list[float]]
    wall: dict[str, list[float]]
    kernel: dict[str, float]


def take_turns(
    sides: Sequence[Served],
    effort: Effort,
    between: Callable[[], None] = lambda: None,
    least: int = 5 * ROUND,
) -> Turns:
    """Scrape all sides in turns, ``between`` before each turn."""
    cpu: dict[str, list[float]] = {side.name: [] for side in sides}
    wall: dict[str, list[float]] = {side.name: [] for side in sides}
    deadline = time.monotonic() + effort.seconds
    for side in sides:
        side.fetch()
    began = {side.name: side.times() for side in sides}
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
        if min(spent) >= effort.cpu_seconds and len(wall[sides[0].name]) >= least:
            break
    kernel = {}
    for side in sides:
        of_user, of_system = map(sub, side.times(), began[side.name])
        kernel[side.name] = of_system / max(of_user + of_system, 1e-9)
    return Turns(cpu, wall, kernel)


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


def extremes(each: Sequence[float], unit: str = " ×") -> str:
    """The median, and the lowest and highest."""
    return f"{statistics.median(each):.3f}{unit} ({min(each):.3f} to {max(each):.3f})"


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
