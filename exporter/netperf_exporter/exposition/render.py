"""Blocks → text, in the two formats that Prometheus reads.

Names, labels, HELP and TYPE hardly ever change, so what surrounds the values of a block is
rendered once and kept as a bytes template; a scrape only fills in numbers. prometheus_client
is the contract: for the same samples its output has the same lines in the same order, with
values that are equal as floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from netperf_exporter.metric import Block, Family, Rows, Value


class Format(Enum):
    """A text format; the value is its Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


END = {Format.TEXT: b"", Format.OPENMETRICS: b"# EOF\n"}
"""What comes after the last family."""


class _Template(NamedTuple):
    rows: Rows
    whole: bool  # made for integers that are written as they are
    text: bytes


class Renderer:
    """Writes blocks in one format. Not for several threads at once."""

    def __init__(self, format: Format) -> None:
        self._format = format
        self._templates: dict[Family, _Template] = {}

    def render(self, blocks: Iterable[Block]) -> bytes:
        """The text of some families, without what ends the exposition.

        Raises ValueError when rows and values do not fit together or a row comes twice.
        """
        return b"".join([self._block(block) for block in blocks])

    def _block(self, block: Block) -> bytes:
        family, rows, values = block
        if len(rows) != len(values):
            raise ValueError(f"{family.name}: {len(rows)} rows and {len(values)} values")
        whole = not family.scale and set(map(type, values)) <= {int}
        kept = self._templates.get(family)
        if kept is None or kept.whole != whole or (kept.rows is not rows and kept.rows != rows):
            kept = _Template(rows, whole, self._template(family, rows, b"%d" if whole else b"%b"))
            self._templates[family] = kept
        return kept.text % tuple(values if whole else _numbers(values, family.scale))

    def _template(self, family: Family, rows: Rows, value: bytes) -> bytes:
        if len(set(rows)) != len(rows):
            raise ValueError(f"{family.name}: a row comes twice")
        order = sorted(range(len(family.labels)), key=lambda i: family.labels[i])
        head = "".join(f"{line}\n" for line in self._header(family)).encode()
        lines = [head.replace(b"%", b"%%")]
        for row in rows:
            if len(row) != len(order):
                raise ValueError(f"{family.name}: {row!r} does not fit {family.labels!r}")
            labels = ",".join([f'{family.labels[i]}="{_escape_label(row[i])}"' for i in order])
            start = f"{family.name}{{{labels}}} " if labels else f"{family.name} "
            lines.append(start.encode().replace(b"%", b"%%") + value + b"\n")
        return b"".join(lines)

    def _header(self, family: Family) -> list[str]:
        if self._format is Format.TEXT:
            kind = "gauge" if family.type == "info" else family.type
            return [
                f"# HELP {family.name} {_escape_help(family.help)}",
                f"# TYPE {family.name} {kind}",
            ]
        lines = [
            f"# HELP {family.base_name} {_escape_label(family.help)}",
            f"# TYPE {family.base_name} {family.type}",
        ]
        if family.unit:
            lines.append(f"# UNIT {family.base_name} {family.unit}")
        return lines


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escape_label(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _numbers(values: Sequence[Value], scale: int) -> list[bytes]:
    if not scale:
        return [_number(value) for value in values]
    divisor, form = 10**-scale, b"%%.%df" % -scale
    return [
        form % (value / divisor) if isinstance(value, int) else _number(value / divisor)
        for value in values
    ]


def _number(value: Value) -> bytes:
    if isinstance(value, int):
        return b"%d" % value
    if math.isnan(value):
        return b"NaN"
    if math.isinf(value):
        return b"+Inf" if value > 0 else b"-Inf"
    return repr(value).encode()
