"""A host: this one, live, or one that was captured and is replayed.

A captured host is a folder ``proc/ sys/ netlink/<request>.bin ioctl/<device>.<command>.bin``.
Nobody who is handed a Host can tell which kind it is, so that hardware nobody here owns is
tested end to end.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.files import Files
from netperf_exporter.kernel.netlink import socket as netlink


class Host(Protocol):
    """What can be asked of a host. Every method raises OSError as the kernel does."""

    def proc(self, name: str) -> bytes:
        """A file below /proc that is the same in every network namespace."""

    def net(self, name: str) -> bytes:
        """A file below /proc/net of the network namespace that is observed."""

    def sys(self, name: str) -> bytes:
        """A file below /sys whose path means the same thing for ever."""

    def sys_names(self, name: str) -> list[str]:
        """The names in a folder below /sys, sorted."""

    def dump(self, request: netlink.Request) -> bytes:
        """All messages of a netlink dump, one after the other, without the closing one."""

    def ethtool(self, device: str, command: ethtool.Command) -> bytes:
        """What SIOCETHTOOL wrote over the command's buffer."""


class LiveHost:
    """This host.

    procfs, sysfs: where they are mounted. A container sees its host's under other paths.
    """

    def __init__(self, procfs: str = "/proc", sysfs: str = "/sys") -> None:
        self._proc = Files(procfs, "/proc")
        self._sys = Files(sysfs, "/sys")
        self._net = _net_folder(procfs)

    def proc(self, name: str) -> bytes:
        """See Host."""
        return self._proc.read(name)

    def net(self, name: str) -> bytes:
        """See Host."""
        return self._proc.read(f"{self._net}/{name}")

    def sys(self, name: str) -> bytes:
        """See Host."""
        return self._sys.read(name)

    def sys_names(self, name: str) -> list[str]:
        """See Host."""
        return self._sys.listdir(name)

    def dump(self, request: netlink.Request) -> bytes:
        """See Host."""
        return netlink.dump(request)

    def ethtool(self, device: str, command: ethtool.Command) -> bytes:
        """See Host."""
        return ethtool.call(device, command)


class ReplayedHost(LiveHost):
    """A captured host: its files, and the answers its kernel gave."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder / "proc"), str(folder / "sys"))
        self._folder = folder

    def dump(self, request: netlink.Request) -> bytes:
        """See Host."""
        return (self._folder / "netlink" / f"{request.name}.bin").read_bytes()

    def ethtool(self, device: str, command: ethtool.Command) -> bytes:
        """See Host."""
        return (self._folder / "ioctl" / f"{device}.{command.name}.bin").read_bytes()


def _net_folder(procfs: str) -> str:
    # Below a mount of another procfs, net leads to the reader's own namespace (proc_self_get_link()
    # in fs/proc/self.c, then fs/proc/proc_net.c); the host's is that of its first process.
    if procfs.rstrip("/") != "/proc" and os.path.isdir(f"{procfs}/1/net"):
        return "1/net"
    return "net"
