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
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.host import LiveHost
from netperf_exporter.kernel.netlink import requests

FILES = (
    "/proc/version",
    "/proc/stat",
    "/proc/softirqs",
    "/proc/interrupts",
    "/proc/irq/*/smp_affinity_list",
    "/proc/irq/*/effective_affinity_list",
    "/proc/sys/net/core/rps_sock_flow_entries",
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

DUMPS = (
    requests.LINKS,
    requests.LINK_STATS,
    requests.QDISCS,
    requests.QSTATS,
    requests.QUEUES,
    requests.NAPIS,
    requests.LINKMODES,
    requests.FEATURES,
    requests.RINGS,
    requests.CHANNELS,
    requests.COALESCE,
    requests.PAUSE,
    requests.FEC,
    requests.RSS,
)

QUEUE_FILES = (
    *("rps_cpus", "rps_flow_cnt", "xps_cpus", "xps_rxqs"),
    *[f"byte_queue_limits/{name}" for name in ("limit", "limit_max", "inflight", "stall_cnt")],
)

COMMANDS = (
    ethtool.GDRVINFO,
    ethtool.GRINGPARAM,
    ethtool.GCHANNELS,
    ethtool.GCOALESCE,
    ethtool.GPAUSEPARAM,
    ethtool.GFECPARAM,
    ethtool.GFEATURES,
)

# Buses whose devices are interrupted by the vectors of the one above.
_PARTS = ("virtio", "auxiliary", "vdpa")

_NOT_THERE = (errno.EOPNOTSUPP, errno.ENODEV, errno.ENOENT)


def capture(folder: Path, note: str) -> None:
    """Write one host to a folder that does not exist yet."""
    host = LiveHost()
    folder.mkdir(parents=True)
    for pattern in FILES:
        for name in sorted(glob.glob(pattern)):
            _save_file(Path(name), folder / name.lstrip("/"))
    netlink = folder / "netlink"
    for request in DUMPS:
        _save_answer(netlink / f"{request.name}.bin", partial(host.dump, request))
    names = requests.FEATURE_NAMES
    _save_answer(netlink / f"{names.name}.bin", lambda: host.ask(names))
    for index, device in socket.if_nameindex():
        _capture_device(host, folder, index, device)
    (folder / "ABOUT.md").write_text(
        f"captured: Linux {platform.release()} {platform.machine()}, by\n"
        f"`python3 -m tests.hosts.capture`. {note}\n"
    )


def _capture_device(host: LiveHost, folder: Path, index: int, device: str) -> None:
    ioctl = folder / "ioctl"
    for command in COMMANDS:
        _save_answer(ioctl / f"{device}.{command.name}.bin", partial(host.ethtool, device, command))
    _save_answer(ioctl / f"{device}.glinksettings.bin", lambda: host.link_settings(device))
    _save_answer(ioctl / f"{device}.grxfhindir.bin", lambda: host.indirection(device))
    _save_answer(ioctl / f"{device}.feature-strings.bin", lambda: host.feature_strings(device))
    _save_answer(ioctl / f"{device}.strings.bin", lambda: host.statistics(device, index).strings)
    _save_answer(ioctl / f"{device}.statistics.bin", lambda: host.statistics(device, index).values)
    here = Path("/sys/class/net", device)
    there = folder / "sys/class/net" / device
    if (here / "ifindex").exists():
        for name in ("ifindex", "address"):
            _save_file(here / name, there / name)
        for queue in sorted(here.glob("queues/*")):
            _capture_queue(queue, there / "queues" / queue.name)
    hardware = Path(os.path.realpath(here / "device"))
    driver = hardware / "driver"
    if driver.exists():
        # What is found by following links is put where they begin: /sys/devices stays at home.
        (there / "device").mkdir(parents=True)
        (there / "device/driver").symlink_to(Path("../drivers", os.path.realpath(driver)).name)
        above = [hardware, *hardware.parents]
        node = next((path for path in above if (path / "numa_node").exists()), None)
        if node is not None:
            _save_file(node / "numa_node", there / "device/numa_node")
        _capture_vectors(hardware, there / "device")


def _capture_queue(here: Path, there: Path) -> None:
    there.mkdir(parents=True)
    for name in QUEUE_FILES:
        # Some are there and cannot be read: xps_cpus of a device with one queue.
        with suppress(OSError):
            _save(there / name, (here / name).read_bytes())


def _capture_vectors(hardware: Path, there: Path) -> None:
    """What the exporter finds above the device is put where the device is."""
    while True:
        if vectors := sorted(hardware.glob("msi_irqs/*")):
            for vector in vectors:
                _save_file(vector, there / "msi_irqs" / vector.name)
            return
        if (hardware / "irq").exists():
            _save_file(hardware / "irq", there / "irq")
            return
        if Path(os.path.realpath(hardware / "subsystem")).name not in _PARTS:
            return
        hardware = hardware.parent


def _save_answer(target: Path, ask: Callable[[], bytes]) -> None:
    try:
        answer = ask()
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
    else:
        _save(target, answer)


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
