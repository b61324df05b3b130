"""Captures the replay hosts that come from other kernels, each in a virtual machine.

    python3 -m tests.guest.capture_hosts [NAME …]

Rewrites tests/hosts/NAME; `make golden` then rewrites what is expected of it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.guest.guest import run
from tests.guest.kernels import KERNELS

HOSTS = Path(__file__).parents[1] / "hosts"


class Situation(NamedTuple):
    """A kernel, a machine for it, and what is done before it is captured."""

    kernel: str
    note: str
    before: str = "true"
    cpus: int = 2
    numa_nodes: int = 1
    nics: tuple[str, ...] = ()


# RPS from one CPU to all, so that received_rps moves.
_RPS = "echo f > /sys/class/net/lo/queues/rx-0/rps_cpus"

SITUATIONS = {
    "linux-5.10": Situation(
        "5.10",
        "Two CPUs, e1000 and 8139cp; the netlink family ethtool of this kernel has no FEC.",
        nics=("e1000", "rtl8139"),
    ),
    "linux-6.1-offline-cpu": Situation(
        "6.1",
        "Four CPUs on two nodes, CPU 1 offline; virtio with four queues and a VLAN on it, RPS on.",
        f"echo 0 > /sys/devices/system/cpu/cpu1/online; {_RPS}",
        cpus=4,
        numa_nodes=2,
        nics=("virtio-net-pci,mq=on", "e1000e"),
    ),
    "linux-6.12-two-nodes": Situation(
        "6.12",
        "Four CPUs on two nodes, a bond over vmxnet3 on one and e1000e on the other, RPS on.",
        _RPS,
        cpus=4,
        numa_nodes=2,
        # The third one is at the other end.
        nics=("vmxnet3", "e1000e", "e1000e"),
    ),
    "linux-7.2": Situation(
        "7",
        "Two CPUs; virtio with two queues in a bridge with veth to three namespaces, and e1000e; "
        "a kernel without UDP-Lite.",
        nics=("virtio-net-pci,mq=on", "e1000e"),
    ),
}


def capture(name: str) -> None:
    """Boot, make traffic, and take the host home."""
    situation = SITUATIONS[name]
    note = f"Booted by `python3 -m tests.guest.capture_hosts {name}`. {situation.note}"
    python = ".venv/bin/python"
    command = (
        f"export PYTHONPATH=.; {situation.before}; "
        f"{python} tests/guest/traffic.py && {python} -m tests.guest.networks {name} && "
        f"{python} -m tests.hosts.capture /out/{name} --note '{note}'"
    )
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            KERNELS[situation.kernel],
            command,
            output=Path(folder),
            cpus=situation.cpus,
            numa_nodes=situation.numa_nodes,
            nics=situation.nics,
        )
        if result.status != 0:
            sys.exit(f"{name}: exit code {result.status}\n{result.console}")
        expected = HOSTS / name / "metrics.txt"
        kept = expected.read_bytes() if expected.exists() else b""
        shutil.rmtree(HOSTS / name, ignore_errors=True)
        shutil.copytree(Path(folder) / name, HOSTS / name, symlinks=True)
        expected.write_bytes(kept)


def main() -> None:
    """Capture the hosts that are named, or all."""
    parser = argparse.ArgumentParser(description="capture hosts of other kernels")
    parser.add_argument("names", nargs="*", choices=[*SITUATIONS, []], metavar="NAME")
    for name in parser.parse_args().names or SITUATIONS:
        capture(name)
        print(f"captured {name}")


if __name__ == "__main__":
    main()
