"""Devices in /sys/class/net, which goes by their names and may be that of another namespace."""

from __future__ import annotations

import errno
import os
import sys

from netperf_exporter.kernel.files import Folder
from netperf_exporter.kernel.host import Host
from netperf_exporter.kernel.netlink import codec
from netperf_exporter.parsers.links import Link
from netperf_exporter.sources.devices import LinksAsked, understood

CLASS_NET = "class/net"

_IFLA_ADDRESS = 1
_INDEX = codec.HEADER.size + 4  # where struct ifinfomsg has it
_HEADERS = codec.HEADER.size + 16
_NO_DEVICE = {"bonding_masters"}  # a file among them: drivers/net/bonding/bond_sysfs.c


def device_folder(host: Host, asked: LinksAsked, link: Link) -> Folder:
    """Its folder, opened, for the caller to close: whatever is read in it is of this device.

    Raises OSError: ENODEV if what has its name in /sys is another device.
    """
    folder = host.sys_folder(f"{CLASS_NET}/{link.kernel_name}")
    try:
        if not _is(host, asked, link, folder):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), link.kernel_name)
    except BaseException:
        folder.close()
        raise
    return folder


def _is(host: Host, asked: LinksAsked, link: Link, folder: Folder) -> bool:
    """Whether a folder is that of a device.

    Each namespace numbers its devices by itself, so in a /sys that belongs to another one eth0
    with the index 2 may well be another eth0. It has another address then. Devices without an
    address of their own, as lo, are told by the others: in the namespace that the kernel listed
    there are just those that /sys has.
    """
    if folder.read("ifindex") != b"%d\n" % link.ifindex:
        return False
    try:
        said = folder.read("address").strip()
    except FileNotFoundError:  # of a captured host
        return True
    if said != _address(asked, link.ifindex):
        return False
    if said.strip(b"0:"):
        return True
    listed = set(host.sys_names(CLASS_NET)) - _NO_DEVICE
    return listed == {each.kernel_name for each in understood(asked)[0].by_index.values()}


def _address(asked: LinksAsked, ifindex: int) -> bytes:
    """The address of a device as address_show() in net/core/net-sysfs.c prints it."""
    return attribute(asked, ifindex, _IFLA_ADDRESS).hex(":").encode()


def attribute(asked: LinksAsked, ifindex: int, type: int) -> bytes:
    """What the kernel said of a device in an attribute; empty if it said nothing."""
    index = ifindex.to_bytes(4, sys.byteorder)
    for message in asked.messages:
        if message[_INDEX : _INDEX + 4] == index:
            for found in codec.attributes(message, _HEADERS, len(message)):
                if found.type == type:
                    return message[found.start : found.end]
    return b""
