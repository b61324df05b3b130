"""The command netperf-exporter."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from netperf_exporter import config, daemon, logs
from netperf_exporter.http.server import ListenError

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; ``serve`` if none is named. Returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["nic-stats"]:
            return _nic_stats(given[1:])
        return _serve(given[1:] if given[:1] == ["serve"] else given)
    except config.UsageError as error:
        return _complain(f"{error} (--help lists the flags)", USAGE)


def _serve(given: Sequence[str]) -> int:
    chosen = config.parse(given)
    logs.set_up(chosen)
    try:
        daemon.serve(chosen)
    except ListenError as error:
        return _complain(str(error), FAILURE)
    return 0


def _nic_stats(given: Sequence[str]) -> int:
    from netperf_exporter import nicstats  # not in the daemon's memory

    try:
        return _write(nicstats.run(given))
    except nicstats.CannotTell as error:
        return _complain(str(error), FAILURE)
    except KeyboardInterrupt:
        return INTERRUPTED


def _write(output: bytes) -> int:
    try:
        sys.stdout.buffer.write(output)
        sys.stdout.flush()
    except OSError as error:
        # Whatever is left in the buffer would fail again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # a pager that has read enough
            return _complain(f"standard output: {error.strerror}", FAILURE)
    return 0


def _complain(message: str, code: int) -> int:
    print(f"{config.PROGRAM}: {message}", file=sys.stderr)
    return code
