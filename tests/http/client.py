"""A client that says exactly what it is told to, and a server to say it to."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from netperf_exporter.http.server import Handler, Policy, Request, Response, Server, listen

if TYPE_CHECKING:
    from collections.abc import Iterator

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POLICY = Policy()
PATIENCE = 10.0
"""Seconds after which a test has failed rather than been slow."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    def __init__(self, where: tuple[str, int], receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(where)
        except OSError:
            self.socket.close()
            raise
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def finish(self) -> None:
        """Say that nothing more is to come; listen on."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self, *, to_head: bool = False) -> Answer:
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, _ = bytes(self._received).partition(b"\r\n\r\n")
        del self._received[: len(head) + 4]
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers
            headers[name.lower()] = value
        length = 0 if to_head else int(headers["content-length"])
        while len(self._received) < length:
            self._receive()
        body = bytes(self._received[:length])
        del self._received[:length]
        return Answer(int(status_line.split()[1]), headers, body)

    def get(self, target: str = "/") -> Answer:
        self.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return self.answer()

    def rest(self) -> bytes:
        """Everything until the server closes."""
        with contextlib.suppress(EOFError):
            while True:
                self._receive()
        return bytes(self._received)

    def until(self, end: bytes) -> bytes:
        """Everything up to what an answer ends in."""
        while not self._received.endswith(end):
            self._receive()
        received = bytes(self._received)
        self._received.clear()
        return received

    def is_open(self) -> bool:
        """Whether the server has left the connection as it is, so far."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        finally:
            self.socket.settimeout(PATIENCE)

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(bytes(self._received))
        self._received += data


@dataclass
class Serving:
    server: Server
    where: tuple[str, int]
    thread: threading.Thread

    def client(self, receive_buffer: int = 0) -> Client:
        return Client(self.where, receive_buffer)

    def get(self, target: str = "/") -> Answer:
        """A request on a connection of its own."""
        with self.client() as client:
            return client.get(target)

    def is_idle(self) -> bool:
        return all(connection.waiting for connection in list(self.server._connections))

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def hello(_: Request) -> Response:
    return Response(200, b"hello")


@contextlib.contextmanager
def serving(
    handler: Handler = hello, policy: Policy = POLICY, listener: socket.socket | None = None
) -> Iterator[Serving]:
    listener = listener or listen("127.0.0.1:0")
    where = listener.getsockname()
    server = Server([listener], handler, policy)
    thread = threading.Thread(target=server.serve, name="accept")
    thread.start()
    running = Serving(server, where, thread)
    try:
        yield running
    finally:
        running.stop()
        assert server.drain(PATIENCE)
