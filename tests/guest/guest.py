"""Run a command under another kernel, in a virtual machine, on this machine's own files.

A guest sees the whole root file system (so the repository and its Python are there under the same
paths), may write anywhere in memory that is forgotten, and leaves what is to be kept in /out.
Emulated without hardware help: slow, and the same wherever qemu runs. Nothing in it is for timing.

    python -m tests.guest.guest --kernel 6.1 --cpus 4 --output DIR -- 'cp /proc/version /out'
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guest.kernels import (
    KERNELS,
    REPOSITORY,
    Kernel,
    KernelUnavailableError,
    Unpacked,
    fetch,
)

_QEMU = "qemu-system-x86_64"
_TOOLS = (_QEMU, "busybox", "cpio", "setpriv", "unshare", "ip", "dpkg", "apt-get")
_INIT = Path(__file__).with_name("init.sh")
# What stands between power-on and the root file system; a kernel that has one built in lists none.
_ROOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
# panic=-1: reboot at once, which -no-reboot turns into an exit.
_KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"
_MANY_QUEUES = "mq=on"
# qemu's hub has one queue per port, a tap has many; so what leads out of the hub and every card
# with many queues have a tap each, on a bridge in a network namespace that ends with qemu. The
# bridge is as dumb as the hub and silent: it learns nothing and has no addresses.
_BRIDGED = """
if [ -d /proc/sys/net/ipv6 ]; then echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; fi &&
ip link add bridge type bridge ageing_time 0 mcast_snooping 0 && ip link set bridge up && exec "$@"
"""
_PLUG_IN = """#!/bin/sh
exec ip link set "$1" master bridge up
"""


class GuestError(Exception):
    """The guest gave no exit status: it hung, or died before or during the command."""


@dataclass(frozen=True)
class Result:
    """How the command ended, and all that it and the kernel wrote."""

    status: int
    console: str


def missing() -> str | None:
    """Say why no guest can run here, or None."""
    if platform.machine() != "x86_64":
        return f"a guest shares this machine's files, so both must be x86_64: {platform.machine()}"
    if os.geteuid() != 0:
        return "only root can share the root file system with a guest"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def run(
    kernel: Kernel,
    command: str,
    *,
    output: Path,
    cpus: int = 2,
    memory: int = 768,
    numa_nodes: int = 1,
    modules: Sequence[str] = (),
    nics: Sequence[str] = (),
    timeout: float = 180,
) -> Result:
    """Boot the kernel, run the shell command in the repository's folder, bring back its status.

    Args:
        kernel: One of KERNELS, or any other Debian kernel package.
        command: Shell text; runs as root, loopback up, no other network.
        output: Folder that is /out in the guest; made if need be.
        cpus: Number of CPUs, dealt evenly to the NUMA nodes.
        memory: MiB of memory, split over the NUMA nodes.
        numa_nodes: Number of NUMA nodes.
        modules: Kernel modules to load first.
        nics: Network cards as qemu's -device takes them ("e1000e", "vmxnet3,mac=…"), dealt to
            the NUMA nodes in turn, all on one hub that leads nowhere else. One with "mq=on" gets
            as many queues as there are CPUs.
        timeout: Seconds from power-on to the end of the command.

    Raises:
        KernelUnavailableError: The kernel cannot be had here.
        GuestError: No exit status came; the text has the end of the console.
    """
    unpacked = fetch(kernel)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="guest-") as scratch:
        folder = Path(scratch)
        _write_initramfs(folder, unpacked, command, modules, len(nics))
        qemu = [
            # A guest must not outlive the process that waits for it, however that one ends.
            *("setpriv", "--pdeathsig", "KILL", *_bridge(folder, nics), _QEMU),
            *_machine(cpus, memory, numa_nodes),
            *_network_cards(folder, nics, numa_nodes, cpus),
            *_files(folder, unpacked, output),
        ]
        try:
            done = subprocess.run(
                qemu, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
            )
            ending = f"powered off without a status; qemu said: {done.stderr.strip()!r}"
        except subprocess.TimeoutExpired:
            ending = f"no status within {timeout:g} s"
        console = _text(folder / "console")
        status = _text(folder / "status").strip()
        if not status:
            end = "\n".join(console.splitlines()[-40:])
            raise GuestError(f"kernel {unpacked.release}: {ending}; its console ends:\n{end}")
        return Result(int(status), console)


def _machine(cpus: int, memory: int, numa_nodes: int) -> Iterator[str]:
    yield from ("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none")
    # rdrand: without it an idle guest gathers entropy slowly, and Python's start waits for that.
    yield from ("-machine", "q35", "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-smp", str(cpus))
    yield from ("-m", f"{memory}M")
    for node in range(numa_nodes):
        yield from ("-object", f"memory-backend-ram,id=ram{node},size={memory // numa_nodes}M")
        first, after = (cpus * n // numa_nodes for n in (node, node + 1))
        yield from ("-numa", f"node,nodeid={node},cpus={first}-{after - 1},memdev=ram{node}")


def _bridge(folder: Path, nics: Sequence[str]) -> Iterator[str]:
    """What qemu is to be started by."""
    if any(_MANY_QUEUES in nic for nic in nics):
        (folder / "plug-in").write_text(_PLUG_IN)
        (folder / "plug-in").chmod(0o755)
        yield from ("unshare", "--net", "sh", "-c", _BRIDGED, "sh")


def _network_cards(folder: Path, nics: Sequence[str], numa_nodes: int, cpus: int) -> Iterator[str]:
    """Each card in a slot of its own, the slots dealt to the NUMA nodes in turn."""
    buses = ["pcie.0"]
    if numa_nodes > 1:
        buses = [f"bus{node}" for node in range(numa_nodes)]
        for node, bus in enumerate(buses):
            bridge = f"pxb-pcie,id={bus},bus=pcie.0,bus_nr={64 * (node + 1)},numa_node={node}"
            yield from ("-device", bridge)
    tap = f"tap,vhost=off,script={folder / 'plug-in'},downscript=no"
    many = [nic for nic in nics if _MANY_QUEUES in nic]
    if many and len(many) < len(nics):
        yield from ("-netdev", f"{tap},id=out")
        yield from ("-netdev", "hubport,id=outlet,hubid=0,netdev=out")
    for number, nic in enumerate(nics):
        bus = buses[number % len(buses)]
        yield from ("-device", f"pcie-root-port,id=slot{number},bus={bus},chassis={number}")
        hub = "hubport,hubid=0" if nic not in many else f"{tap},queues={cpus}"
        yield from ("-netdev", f"{hub},id=nic{number}")
        yield from ("-device", f"{nic},netdev=nic{number},bus=slot{number}")


def _files(folder: Path, unpacked: Unpacked, output: Path) -> Iterator[str]:
    yield from ("-kernel", str(unpacked.image), "-initrd", str(folder / "initramfs"))
    yield from ("-append", _KERNEL_OPTIONS)
    yield from ("-serial", f"file:{folder / 'console'}", "-serial", f"file:{folder / 'status'}")
    shares = {"root": "path=/,readonly=on", "out": f"path={output.resolve()}"}
    for tag, options in shares.items():
        share = f"local,id={tag},security_model=none,multidevs=remap,{options}"
        yield from ("-fsdev", share)
        yield from ("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag},bus=pcie.0")


def _write_initramfs(
    folder: Path, unpacked: Unpacked, command: str, modules: Sequence[str], cards: int
) -> None:
    root = folder / "root"
    for name in ("bin", "sbin", "dev", "proc", "sys", "modules"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")
    (root / "sbin" / "modprobe").symlink_to("../bin/busybox")
    shutil.copy(_INIT, root / "init")
    (root / "init").chmod(0o755)
    (root / "environment").write_text(
        f"MODULES_FOLDER={shlex.quote(str(unpacked.modules))}\n"
        f"MODULES={shlex.quote(' '.join(modules))}\n"
        f"CARDS={cards}\n"
    )
    (root / "command").write_text(f"cd {shlex.quote(str(REPOSITORY))}\n{command}\n")
    for number, path in enumerate(_in_loading_order(unpacked.modules, _ROOT_MODULES)):
        target = root / "modules" / f"{number:02}-{_module_name(path)}.ko"
        shutil.copy(unpacked.modules / path, target)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = ["cpio", "--create", "--format=newc", "--quiet", f"--file={folder / 'initramfs'}"]
    subprocess.run(archive, input=names, text=True, cwd=root, check=True)


def _in_loading_order(folder: Path, names: Sequence[str]) -> list[str]:
    """Paths of the modules and of all they need, each after what it needs."""
    needs = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        needs[path] = needed.split()
    paths = {_module_name(path): path for path in needs}
    ordered: dict[str, None] = {}

    def add(path: str) -> None:
        for needed in needs[path]:
            add(needed)
        ordered.setdefault(path)

    for name in names:
        if name in paths:
            add(paths[name])
    return list(ordered)


def _module_name(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def _text(path: Path) -> str:
    """What a serial port got; it ends lines as terminals do."""
    return path.read_text(errors="replace").replace("\r\n", "\n") if path.exists() else ""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.guest.guest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kernel", required=True, choices=KERNELS)
    parser.add_argument("--output", required=True, type=Path, help="/out in the guest")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory", type=int, default=768)
    parser.add_argument("--numa-nodes", type=int, default=1)
    parser.add_argument("--module", action="append", default=[], dest="modules")
    parser.add_argument("--nic", action="append", default=[], dest="nics", help="as qemu's -device")
    parser.add_argument("--timeout", type=float, default=180)
    parser.add_argument("command", help="shell text; runs as root in the repository's folder")
    options = vars(parser.parse_args())
    kernel = KERNELS[options.pop("kernel")]
    try:
        reason = missing()
        if reason:
            raise GuestError(reason)
        result = run(kernel, **options)
    except (GuestError, KernelUnavailableError) as error:
        print(error, file=sys.stderr)
        return 125
    print(result.console, end="")
    return result.status


if __name__ == "__main__":
    sys.exit(main())
