"""Writes the captured hosts whose hardware nobody here owns: what their kernel would answer.

    python3 -m tests.hosts.make_hardware [FOLDER]

The answers are packed by tests/hosts/hardware. Figures are all different, so that one that is
taken from a wrong place is seen; what is to be expected of them is written in test_hardware.py by
hand. /proc and the CPUs, and the names of the features, are those of a host that was captured.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.hardware import bnxt, ena, mlx5
from tests.hosts.hardware.answers import Answers

HERE = Path(__file__).parent


@dataclass(frozen=True)
class HostMade:
    """A host of this file.

    like: the captured host that it has /proc and its CPUs from.
    drivers: by device.
    """

    answers: Answers
    like: str
    drivers: Mapping[str, str]
    about: str


def hosts() -> dict[str, HostMade]:
    """Every host of this file, by the name of its folder."""
    return {
        "nic-mlx5-ring-full": HostMade(mlx5.answers(), "linux-6.12-two-nodes",
                                       dict.fromkeys(("eth0", "eth1", "eth2"), "mlx5_core"), """\
Three ports of mlx5_core with four channels: eth0 on node 0 runs out of buffers, eth1 on node 1 is
its healthy partner in bond0, eth2 has no link. A VLAN is on the bond.
Linux 6.12: statistics from drivers/net/ethernet/mellanox/mlx5/core/en_stats.c, by queue
mlx5e_get_queue_stats_rx() and …_tx() in en_main.c; settings from net/ethtool/rings.c, channels.c,
coalesce.c, pause.c, fec.c, linkmodes.c, features.c and strset.c; net/core/netdev-genl.c."""),
        "nic-ena-allowance": HostMade(ena.answers(), "linux-5.10", {"ens5": "ena"}, """\
A cloud instance, Linux 5.10, before the netlink family netdev, so queues are known from the driver
alone: drivers/net/ethernet/amazon/ena/ena_ethtool.c: ena_get_strings(). The driver has neither
pause nor FEC, and this device does not tell its speed, so these dumps fail
(ethnl_default_dumpit() in net/ethtool/netlink.c); settings from net/ethtool/rings.c, channels.c,
coalesce.c, features.c and strset.c."""),
        "nic-bnxt-separate-rings": HostMade(bnxt.answers(), "linux-5.10", {"eth0": "bnxt_en"}, """\
Linux 5.10 without CONFIG_ETHTOOL_NETLINK, which is like before 5.6: all is asked by the ioctl,
structures of include/uapi/linux/ethtool.h, net/ethtool/ioctl.c. Rings 0 to 3 receive and 4 to 7
send: drivers/net/ethernet/broadcom/bnxt/bnxt_ethtool.c: bnxt_get_strings(), is_rx_ring(),
is_tx_ring(). No udevd runs."""),
    }  # fmt: skip


def write(host: HostMade, folder: Path) -> None:
    """Write a host, all but what is expected of it. It replaces what was in the folder."""
    for part in ("proc", "sys", "netlink", "ioctl", "udev"):
        shutil.rmtree(folder / part, ignore_errors=True)
    shutil.copytree(HERE / host.like / "proc", folder / "proc")
    shutil.copytree(HERE / host.like / "sys/devices", folder / "sys/devices")
    for path, content in host.answers.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    for device, driver in host.drivers.items():
        (folder / f"sys/class/net/{device}/device/driver").symlink_to(driver)
    (folder / "ABOUT.md").write_text(
        f"derived: by `python3 -m tests.hosts.make_hardware`, which packs what the kernel files\n"
        f"named here would write.\n\n{host.about}\n\n"
        f"/proc, the CPUs and nodes, and the names of features are those of {host.like} as they\n"
        "are, so that /proc/net/dev and /proc/interrupts are about other devices.\n"
    )


def main() -> None:
    """Write every host."""
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, host in hosts().items():
        write(host, into / name)
        print(f"{into / name}: {len(host.answers)} answers")


if __name__ == "__main__":
    main()
