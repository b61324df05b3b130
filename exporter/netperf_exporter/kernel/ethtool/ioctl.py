"""One call of SIOCETHTOOL, and the commands whose structure has a fixed size.

Structures and numbers are those of include/uapi/linux/ethtool.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from typing import NamedTuple

_SIOCETHTOOL = 0x8946
_SIOCGIFINDEX = 0x8933
_IFNAMSIZ = 16
_IFREQ = struct.Struct(f"{_IFNAMSIZ}sP16x")
_FEATURE_WORDS = 8  # ETHTOOL_DEV_FEATURE_WORDS of net/ethtool/common.h is 2 up to 7.3


class Command(NamedTuple):
    """One command of include/uapi/linux/ethtool.h.

    name: how it is called there without ``ETHTOOL_``, in lower case; also the name of a
        captured answer.
    size: bytes of its structure, the leading ``cmd`` included.
    request: what the structure says beyond ``cmd``, where the kernel wants to be told something.
    """

    name: str
    number: int
    size: int
    request: bytes = b""


GDRVINFO = Command("gdrvinfo", 0x03, 196)
"""struct ethtool_drvinfo: which driver serves the device."""

GCOALESCE = Command("gcoalesce", 0x0E, 92)
"""struct ethtool_coalesce: how long and for how many frames interrupts wait."""

GRINGPARAM = Command("gringparam", 0x10, 36)
"""struct ethtool_ringparam: how many descriptors the rings have, and could have."""

GPAUSEPARAM = Command("gpauseparam", 0x12, 16)
"""struct ethtool_pauseparam: which way pause frames are used."""

GFEATURES = Command("gfeatures", 0x3A, 8 + 16 * _FEATURE_WORDS, struct.pack("=I", _FEATURE_WORDS))
"""struct ethtool_gfeatures: offloads, as bits that feature_strings() names."""

GCHANNELS = Command("gchannels", 0x3C, 36)
"""struct ethtool_channels: how many queues there are, and could be."""

GFECPARAM = Command("gfecparam", 0x50, 16)
"""struct ethtool_fecparam: forward error correction, configured and active."""

_GRXFHINDIR = Command("grxfhindir", 0x38, 8)  # struct ethtool_rxfh_indir without its entries
_ATTEMPTS = 5

_LINK_SETTINGS = 48  # bytes of struct ethtool_link_settings before its bitmaps
_NWORDS = 15  # where in it link_mode_masks_nwords is
_GLINKSETTINGS = Command("glinksettings", 0x4C, _LINK_SETTINGS)


def device_name(device: str) -> bytes:
    """A device's name as an ifreq holds it.

    Raises ValueError for what cannot be one (dev_valid_name() in net/core/dev.c), because the
    kernel would take the part before a NUL or a colon (dev_ioctl() in net/core/dev_ioctl.c) and
    answer for another device.
    """
    name = os.fsencode(device)
    if len(name) >= _IFNAMSIZ:
        raise ValueError(f"{device!r} is longer than a device name can be")
    if not name or b":" in name or b"\0" in name:
        raise ValueError(f"{device!r} is no device name")
    return name


def open_socket() -> socket.socket:
    """A socket to make calls on; it asks the network namespace in which it was made.

    Any will do (sock_ioctl() in net/socket.c); a netlink one needs no Internet family, which a
    sandbox may have taken away.
    """
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


def ask(handle: socket.socket, name: bytes, address: int) -> None:
    """Have the kernel answer the structure at an address of this process."""
    fcntl.ioctl(handle, _SIOCETHTOOL, _IFREQ.pack(name, address))


def index_of(handle: socket.socket, name: bytes) -> int:
    """The index of the device that has a name now."""
    answer = fcntl.ioctl(handle, _SIOCGIFINDEX, _IFREQ.pack(name, 0))
    index: int = struct.unpack_from("=i", answer, _IFNAMSIZ)[0]
    return index


def call(device: str, command: Command) -> bytes:
    """Ask the driver of one device.

    Returns the structure as the kernel left it. Raises OSError: ENODEV without such a device,
    EOPNOTSUPP where the driver does not offer the command.
    """
    name = device_name(device)
    with open_socket() as handle:
        return call_on(handle, name, command)


def call_on(handle: socket.socket, name: bytes, command: Command) -> bytes:
    """The same on a socket that is there already."""
    request = struct.pack("=I", command.number) + command.request
    buffer = ctypes.create_string_buffer(request, command.size)
    ask(handle, name, ctypes.addressof(buffer))
    return buffer.raw


def link_settings(device: str) -> bytes:
    """Speed, duplex and link modes: struct ethtool_link_settings with its bitmaps.

    The kernel fills it only for who names the width of its bitmaps, and first answers with that
    width, negative (ethtool_get_link_ksettings() in net/ethtool/ioctl.c). It is a constant of
    the kernel, so no driver can make the second answer longer.
    """
    name = device_name(device)
    with open_socket() as handle:
        (words,) = struct.unpack_from("=b", call_on(handle, name, _GLINKSETTINGS), _NWORDS)
        if words >= 0:
            raise OSError(errno.EPROTO, f"link modes in {words} words", device)
        request = bytes(_NWORDS - 4) + struct.pack("=b", -words)
        size = _LINK_SETTINGS + 3 * 4 * -words
        return call_on(handle, name, _GLINKSETTINGS._replace(size=size, request=request))


def indirection(device: str) -> bytes:
    """The indirection table of RSS: struct ethtool_rxfh_indir with its entries.

    The kernel says how many entries there are to whoever offers room for none, and writes no
    more than it was offered room for: when there are more by then, it refuses
    (ethtool_get_rxfh_indir() in net/ethtool/ioctl.c).
    """
    name = device_name(device)
    with open_socket() as handle:
        for _ in range(_ATTEMPTS):
            (entries,) = struct.unpack_from("=I", call_on(handle, name, _GRXFHINDIR), 4)
            size, request = _GRXFHINDIR.size + 4 * entries, struct.pack("=I", entries)
            try:
                return call_on(handle, name, _GRXFHINDIR._replace(size=size, request=request))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
    raise OSError(errno.EAGAIN, f"refused its size at each of {_ATTEMPTS} attempts", device)
