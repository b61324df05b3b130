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
    kind: str  # of numbers: how all of them are put in, or _MIXED
    text: bytes


_INTEGERS, _DIGITS, _MIXED = "%d", "%b", ""


class Renderer:
    """Writes blocks in one format. Not for several threads at once."""

    def __init__(self, format: Format) -> None:
        self._format = format
        self._templates: dict[tuple[Family, ...], _Template] = {}

    def render(self, blocks: Iterable[Block]) -> bytes:
        """The text of some blocks, without what ends the exposition.

        Raises ValueError when rows and values do not fit together or a row comes twice.
        """
        return b"".join([self._block(block) for block in blocks])

    def _block(self, block: Block) -> bytes:
        families, rows, values = block
        if len(families) * len(rows) != len(values):
            name = families[0].name if families else "no family"
            raise ValueError(f"{name}: {len(rows)} rows and {len(values)} values")
        kind = _kind(values)
        kept = self._templates.get(families)
        if kept is None or kept.kind != kind or (kept.rows is not rows and kept.rows != rows):
            kept = _Template(rows, kind, self._template(families, rows, kind))
            self._templates[families] = kept
        return kept.text % tuple(_numbers(block) if kind == _MIXED else values)

    def _template(self, families: tuple[Family, ...], rows: Rows, kind: str) -> bytes:
        if len(set(rows)) != len(rows):
            raise ValueError(f"{families[0].name}: a row comes twice")
        labels = families[0].labels if families else ()
        order = sorted(range(len(labels)), key=lambda i: labels[i])
        shown = []
        for row in rows:
            if len(row) != len(labels):
                raise ValueError(f"{families[0].name}: {row!r} does not fit {labels!r}")
            shown.append(",".join([f'{labels[i]}="{_escape_label(row[i])}"' for i in order]))
        lines: list[bytes] = []
        for family in families:
            if family.labels != labels:
                raise ValueError(f"{family.name}: its labels are not those of its block")
            lines += [f"{line}\n".replace("%", "%%").encode() for line in self._header(family)]
            # The exponent makes hundredths of integers without a division for each.
            exponent = f"e{family.scale}" if kind and family.scale else ""
            value = f" {kind or '%b'}{exponent}\n"
            for text in shown:
                name = f"{family.name}{{{text}}}" if text else family.name
                lines.append((name.replace("%", "%%") + value).encode())
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


def _kind(values: Sequence[Value]) -> str:
    """How values can be put into a template all at once, if they are of one kind."""
    if not values:
        return _INTEGERS
    if isinstance(values[0], bytes):
        return _DIGITS if {bytes}.issuperset(map(type, values)) else _MIXED
    try:
        # Twice as fast as a look at each type: with a float among them, the sum is one.
        return _INTEGERS if type(sum(values)) is int else _MIXED  # type: ignore[arg-type]
    except TypeError:
        return _MIXED


def _numbers(block: Block) -> list[bytes]:
    numbers = []
    for position, value in enumerate(block.values):
        scale = block.families[position // len(block.rows)].scale
        number = int(value) if isinstance(value, bytes) else value
        numbers.append(_number(number / 10**-scale if scale else number))
    return numbers


def _number(value: float) -> bytes:
    if isinstance(value, int):
        return b"%d" % value
    if math.isnan(value):
        return b"NaN"
    if math.isinf(value):
        return b"+Inf" if value > 0 else b"-Inf"
    return repr(value).encode()
