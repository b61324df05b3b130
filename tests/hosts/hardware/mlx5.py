"""Three ports of mlx5_core, Linux 6.12: one loses packets, one is well, one has no link."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tests.bench import nics
from tests.bench.nics import attribute, generic, nest, u32
from tests.hosts.hardware.answers import (
    LOWER_UP,
    MASTER,
    OPER_DOWN,
    OPER_UP,
    SLAVE,
    SPEED_UNKNOWN,
    UP,
    Answers,
    Device,
    FeatureNames,
    bitset,
    driver_statistics,
    drvinfo,
    loopback,
    numbered,
    of_links,
    of_queues,
    u8,
    u64,
)

_ETH0 = Device(
    2, "eth0", UP | LOWER_UP | SLAVE, OPER_UP, 9000,
    (1_450_000_134, 920_000_092, 1_980_000_000_417, 610_000_000_205, 86, 13, 0, 91, 70_001, 0,
     25, 0, 61, 0, 0, 48_211, 13, 0, 0, 0, 0, 0, 0, 19, 33),
    carrier_changes=5, master=5, slot="0000:3b:00.0",
)  # fmt: skip
_ETH1 = Device(
    3, "eth1", UP | LOWER_UP | SLAVE, OPER_UP, 9000,
    (118_000_026, 64_000_011, 99_000_000_123, 47_000_000_321, 0, 0, 0, 0, 70_003, 0,
     0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 21, 0),
    carrier_changes=2, master=5, slot="0000:af:00.0",
)  # fmt: skip
_ETH2 = Device(4, "eth2", UP, OPER_DOWN, 1500, [0] * 25, carrier_changes=1, slot="0000:af:00.1")
# With what members that have left it had counted.
_BOND = Device(
    5, "bond0", UP | LOWER_UP | MASTER, OPER_UP, 9000,
    (1_568_000_160, 984_000_103, 2_079_000_000_540, 657_000_000_526, 87, 14, 2, 92, 140_004, 1,
     26, 3, 62, 4, 5, 48_212, 15, 6, 7, 8, 9, 10, 11, 40, 34),
    carrier_changes=3, kind="bond",
)  # fmt: skip
_VLAN = Device(
    6, "bond0.100", UP | LOWER_UP, OPER_UP, 1500,
    (7_000_019, 5_000_017, 9_100_000_011, 3_300_000_007, 0, 0, 1, 0, 5_003, 0,
     0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    carrier_changes=4, kind="vlan", lower=5,
)  # fmt: skip

_NOT_USED = re.compile(r"^(ptp|qos|ipsec|macsec|pci_bw)_|_xsk_|tls|_(buf|cong)_discard$|_marked$"
                       r"|^total_success_recovery_phy$")  # fmt: skip
"""Rows of what these ports do not do: AF_XDP, PTP and HTB queues, crypto offloads, buffers per
priority; and of a counter that came after 6.12 (en_stats.c of mlx5)."""

_LOSING = {
    "rx_out_of_buffer": 48_211, "dev_internal_queue_oob": 4, "rx_discards_phy": 9_173,
    "outbound_pci_buffer_overflow": 6, "rx_if_down_packets": 29, "rx_steer_missed_packets": 37,
    "rx_oversize_pkts_buffer": 14, "rx_oversize_pkts_phy": 17, "rx_crc_errors_phy": 61,
    "rx_in_range_len_errors_phy": 5, "rx_out_of_range_len_phy": 3, "rx_undersize_pkts_phy": 2,
    "rx_fragments_phy": 7, "rx_jabbers_phy": 11, "rx_buffer_passed_thres_phy": 730,
    "rx_unsupported_op_phy": 41, "rx_symbol_err_phy": 23, "rx_pcs_symbol_err_phy": 19,
    "link_down_events_phy": 12, "rx_buff_alloc_err": 53, "rx_pci_signal_integrity": 8,
    "outbound_pci_stalled_wr_events": 9, "rx_global_pause": 511,
    "rx_global_pause_duration": 20_101, "rx_global_pause_transition": 500,
    "rx_pause_ctrl_phy": 512, "tx_global_pause": 6_007, "tx_global_pause_duration": 90_211,
    "tx_pause_ctrl_phy": 6_008, "tx_pause_storm_warning_events": 18,
    "tx_pause_storm_error_events": 1, "tx_pci_signal_integrity": 10,
    "outbound_pci_stalled_rd_events": 15, "tx_discards_phy": 13, "tx_errors_phy": 16,
    "outbound_pci_stalled_rd": 20, "outbound_pci_stalled_wr": 22, "rx_prio0_discards": 9_174,
    **of_queues("rx{}_wqe_err", 71, 73, 79, 83),
    **of_queues("rx{}_oversize_pkts_sw_drop", 24, 26, 28, 30),
    **of_queues("tx{}_dropped", 21, 22, 23, 25),
    **of_queues("tx{}_stopped", 301, 307, 311, 313),
    **of_queues("tx{}_wake", 300, 306, 310, 312),
}  # fmt: skip


_QUEUES = {
    "eth0": ((812_000_011, 233_000_029, 198_000_041, 207_000_053),
             (1_124_000_000_101, 305_000_000_103, 270_000_000_107, 281_000_000_109),
             (230_000_011, 229_000_013, 231_000_031, 230_000_037),
             (152_000_000_051, 151_000_000_053, 154_000_000_057, 153_000_000_059)),
    "eth1": ((31_000_003, 29_000_005, 28_000_007, 30_000_011),
             (26_000_000_013, 24_000_000_017, 23_000_000_019, 25_000_000_023),
             (16_000_001, 15_900_002, 16_100_003, 15_999_999),
             (11_700_000_031, 11_600_000_037, 11_800_000_041, 11_500_000_043)),
    "eth2": ((0,) * 4,) * 4,
}  # fmt: skip
"""Packets and bytes of receive queues, then of transmit queues."""


def _names() -> list[str]:
    """With four channels, and with flow control for all priorities instead of number 3."""
    names = [re.sub(r"prio3_(pause\w*)$", r"global_\1", name) for name in nics.names(4)]
    return [name for name in names if not _NOT_USED.search(name)]


def _statistics() -> Answers:
    """Read a moment after the kernel's statistics of queues, so that packets came meanwhile."""
    healthy = dict.fromkeys(_LOSING, 0) | {"link_down_events_phy": 1, "rx_prio0_discards": 0}
    answers: Answers = {}
    for (device, queues), known, first in zip(
        _QUEUES.items(), (_LOSING, healthy, healthy), (1_000_000, 1_500_000, 0), strict=True
    ):
        names = ("rx{}_packets", "rx{}_bytes", "tx{}_packets", "tx{}_bytes")
        for name, values in zip(names, queues, strict=True):
            known = known | of_queues(name, *[value + 1_009 if value else 0 for value in values])
        statistics = numbered(_names(), first, known)
        if not first:
            statistics = {name: known.get(name, 0) for name in statistics}
        answers |= driver_statistics(device, statistics)
    return answers


def _qstats() -> Iterator[bytes]:
    """netdev_nl_stats_by_queue() in net/core/netdev-genl.c, of what mlx5e_get_queue_stats_rx()
    and …_tx() count in 6.12 (en_main.c)."""
    for device in (_ETH0, _ETH1, _ETH2):
        rx_packets, rx_bytes, tx_packets, tx_bytes = _QUEUES[device.name]
        which = u32(1, device.index)
        for queue in range(4):
            counted = (nics.uint(8, rx_packets[queue]), nics.uint(9, rx_bytes[queue]))
            yield generic(12, which, u32(2, 0), u32(3, queue), *counted, nics.uint(12, 50 + queue))
        for queue in range(4):
            counted = (nics.uint(10, tx_packets[queue]), nics.uint(11, tx_bytes[queue]))
            yield generic(12, which, u32(2, 1), u32(3, queue), *counted)


def _linkmodes(device: Device, speed: int, autoneg: int = 1) -> bytes:
    """linkmodes_fill_reply() in net/ethtool/linkmodes.c."""
    known = 0xFF if speed == SPEED_UNKNOWN else 1
    ours = bitset(3, [6, 62], 103, [6, 47, 62])
    return device.said(4, u8(2, autoneg), ours, u32(5, speed), u8(6, known), u8(10, 0))


def _rings(device: Device, rx: int, tx: int) -> bytes:
    """rings_fill_reply() in net/ethtool/rings.c."""
    return device.said(16, u32(2, 8192), u32(6, rx), u32(5, 8192), u32(9, tx),
                       u8(13, 0), u8(14, 0))  # fmt: skip


def _coalesce(device: Device, rx: tuple[int, int], tx: tuple[int, int], adaptive: int) -> bytes:
    """coalesce_fill_reply() in net/ethtool/coalesce.c, of what mlx5e supports."""
    return device.said(20, u32(2, rx[0]), u32(3, rx[1]), u32(6, tx[0]), u32(7, tx[1]),
                       u8(11, adaptive), u8(12, adaptive), u8(24, 0), u8(25, 1))  # fmt: skip


def _pause(device: Device, rx: int, tx: int, received: int, sent: int) -> bytes:
    """pause_fill_reply() in net/ethtool/pause.c."""
    frames = nest(5, u64(2, sent), u64(3, received))
    return device.said(22, u8(2, 0), u8(3, rx), u8(4, tx), u32(6, 0), frames)


def _fec(device: Device, active: int | None, *counted: int) -> bytes:
    """fec_fill_reply() and fec_put_stats() in net/ethtool/fec.c.

    Without a link mlx5e says ETHTOOL_FEC_AUTO, which the kernel leaves out, and counts only
    corrected bits (mlx5e_stats_fec_get()).
    """
    modes = [] if active is None else [active]
    totals = [struct.pack("=Q", value) for value in counted]
    if active is None:
        totals = [b"", b"", *totals]
    body = [bitset(2, modes, 103), u8(3, active is None)]
    body += [] if active is None else [u32(4, active)]
    return device.said(30, *body, nest(5, *[attribute(2 + i, t) for i, t in enumerate(totals)]))


def answers() -> Answers:
    """Two ports of a bond, one of which loses packets, and a third without a link."""
    ports = (_ETH0, _ETH1, _ETH2)
    lo = loopback(25)
    names = FeatureNames("linux-6.12-two-nodes")
    software = ("tx-scatter-gather tx-checksum-ip-generic tx-tcp-segmentation tx-tcp6-segmentation "
                "tx-generic-segmentation tx-udp-segmentation rx-gro")  # fmt: skip
    on = f"{software} rx-checksum rx-hashing tx-vlan-hw-insert rx-vlan-hw-parse"
    hw = f"{on} rx-gro-hw rx-lro rx-ntuple-filter hw-tc-offload rx-fcs rx-all"
    answers = of_links((lo, *ports, _BOND, _VLAN)) | _statistics()
    answers |= {
        "netlink/feature-names.bin": names.answer(),
        "netlink/features.bin": b"".join([
            names.said(lo, "tx-generic-segmentation rx-gro", "tx-generic-segmentation rx-gro"),
            names.said(_ETH0, hw, f"{on} highdma"), names.said(_ETH1, hw, f"{on} rx-lro highdma"),
            names.said(_ETH2, hw, f"{on} hw-tc-offload highdma"),
            names.said(_BOND, f"{software} rx-lro", software),
            names.said(_VLAN, software, software),
        ]),
        "netlink/qstats.bin": b"".join(_qstats()),
        "netlink/linkmodes.bin": b"".join([
            _linkmodes(_ETH0, 100_000), _linkmodes(_ETH1, 50_000), _linkmodes(_ETH2, SPEED_UNKNOWN),
            _linkmodes(_BOND, 150_000, 0), _linkmodes(_VLAN, 150_000, 0),
        ]),
        "netlink/rings.bin": _rings(_ETH0, 1024, 2048) + _rings(_ETH1, 8192, 4096)
        + _rings(_ETH2, 512, 256),
        "netlink/channels.bin": b"".join([d.said(18, u32(5, 32), u32(9, 4)) for d in ports]),
        "netlink/coalesce.bin": _coalesce(_ETH0, (8, 128), (16, 32), 1)
        + _coalesce(_ETH1, (64, 256), (33, 65), 0) + _coalesce(_ETH2, (9, 129), (17, 34), 1),
        "netlink/pause.bin": _pause(_ETH0, 1, 1, 513, 6_011) + _pause(_ETH1, 1, 0, 43, 0)
        + _pause(_ETH2, 0, 0, 0, 0),
        "netlink/fec.bin": _fec(_ETH0, 50, 7_654_321, 3, 8_123_456)
        + _fec(_ETH1, 50, 12_345, 0, 12_399) + _fec(_ETH2, None, 0),
        "ioctl/bond0.gdrvinfo.bin": drvinfo("bonding", "6.12.117+deb13-amd64", "2", ""),
        "ioctl/bond0.100.gdrvinfo.bin": drvinfo("802.1Q VLAN Support", "1.8", "N/A", ""),
    }  # fmt: skip
    for port, node in zip(ports, (0, 1, 1), strict=True):
        firmware = "22.39.2048 (MT_0000000359)"
        answers[f"ioctl/{port.name}.gdrvinfo.bin"] = drvinfo(
            "mlx5_core", "6.12.117+deb13-amd64", firmware, port.slot
        )
        answers[f"sys/class/net/{port.name}/device/numa_node"] = b"%d\n" % node
        model = b"Mellanox Technologies\nMT2892 Family [ConnectX-6 Dx]\n"
        answers[f"udev/{port.name}.bin"] = model
    return answers
