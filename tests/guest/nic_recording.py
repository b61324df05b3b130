"""What came back from a guest in which nic_scenario.py ran, and how it is read.

The tools' words are read here in the plainest way, with no code in common with the exporter.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

STEPS = ("start", "traffic", "long", "rings", "burst", "channels", "end")

_SAMPLE = re.compile(r"netperf_(\w+?)(?:_total)?\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = dict[str, str]


class Step(NamedTuple):
    """One scrape, and what the tools said around it.

    devices: driver → name.
    done: what the scenario says it did.
    """

    before: dict[str, str]
    metrics: str
    after: dict[str, str]
    devices: dict[str, str]
    done: Any


class Recording(NamedTuple):
    """All that came back from the guest."""

    steps: dict[str, Step]
    scrapes: list[str]
    log: str


def read(folder: Path) -> Recording:
    steps = {name: Step(**json.loads((folder / f"{name}.json").read_text())) for name in STEPS}
    scrapes = json.loads((folder / "scrapes.json").read_text())
    return Recording(steps, scrapes, (folder / "log").read_text())


def samples(metrics: str, family: str) -> list[tuple[Labels, float]]:
    """Labels and value of each sample of a family, in their order."""
    found = []
    for line in metrics.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match and match[1] == family:
            found.append((dict(_LABEL.findall(match[2])), float(match[3])))
    return found


def by_device(metrics: str, family: str) -> dict[str, float]:
    return {labels["device"]: value for labels, value in samples(metrics, family)}


def by(metrics: str, family: str, device: str, label: str) -> dict[str, float]:
    return {
        labels[label]: value
        for labels, value in samples(metrics, family)
        if labels["device"] == device
    }


def ip_link(said: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {link["ifname"]: link for link in json.loads(said["link"]) if link}


def statistics(said: dict[str, str], device: str) -> list[tuple[str, int]]:
    """Names as they are, values, of ethtool -S."""
    lines = said.get(f"{device}.S", "").splitlines()[1:]
    rows = [line.rpartition(": ") for line in lines]
    return [(name.removeprefix("     "), int(value)) for name, _, value in rows]


def of_queues(rows: list[tuple[str, int]], heading: str, *names: str) -> dict[str, int]:
    """Sums of a vmxnet3's rows, by queue: those that come after a heading with its number."""
    found: dict[str, int] = {}
    queue = ""
    for name, value in rows:
        if name.strip().endswith("Queue#"):
            queue = str(value) if name.strip() == heading else ""
        elif queue and name.strip() in names:
            found[queue] = found.get(queue, 0) + value
    return found


def sizes(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """Maximum and current numbers of ethtool -g and -l."""
    maximum, _, current = text.partition("Current hardware settings:")
    rows = (
        re.findall(r"^([A-Z][A-Za-z -]*):\s+(\d+)$", part, re.MULTILINE)
        for part in (maximum, current)
    )
    first, second = ({name.lower(): int(value) for name, value in found} for found in rows)
    return first, second


def names_by_driver(metrics: str) -> dict[str, str]:
    """Who is called what in a scrape."""
    rows = [labels for labels, _ in samples(metrics, "interface_info")]
    return {row["driver"]: row["device"] for row in rows}
