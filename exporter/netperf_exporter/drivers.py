"""The driver table: what the statistics of each network driver mean.

The facts are in data/nic_drivers.toml, which also says how it is written. Only what a driver's
source says is in it, so a driver it does not know is read by cautious general rules.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

CAUSES = frozenset(
    {
        "ring_full",
        "fifo_full",
        "host_alloc",
        "pci",
        "link",
        "filter",
        "allowance",
        "tx_full",
        "tx_drop",
        "timeout",
        "oversize",
        "down",
        "checksum",
        "pause",
        "mixed",
    }
)
MEASURES = frozenset(
    {
        "packets",
        "bytes",
        "stops",
        "wakes",
        "timeouts",
        "xdp_packets",
        "xdp_pass",
        "xdp_drop",
        "xdp_aborted",
        "xdp_tx",
        "xdp_tx_error",
        "xdp_redirect",
        "xdp_redirect_error",
        "xdp_xmit",
        "xdp_xmit_error",
    }
)
DIRECTIONS = ("receive", "transmit")
LONGEST_NAME = 31
"""ETH_GSTRING_LEN in include/uapi/linux/ethtool.h, less the NUL."""

_KEYS = frozenset(
    {
        "source",
        "names",
        "like",
        "queues",
        "receive_queues",
        "transmit_queues",
        "no_queues",
        "measure",
        "drop",
        "queue_other",
        "receive_other",
        "transmit_other",
        "lost",
        "event",
        "sum",
        "gauge",
        "other",
        "headers",
        "section",
        "cautious",
        "transmit_from_zero",
    }
)


class Meaning(NamedTuple):
    """What one statistic is.

    kind: of a queue "measure" or "drop", of the device "lost" or "event", of either "other";
        of the device also "sum" and "gauge".
    direction: "receive" or "transmit"; "" where it does not matter.
    what: the measure or the cause; "" likewise.
    """

    kind: str
    direction: str = ""
    what: str = ""


OTHER = Meaning("other")


class Rule(NamedTuple):
    """How the name of a queue's statistic is read.

    pattern: groups ``queue`` and ``statistic``; ``direction`` if names of both directions look
        alike; ``class`` if the stack numbers the queues of one traffic class after the other.
    direction: of every name that matches, or None if the group tells.
    """

    pattern: re.Pattern[str]
    direction: str | None


class Vocabulary(NamedTuple):
    """Names and patterns with their meaning; a name in full goes before patterns."""

    names: Mapping[str, Meaning]
    patterns: tuple[tuple[re.Pattern[str], Meaning], ...]

    def meaning(self, name: str) -> Meaning | None:
        """None if this name is not known."""
        found = self.names.get(name)
        if found is None:
            for pattern, meaning in self.patterns:
                if pattern.match(name):
                    return meaning
        return found


@dataclass(frozen=True)
class Driver:
    """One driver's table.

    names: how the kernel may call it, see by_name().
    no_queues: rows of no ordinary queue; tried before the rules. One pattern for all.
    queue: what a queue's statistics are, by direction.
    device: what the other statistics are.
    headers: name of a row after which come the rows of one queue, whose number is its value →
        direction.
    section: name of the row after which nothing belongs to this device.
    cautious: believe only queues numbered from 0 without a hole, and one row per measure.
    transmit_from_zero: transmit queues may be numbered on from the receive queues.
    """

    name: str
    source: str
    names: tuple[str, ...]
    no_queues: re.Pattern[str] | None
    rules: tuple[Rule, ...]
    queue: Mapping[str, Vocabulary]
    device: Vocabulary
    headers: Mapping[str, str]
    section: str | None
    cautious: bool
    transmit_from_zero: bool


class Table(NamedTuple):
    """Everything in the file.

    foreign: rows of another device; they come before anything else.
    no_queues: rows that no driver means as a queue's.
    """

    drivers: tuple[Driver, ...]
    by_name: Mapping[str, Driver]
    generic: Driver
    foreign: re.Pattern[str]
    no_queues: re.Pattern[str]
    other: re.Pattern[str]


def by_name(name: str) -> Driver | None:
    """The driver the kernel calls so: by its link in sysfs, or in ETHTOOL_GDRVINFO."""
    return load().by_name.get(name)


def generic() -> Driver:
    """For drivers that are not in the table."""
    return load().generic


@lru_cache(maxsize=1)
def load() -> Table:
    """Read the table, at the first use."""
    text = files("netperf_exporter").joinpath("data/nic_drivers.toml").read_text("utf-8")
    return parse(tomllib.loads(text))


def parse(tables: Mapping[str, Any]) -> Table:
    """Read the table. Raises ValueError where it contradicts itself."""
    common, entries = tables["common"], tables["drivers"]
    drivers: list[Driver] = []
    names: dict[str, Driver] = {}
    for name, entry in entries.items():
        inherited = entries[entry["like"]] if "like" in entry else {}
        driver = _driver(name, {**inherited, **entry})
        drivers.append(driver)
        for reported in driver.names:
            if names.setdefault(reported, driver) is not driver:
                raise ValueError(f"two drivers are called {reported}")
    return Table(
        tuple(drivers),
        names,
        _driver("generic", tables["generic"]),
        _any(common["foreign"]),
        _any(common["no_queues"]),
        _any(common["other"]),
    )


def _driver(name: str, entry: Mapping[str, Any]) -> Driver:
    if not entry.keys() <= _KEYS:
        raise ValueError(f"{name}: unknown {sorted(entry.keys() - _KEYS)}")
    rules = [Rule(_pattern(text), None) for text in entry.get("queues", ())]
    for direction in DIRECTIONS:
        rules += [Rule(_pattern(text), direction) for text in entry.get(f"{direction}_queues", ())]
    no_queues = entry.get("no_queues")
    return Driver(
        name,
        entry["source"],
        tuple(entry["names"]),
        _any(no_queues) if no_queues else None,
        tuple(rules),
        {direction: _vocabulary(name, _of_queue(entry, direction)) for direction in DIRECTIONS},
        _vocabulary(name, _of_device(entry)),
        {header: direction for direction, header in entry.get("headers", {}).items()},
        entry.get("section"),
        entry.get("cautious", False),
        entry.get("transmit_from_zero", False),
    )


def _of_queue(entry: Mapping[str, Any], direction: str) -> Iterator[tuple[str, Meaning]]:
    for kind, words in (("measure", MEASURES), ("drop", CAUSES)):
        yield from _sorted(entry, kind, direction, words)
    for key in (f"{direction}_other", "queue_other"):
        yield from ((name, OTHER) for name in entry.get(key, ()))


def _of_device(entry: Mapping[str, Any]) -> Iterator[tuple[str, Meaning]]:
    for kind in ("lost", "event"):
        for direction in DIRECTIONS:
            yield from _sorted(entry, kind, direction, CAUSES)
    for kind in ("sum", "gauge", "other"):
        yield from ((name, Meaning(kind)) for name in entry.get(kind, ()))


def _sorted(
    entry: Mapping[str, Any], kind: str, direction: str, words: frozenset[str]
) -> Iterator[tuple[str, Meaning]]:
    for what, names in entry.get(kind, {}).get(direction, {}).items():
        if what not in words:
            raise ValueError(f"{what} is no word for a {kind}")
        yield from ((name, Meaning(kind, direction, what)) for name in names)


def _vocabulary(driver: str, entries: Iterator[tuple[str, Meaning]]) -> Vocabulary:
    names: dict[str, Meaning] = {}
    patterns: list[tuple[re.Pattern[str], Meaning]] = []
    for name, meaning in entries:
        if name.startswith("^"):
            patterns.append((_pattern(name), meaning))
        elif name in names:
            raise ValueError(f"{driver}: {name} means two things")
        else:
            names[name[:LONGEST_NAME]] = meaning
    return Vocabulary(names, tuple(patterns))


def _pattern(text: str) -> re.Pattern[str]:
    if not (text.startswith("^") and text.endswith("$")):
        raise ValueError(f"{text} is not anchored")
    return re.compile(rf"^(?:{text[1:-1]})\Z", re.ASCII)  # "$" would let a newline follow


def _any(texts: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(_pattern(text).pattern for text in texts), re.ASCII)
