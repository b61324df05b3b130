"""A host: this one, live, or one that was captured and is replayed.

A captured host is a folder ``proc/ sys/ netlink/<request>.bin ioctl/<device>.<command>.bin``.
Nobody who is handed a Host can tell which kind it is, so that hardware nobody here owns is
tested end to end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from netperf_exporter.kernel import ethtool, netns, udev
from netperf_exporter.kernel.devices import Devices
from netperf_exporter.kernel.ethtool import Statistics
from netperf_exporter.kernel.files import Files, Folder
from netperf_exporter.kernel.netlink import codec, generic, requests
from netperf_exporter.kernel.netlink import socket as netlink
from netperf_exporter.kernel.settings import Settings

Request = netlink.Request | generic.Request

T = TypeVar("T")


class Host(Protocol):
    """What can be asked of a host. Every method raises OSError as the kernel does."""

    shown: Callable[[str, str], bool]
    """Whether a device, by its name and kind, is exported one by one."""

    def proc(self, name: str) -> bytes:
        """A file below /proc that is the same in every network namespace."""

    def proc_each(self, names: Iterable[str]) -> list[bytes | None]:
        """Small files below /proc that each have one writer; None where there is none."""

    def net(self, name: str) -> bytes:
        """A file below /proc/net of the network namespace that is observed."""

    def sys(self, name: str) -> bytes:
        """A file below /sys whose path means the same thing for ever."""

    def sys_once(self, name: str) -> bytes:
        """A file below /sys whose path may come to mean something else."""

    def sys_resolved(self, name: str) -> str:
        """Where a name below /sys leads once every link in it is followed."""

    def sys_names(self, name: str) -> list[str]:
        """The names in a folder below /sys, sorted."""

    def sys_folder(self, name: str) -> Folder:
        """A folder below /sys that stays the same one while it is open."""

    def links(self) -> tuple[bytes, ...]:
        """One RTM_NEWLINK message per device; the same object while nothing changed."""

    def settings(self, request: generic.Request, watched: object) -> bytes:
        """A dump of settings; the same object while they and what is watched did not change."""

    def remembered(self, name: str, watched: object, ask: Callable[[], T]) -> T:
        """What was answered, for as long as settings() would repeat an answer."""

    def settings_changes(self) -> int:
        """A number that is another one when somebody set something through ethtool."""

    def dump(self, request: Request) -> bytes:
        """All messages of a netlink dump, one after the other, without the closing one."""

    def ethtool(self, device: str, command: ethtool.Command) -> bytes:
        """What SIOCETHTOOL wrote over the command's buffer."""

    def ask(self, request: generic.Request) -> bytes:
        """The answer to a request that is no dump."""

    def link_settings(self, device: str) -> bytes:
        """Struct ethtool_link_settings with its bitmaps."""

    def indirection(self, device: str) -> bytes:
        """Struct ethtool_rxfh_indir with its entries."""

    def feature_strings(self, device: str) -> bytes:
        """The names of features, which are the same for every device."""

    def statistics(self, device: str, index: int) -> Statistics:
        """The statistics that a device's driver has, and their names."""

    def hardware(self, device: str, index: int) -> udev.Hardware:
        """What udev calls the hardware of a device."""

    def network_namespaces(self) -> netns.NetworkNamespaces:
        """Those that processes live in, as of a short while ago."""


def show_all(_name: str, _kind: str) -> bool:
    """Every device is exported one by one."""
    return True


class LiveHost:
    """This host.

    procfs, sysfs: where they are mounted. A container sees its host's under other paths.
    shown: see Host.
    """

    def __init__(
        self,
        procfs: str = "/proc",
        sysfs: str = "/sys",
        shown: Callable[[str, str], bool] = show_all,
    ) -> None:
        self.shown = shown
        self._devices = Devices()
        self._settings = Settings()
        self._statistics = ethtool.StatisticsReader()
        self._proc = Files(procfs, "/proc")
        self._sys = Files(sysfs, "/sys")
        self._net = _net_folder(procfs)
        self._namespaces = netns.Walk(procfs, self._net)

    def proc(self, name: str) -> bytes:
        """See Host."""
        return self._proc.read(name)

    def proc_each(self, names: Iterable[str]) -> list[bytes | None]:
        """See Host."""
        return self._proc.read_each(names)

    def net(self, name: str) -> bytes:
        """See Host."""
        return self._proc.read(f"{self._net}/{name}")

    def sys(self, name: str) -> bytes:
        """See Host."""
        return self._sys.read(name)

    def sys_once(self, name: str) -> bytes:
        """See Host."""
        return self._sys.read_once(name)

    def sys_resolved(self, name: str) -> str:
        """See Host."""
        return self._sys.resolve(name)

    def sys_names(self, name: str) -> list[str]:
        """See Host."""
        return self._sys.listdir(name)

    def sys_folder(self, name: str) -> Folder:
        """See Host."""
        return self._sys.folder(name)

    def links(self) -> tuple[bytes, ...]:
        """See Host."""
        return self._devices.links()

    def settings(self, request: generic.Request, watched: object) -> bytes:
        """See Host."""
        return self._settings.dump(request, watched)

    def remembered(self, name: str, watched: object, ask: Callable[[], T]) -> T:
        """See Host."""
        return self._settings.keep(name, watched, ask)

    def settings_changes(self) -> int:
        """See Host."""
        return self._settings.changes()

    def dump(self, request: Request) -> bytes:
        """See Host."""
        if isinstance(request, generic.Request):
            return generic.dump(request)
        return netlink.dump(request)

    def ethtool(self, device: str, command: ethtool.Command) -> bytes:
        """See Host."""
        return ethtool.call(device, command)

    def ask(self, request: generic.Request) -> bytes:
        """See Host."""
        return generic.ask(request)

    def link_settings(self, device: str) -> bytes:
        """See Host."""
        return ethtool.link_settings(device)

    def indirection(self, device: str) -> bytes:
        """See Host."""
        return ethtool.indirection(device)

    def feature_strings(self, device: str) -> bytes:
        """See Host."""
        return ethtool.feature_strings(device)

    def statistics(self, device: str, index: int) -> Statistics:
        """See Host."""
        return self._statistics.read(device, index)

    def hardware(self, device: str, index: int) -> udev.Hardware:
        """See Host."""
        return udev.hardware(device, index)

    def network_namespaces(self) -> netns.NetworkNamespaces:
        """See Host."""
        return self._namespaces.namespaces()


class ReplayedHost(LiveHost):
    """A captured host: its files, and the answers its kernel gave."""

    def __init__(self, folder: Path, shown: Callable[[str, str], bool] = show_all) -> None:
        super().__init__(str(folder / "proc"), str(folder / "sys"), shown)
        self._folder = folder
        self._links: tuple[bytes, ...] | None = None
        self._links_lock = threading.Lock()

    def links(self) -> tuple[bytes, ...]:
        """See Host."""
        with self._links_lock:
            if self._links is None:
                answer = self.dump(requests.LINKS)
                spans = codec.messages(answer)
                self._links = tuple([answer[s.start - codec.HEADER.size : s.end] for s in spans])
            return self._links

    def settings(self, request: generic.Request, watched: object) -> bytes:  # noqa: ARG002
        """See Host."""
        return self.dump(request)

    def remembered(self, name: str, watched: object, ask: Callable[[], T]) -> T:  # noqa: ARG002
        """See Host."""
        return ask()

    def settings_changes(self) -> int:
        """See Host."""
        return 0

    def dump(self, request: Request) -> bytes:
        """See Host."""
        return self._answer("netlink", request.name)

    def ethtool(self, device: str, command: ethtool.Command) -> bytes:
        """See Host."""
        return self._answer("ioctl", f"{device}.{command.name}")

    def ask(self, request: generic.Request) -> bytes:
        """See Host."""
        return self._answer("netlink", request.name)

    def link_settings(self, device: str) -> bytes:
        """See Host."""
        return self._answer("ioctl", f"{device}.glinksettings")

    def indirection(self, device: str) -> bytes:
        """See Host."""
        return self._answer("ioctl", f"{device}.grxfhindir")

    def feature_strings(self, device: str) -> bytes:
        """See Host."""
        return self._answer("ioctl", f"{device}.feature-strings")

    def statistics(self, device: str, index: int) -> Statistics:  # noqa: ARG002
        """See Host."""
        strings = self._answer("ioctl", f"{device}.strings")
        return Statistics(strings, self._answer("ioctl", f"{device}.statistics"))

    def hardware(self, device: str, index: int) -> udev.Hardware:  # noqa: ARG002
        """See Host."""
        try:
            vendor, model = self._answer("udev", device).decode().split("\n")[:2]
        except OSError:
            return udev.UNKNOWN
        return udev.Hardware(vendor, model)

    def _answer(self, folder: str, name: str) -> bytes:
        try:
            return (self._folder / folder / f"{name}.bin").read_bytes()
        except OSError as error:
            raise OSError(error.errno, error.strerror, name) from None


def _net_folder(procfs: str) -> str:
    # Below a mount of another procfs, net leads to the reader's own namespace (proc_self_get_link()
    # in fs/proc/self.c, then fs/proc/proc_net.c); the host's is that of its first process.
    if procfs.rstrip("/") != "/proc" and os.path.isdir(f"{procfs}/1/net"):
        return "1/net"
    return "net"
