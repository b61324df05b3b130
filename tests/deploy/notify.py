"""The other end of sd_notify(3)."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class NotifySocket:
    """Takes what a process tells its service manager.

    heard: each message so far, with the time.monotonic() at which it was taken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def wait_for(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        """The next message in which the pattern is found. Those before it are only recorded."""
        deadline = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                message = self._socket.recv(8192).decode()
            except TimeoutError:
                raise AssertionError(f"no {pattern!r} among {self.heard}") from None
            self.heard.append((time.monotonic(), message))
            if match := re.search(pattern, message, re.MULTILINE):
                return match

    def __enter__(self) -> Self:
        """See close."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the socket."""
        self._socket.close()
