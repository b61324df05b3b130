"""Requests over plain netlink sockets, answered whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
import weakref
from typing import NamedTuple

from netperf_exporter.kernel.netlink import codec

_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 0x1, 0x4, 0x300
_NLM_F_DUMP_INTR = 0x10
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
_RECEIVE_BUFFER = 64 * 1024  # netlink_dump() fills what the reader offers, up to 32 KiB a time
_ATTEMPTS = 10
# The same for every request, so that what has not changed is answered with the same bytes and need
# not be understood again. A socket on which anything was left unread is closed.
_SEQUENCE = 1


class Request(NamedTuple):
    """A message to send.

    name: what it is called in a captured host and in errors.
    protocol: a netlink protocol (socket.NETLINK_ROUTE).
    type: the message type (RTM_GETLINK).
    body: what follows the message header: the family's header and attributes.
    """

    name: str
    protocol: int
    type: int
    body: bytes


class Interrupted(OSError):
    """The kernel said each time that what it listed had changed while it was listing."""


class Incomplete(OSError):
    """The kernel ended a dump with an error after it had sent something.

    messages: what came before the error.
    """

    messages: bytes = b""


def dump(request: Request) -> bytes:
    """Every message of one dump, headers included, without the closing NLMSG_DONE.

    A dump that the kernel marks as interrupted (nl_dump_check_consistent() in
    include/net/netlink.h) may lack or repeat entries, and one whose socket overflowed lacks
    some (ENOBUFS): both are asked for again. Raises OSError as the kernel answers, with its
    own words where it has some.
    """
    return _exchange(request, _NLM_F_REQUEST | _NLM_F_DUMP)


def ask(request: Request) -> bytes:
    """The messages that answer a request that is no dump. Raises OSError as the kernel answers."""
    return _exchange(request, _NLM_F_REQUEST | _NLM_F_ACK)


class _AskAgain(Exception):
    """The answer is not whole."""


class _Last(NamedTuple):
    """An NLMSG_DONE or NLMSG_ERROR: its header, and where its payload is."""

    type: int
    flags: int
    start: int
    end: int


class _Socket:
    """A socket that is kept, and the buffer it receives into."""

    def __init__(self, protocol: int) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self.socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            with contextlib.suppress(OSError):  # kernels before 4.20 check less strictly
                self.socket.setsockopt(_SOL_NETLINK, option, 1)
        # A thread that ends leaves its sockets behind, and nobody who would close them.
        weakref.finalize(self, self.socket.close)
        self._buffer = bytearray(_RECEIVE_BUFFER)

    def exchange(self, request: Request, flags: int) -> bytes:
        length = codec.HEADER.size + len(request.body)
        header = codec.HEADER.pack(length, request.type, flags, _SEQUENCE, 0)
        self.socket.send(header + request.body)
        messages = bytearray()
        last: _Last | None = None
        while last is None:
            end, last = self._scan(self._receive(request), request)
            messages += memoryview(self._buffer)[:end]
            messages += bytes(-end % 4)  # so that the next message is aligned in any case
        _check(self._buffer, last, request, bytes(messages))
        return bytes(messages)

    def _receive(self, request: Request) -> int:
        try:
            received = self.socket.recv_into(self._buffer, 0, socket.MSG_TRUNC)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise _AskAgain from None
            raise
        if received > len(self._buffer):
            raise OSError(errno.EMSGSIZE, f"a message of {received} bytes", request.name)
        return received

    def _scan(self, received: int, request: Request) -> tuple[int, _Last | None]:
        """Where the messages end that belong to the answer, and what closes it, if it came."""
        offset = 0
        while offset + codec.HEADER.size <= received:
            length, kind, flags, sequence, _ = codec.HEADER.unpack_from(self._buffer, offset)
            end = offset + length
            if length < codec.HEADER.size or end > received or sequence != _SEQUENCE:
                raise OSError(errno.EBADMSG, "a message that is not what was asked", request.name)
            if flags & _NLM_F_DUMP_INTR:
                raise _AskAgain
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                return offset, _Last(kind, flags, offset + codec.HEADER.size, end)
            offset = end + 3 & ~3
        return min(offset, received), None


class _Kept(threading.local):
    """By protocol. Each thread has its own, since it may hang while it uses one."""

    def __init__(self) -> None:
        self.sockets: dict[int, _Socket] = {}


_kept = _Kept()


def _exchange(request: Request, flags: int) -> bytes:
    for _ in range(_ATTEMPTS):
        kept = _kept.sockets.pop(request.protocol, None) or _Socket(request.protocol)
        try:
            messages = kept.exchange(request, flags)
        except _AskAgain:
            kept.socket.close()
        except BaseException:
            kept.socket.close()
            raise
        else:
            _kept.sockets[request.protocol] = kept
            return messages
    raise Interrupted(errno.EAGAIN, f"interrupted {_ATTEMPTS} times", request.name)


def _check(buffer: bytearray, last: _Last, request: Request, messages: bytes) -> None:
    """Raise what the closing message says went wrong, if anything did.

    It begins with an int, 0 or a negated error (netlink_dump_done(), netlink_ack() in
    net/netlink/af_netlink.c). An error goes on with the request's header, and with the rest of
    the request unless the kernel left that out; what it explains comes last, in attributes.
    """
    if last.end - last.start < 4:
        raise OSError(errno.EBADMSG, "an answer without a code", request.name)
    (code,) = struct.unpack_from("=i", buffer, last.start)
    if not code:
        return
    said = os.strerror(-code)
    if last.flags & _NLM_F_ACK_TLVS:
        start = last.start + 4
        if last.type == _NLMSG_ERROR and start + codec.HEADER.size <= last.end:
            length = codec.HEADER.unpack_from(buffer, start)[0]
            start += codec.HEADER.size if last.flags & _NLM_F_CAPPED else (length + 3 & ~3)
        for found in codec.attributes(buffer, start, last.end):
            if found.type == _NLMSGERR_ATTR_MSG:
                said = f"{said}: {codec.text(buffer, found)}"
    if not messages:
        raise OSError(-code, said, request.name)
    incomplete = Incomplete(-code, said, request.name)
    incomplete.messages = messages
    raise incomplete
