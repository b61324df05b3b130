"""Which format and encoding a scraper gets, from what it says it accepts (RFC 9110, 12.5)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from netperf_exporter.exposition.render import Format


class _Accepted(NamedTuple):
    name: str
    parameters: dict[str, str]
    quality: float


@lru_cache(maxsize=64)
def format_for(accept: str) -> Format:
    """The format that an Accept header prefers.

    OpenMetrics only if it is named, in a version we write, with a quality no lower than that
    of text; in every other case text, also if the header makes no sense. Our names need no
    escaping, so every ``escaping`` but ``dots`` (which would double the underscores of names)
    is the same output.
    """
    best = {Format.TEXT: -1.0, Format.OPENMETRICS: 0.0}
    for media in _accepted(accept):
        version = media.parameters.get("version", "")
        if media.name == "application/openmetrics-text":
            plain = media.parameters.get("escaping", "underscores") != "dots"
            if version in ("", "0.0.1", "1.0.0") and plain:
                best[Format.OPENMETRICS] = max(best[Format.OPENMETRICS], media.quality)
        elif media.name in ("text/plain", "text/*", "*/*"):
            best[Format.TEXT] = max(best[Format.TEXT], media.quality)
    wanted = best[Format.OPENMETRICS]
    return Format.OPENMETRICS if wanted > 0 and wanted >= best[Format.TEXT] else Format.TEXT


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    qualities = {coding.name: coding.quality for coding in _accepted(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _accepted(header: str) -> Iterator[_Accepted]:
    for part in header.split(","):
        name, *rest = part.split(";")
        pairs = [parameter.partition("=") for parameter in rest]
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        yield _Accepted(name.strip().lower(), parameters, _quality(parameters.get("q", "1")))


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
