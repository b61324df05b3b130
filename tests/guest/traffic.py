"""Make a little loopback traffic, good and bad, so that a captured host is not all zeros."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

ROUNDS = 20


def main() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for _ in range(ROUNDS):
            exchange_stream(family, address)
        exchange_datagrams(family, address)
        be_refused(family, address)
        overrun_receiver(family, address)


def exchange_stream(family: socket.AddressFamily, address: str) -> None:
    with (
        socket.create_server((address, 0), family=family) as listener,
        socket.create_connection(listener.getsockname()[:2]) as client,
        listener.accept()[0] as server,
    ):
        client.sendall(bytes(20_000))
        server.recv(20_000, socket.MSG_WAITALL)
        server.sendall(b"done")
        client.recv(4, socket.MSG_WAITALL)


def exchange_datagrams(family: socket.AddressFamily, address: str) -> None:
    with _datagram_socket(family) as receiver, _datagram_socket(family) as sender:
        receiver.bind((address, 0))
        for _ in range(ROUNDS):
            sender.sendto(b"datagram", receiver.getsockname())
            receiver.recv(100)


def be_refused(family: socket.AddressFamily, address: str) -> None:
    """One connection aborted, then a port nobody listens on: a reset, and an ICMP error for UDP."""
    with socket.create_server((address, 0), family=family) as listener:
        closed = listener.getsockname()[:2]
        aborted = socket.create_connection(closed)
        accepted, _ = listener.accept()
        # Linger of zero seconds: close() sends a reset.
        aborted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        aborted.close()
        accepted.close()
    with suppress(ConnectionRefusedError):
        socket.create_connection(closed)
    with _datagram_socket(family) as sender:
        sender.sendto(b"nobody", closed)


def overrun_receiver(family: socket.AddressFamily, address: str) -> None:
    """More datagrams than the smallest receive buffer holds."""
    with _datagram_socket(family) as receiver, _datagram_socket(family) as sender:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        receiver.bind((address, 0))
        for _ in range(ROUNDS):
            sender.sendto(bytes(1000), receiver.getsockname())


def _datagram_socket(family: socket.AddressFamily) -> socket.socket:
    return socket.socket(family, socket.SOCK_DGRAM)


if __name__ == "__main__":
    main()
