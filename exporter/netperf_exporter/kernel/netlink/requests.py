"""What is asked of the kernel over netlink, message by message. Needs no privilege.

The same for every kernel: what an older one does not have it refuses (generic.py), and what it
does not know of a request it passes over. include/uapi/linux/rtnetlink.h, if_link.h, netdev.h,
ethtool_netlink.h.
"""

from __future__ import annotations

import socket
import struct

from netperf_exporter.kernel.netlink import codec, generic
from netperf_exporter.kernel.netlink.socket import Request

# rtnetlink: headers are all zero but for the filter, which strict checking demands.

LINKS = Request("links", socket.NETLINK_ROUTE, 18, struct.pack("=BxHiII", 0, 0, 0, 0, 0))
"""RTM_GETLINK with struct ifinfomsg: the devices, each with all there is to know (1 to 2 KiB)."""

_FILTER_LINK_64 = 1 << 0  # IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64)

LINK_STATS = Request(
    "link-stats", socket.NETLINK_ROUTE, 94, struct.pack("=BxxxII", 0, 0, _FILTER_LINK_64)
)
"""RTM_GETSTATS with struct if_stats_msg: of each device its struct rtnl_link_stats64, no more."""

QDISCS = Request("qdiscs", socket.NETLINK_ROUTE, 38, struct.pack("=BxxxiIII", 0, 0, 0, 0, 0))
"""RTM_GETQDISC with struct tcmsg: queueing disciplines and their statistics."""


# netdev: net/core/netdev-genl.c. queue-get and napi-get came with v6.8, qstats-get with v6.9.

_QSTATS_SCOPE, _SCOPE_QUEUE = 4, 1  # NETDEV_A_QSTATS_SCOPE, NETDEV_QSTATS_SCOPE_QUEUE

QSTATS = generic.Request("qstats", "netdev", 12, codec.u32(_QSTATS_SCOPE, _SCOPE_QUEUE))
"""NETDEV_CMD_QSTATS_GET: a message per queue, for drivers that count by queue."""

QUEUES = generic.Request("queues", "netdev", 10)
"""NETDEV_CMD_QUEUE_GET: which NAPI instance serves each queue."""

NAPIS = generic.Request("napis", "netdev", 11)
"""NETDEV_CMD_NAPI_GET: interrupt, thread and settings of each NAPI instance."""


# ethtool: net/ethtool/netlink.c: ethnl_default_dumpit(). v5.6 and later; FEC v5.13.

_COMPACT_BITSETS, _STATS = 1 << 0, 1 << 2  # ETHTOOL_FLAG_…
_HEADER, _HEADER_FLAGS = 1, 3  # ETHTOOL_A_…_HEADER is 1 in every message
_STRINGSETS, _STRINGSET, _STRINGSET_ID = 2, 1, 1  # ETHTOOL_A_STRSET_STRINGSETS, …
_FEATURES = 4  # ETH_SS_FEATURES


def _header(flags: int) -> bytes:
    return codec.nested(_HEADER, codec.u32(_HEADER_FLAGS, flags))


LINKMODES = generic.Request("linkmodes", "ethtool", 4, _header(_COMPACT_BITSETS))
"""ETHTOOL_MSG_LINKMODES_GET: speed and duplex."""

FEATURES = generic.Request("features", "ethtool", 11, _header(_COMPACT_BITSETS))
"""ETHTOOL_MSG_FEATURES_GET: offloads, as bits that FEATURE_NAMES names."""

RINGS = generic.Request("rings", "ethtool", 15, _header(0))
"""ETHTOOL_MSG_RINGS_GET."""

CHANNELS = generic.Request("channels", "ethtool", 17, _header(0))
"""ETHTOOL_MSG_CHANNELS_GET."""

COALESCE = generic.Request("coalesce", "ethtool", 19, _header(0))
"""ETHTOOL_MSG_COALESCE_GET."""

PAUSE = generic.Request("pause", "ethtool", 21, _header(_STATS))
"""ETHTOOL_MSG_PAUSE_GET, with the frames where the driver counts them (v5.10)."""

FEC = generic.Request("fec", "ethtool", 29, _header(_COMPACT_BITSETS | _STATS))
"""ETHTOOL_MSG_FEC_GET, with the blocks where the driver counts them."""

RSS = generic.Request("rss", "ethtool", 38, _header(0))
"""ETHTOOL_MSG_RSS_GET: indirection tables and hash keys. net/ethtool/rss.c; a dump since
v6.12 (ethnl_rss_dumpit()), before that the ioctl is asked."""

FEATURE_NAMES = generic.Request(
    "feature-names",
    "ethtool",
    1,
    _header(0)
    + codec.nested(_STRINGSETS, codec.nested(_STRINGSET, codec.u32(_STRINGSET_ID, _FEATURES))),
)
"""ETHTOOL_MSG_STRSET_GET for the strings that are the same for every device.

Not a dump: for generic.ask(). As a dump the kernel would repeat them for every device.
"""
