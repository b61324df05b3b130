"""Which format and encoding real scrapers get, and that no header is too odd."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.exposition.negotiation import accepts_gzip, format_for
from netperf_exporter.exposition.render import Format

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,"
    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
CURL = "*/*"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        (PROMETHEUS_2_42, Format.OPENMETRICS),
        (PROMETHEUS_3, Format.OPENMETRICS),
        (CURL, Format.TEXT),
        (BROWSER, Format.TEXT),
        ("", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", Format.OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0", Format.TEXT),
        ("application/openmetrics-text;q=0", Format.TEXT),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Format.TEXT),
        ("application/openmetrics-text;escaping=dots", Format.TEXT),
        ("text/plain;version=x", Format.TEXT),
        ("text/plain;q=nan,application/openmetrics-text;q=nan", Format.TEXT),
        (";;,=;q=,", Format.TEXT),
    ],
)
def test_format(accept: str, format: Format) -> None:
    """Quality decides; what we do not write is never promised."""
    assert format_for(accept) is format


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=x", False),
    ],
)
def test_gzip(header: str, accepted: bool) -> None:
    """Only when it is allowed."""
    assert accepts_gzip(header) is accepted


@given(st.text())
def test_any_header_gets_an_answer(header: str) -> None:
    """Nothing is raised."""
    assert format_for(header) in Format
    assert accepts_gzip(header) in (True, False)
