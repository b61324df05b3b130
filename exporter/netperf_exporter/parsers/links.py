"""Network devices: RTM_NEWLINK and RTM_NEWSTATS messages of rtnetlink.

Written by rtnl_fill_ifinfo() and rtnl_fill_statsinfo() in net/core/rtnetlink.c; attributes and
struct rtnl_link_stats64 in include/uapi/linux/if_link.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.parsers import Malformed

_INFOMSG = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_IFNAME, _MTU, _LINK, _MASTER, _OPERSTATE, _LINKINFO, _CARRIER_CHANGES = 3, 4, 5, 10, 16, 18, 35
_LINK_NETNSID = 37
_PEERS = {"veth", "netkit"}  # kinds whose IFLA_LINK is the other end
_INFO_KIND = 1
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_ARPHRD_LOOPBACK = 772
# RFC 2863 by number: IF_OPER_* in include/uapi/linux/if.h.
_OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")

_STATS_HEADER = struct.Struct("=IHHIIBxxxIIHH")
"""nlmsghdr, struct if_stats_msg (family, ifindex, filter_mask), and the first attribute's."""
_STATS_MESSAGE = struct.Struct("=BxxxII")
_IFLA_STATS_LINK_64 = 1
_FIRST_WORDS = 10  # what _STATS_HEADER unpacks to

STATISTICS = (
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
    "rx_nohandler",
    "rx_otherhost_dropped",
)
"""The fields of struct rtnl_link_stats64. Kernels only ever append some: rx_nohandler is v4.6,
rx_otherhost_dropped v5.19."""


class Link(NamedTuple):
    """A network device.

    name: for labels. Bytes that are no UTF-8 are written as escapes.
    kernel_name: for requests, as os.fsencode() takes it.
    kind: of a software device (``veth``, ``bridge``, ``bond``), ``loopback``, or "".
    master: the ifindex of the bond or bridge it belongs to, or 0.
    lower: the ifindex of the device below it (VLAN, macvlan, tunnel), or 0 if that is in another
        namespace or there is none.
    up: whether packets can pass: it is up, and RFC 2863's operational state does not forbid it.
    """

    ifindex: int
    name: str
    kernel_name: str
    kind: str
    operstate: str
    mtu: int
    master: int
    lower: int
    carrier_changes: int
    enabled: bool
    up: bool


class Links(NamedTuple):
    """The devices of a network namespace, by ascending ifindex.

    shown: those that are exported one by one.
    rolled_up: the others, of which only sums are, by kind.
    """

    shown: tuple[Link, ...]
    rolled_up: Mapping[str, tuple[Link, ...]]
    by_index: Mapping[int, Link]


def parse(
    messages: Iterable[bytes], shown: Callable[[str, str], bool], problems: list[str]
) -> Links:
    """Understand the devices and divide them. shown is asked for a name and a kind."""
    found: dict[int, Link] = {}
    for message in messages:
        try:
            link = parse_link(message)
        except Malformed as error:
            problems.append(str(error))
            continue
        found[link.ifindex] = link
    links = _with_names_of_their_own([found[index] for index in sorted(found)])
    rolled_up: dict[str, list[Link]] = {}
    for link in links:
        if not shown(link.name, link.kind):
            rolled_up.setdefault(link.kind or "other", []).append(link)
    kinds = {kind: tuple(rolled_up[kind]) for kind in sorted(rolled_up)}
    alone = tuple([link for link in links if shown(link.name, link.kind)])
    return Links(alone, kinds, {link.ifindex: link for link in links})


@lru_cache(maxsize=2048)
def parse_link(message: bytes) -> Link:
    """One RTM_NEWLINK message, its header included. Raises Malformed."""
    span = next(codec.messages(message), None)
    if span is None or span.end - span.start < _INFOMSG.size:
        raise Malformed("a link message is cut short")
    _, type, index, flags, _ = _INFOMSG.unpack_from(message, span.start)
    attributes = {
        found.type: found
        for found in codec.attributes(message, span.start + _INFOMSG.size, span.end)
    }
    if _IFNAME not in attributes:
        raise Malformed(f"link {index} has no name")
    named = attributes[_IFNAME]
    raw = message[named.start : named.end].partition(b"\0")[0]

    def number(attribute: int) -> int:
        try:
            return codec.integer(message, attributes[attribute]) if attribute in attributes else 0
        except ValueError as error:
            raise Malformed(f"link {index}, attribute {attribute}: {error}") from None

    state = number(_OPERSTATE)
    kind = "loopback" if type == _ARPHRD_LOOPBACK else _kind(message, attributes.get(_LINKINFO))
    return Link(
        index,
        raw.decode("utf-8", "backslashreplace"),
        os.fsdecode(raw),
        kind,
        _OPERSTATES[state] if state < len(_OPERSTATES) else str(state),
        number(_MTU),
        number(_MASTER),
        0 if kind in _PEERS or _LINK_NETNSID in attributes else number(_LINK),
        number(_CARRIER_CHANGES),
        bool(flags & _IFF_UP),
        flags & (_IFF_UP | _IFF_RUNNING) == _IFF_UP | _IFF_RUNNING,
    )


def _kind(message: bytes, info: codec.Span | None) -> str:
    if info is not None:
        for found in codec.attributes(message, info.start, info.end):
            if found.type == _INFO_KIND:
                return codec.text(message, found)
    return ""


def _with_names_of_their_own(links: list[Link]) -> list[Link]:
    """A byte that had to be escaped may make a name that another device really has."""
    taken = {link.name for link in links}
    if len(taken) < len(links):
        seen: set[str] = set()
        for position, link in enumerate(links):
            name = link.name
            while name in seen or (name != link.name and name in taken):
                name += f"#{link.ifindex}"
            links[position] = link._replace(name=name)
            seen.add(name)
    return links


Statistics = Mapping[int, tuple[int, ...]]
"""By ifindex: the fields of STATISTICS, as many as the kernel has."""


def parse_statistics(dump: bytes) -> Statistics:
    """An RTM_GETSTATS dump with the filter IFLA_STATS_LINK_64.

    Every message has the same length, so all of them are taken apart by one struct.
    """
    if len(dump) >= _STATS_HEADER.size:
        length = _STATS_HEADER.unpack_from(dump)[0]
        if length > _STATS_HEADER.size and not len(dump) % length and not length % 8:
            words = list(_rows(length).iter_unpack(dump))
            payload = length - _STATS_HEADER.size + 4
            if {(word[0], word[8], word[9]) for word in words} == {
                (length, payload, _IFLA_STATS_LINK_64)
            }:
                return {word[6]: word[_FIRST_WORDS:] for word in words}
    return _one_by_one(dump)


@lru_cache(maxsize=8)
def _rows(length: int) -> struct.Struct:
    count = (length - _STATS_HEADER.size) // 8
    return struct.Struct(f"{_STATS_HEADER.format}{count}Q")


def _one_by_one(dump: bytes) -> Statistics:
    statistics: dict[int, tuple[int, ...]] = {}
    for span in codec.messages(dump):
        if span.end - span.start < _STATS_MESSAGE.size:
            continue
        index = _STATS_MESSAGE.unpack_from(dump, span.start)[1]
        for found in codec.attributes(dump, span.start + _STATS_MESSAGE.size, span.end):
            if found.type == _IFLA_STATS_LINK_64:
                count = (found.end - found.start) // 8
                statistics[index] = struct.unpack_from(f"={count}Q", dump, found.start)
    if dump and not statistics:
        raise Malformed("no statistics in an answer that should have some")
    return statistics
