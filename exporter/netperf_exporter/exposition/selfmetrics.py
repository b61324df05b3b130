"""What the exporter says about its own scrapes."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from netperf_exporter import __version__
from netperf_exporter.metric import Block, Rows, counter, gauge, info

BUILD = info(
    "exporter_build", "The version of this exporter and of its Python.", "python", "version"
)
DURATION = gauge(
    "scrape_collector_duration_seconds",
    "Seconds this scrape spent on a collector: reading its sources, which others may share, and "
    "making text of them.",
    "collector",
    unit="seconds",
    scale=-6,
)
SUCCESS = gauge(
    "scrape_collector_success",
    "1 if the collector's samples are in this scrape or its kernel has nothing for it, 0 if it "
    "failed or its sources did not answer in time; then it has no samples.",
    "collector",
)
AVAILABLE = gauge(
    "collector_available",
    "0 if this kernel, or what the exporter may see of it, lacks what the collector reads; the "
    "reason says what is missing.",
    "collector",
    "reason",
)
PARSE_ERRORS = counter(
    "parse_errors",
    "Lines of a source that were left out because they are not what the kernel writes there, and "
    "whole texts that were. Since the exporter started.",
    "source",
)
SERIES = gauge("series", "Samples of a collector in this scrape.", "collector")
SERIES_OMITTED = gauge(
    "series_omitted",
    "Samples of a collector that are not in this scrape, because it had more than its limit.",
    "collector",
)

FAMILIES = (BUILD, DURATION, SUCCESS, SERIES, SERIES_OMITTED, AVAILABLE, PARSE_ERRORS)

_BUILD_ROW = ((platform.python_version(), __version__),)


class Account(NamedTuple):
    """How one collector fared in one scrape.

    microseconds: spent on it.
    reason: why it is not available, or "".
    """

    microseconds: int
    success: bool
    reason: str
    series: int
    omitted: int


def blocks(accounts: Mapping[str, Account], parse_errors: Mapping[str, int]) -> Iterator[Block]:
    """The exporter's own families."""
    collectors = _rows(tuple(accounts))
    columns = list(zip(*accounts.values(), strict=True)) or [()] * len(Account._fields)
    microseconds, success, reasons, series, omitted = columns
    yield Block((BUILD,), _BUILD_ROW, (1,))
    figures = [*microseconds, *map(int, success), *series, *omitted]
    yield Block((DURATION, SUCCESS, SERIES, SERIES_OMITTED), collectors, figures)
    rows = _pairs(tuple(accounts), tuple(reasons))
    yield Block((AVAILABLE,), rows, [int(not reason) for reason in reasons])
    yield Block((PARSE_ERRORS,), _rows(tuple(parse_errors)), list(parse_errors.values()))


@lru_cache(maxsize=64)
def _rows(names: tuple[str, ...]) -> Rows:
    return tuple([(name,) for name in names])


@lru_cache(maxsize=64)
def _pairs(names: tuple[str, ...], reasons: tuple[str, ...]) -> Rows:
    return tuple(zip(names, reasons, strict=True))
