"""The ethtool ioctl: SIOCETHTOOL, answered by dev_ethtool() in net/ethtool/ioctl.c."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from typing import NamedTuple

_SIOCETHTOOL = 0x8946
_IFNAMSIZ = 16


class Command(NamedTuple):
    """One command of include/uapi/linux/ethtool.h.

    name: how it is called there without ``ETHTOOL_``, in lower case; also the name of a
        captured answer.
    size: bytes of its structure, the leading ``cmd`` included.
    """

    name: str
    number: int
    size: int


GDRVINFO = Command("gdrvinfo", 0x03, 196)
"""struct ethtool_drvinfo: which driver serves the device."""


def call(device: str, command: Command) -> bytes:
    """Ask the driver of one device.

    Returns the structure as the kernel left it. Raises OSError: ENODEV without such a device,
    EOPNOTSUPP where the driver does not offer the command.

    Only for commands whose structure has a fixed size: those that grow with the number of
    queues are written by the kernel whatever room they were given.
    """
    name = os.fsencode(device)
    if len(name) >= _IFNAMSIZ:
        raise ValueError(f"{device!r} is longer than a device name can be")
    buffer = ctypes.create_string_buffer(command.size)
    struct.pack_into("=I", buffer, 0, command.number)
    request = struct.pack(f"{_IFNAMSIZ}sP16x", name, ctypes.addressof(buffer))
    # Any socket does (sock_ioctl() in net/socket.c); a netlink one needs no Internet family,
    # which a sandbox may have taken away.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as handle:
        fcntl.ioctl(handle, _SIOCETHTOOL, request)
    return buffer.raw
