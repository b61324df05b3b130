"""What parsers of kernel text share."""

from __future__ import annotations

_SHOWN = 60


def shown(line: bytes) -> str:
    """A line as an error message may carry it: printable and short."""
    return repr(line[:_SHOWN]) + ("…" if len(line) > _SHOWN else "")
