"""Netlink dumps over plain sockets: struct nlmsghdr of include/uapi/linux/netlink.h."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import NamedTuple

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_NLM_F_REQUEST, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 11, 12
_RECEIVE_BUFFER = 256 * 1024  # a dump fills what the reader offers, up to 32 KiB a message
_ATTEMPTS = 5


class Request(NamedTuple):
    """A dump to ask for.

    name: what it is called in a captured host.
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


def dump(request: Request) -> bytes:
    """Every message of one dump, headers included, without the closing NLMSG_DONE.

    A dump that the kernel marks as interrupted (nl_dump_check_consistent() in
    include/net/netlink.h) may lack or repeat entries, and one whose socket overflowed lacks
    some (ENOBUFS): both are asked for again. Raises OSError as the kernel answers.
    """
    for _ in range(_ATTEMPTS):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, request.protocol) as handle:
            for option in (_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                with contextlib.suppress(OSError):  # kernels before 4.20 check less strictly
                    handle.setsockopt(_SOL_NETLINK, option, 1)
            messages = _one_dump(handle, request)
        if messages is not None:
            return messages
    raise Interrupted(errno.EAGAIN, f"interrupted {_ATTEMPTS} times", request.name)


def _one_dump(handle: socket.socket, request: Request) -> bytes | None:
    length = _HEADER.size + len(request.body)
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    handle.send(_HEADER.pack(length, request.type, flags, 1, 0) + request.body)
    buffer = bytearray(_RECEIVE_BUFFER)
    messages = bytearray()
    while True:
        try:
            received = handle.recv_into(buffer)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return None
            raise
        offset = 0
        while offset + _HEADER.size <= received:
            length, kind, flags, _, _ = _HEADER.unpack_from(buffer, offset)
            end = offset + length
            if length < _HEADER.size or end > received:
                raise OSError(errno.EBADMSG, "a message is longer than what came", request.name)
            if flags & _NLM_F_DUMP_INTR:
                return None
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                # Both carry an int: what went wrong, or 0 (netlink_dump_done(), netlink_ack()).
                (code,) = struct.unpack_from("=i", buffer, offset + _HEADER.size)
                if code:
                    raise OSError(-code, os.strerror(-code), request.name)
                return bytes(messages)
            aligned = offset + (length + 3 & ~3)
            messages += buffer[offset:aligned]
            offset = aligned
