"""Captures a host, so that the exporter can be tested on it ever after.

    python3 -m tests.hosts.capture FOLDER [--note TEXT]

Copies the files below /proc and /sys that the exporter reads, and asks for the netlink dumps
and ioctl answers it may need. What a host does not have is not there. Needs no privilege, and
nothing but Python on the host: it is run in virtual machines too.
"""

from __future__ import annotations

import argparse
import errno
import glob
import os
import platform
import socket
import struct
import sys
from pathlib import Path

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.host import LiveHost
from netperf_exporter.kernel.netlink.socket import Request

FILES = (
    "/proc/version",
    "/proc/stat",
    "/proc/softirqs",
    "/proc/interrupts",
    "/proc/net/softnet_stat",
    "/proc/net/snmp",
    "/proc/net/snmp6",
    "/proc/net/netstat",
    "/proc/net/sockstat",
    "/proc/net/sockstat6",
    "/proc/net/dev",
    "/proc/net/stat/*",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/possible",
    "/sys/devices/system/node/node*/cpulist",
)

LINKS = Request("links", socket.NETLINK_ROUTE, 18, struct.pack("=BxHiII", 0, 0, 0, 0, 0))
"""RTM_GETLINK with struct ifinfomsg (include/uapi/linux/rtnetlink.h)."""

QDISCS = Request("qdiscs", socket.NETLINK_ROUTE, 38, struct.pack("=BxxxiIII", 0, 0, 0, 0, 0))
"""RTM_GETQDISC with struct tcmsg."""

DUMPS = (LINKS, QDISCS)


def capture(folder: Path, note: str) -> None:
    """Write one host to a folder that does not exist yet."""
    host = LiveHost()
    folder.mkdir(parents=True)
    for pattern in FILES:
        for name in sorted(glob.glob(pattern)):
            _save_file(Path(name), folder / name.lstrip("/"))
    for request in DUMPS:
        _save(folder / "netlink" / f"{request.name}.bin", host.dump(request))
    for _, device in socket.if_nameindex():
        try:
            answer = host.ethtool(device, ethtool.GDRVINFO)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENODEV):
                raise
        else:
            _save(folder / "ioctl" / f"{device}.{ethtool.GDRVINFO.name}.bin", answer)
    (folder / "ABOUT.md").write_text(
        f"captured: Linux {platform.release()} {platform.machine()}, by\n"
        f"`python3 -m tests.hosts.capture`. {note}\n"
    )


def _save_file(source: Path, target: Path) -> None:
    try:
        content = source.read_bytes()
    except OSError as error:
        print(f"left out {source}: {error.strerror}", file=sys.stderr)
        return
    _save(target, content)


def _save(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def main() -> None:
    """Capture this host."""
    parser = argparse.ArgumentParser(description="capture this host for replay")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--note", default="", help="what is special about it")
    given = parser.parse_args()
    capture(given.folder, given.note)
    print(f"{sum(len(files) for _, _, files in os.walk(given.folder))} files in {given.folder}")


if __name__ == "__main__":
    main()
