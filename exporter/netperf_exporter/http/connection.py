"""One client: read a request head, have it answered, send the answer, and again.

The protocol is h11's. The patience is ours, and every wait has a total deadline: neither a
head that drips in nor an answer that is read slowly can stretch it.

A scraper repeats itself to the byte for as long as its connection lasts. So the head that h11
understood last is kept, and the same bytes again are the same request, at a tenth of the cost.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import h11

if TYPE_CHECKING:
    import logging
    import threading
    from collections.abc import Sequence


class Request(NamedTuple):
    """What a handler is given: always a whole GET or HEAD request, without a body."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    query: str
    """As the client sent it."""
    headers: Mapping[str, str]
    """By lower-case name; the values of a repeated header are joined with commas."""


class Response(NamedTuple):
    """What a handler gives back. In answer to HEAD the body is measured, not sent."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Response]


@dataclass(frozen=True)
class Policy:
    """How much room and patience clients get.

    max_connections: held at once.
    head_seconds: from the first byte of a request (on a new connection: from its arrival) to
        the end of its head, however it drips.
    idle_seconds: between two requests of a connection. Prometheus keeps its connections, and
        scrapes every 15 to 60 s.
    send_seconds: for the whole of an answer.
    max_head_bytes: request line and headers together.
    """

    max_connections: int = 64
    head_seconds: float = 5.0
    idle_seconds: float = 120.0
    send_seconds: float = 15.0
    max_head_bytes: int = 16384


# After our last word a client gets this long, and may send this much, while it reads it:
# closing a socket that holds unread bytes resets it, and can destroy the answer on its way.
FAREWELL_SECONDS = 1.0
_FAREWELL_BYTES = 65536

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, without waiting
_DAYS = "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"
_MONTHS = "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"


class Connection:
    """A client. `lock` is the server's, and guards what the server looks at.

    waiting: for a request head (or for the client to leave), since the moment `since`.
    answered: at least one request was.
    leaving: told to go; at once if it was waiting, otherwise when its answer is sent.
    """

    __slots__ = (
        "_arrived",
        "_client",
        "_handler",
        "_known",
        "_lock",
        "_log",
        "_peer",
        "_policy",
        "answered",
        "leaving",
        "since",
        "waiting",
    )

    def __init__(
        self,
        client: socket.socket,
        peer: object,
        handler: Handler,
        policy: Policy,
        log: logging.Logger,
        lock: threading.Lock,
    ) -> None:
        self._client = client
        self._peer = peer
        self._handler = handler
        self._policy = policy
        self._log = log
        self._lock = lock
        self._arrived = b""
        self._known: tuple[bytes, Request] | None = None
        self.since = time.monotonic()
        self.waiting = True
        self.answered = False
        self.leaving = False

    def send_away(self) -> None:
        """Have the connection's thread close it. With the lock held."""
        self.leaving = True
        if self.waiting:
            self.cut_off()

    def cut_off(self) -> None:
        """Whatever it does with the socket ends now. With the lock held."""
        with contextlib.suppress(OSError):
            # Past the methods of a TLS socket, whose state is the other thread's.
            socket.socket.shutdown(self._client, socket.SHUT_RDWR)

    def turn_away(self) -> None:
        """Say that everyone is busy, without waiting for the client or its request."""
        answer = plain(HTTPStatus.SERVICE_UNAVAILABLE, "all connections are busy")
        parts = encode(h11.Connection(h11.SERVER), answer, close=True)
        with contextlib.suppress(OSError):
            self._client.setblocking(False)
            self._client.sendmsg(parts, (), socket.MSG_NOSIGNAL)
            self._client.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """With the lock held, lest a descriptor is cut off that is another's by now."""
        self._client.close()

    def run(self) -> None:
        """Converse until one side has enough. Never raises; does not close."""
        try:
            self._converse()
        except OSError as error:
            self._log.debug("connection of %r: %r", self._peer, error)
        except Exception:
            self._log.exception("connection of %r", self._peer)

    def _converse(self) -> None:
        # The first head's deadline runs since the connection's arrival: what is to be done
        # before HTTP can be spoken (a TLS handshake) is done here, within that deadline.
        protocol = h11.Connection(
            h11.SERVER,
            # One less: h11 gives up beyond it, and we receive no more than max_head_bytes.
            max_incomplete_event_size=self._policy.max_head_bytes - 1,
        )
        while (asked := self._next(protocol)) is not None:
            with self._lock:
                if self.leaving:
                    return  # sent away while the last bytes arrived
                self.waiting = False
            if isinstance(asked, Request):
                self._answer_again(asked)
            else:
                self._answer(protocol, asked)
            with self._lock:
                self.waiting = True
                self.answered = True
                self.since = time.monotonic()
                if self.leaving:
                    return
            if isinstance(asked, Request):
                continue  # h11 did not see it, and waits for a request as before
            if protocol.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                _say_farewell(self._client)
                return
            protocol.start_next_cycle()
            self._remember(protocol, asked)

    def _remember(self, protocol: h11.Connection, head: h11.Request) -> None:
        """Keep a request that came alone and in one piece, and that left the connection open."""
        self._known = None
        if self._arrived and not protocol.trailing_data[0] and head.method == b"GET":
            request = _understand(head)
            if isinstance(request, Request):
                self._known = (self._arrived, request)

    def _next(self, protocol: h11.Connection) -> h11.Request | Request | None:
        """The next request, as it is if it is known.

        None if there is none and the connection is to be closed.
        """
        try:
            return self._receive(protocol)
        except TimeoutError:
            if not protocol.trailing_data[0]:
                return None
            refusal = plain(HTTPStatus.REQUEST_TIMEOUT)
        except h11.RemoteProtocolError as error:
            self._log.debug("connection of %r: %r", self._peer, error)
            if protocol.trailing_data[1]:
                return None  # closed in the middle of a request
            refusal = plain(error.error_status_hint)
        parts = encode(protocol, refusal, close=True)
        _send(self._client, parts, time.monotonic() + FAREWELL_SECONDS)
        _say_farewell(self._client)
        return None

    def _receive(self, protocol: h11.Connection) -> h11.Request | Request | None:
        policy = self._policy
        self._arrived = b""
        idle = self.answered and not protocol.trailing_data[0]
        deadline = self.since + (policy.idle_seconds if idle else policy.head_seconds)
        while (event := protocol.next_event()) is h11.NEED_DATA:
            room = policy.max_head_bytes - len(protocol.trailing_data[0])
            self._client.settimeout(_seconds_until(deadline))
            data = self._client.recv(min(room, 4096))
            if idle and self._known is not None and data == self._known[0]:
                return self._known[1]
            self._arrived = b"" if protocol.trailing_data[0] else data
            protocol.receive_data(data)
            if idle:
                idle = False
                deadline = time.monotonic() + policy.head_seconds
        return event if isinstance(event, h11.Request) else None

    def _answer(self, protocol: h11.Connection, head: h11.Request) -> None:
        if not _announces_body(head):
            protocol.next_event()  # the end of the message, which h11 wants to be asked for
        self._send_answer(self._encoded_answer(protocol, head))

    def _answer_again(self, request: Request) -> None:
        try:
            parts = _repeated(self._handler(request), close=self.leaving)
        except Exception as error:
            self._say_failed(request.path, request.query, error)
            parts = _repeated(_FAILURE, close=self.leaving)
        self._send_answer(parts)

    def _send_answer(self, parts: Sequence[bytes]) -> None:
        try:
            _send(self._client, parts, time.monotonic() + self._policy.send_seconds)
        except TimeoutError:
            # Reset, so that the kernel does not go on keeping what nobody reads.
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            raise

    def _encoded_answer(self, protocol: h11.Connection, head: h11.Request) -> list[bytes]:
        head_only = head.method == b"HEAD"
        last = _announces_body(head)
        request = _understand(head)
        try:
            response = self._handler(request) if isinstance(request, Request) else request
            return encode(protocol, response, head_only=head_only, close=last or self.leaving)
        except Exception as error:
            self._say_failed(head.method, head.target, error)
        return encode(protocol, _FAILURE, head_only=head_only, close=last or self.leaving)

    def _say_failed(self, what: object, of_what: object, error: Exception) -> None:
        # Clients choose what is in a target, and exceptions repeat it: log only its repr().
        self._log.error("%r %r failed: %r", what, of_what, error)
        self._log.debug("it failed at\n%s", "".join(traceback.format_tb(error.__traceback__)))


def plain(status: int, text: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A line of text; the name of the status unless given."""
    line = text or HTTPStatus(status).phrase.lower()
    return Response(status, f"{line}\n".encode(), headers=headers)


_FAILURE = plain(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")


def encode(
    protocol: h11.Connection, response: Response, *, head_only: bool = False, close: bool = False
) -> list[bytes]:
    """The bytes to send, among them the body as it is.

    Raises:
        h11.LocalProtocolError: status or headers are impossible; `protocol` did not advance.
    """
    head = h11.Response(
        status_code=response.status,
        reason=_reason(response.status),
        headers=_headers(response, close=close),
    )
    parts = protocol.send_with_data_passthrough(head) or []
    if not head_only and _may_have_body(response):
        parts += protocol.send_with_data_passthrough(h11.Data(response.body)) or []
    protocol.send(h11.EndOfMessage())
    return parts


def _headers(response: Response, *, close: bool) -> list[tuple[str, str]]:
    headers = [
        ("Date", _http_date(int(time.time()))),
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        *response.headers,
    ]
    if close:
        headers.append(("Connection", "close"))
    return headers


def _repeated(response: Response, *, close: bool) -> list[bytes]:
    """What encode() gives for an answer to GET, without h11.

    Raises ValueError where h11 would refuse.
    """
    lines = [
        f"HTTP/1.1 {int(response.status)} {_reason(response.status)}",
        *[f"{name}: {value}" for name, value in _headers(response, close=close)],
    ]
    if not 200 <= response.status < 600 or not all(map(str.isprintable, lines)):
        raise ValueError("an impossible answer")
    head = "\r\n".join([*lines, "\r\n"]).encode("ascii")
    return [head, response.body] if _may_have_body(response) else [head]


def _may_have_body(response: Response) -> bool:
    return response.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _understand(head: h11.Request) -> Request | Response:
    """The request; or the answer to one that takes no handler to be turned down."""
    if not head.http_version.startswith(b"1."):
        return plain(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if head.method not in (b"GET", b"HEAD"):
        return plain(HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", "GET, HEAD"),))
    if _announces_body(head):
        return plain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "no request has a body here")
    target, _, query = head.target.decode("ascii").partition("?")
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in ("http", "https"):  # a form every server has to accept
        target = "/" + rest.partition("/")[2]
    if not target.startswith("/"):
        return plain(HTTPStatus.BAD_REQUEST)
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(head.method.decode("ascii"), unquote(target), query, headers)


def _announces_body(head: h11.Request) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and int(value) > 0)
        for name, value in head.headers
    )


def _send(client: socket.socket, parts: Sequence[bytes], deadline: float) -> None:
    views = [memoryview(part) for part in parts if part]
    while views:
        client.settimeout(_seconds_until(deadline))
        sent = client.sendmsg(views, (), socket.MSG_NOSIGNAL)
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if views:
            views[0] = views[0][sent:]


def _say_farewell(client: socket.socket) -> None:
    """Let the client read our last word: wait, within bounds, until it has closed."""
    client.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + FAREWELL_SECONDS
    unread = _FAREWELL_BYTES
    with contextlib.suppress(TimeoutError):
        while unread > 0:
            client.settimeout(_seconds_until(deadline))
            data = client.recv(4096)
            if not data:
                return
            unread -= len(data)


def _seconds_until(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("out of patience")
    return left


@functools.lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    # Not strftime(): its names follow the locale.
    at = time.gmtime(second)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{day}, {at.tm_mday:02} {month} {at.tm_year} {clock} GMT"
