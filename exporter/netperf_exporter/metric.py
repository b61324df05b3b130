"""The words a collector declares itself in: families of metrics, and blocks of their samples.

A family is declared once, as data. The exposition, docs/METRICS.md and the golden outputs of
the tests read that declaration; nothing repeats a help text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

PREFIX = "netperf_"

Type = Literal["counter", "gauge", "info"]
Value = int | float | bytes
"""A number; or the digits of one as the kernel wrote them, which are written as they are."""
Rows = tuple[tuple[str, ...], ...]

UNLABELLED: Rows = ((),)
"""The rows of a family without labels: one sample."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_SUFFIX = {"counter": "_total", "gauge": "", "info": "_info"}


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric family. Families are compared by identity: each is declared once.

    name: the name of its samples, with ``_total`` for counters and ``_info`` for infos.
    help: which event adds one (or what is measured), and the name of the original counter.
    labels: label names, in the order in which rows give their values.
    unit: OpenMetrics unit (``seconds``, ``bytes``); the name must end in it.
    scale: values are multiplied by ten to this power when written, so that what the kernel
        counts in hundredths or milliseconds is exposed in seconds, exactly, and stays an integer
        until then.
    """

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    scale: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no metric name")
        suffix = _SUFFIX[self.type]
        if not self.name.endswith(suffix) or self.name == suffix:
            raise ValueError(f"{self.name}: the name of a {self.type} ends in {suffix}")
        if self.unit and not self.base_name.endswith("_" + self.unit):
            raise ValueError(f"{self.name}: the name lacks the unit {self.unit}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"{self.name}: a label is named twice")
        for label in self.labels:
            if not _LABEL.fullmatch(label):
                raise ValueError(f"{self.name}: {label!r} is no label name")
        if self.scale > 0:
            raise ValueError(f"{self.name}: the scale is zero or negative")

    @property
    def base_name(self) -> str:
        """The name without the suffix of its type, as OpenMetrics names the family."""
        return self.name.removesuffix(_SUFFIX[self.type])


class Block(NamedTuple):
    """The samples of families that have the same labels.

    families: in the order of the output.
    rows: label values, in the order of the families' labels; the same rows for each family. Give
        the same tuple object while nothing changed: what is rendered of it is kept.
    values: one for each row of the first family, then of the second, and so on.
    """

    families: tuple[Family, ...]
    rows: Rows
    values: Sequence[Value]


def counter(name: str, help: str, *labels: str, unit: str = "", scale: int = 0) -> Family:
    """Declare a counter ``netperf_<name>_total``."""
    return Family(f"{PREFIX}{name}_total", "counter", help, labels, unit, scale)


def gauge(name: str, help: str, *labels: str, unit: str = "", scale: int = 0) -> Family:
    """Declare a gauge ``netperf_<name>``."""
    return Family(PREFIX + name, "gauge", help, labels, unit, scale)


def info(name: str, help: str, *labels: str) -> Family:
    """Declare ``netperf_<name>_info``, whose value is always 1 and whose labels are the facts."""
    return Family(f"{PREFIX}{name}_info", "info", help, labels)
