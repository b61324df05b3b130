"""What the kernel multicasts, read when somebody asks for it: no thread, no wake-up."""

from __future__ import annotations

import errno
import select
import socket
import weakref
from collections.abc import Iterable

_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_LARGEST = 64 * 1024


class Subscription:
    """Some multicast groups of one netlink protocol. Not for several threads at once."""

    def __init__(self, protocol: int, groups: Iterable[int]) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        weakref.finalize(self, self._socket.close)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLERR)
        try:
            # The kernel passes over sockets without an address (do_one_broadcast() in
            # net/netlink/af_netlink.c).
            self._socket.bind((0, 0))
            for group in groups:
                self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except BaseException:
            self._socket.close()
            raise

    def drain(self) -> list[bytes] | None:
        """Everything that came since the last call; None if the kernel had to leave some out.

        A socket nobody reads overflows (ENOBUFS, netlink_overrun() in net/netlink/af_netlink.c)
        and goes on afterwards: whoever listens has to look at the whole again.
        """
        came: list[bytes] = []
        lost = False
        if not self._poll.poll(0):  # nearly always, and cheaper than to be told by an exception
            return came
        while True:
            try:
                came.append(self._socket.recv(_LARGEST))
            except BlockingIOError:
                return None if lost else came
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True

    def close(self) -> None:
        """Leave the groups."""
        self._socket.close()
