"""The whole output of each captured host is what its metrics.txt says, in both formats."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.exposition.render import Format
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.host import ReplayedHost

# What is about the process and the moment, not about the host.
VOLATILE = re.compile(
    rb"(# \w+ )?(process_|python_gc_|netperf_exporter_build|"
    rb"netperf_scrape_collector_duration_seconds)"
)


def exposition(host: Path, format: Format = Format.TEXT) -> bytes:
    """Every collector's samples of a captured host, without what changes from run to run."""
    body = Exporter(ReplayedHost(host), COLLECTORS).scrape(format=format)
    return b"".join(ln for ln in body.splitlines(keepends=True) if not VOLATILE.match(ln))


def samples(families: Iterable[Metric]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_output_is_the_expected_one(captured: Path, pytestconfig: pytest.Config) -> None:
    """Compare, or with --update-golden rewrite."""
    actual = exposition(captured)
    golden = captured / "metrics.txt"
    if pytestconfig.getoption("--update-golden"):
        golden.write_bytes(actual)

    assert golden.read_bytes().decode().splitlines() == actual.decode().splitlines()


def test_both_formats_say_the_same(captured: Path) -> None:
    """Samples are equal by name, labels and value, whichever format is asked for."""
    text = exposition(captured).decode()
    om = exposition(captured, Format.OPENMETRICS).decode()
    from_text = samples(text_format(text))
    from_openmetrics = samples(openmetrics(om))  # type: ignore[no-untyped-call]

    assert from_text == from_openmetrics
    assert len(from_text) == sum(not line.startswith("#") for line in text.splitlines())


def test_a_host_says_how_it_came_about(captured: Path) -> None:
    """Each fixture is captured from a kernel, or derived from a named file and format."""
    about = (captured / "ABOUT.md").read_text()

    assert about.startswith(("captured: Linux ", "derived: ")), about


@pytest.mark.parametrize("collector", list(COLLECTORS))
def test_every_collector_has_a_host_that_has_it(collector: str) -> None:
    """No collector ships without a golden output that shows its samples."""
    goldens = [path.read_text() for path in Path(__file__).parent.glob("*/metrics.txt")]
    sample = re.compile(rf'netperf_series{{collector="{collector}"}} [1-9]')

    assert any(sample.search(golden) for golden in goldens)
