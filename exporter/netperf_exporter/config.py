"""What the operator asks for: flags → one frozen Config."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, get_args

from netperf_exporter import __version__
from netperf_exporter.collectors import COLLECTORS, OFF_BY_DEFAULT
from netperf_exporter.exposition.scrape import SERIES_LIMIT
from netperf_exporter.policy import DevicePolicy
from netperf_exporter.sources import Options

PROGRAM = "netperf-exporter"

LogLevel = Literal["debug", "info", "warn", "error"]
LogFormat = Literal["logfmt", "json"]


@dataclass(frozen=True)
class Config:
    """Everything that can be set. Each field is the flag of the same words.

    collectors: names of the enabled ones, in the order of COLLECTORS.
    """

    listen_addresses: tuple[str, ...] = (":19100",)
    telemetry_path: str = "/metrics"
    max_requests: int = 40
    collectors: tuple[str, ...] = tuple(n for n in COLLECTORS if n not in OFF_BY_DEFAULT)
    series_limit: int = SERIES_LIMIT
    options: Options = field(default_factory=Options)
    devices: DevicePolicy = field(default_factory=DevicePolicy)
    procfs: str = "/proc"
    sysfs: str = "/sys"
    log_level: LogLevel = "info"
    log_format: LogFormat = "logfmt"


class UsageError(ValueError):
    """The command line cannot be understood; the message is one line that names the culprit."""


def parse(arguments: Sequence[str]) -> Config:
    """Read the flags of ``serve``.

    Raises UsageError. Raises SystemExit(0) after --help and --version, as argparse does.
    """
    given = _parser().parse_args(arguments)
    chosen = {name: getattr(given, f"collector_{name}") for name in COLLECTORS}
    defaults = () if given.disable_defaults else Config.collectors
    enabled = tuple(n for n in COLLECTORS if (n in defaults if chosen[n] is None else chosen[n]))
    return Config(
        listen_addresses=tuple(given.listen_addresses or Config.listen_addresses),
        telemetry_path=given.telemetry_path,
        max_requests=given.max_requests,
        collectors=enabled,
        series_limit=given.series_limit,
        options=Options(
            snmp_include=given.snmp_include,
            transmit_queue_details=given.transmit_queue_details,
            offload_include=given.offload_include,
            napi_settings=given.napi_settings,
        ),
        devices=DevicePolicy(given.device_include, given.device_exclude),
        procfs=given.procfs,
        sysfs=given.sysfs,
        log_level=given.log_level,
        log_format=given.log_format,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Serves the health of this host's network path as Prometheus metrics.",
        epilog=f"`{PROGRAM} nic-stats --help`: how the statistics of a network device are read",
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=40, width=100),
    )
    add = parser.add_argument
    add("--version", action="version", version=f"{PROGRAM} {__version__}")

    def flag(name: str, dest: str, help: str, **more: Any) -> None:
        default = more.get("default")
        said = getattr(default, "pattern", default)
        suffix = "" if said is None else f" (default: {said})"
        add(f"--{name}", dest=dest, help=(help + suffix).replace("%", "%%"), **more)

    flag(
        "web.listen-address",
        "listen_addresses",
        "address to listen on, host:port or [host]:port or :port; may be given again "
        f"(default: {Config.listen_addresses[0]})",
        action="append",
        metavar="ADDRESS",
    )
    flag(
        "web.telemetry-path",
        "telemetry_path",
        "path of the metrics",
        default=Config.telemetry_path,
        type=_path,
        metavar="PATH",
    )
    flag(
        "web.max-requests",
        "max_requests",
        "scrapes answered at the same time, 0 for no limit",
        default=Config.max_requests,
        type=_count,
        metavar="N",
    )
    for name in COLLECTORS:
        state = "disabled" if name in OFF_BY_DEFAULT else "enabled"
        flag(
            f"collector.{name}",
            f"collector_{name}",
            f"enable the collector {name} (default: {state})",
            action=argparse.BooleanOptionalAction,
        )
    flag(
        "collector.disable-defaults",
        "disable_defaults",
        "enable only the collectors that are named",
        action="store_true",
        default=None,
    )
    flag(
        "collector.max-series",
        "series_limit",
        "samples a collector may have in one scrape; what is over is left out and counted",
        default=SERIES_LIMIT,
        type=_count,
        metavar="N",
    )
    flag(
        "collector.snmp.include",
        "snmp_include",
        "fields (TcpExt.TCPPureAcks) that collector snmp exports, as a regular expression of "
        "Python that matches the whole of the name",
        default=Options().snmp_include,
        type=_regular_expression,
        metavar="REGEXP",
    )
    flag(
        "collector.nic.offload-include",
        "offload_include",
        "features (rx-gro) that collector nic exports, as a regular expression of Python that "
        "matches the whole of the name",
        default=Options().offload_include,
        type=_regular_expression,
        metavar="REGEXP",
    )
    flag(
        "collector.queues.transmit-details",
        "transmit_queue_details",
        "stops, wakes, timeouts and drops of each transmit queue, not only their sums",
        action="store_true",
    )
    flag(
        "collector.steering.napi",
        "napi_settings",
        "settings of the NAPI instance that serves each receive queue: threaded, defer_hard_irqs, "
        "gro_flush_timeout",
        action="store_true",
    )
    flag(
        "device.include",
        "device_include",
        "devices that are exported one by one, whatever their kind, as a regular expression that "
        "matches the whole of the name; without it, all but ends of containers, tunnels, taps and "
        "loopback, which are summed by kind",
        type=_regular_expression,
        metavar="REGEXP",
    )
    flag(
        "device.exclude",
        "device_exclude",
        "devices that are not exported one by one, as a regular expression likewise",
        type=_regular_expression,
        metavar="REGEXP",
    )
    flag("path.procfs", "procfs", "where procfs is", default="/proc", type=_folder, metavar="DIR")
    flag("path.sysfs", "sysfs", "where sysfs is", default="/sys", type=_folder, metavar="DIR")
    flag(
        "log.level",
        "log_level",
        "log messages of this level and above",
        default=Config.log_level,
        choices=get_args(LogLevel),
    )
    flag(
        "log.format",
        "log_format",
        "how a log line is written",
        default=Config.log_format,
        choices=get_args(LogFormat),
    )
    return parser


def _path(text: str) -> str:
    if not re.fullmatch(r"/[\x21-\x7e]*", text) or set(text) & set("?#%"):
        raise argparse.ArgumentTypeError(f"{text!r} is no path such as /metrics")
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)


def _folder(text: str) -> str:
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no folder")
    return text


def _regular_expression(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error
