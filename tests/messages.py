"""Netlink messages as the kernel writes them, for tests that play the kernel."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from netperf_exporter.kernel.netlink import codec

NEWLINK, DELLINK = 16, 17
UP, RUNNING = 0x1, 0x40


def message(type: int, body: bytes) -> bytes:
    """With its header, padded as in a dump."""
    return codec.HEADER.pack(16 + len(body), type, 2, 1, 7) + body + bytes(-len(body) % 4)


def link(
    ifindex: int,
    name: bytes,
    *,
    type: int = NEWLINK,
    family: int = 0,
    hardware: int = 1,
    flags: int = UP | RUNNING,
    kind: str = "",
    operstate: int | None = 6,
    mtu: int = 1500,
    master: int = 0,
    lower: int = 0,
    carrier_changes: int = 0,
) -> bytes:
    """RTM_NEWLINK or RTM_DELLINK: rtnl_fill_ifinfo() in net/core/rtnetlink.c."""
    body = struct.pack("=BxHiII", family, hardware, ifindex, flags, 0)
    body += codec.attribute(3, name + b"\0")
    body += codec.u32(4, mtu)
    if operstate is not None:
        body += codec.attribute(16, bytes([operstate]))
    if master:
        body += codec.u32(10, master)
    if lower:
        body += codec.u32(5, lower)
    if kind:
        body += codec.nested(18, codec.string(1, kind))
    body += codec.u32(35, carrier_changes)
    return message(type, body)


def statistics(ifindex: int, figures: Sequence[int], attribute: int = 1) -> bytes:
    """RTM_NEWSTATS with IFLA_STATS_LINK_64: rtnl_fill_statsinfo() in net/core/rtnetlink.c."""
    body = struct.pack("=BxxxII", 0, ifindex, 1)
    body += codec.attribute(attribute, struct.pack(f"={len(figures)}Q", *figures))
    return message(92, body)


def ethtool(ifindex: int, name: str, *attributes: bytes) -> bytes:
    """An answer of the family ethtool: ethnl_fill_reply_header(), then what was asked for."""
    header = codec.nested(1, codec.u32(1, ifindex), codec.string(2, name))
    return message(30, struct.pack("=BBxx", 1, 1) + header + b"".join(attributes))


def queue_statistics(ifindex: int, type: int, queue: int, counted: dict[int, int]) -> bytes:
    """An answer to qstats-get: netdev_nl_stats_write_…() in net/core/netdev-genl.c."""
    body = codec.u32(1, ifindex) + codec.u32(2, type) + codec.u32(3, queue)
    body += b"".join([codec.u32(measure, value) for measure, value in counted.items()])
    return message(31, struct.pack("=BBxx", 12, 1) + body)


def strings(*names: str) -> bytes:
    """The strings of ETHTOOL_GSTRINGS."""
    return b"".join([name.encode()[:31].ljust(32, b"\0") for name in names])
