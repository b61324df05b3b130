"""What is generated is committed as the code would write it."""

from __future__ import annotations

from pathlib import Path

from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.exposition import selfmetrics
from netperf_exporter.generate import metrics_page

ROOT = Path(__file__).parents[1]


def test_metrics_page() -> None:
    """`make generate` would change nothing."""
    assert (ROOT / "docs" / "METRICS.md").read_text() == metrics_page()


def test_every_family_is_declared_once_and_says_where_it_comes_from() -> None:
    """A name means one thing; a help text of the kernel's counters ends with their origin."""
    kernel = [family for collector in COLLECTORS.values() for family in collector.FAMILIES]
    names = [family.name for family in [*kernel, *selfmetrics.FAMILIES]]

    assert len(names) == len(set(names))
    for family in kernel:
        assert family.help.endswith(")"), family.name
        assert "(" in family.help, family.name
