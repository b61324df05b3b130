"""The HTTP server: listening sockets, and who gets a connection.

Every connection has a daemon thread. A client costs no more than that, for a bounded time:
when all connections are taken, the one that has waited longest without ever completing a
request makes room, and after those the one that has been idle longest.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import select
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from netperf_exporter.http.connection import (
    FAREWELL_SECONDS,
    Connection,
    Handler,
    Policy,
    Request,
    Response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Handler", "ListenError", "Policy", "Request", "Response", "Server", "listen"]

_LOG = logging.getLogger(__name__)
_POLICY = Policy()

# What the kernel may hold for us: enough for many scrapers that start at once to raise no
# ListenOverflows on the host we watch.
_BACKLOG = 1024
_BATCH = 128  # accepted at a time

_COMPLAINT_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


class ListenError(OSError):
    """The address is none, or cannot be listened on. One line, which names it."""


def listen(address: str) -> socket.socket:
    """Listen on ``:port`` (every address of the host), ``host:port`` or ``[IPv6]:port``.

    ``:port`` and ``[::]:port`` take IPv4 as well. Of a name with several addresses the first
    IPv4 one is taken, as Go's listeners do.
    """
    try:
        host, port = _split(address)
        if not host:
            return _listen_everywhere(port)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return _listen_on(family, where)
    except UnicodeError:
        reason = "no such host name"
    except ValueError as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    name = address if address.isprintable() else repr(address)
    raise ListenError(f"cannot listen on {name}: {reason}")


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or (":" in host) != bracketed or "[" in host or "]" in host:
        raise ValueError("an address is :port, host:port or [IPv6 address]:port")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError("a port is a number from 0 to 65535")
    return host, int(port)


def _listen_everywhere(port: int) -> socket.socket:
    try:
        return _listen_on(socket.AF_INET6, ("::", port))
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return _listen_on(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104


def _listen_on(family: int, where: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and where[0] == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


class Server:
    """Answers on `sockets`, which it owns from now on, with what `handler` says."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        handler: Handler,
        policy: Policy = _POLICY,
        log: logging.Logger = _LOG,
    ) -> None:
        self._sockets = list(sockets)
        self._handler = handler
        self._policy = policy
        self._log = log
        self._lock = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        self._refused: deque[tuple[float, Connection]] = deque()
        self._complained = -math.inf
        self._stopping = False
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        for listener in self._sockets:
            listener.setblocking(False)
            if listener.family in (socket.AF_INET, socket.AF_INET6):
                # Connections inherit it. An answer is one write, so there is nothing to gather.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def serve(
        self, tick: Callable[[], None] | None = None, tick_seconds: float | None = None
    ) -> None:
        """Accept connections until stop(), then close the listening sockets.

        `tick` is called from this loop every `tick_seconds`: as long as it is, we do accept.
        """
        listeners = {listener.fileno(): listener for listener in self._sockets}
        poll = select.poll()
        for fd in (self._woken.fileno(), *listeners):
            poll.register(fd, select.POLLIN)
        period = math.inf if tick is None or tick_seconds is None else tick_seconds
        next_tick = time.monotonic() + period
        try:
            while not self._stopping:
                wake_at = min(next_tick, self._refused[0][0] if self._refused else math.inf)
                for fd, _ in poll.poll(_milliseconds_until(wake_at)):
                    if fd in listeners:
                        self._accept(listeners[fd])
                now = time.monotonic()
                self._forget_refused(now)
                if tick is not None and now >= next_tick:
                    next_tick = now + period
                    self._call(tick)
        finally:
            self._stopping = True
            self._forget_refused(math.inf)
            self._close_listeners()

    def stop(self) -> None:
        """Make serve() return. Takes no lock: for signal handlers and for any thread."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    def drain(self, seconds: float) -> bool:
        """After serve(): close what is idle at once, and give answers `seconds` to finish.

        Returns whether all did. The others are cut off.
        """
        deadline = time.monotonic() + seconds
        self.stop()
        self._close_listeners()
        with self._lock:
            threads = list(self._connections.values())
            # Those at work first, so that their answers say that they are the last.
            for connection in sorted(self._connections, key=lambda known: known.waiting):
                connection.send_away()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            unfinished = [known for known in self._connections if not known.waiting]
            for connection in unfinished:
                connection.cut_off()
        self._woken.close()
        self._wake.close()
        return not unfinished

    def _accept(self, listener: socket.socket) -> None:
        newcomers: list[Connection] = []
        failure: OSError | None = None
        try:
            # All that wait, before any work: whoever finds the backlog full loses a second.
            while len(newcomers) < _BATCH:
                client, peer = listener.accept()
                newcomers.append(
                    Connection(client, peer, self._handler, self._policy, self._log, self._lock)
                )
        except BlockingIOError:
            pass
        except ConnectionError as error:
            self._log.debug("a connection was gone before it was accepted: %r", error)
        except OSError as error:
            failure = error
        for connection in newcomers:
            self._admit(connection)
        for connection in newcomers:
            self._start(connection)
        if failure is not None:
            self._make_do(failure, exhausted=failure.errno in _EXHAUSTED)

    def _admit(self, connection: Connection) -> None:
        with self._lock:
            held = sum(not known.leaving for known in self._connections)
            if held < self._policy.max_connections or self._send_oldest_away():
                self._connections[connection] = threading.Thread(
                    target=self._run, args=(connection,), name="http", daemon=True
                )
                return
        connection.turn_away()
        self._refused.append((time.monotonic() + FAREWELL_SECONDS, connection))
        if len(self._refused) > self._policy.max_connections:
            self._forget_refused(self._refused[0][0])

    def _start(self, connection: Connection) -> None:
        thread = self._connections.get(connection)
        if thread is None:
            return  # turned away
        if connection.leaving:
            self._end(connection)  # a newer one took its place already
            return
        try:
            thread.start()
        except RuntimeError as error:  # as many threads as this process may have
            self._end(connection)
            self._make_do(error, exhausted=True)

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        with self._lock:
            del self._connections[connection]
            connection.close()

    def _send_oldest_away(self, before: float = math.inf) -> bool:
        """Of those that wait since before that moment. With the lock held."""
        waiting = [
            known
            for known in self._connections
            if known.waiting and not known.leaving and known.since < before
        ]
        if not waiting:
            return False
        min(waiting, key=lambda known: (known.answered, known.since)).send_away()
        return True

    def _make_do(self, error: Exception, *, exhausted: bool) -> None:
        """Say once a minute that we cannot accept; take back what a waiting client holds."""
        now = time.monotonic()
        if now - self._complained >= _COMPLAINT_SECONDS:
            self._complained = now
            self._log.warning("cannot accept connections: %r", error)
        with self._lock:
            # Not those who just came: what they ask may be here, and not be read yet.
            made_room = exhausted and self._send_oldest_away(now - _PAUSE_SECONDS)
        # The connection stays ready to be accepted: without a pause the loop would spin.
        self._woken.settimeout(_PAUSE_SECONDS / 10 if made_room else _PAUSE_SECONDS)
        with contextlib.suppress(TimeoutError):
            self._woken.recv(1, socket.MSG_PEEK)

    def _forget_refused(self, now: float) -> None:
        while self._refused and self._refused[0][0] <= now:
            self._refused.popleft()[1].close()

    def _close_listeners(self) -> None:
        for listener in self._sockets:
            listener.close()

    def _call(self, tick: Callable[[], None]) -> None:
        try:
            tick()
        except Exception:
            self._log.exception("tick failed")


def _milliseconds_until(moment: float) -> int | None:
    if moment == math.inf:
        return None
    return max(0, math.ceil((moment - time.monotonic()) * 1000))
