"""The driver's statistics of a device: ETHTOOL_GSTATS and the strings that name them."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from typing import NamedTuple

from netperf_exporter.kernel.ethtool.desk import Desk
from netperf_exporter.kernel.ethtool.ioctl import GCHANNELS, device_name, index_of, open_socket

_ETH_SS_STATS, _ETH_SS_FEATURES = 1, 4  # enum ethtool_stringset
_STRING = 32  # ETH_GSTRING_LEN
_ATTEMPTS = 5
_KEPT = 1024


class Unsettled(OSError):
    """A device changed each time while it was read."""


class Statistics(NamedTuple):
    """One name of 32 bytes and one u64 for each, in the same order.

    strings: the same object for as long as nothing changed.
    """

    strings: bytes
    values: bytes


class _Known(NamedTuple):
    ifindex: int
    channels: bytes | None
    strings: bytes


_NOTHING = Statistics(b"", b"")


class StatisticsReader:
    """Reads statistics and keeps their names.

    Names are kept because they cost the most: on veth with 64 queues the strings take 77 µs, the
    values 3.4 µs, the count 2.3 µs, the channels 1.4 µs. They are taken to be the same while the
    device, their count and what ETHTOOL_GCHANNELS says are; the latter because receive and
    transmit queues can be exchanged without changing the count. A driver that renames without
    any of that needs forget().

    For one network namespace, that of the thread that reads first, and one lane. When a read is
    stuck in a driver, another may begin: they share nothing that the kernel writes.
    """

    def __init__(self) -> None:
        self._idle: list[Desk] = []
        self._known: dict[bytes, _Known] = {}  # those read last are at the end
        self._forgotten = 0
        self._closed = False

    def close(self) -> None:
        """Give everything back; a read that is stuck does so when it returns."""
        self._closed = True
        while self._idle:
            self._idle.pop().handle.close()

    def forget(self, device: str) -> None:
        """Read the names of a device again the next time."""
        self._forgotten += 1
        self._known.pop(device_name(device), None)

    def read(self, device: str, ifindex: int) -> Statistics:
        """Every statistic of the device that has this name and this index.

        Raises OSError: ENODEV if that device does not have that name (any more), EOPNOTSUPP if
        its driver has no statistics, Unsettled if it changed at every attempt.
        """
        name = device_name(device)
        try:
            desk = self._idle.pop()
        except IndexError:
            desk = Desk()
        try:
            desk.listen(True)
            for _ in range(_ATTEMPTS):
                found = self._attempt(desk, name, ifindex)
                if found is not None:
                    return found
        finally:
            desk.listen(False)
            if self._closed:
                desk.handle.close()
            else:
                self._idle.append(desk)
        raise Unsettled(errno.EAGAIN, f"changed at each of {_ATTEMPTS} attempts", device)

    def _attempt(self, desk: Desk, name: bytes, ifindex: int) -> Statistics | None:
        """None if anything changed meanwhile."""
        forgotten = self._forgotten
        if index_of(desk.handle, name) != ifindex:
            raise OSError(errno.ENODEV, f"index {ifindex} is not its own", os.fsdecode(name))
        count = desk.count(name, _ETH_SS_STATS)
        if not count:
            return None if desk.heard_of_leaving(name, ifindex) else _NOTHING
        known = self._known.pop(name, None)
        if known is None or known.ifindex != ifindex or len(known.strings) != count * _STRING:
            channels = desk.structure(name, GCHANNELS)
            strings = desk.strings(name, _ETH_SS_STATS, count)
            if strings is None:
                return None
            known = _Known(ifindex, channels, strings)
        values = desk.values(name, count)
        if values is None or desk.structure(name, GCHANNELS) != known.channels:
            return None
        if desk.heard_of_leaving(name, ifindex):
            return None
        if forgotten == self._forgotten:
            self._keep(name, known)
        return Statistics(known.strings, values)

    def _keep(self, name: bytes, known: _Known) -> None:
        # Bounded, because devices of containers come and go under new names for ever.
        while len(self._known) >= _KEPT:
            self._known.pop(next(iter(self._known)), None)
        self._known[name] = known


def statistics(device: str) -> Statistics:
    """Every statistic of the device that has this name now, once."""
    with open_socket() as handle:
        ifindex = index_of(handle, device_name(device))
    with closing(StatisticsReader()) as reader:
        return reader.read(device, ifindex)


def feature_strings(device: str) -> bytes:
    """The names of the bits of ETHTOOL_GFEATURES, 32 bytes each, the same for every device."""
    name = device_name(device)
    desk = Desk()
    with desk.handle:
        strings = desk.strings(name, _ETH_SS_FEATURES, desk.count(name, _ETH_SS_FEATURES))
    if strings is None:  # the kernel's own table, so this cannot be
        raise Unsettled(errno.EAGAIN, "the number of features changed", device)
    return strings
