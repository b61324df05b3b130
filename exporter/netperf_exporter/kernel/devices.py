"""The network devices of the exporter's namespace, as the kernel's notifications keep them.

Listing a device costs the kernel 5 µs, most of it for what hardly ever changes; so devices are
listed once, and afterwards only what the kernel says has changed is replaced.
"""

from __future__ import annotations

import socket
import struct
import threading

from netperf_exporter.kernel.netlink import codec, requests
from netperf_exporter.kernel.netlink import socket as netlink
from netperf_exporter.kernel.netlink.notifications import Subscription

_RTNLGRP_LINK = 1
_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_INFOMSG = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_IFLA_OPERSTATE = 16


class Devices:
    """Says which devices there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscription: Subscription | None = None
        self._by_index: dict[int, bytes] = {}
        self._links: tuple[bytes, ...] = ()

    def links(self) -> tuple[bytes, ...]:
        """One RTM_NEWLINK message for each device; the same tuple while nothing changed.

        Its statistics are those of the moment it was sent: they have a dump of their own.
        """
        with self._lock:
            if self._subscription is None:
                self._list_anew()
            else:
                came = self._subscription.drain()
                if came is None or not all(map(self._apply, came)):
                    self._list_anew()
                elif came:
                    self._links = tuple(self._by_index.values())
            return self._links

    def _list_anew(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        # Subscribed before listing: what changes while the kernel lists comes as a notification.
        subscription = Subscription(socket.NETLINK_ROUTE, [_RTNLGRP_LINK])
        try:
            answer = netlink.dump(requests.LINKS)
        except BaseException:
            subscription.close()
            raise
        self._by_index = {}
        for span in codec.messages(answer):
            index = _INFOMSG.unpack_from(answer, span.start)[2]
            self._by_index[index] = answer[span.start - codec.HEADER.size : span.end]
        self._links = tuple(self._by_index.values())
        self._subscription = subscription

    def _apply(self, came: bytes) -> bool:
        """Take a notification over; False if it does not say enough."""
        for span in codec.messages(came):
            if span.type not in (_RTM_NEWLINK, _RTM_DELLINK):
                continue
            if span.end - span.start < _INFOMSG.size:
                return False
            family, _, index, _, _ = _INFOMSG.unpack_from(came, span.start)
            if family != socket.AF_UNSPEC:  # a bridge about one of its ports (br_ifinfo_notify())
                continue
            if span.type == _RTM_DELLINK:
                self._by_index.pop(index, None)
                continue
            attributes = codec.attributes(came, span.start + _INFOMSG.size, span.end)
            if not any(found.type == _IFLA_OPERSTATE for found in attributes):
                return False  # wireless_send_event() in net/wireless/wext-core.c says but the name
            self._by_index[index] = came[span.start - codec.HEADER.size : span.end]
        return True
