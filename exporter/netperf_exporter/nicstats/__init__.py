"""nic-stats: how the exporter reads the statistics of one network device.

The device is one of this host, or somebody else's of which a file has what ``ethtool -S`` printed.
It is read by the sources, the table of drivers and the collectors that serve /metrics, so what is
printed is what a scrape has.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from netperf_exporter import drivers
from netperf_exporter.config import PROGRAM, UsageError
from netperf_exporter.exposition.render import Format, Renderer
from netperf_exporter.nicstats import steering
from netperf_exporter.nicstats.device import COLLECTORS, listed, live
from netperf_exporter.nicstats.report import NoStatistics, report
from netperf_exporter.parsers import Malformed
from netperf_exporter.sources import NotRead, NotThere, Readings

STDIN = "-"


class CannotTell(Exception):
    """There is nothing to print; the message is one line that says why."""


def run(arguments: Sequence[str]) -> bytes:
    """What is to be printed. Raises UsageError, or CannotTell."""
    given = _parser().parse_args(arguments)
    if given.driver is not None and drivers.by_name(given.driver) is None:
        raise UsageError(f"--driver: {_no_such_driver(given.driver)}")
    try:
        if given.steering:
            return _steering(given).encode()
        readings = _readings(given.source, given.driver, given.device)
        if given.format == "prometheus":
            return exposition(readings)
        return report(readings, given.verbose).encode()
    except (Malformed, NotThere, NotRead, NoStatistics) as error:
        raise CannotTell(f"{given.source}: {error}") from None
    except OSError as error:
        raise CannotTell(f"{given.source}: {error.strerror or error}") from None


def exposition(readings: Readings) -> bytes:
    """The families of the collectors, as a scrape has them."""
    renderer = Renderer(Format.TEXT)
    return b"".join([renderer.render(collector.collect(readings)) for collector in COLLECTORS])


def _steering(given: argparse.Namespace) -> str:
    """Who serves the queues of a device of this host. No file has that."""
    for flag in ("driver", "device", "verbose"):
        if getattr(given, flag):
            raise UsageError(f"--steering and --{flag} do not go together")
    if given.format != "text":
        raise UsageError(f"--steering prints text, not {given.format}")
    source: str = given.source
    readings = steering.readings(source) if _may_be_device(source) else None
    if readings is not None:
        return steering.picture(readings, source)
    if source == STDIN or Path(source).exists():
        raise UsageError(f"--steering is for a network device of this host, not for {source}")
    raise CannotTell(f"{source}: no network device here has that name")


def _may_be_device(source: str) -> bool:
    # No device has a slash in its name (dev_valid_name() in net/core/dev.c).
    return source != STDIN and "/" not in source


def _readings(source: str, driver: str | None, label: str | None) -> Readings:
    if _may_be_device(source):
        readings = live(source, driver)
        if readings is not None:
            if label is not None:
                raise UsageError(f"--device names what is in a file, {source} is a device here")
            return readings
        if not Path(source).exists():
            raise CannotTell(f"{source}: no network device here has that name, and no file")
    content = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    label = label or ("stdin" if source == STDIN else Path(source).stem)
    return listed(content.decode("utf-8", "surrogateescape"), label, driver)


def _no_such_driver(name: str) -> str:
    known = sorted(drivers.load().by_name)
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    beside = f"; close to it: {', '.join(close)}" if close else f", which has {', '.join(known)}"
    return f"{name!r} is not in the table of drivers{beside}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"nic-stats: {message}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{PROGRAM} nic-stats",
        description="Prints how the exporter reads the statistics of a network device: packets and "
        "losses of each queue, losses of the device by cause, and what it does not understand.",
        epilog="Something is not understood, or wrong? docs/DRIVERS.md says how to report it.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "source",
        metavar="DEVICE|FILE|-",
        help="a network device of this host; or a file with what ethtool -S printed (that of "
        "ethtool -i may stand before it); or - for the same on the standard input. A file that is "
        "called as a device: ./FILE",
    )
    add(
        "--driver",
        metavar="NAME",
        help="read the statistics as those of this driver (default: what the kernel says, or the "
        "ethtool -i in the file; else general rules)",
    )
    add(
        "--device",
        metavar="NAME",
        help="what to call the device of a file (default: the name of the file)",
    )
    add(
        "--format",
        choices=("text", "prometheus"),
        default="text",
        help="text to read, or exactly the families that the collectors nic and queues have for "
        "this device in /metrics (default: text)",
    )
    add(
        "--steering",
        action="store_true",
        help="print who serves each queue of a device of this host instead: its interrupt, the "
        "CPUs and their node, RSS, RPS, RFS and XPS, and whether that can be what was meant",
    )
    add(
        "-v",
        "--verbose",
        action="store_true",
        help="also name what is understood and not exported, and what each column is made of",
    )
    return parser
