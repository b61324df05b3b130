"""Log lines: logfmt or JSON on stderr, or the journal's own fields under systemd."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time

from netperf_exporter.config import PROGRAM, Config

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_BARE = re.compile(r"[\w./:@%+,\[\]-]+")


def set_up(config: Config) -> None:
    """Send the log where it belongs, once, at the start of the process."""
    handler = _journal_handler() or logging.StreamHandler(sys.stderr)
    if isinstance(handler, logging.StreamHandler):
        handler.setFormatter(JsonLines() if config.log_format == "json" else Logfmt())
    logging.basicConfig(level=_LEVELS[config.log_level], handlers=[handler], force=True)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    fields = {
        "time": f"{stamp}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower().replace("warning", "warn"),
        "msg": record.getMessage(),
    }
    if record.exc_info:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return fields


class Logfmt(logging.Formatter):
    """``time=… level=warn msg="…"``: one line whatever a message contains."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record).items())


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return json.dumps(_fields(record))


def _quoted(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _journal_handler() -> logging.Handler | None:
    """The journal's handler, if stderr is the journal's and systemd-python is there.

    Without a journal it would swallow every line without a word, so nothing less will do.
    """
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return None
    if os.environ.get("JOURNAL_STREAM") != f"{status.st_dev}:{status.st_ino}":
        return None
    try:
        from systemd.journal import JournalHandler
    except ImportError:
        return None  # the daemon says that systemd-python is missing
    handler: logging.Handler = JournalHandler(SYSLOG_IDENTIFIER=PROGRAM)
    # Else basicConfig() would repeat in the text what the journal has as fields.
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler
