"""The command netperf-exporter."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from netperf_exporter import config, daemon, logs
from netperf_exporter.http.server import ListenError

USAGE, FAILURE = 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; ``serve`` if none is named. Returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["serve"]:
        given = given[1:]
    try:
        chosen = config.parse(given)
    except config.UsageError as error:
        return _complain(f"{error} (--help lists the flags)", USAGE)
    logs.set_up(chosen)
    try:
        daemon.serve(chosen)
    except ListenError as error:
        return _complain(str(error), FAILURE)
    return 0


def _complain(message: str, code: int) -> int:
    print(f"{config.PROGRAM}: {message}", file=sys.stderr)
    return code
