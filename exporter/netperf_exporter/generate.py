"""Writes what is made from the code: docs/METRICS.md, from the declarations of the families."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from netperf_exporter.collectors import COLLECTORS, OFF_BY_DEFAULT
from netperf_exporter.exposition import process, selfmetrics
from netperf_exporter.metric import Family

_HEAD = """\
# Metrics

Made by `make generate` from the declarations in `exporter/netperf_exporter/collectors/`; edit
those. Counters are exported as the kernel has them: a 32-bit counter that wraps looks like a
reset, which `rate()` and `increase()` allow for. A family that a kernel or a driver cannot fill
is absent, never zero.
"""


def metrics_page() -> str:
    """The text of docs/METRICS.md."""
    sections = [_HEAD]
    for name, collector in COLLECTORS.items():
        flag = f"`--collector.{name}`" if name in OFF_BY_DEFAULT else "on by default"
        sections.append("\n".join(_section(f"{name} ({flag})", collector.FAMILIES)))
    sections.append("\n".join(_section("the exporter itself", selfmetrics.FAMILIES)))
    sections.append("\n".join(_section("its process", process.FAMILIES)))
    return "\n".join(sections)


def _section(title: str, families: Sequence[Family]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        text = family.help.replace("|", "\\|").replace("*", "\\*")
        yield f"| `{family.name}` | {family.type} | {labels} | {text} |"
    yield ""


def main() -> None:
    """Write every generated file of this checkout."""
    root = Path(__file__).parents[2]
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs" / "METRICS.md").write_text(metrics_page())


if __name__ == "__main__":
    main()
