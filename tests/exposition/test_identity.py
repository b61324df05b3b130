"""For the same samples our text is prometheus_client's, and values are equal as floats."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format
from prometheus_client.registry import Collector

from netperf_exporter.exposition.client import metrics_of
from netperf_exporter.exposition.render import END, Format, Renderer
from netperf_exporter.metric import Block, Family, Type

NAME = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,12}[a-z]", fullmatch=True)
LABEL = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,8}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["", "\\", '"', "\n", "%d %% %b", '\\n"', "{}", "a\\", "💩0", "ibr10:30", "# EOF"]
)
NUMBER = (
    st.integers(0, 2**64 - 1)
    | st.integers(0, 2**64 - 1).map(b"%d".__mod__)
    | st.integers(-(2**63), 0)
    | st.floats()
    | st.sampled_from(
        [0, 2**53 + 1, 2**53 + 3, 2**63, 2**64 - 1, 10**15, 10**16, math.nan, math.inf, -math.inf]
    )
)
SUFFIX = {"counter": "_total", "gauge": "", "info": "_info"}


@st.composite
def families(draw: st.DrawFn) -> list[Block]:
    """Blocks of distinct families, each with distinct rows."""
    blocks = []
    taken: set[str] = set()
    for _ in range(draw(st.integers(0, 3))):
        labels = tuple(draw(st.lists(LABEL, max_size=3, unique=True)))
        members = draw(st.lists(family(labels, taken), min_size=1, max_size=3))
        rows = tuple(draw(st.lists(st.tuples(*[TEXT for _ in labels]), max_size=4, unique=True)))
        number = st.integers(0, 2**53) if any(f.scale for f in members) else NUMBER
        size = len(rows) * len(members)
        values = draw(st.lists(number, min_size=size, max_size=size))
        if draw(st.booleans()):  # as the kernel's numbers are: all integers, or all digits
            whole = [int(v) if math.isfinite(float(v)) else 7 for v in values]
            values = draw(st.sampled_from([whole, [b"%d" % v for v in whole]]))
        blocks.append(Block(tuple(members), rows, values))
    return blocks


@st.composite
def family(draw: st.DrawFn, labels: tuple[str, ...], taken: set[str]) -> Family:
    """A family whose name is not taken yet."""
    kind: Type = draw(st.sampled_from(["counter", "gauge", "info"]))
    unit = draw(st.sampled_from(["", "seconds"])) if kind != "info" else ""
    name = draw(NAME)
    base = f"{name}_{unit}" if unit else name
    assume(base not in taken and not base.endswith(("_total", "_info", "_created")))
    taken.add(base)
    scale = draw(st.sampled_from([0, 0, -2, -3])) if kind != "info" else 0
    return Family(base + SUFFIX[kind], kind, draw(TEXT), labels, unit, scale)


class Given(Collector):
    """A collector of prometheus_client that exports some blocks."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        return metrics_of(self.blocks)


def by_prometheus_client(blocks: list[Block], format: Format) -> str:
    """The text that prometheus_client's own renderer makes of the blocks."""
    registry = CollectorRegistry()
    registry.register(Given(blocks))
    if format is Format.TEXT:
        return generate_latest(registry).decode()
    text: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    return text.decode()


def split(text: str) -> tuple[list[str], list[float]]:
    """Lines with their values taken off, and the values."""
    lines, values = [], []
    for line in text.split("\n"):
        if line.startswith("#") or not line:
            lines.append(line)
        else:
            start, _, value = line.rpartition(" ")
            lines.append(start)
            values.append(float(value))
    return lines, values


def alike(one: float, other: float) -> bool:
    """Equal as floats; NaN is itself."""
    return one == other or (math.isnan(one) and math.isnan(other))


def check(blocks: list[Block], renderer: Renderer, format: Format) -> None:
    """Compare both texts, and read ours with prometheus_client's parser."""
    ours = (renderer.render(blocks) + END[format]).decode()
    theirs = by_prometheus_client(blocks, format)
    our_lines, our_values = split(ours)
    their_lines, their_values = split(theirs)

    assert our_lines == their_lines
    assert all(map(alike, our_values, their_values))
    parser = text_format if format is Format.TEXT else openmetrics
    kinds = {family.type for block in blocks for family in block.families}
    if format is Format.OPENMETRICS and kinds & {"counter", "info"}:
        every = [float(value) for block in blocks for value in block.values]
        if not all(value >= 0 for value in every) or "info" in kinds:
            return  # the parser refuses counters below zero and NaN, and infos that are not 1
    parsed = [s.value for f in parser(ours) for s in f.samples]
    assert all(map(alike, map(float, parsed), our_values))


@settings(max_examples=400, deadline=None)
@given(families())
def test_any_families_in_both_formats(blocks: list[Block]) -> None:
    """Names, labels, HELP, TYPE, UNIT, escapes and order are the same bytes."""
    for format in Format:
        check(blocks, Renderer(format), format)


@settings(max_examples=100, deadline=None)
@given(families(), st.randoms())
@example([Block((Family("a", "gauge", ""),), ((),), [1.5])], None)
def test_a_renderer_that_has_seen_the_families_before(blocks: list[Block], random: object) -> None:
    """Kept templates fit other values, other kinds of numbers and other rows."""
    renderer = Renderer(Format.TEXT)
    renderer.render(blocks)
    size = [len(block.values) for block in blocks]
    scaled = any(family.scale for block in blocks for family in block.families)
    for other in (
        [b._replace(values=[7 + i for i in range(n)]) for b, n in zip(blocks, size, strict=True)],
        [] if scaled else [b._replace(values=[0.5] * len(b.values)) for b in blocks],
        [b._replace(rows=(), values=[]) for b in blocks],
        [b._replace(rows=(*b.rows,)) for b in blocks],
    ):
        check(other, renderer, Format.TEXT)


@given(st.integers(0, 2**64 - 1) | st.sampled_from([2**53 + 1, 2**64 - 1]))
def test_integers_are_exact_in_the_text(value: int) -> None:
    """No digit of a 64-bit counter is lost on our side."""
    family = Family("a", "gauge", "")

    assert renderer_text(Block((family,), ((),), [value])) == f"a {value}"


def renderer_text(block: Block) -> str:
    """The last line of a block's text."""
    return Renderer(Format.TEXT).render([block]).decode().splitlines()[-1]


def test_scaled_integers_are_exact() -> None:
    """Hundredths of a second are seconds, without a rounding on the way."""
    family = Family("a_seconds_total", "counter", "", (), "seconds", -2)

    assert renderer_text(Block((family,), ((),), [12345])) == "a_seconds_total 12345e-2"
    assert renderer_text(Block((family,), ((),), [12345.0])) == "a_seconds_total 123.45"
