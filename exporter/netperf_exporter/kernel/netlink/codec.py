"""How netlink messages and their attributes are laid out: include/uapi/linux/netlink.h.

Pure. Nothing here trusts a length it reads: what is cut short ends the walk, and an attribute
nobody knows is passed over by its length.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""

_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_INTEGER_SIZES = {1, 2, 4, 8}

Bytes = bytes | bytearray | memoryview


class Span(NamedTuple):
    """A message or an attribute: its type, and from where to where its payload goes."""

    type: int
    start: int
    end: int


def attribute(type: int, payload: bytes) -> bytes:
    """One attribute, padded to the alignment of the next one."""
    return _ATTRIBUTE.pack(4 + len(payload), type) + payload + bytes(-len(payload) % 4)


def u32(type: int, value: int) -> bytes:
    """An attribute that holds a 32-bit integer."""
    return attribute(type, struct.pack("=I", value))


def string(type: int, value: str) -> bytes:
    """An attribute that holds a string, with the NUL that ends it."""
    return attribute(type, value.encode() + b"\0")


def nested(type: int, *attributes: bytes) -> bytes:
    """An attribute that holds others. The flag NLA_F_NESTED is set, as strict checks want it."""
    return attribute(type | 0x8000, b"".join(attributes))


def messages(buffer: Bytes) -> Iterator[Span]:
    """Every whole message; the payload is what follows the message header."""
    offset, size = 0, len(buffer)
    while offset + HEADER.size <= size:
        length, type = HEADER.unpack_from(buffer, offset)[:2]
        end = offset + length
        if length < HEADER.size or end > size:
            return
        yield Span(type, offset + HEADER.size, end)
        offset = end + 3 & ~3


def attributes(buffer: Bytes, start: int, end: int) -> Iterator[Span]:
    """Every whole attribute between two positions."""
    while start + 4 <= end:
        length, type = _ATTRIBUTE.unpack_from(buffer, start)
        after = start + length
        if length < 4 or after > end:
            return
        yield Span(type & _TYPE_MASK, start + 4, after)
        start = after + 3 & ~3


def integer(buffer: Bytes, span: Span) -> int:
    """An unsigned integer of the size the attribute has.

    The kernel's ``uint`` has 4 bytes or 8, as the value needs (nla_put_uint() in
    include/net/netlink.h), so the length decides. Raises ValueError for any other length.
    """
    if span.end - span.start not in _INTEGER_SIZES:
        raise ValueError(f"an integer of {span.end - span.start} bytes")
    return int.from_bytes(buffer[span.start : span.end], sys.byteorder)


def text(buffer: Bytes, span: Span) -> str:
    """A string up to its NUL. Bytes that are no UTF-8 become U+FFFD."""
    raw = bytes(buffer[span.start : span.end])
    return raw.partition(b"\0")[0].decode("utf-8", "replace")
