"""What one series of calls about one device needs: a socket, room for answers, and news."""

from __future__ import annotations

import errno
import os
import select
import struct
import weakref

from netperf_exporter.kernel.ethtool.guarded import GuardedRoom
from netperf_exporter.kernel.ethtool.ioctl import Command, ask, open_socket

_GSTRINGS, _GSTATS, _GSSET_INFO = 0x1B, 0x1D, 0x37
_STRINGS_HEADER = struct.Struct("=III")  # struct ethtool_gstrings: cmd, string_set, len
_STATS_HEADER = struct.Struct("=II")  # struct ethtool_stats: cmd, n_stats
_SSET_INFO = struct.Struct("=I4xQI")  # struct ethtool_sset_info: cmd, mask, one count
_STRING, _VALUE = 32, 8  # ETH_GSTRING_LEN, u64
_SLACK = 512 * _VALUE

_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 270, 1, 2
_RTNLGRP_LINK, _RTM_NEWLINK, _RTM_DELLINK, _IFLA_IFNAME = 1, 16, 17, 3
_MESSAGE = struct.Struct("=IHHIIBxHi8x")  # struct nlmsghdr, struct ifinfomsg
_ATTRIBUTE = struct.Struct("=HH")
_NAME_IS_WITHIN = 2048  # rtnl_fill_ifinfo() in net/core/rtnetlink.c puts the name first


class Desk:
    """For one call at a time: two that overlap must not share it."""

    def __init__(self) -> None:
        self.handle = open_socket()
        weakref.finalize(self, self.handle.close)  # whoever drops the reader drops its desks
        # The kernel passes over sockets without an address (do_one_broadcast() in
        # net/netlink/af_netlink.c).
        self.handle.bind((0, 0))
        self.handle.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self.handle, select.POLLIN | select.POLLERR)
        self._room = GuardedRoom(_SLACK)

    def listen(self, wanted: bool) -> None:
        """Hear of every change to a device from now on, or no more."""
        option = _ADD_MEMBERSHIP if wanted else _DROP_MEMBERSHIP
        self.handle.setsockopt(_SOL_NETLINK, option, _RTNLGRP_LINK)

    def heard_of_leaving(self, name: bytes, ifindex: int) -> bool:
        """Whether a device may have been without its name at some time since listen().

        Names are all that the ioctl knows, and one look before and one after would miss a name
        that was lent to another device in between. The kernel tells of a rename before it allows
        the next (netif_change_name() in net/core/dev.c, rtnetlink_event() in
        net/core/rtnetlink.c, both under rtnl), so whoever could have taken the name took it
        after this was heard.
        """
        left = False
        while self._poll.poll(0):  # cheaper than to be told by an exception that there is nothing
            try:
                message = self.handle.recv(_NAME_IS_WITHIN)
            except OSError:  # ENOBUFS: something was not heard
                left = True
            else:
                left |= tells_of_leaving(message, name, ifindex)
        return left

    def count(self, name: bytes, string_set: int) -> int:
        """How many strings a device has in a set. Raises EOPNOTSUPP without such a set."""
        room = self._room
        _SSET_INFO.pack_into(room.view, 0, _GSSET_INFO, 1 << string_set, 0)
        ask(self.handle, name, room.address)
        _, mask, count = _SSET_INFO.unpack_from(room.view)
        if not mask:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), os.fsdecode(name))
        return int(count)

    def strings(self, name: bytes, string_set: int, count: int) -> bytes | None:
        """The strings of a set, if there are ``count``; of 0 nobody may ask."""
        room = self._room_for(count)
        _STRINGS_HEADER.pack_into(room.view, 0, _GSTRINGS, string_set, count)
        if not self._answered(name) or _STRINGS_HEADER.unpack_from(room.view)[2] != count:
            return None
        return bytes(room.view[_STRINGS_HEADER.size : _STRINGS_HEADER.size + count * _STRING])

    def values(self, name: bytes, count: int) -> bytes | None:
        """The driver's statistics, if there are ``count``; of 0 nobody may ask.

        A count of 0 would mean any to the kernel, and a warning in its log (WARN_ON_ONCE in
        ethtool_get_stats(), net/ethtool/ioctl.c).
        """
        room = self._room_for(count)
        _STATS_HEADER.pack_into(room.view, 0, _GSTATS, count)
        # Where there are more or fewer by now, new kernels answer that there are 0 and write
        # none, old ones answer how many they have written.
        if not self._answered(name) or _STATS_HEADER.unpack_from(room.view)[1] != count:
            return None
        return bytes(room.view[_STATS_HEADER.size : _STATS_HEADER.size + count * _VALUE])

    def structure(self, name: bytes, command: Command) -> bytes | None:
        """What the driver says in a structure of fixed size, or None if it does not offer it."""
        room = self._room
        request = struct.pack("=I", command.number) + command.request
        room.view[: command.size] = request.ljust(command.size, b"\0")
        try:
            ask(self.handle, name, room.address)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return None
            raise
        return bytes(room.view[: command.size])

    def _room_for(self, count: int) -> GuardedRoom:
        # Twice as much and a bit, so that an ordinary growth is answered and not an error.
        size = _STRINGS_HEADER.size + 2 * count * _STRING + _SLACK
        if self._room.size < size:
            self._room = GuardedRoom(size)
        return self._room

    def _answered(self, name: bytes) -> bool:
        try:
            ask(self.handle, name, self._room.address)
        except OSError as error:
            if error.errno == errno.EFAULT:  # more than the room holds
                return False
            raise
        return True


def tells_of_leaving(message: bytes, name: bytes, ifindex: int) -> bool:
    """Whether a link message says that a device has another name, or is no longer here."""
    if len(message) < _MESSAGE.size:
        return True
    _, kind, _, _, _, _, _, index = _MESSAGE.unpack_from(message)
    if index != ifindex or kind not in (_RTM_NEWLINK, _RTM_DELLINK):
        return False
    offset = _MESSAGE.size
    while kind == _RTM_NEWLINK and offset + _ATTRIBUTE.size <= len(message):
        length, attribute = _ATTRIBUTE.unpack_from(message, offset)
        if attribute == _IFLA_IFNAME:
            said = message[offset + _ATTRIBUTE.size : offset + length]
            return said.rstrip(b"\0") != name
        offset += max(length, _ATTRIBUTE.size) + 3 & ~3
    return True
