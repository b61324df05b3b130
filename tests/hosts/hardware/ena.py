"""An instance in a cloud, with the driver ena of Linux 5.10."""

from __future__ import annotations

from tests.bench.nics import u32
from tests.hosts.hardware.answers import (
    LOWER_UP,
    OPER_UP,
    UP,
    Answers,
    Device,
    FeatureNames,
    driver_statistics,
    drvinfo,
    listed,
    loopback,
    numbered,
    of_links,
    of_queues,
    u8,
)

_ENS5 = Device(
    2, "ens5", UP | LOWER_UP, OPER_UP, 9001,
    (404_000_010, 303_000_006, 505_000_000_026, 404_000_000_046, 0, 0, 2_017, 0, 0, 0,
     0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    carrier_changes=2, slot="0000:00:05.0",
)  # fmt: skip

_KNOWN = {
    "tx_timeout": 3, "suspend": 0, "resume": 0, "wd_expired": 2, "interface_up": 6,
    "interface_down": 5, "admin_q_pause": 4, "bw_in_allowance_exceeded": 1_201,
    "bw_out_allowance_exceeded": 307, "pps_allowance_exceeded": 89,
    "conntrack_allowance_exceeded": 17, "linklocal_allowance_exceeded": 7,
    **of_queues("queue_{}_rx_cnt", 101_000_001, 100_000_003, 102_000_002, 101_000_004),
    **of_queues("queue_{}_rx_bytes", 126_000_000_005, 125_000_000_006, 127_000_000_007,
                127_000_000_008),
    **of_queues("queue_{}_rx_skb_alloc_fail", 11, 13, 19, 18),
    **of_queues("queue_{}_rx_empty_rx_ring", 8, 9, 10, 12),
    **of_queues("queue_{}_tx_cnt", 75_000_001, 76_000_002, 74_000_003, 78_000_000),
    **of_queues("queue_{}_tx_bytes", 101_000_000_011, 102_000_000_012, 100_000_000_013,
                101_000_000_010),
    **of_queues("queue_{}_tx_queue_stop", 211, 223, 227, 229),
    **of_queues("queue_{}_tx_queue_wakeup", 210, 222, 226, 228),
    **of_queues("queue_{}_tx_dma_mapping_err", 31, 32, 33, 34),
    **of_queues("queue_{}_tx_linearize_failed", 41, 42, 43, 44),
    **of_queues("queue_{}_tx_prepare_ctx_err", 100, 200, 300, 400),
}  # fmt: skip


def _names() -> list[str]:
    """With four queues and without an XDP program: ena_get_strings() in ena_ethtool.c."""
    names = listed("ena-5.10")
    of_first = [name for name in names if name.startswith("queue_0_")]
    before = names[: names.index(of_first[0])]
    every = [name.replace("0", str(queue), 1) for queue in range(4) for name in of_first]
    return [*before, *every, *[name for name in names if name.startswith("ena_admin_q_")]]


def answers() -> Answers:
    """An instance in a cloud whose allowances were exceeded; no speed, pause or FEC is known."""
    lo = loopback(24)
    names = FeatureNames("linux-5.10")
    on = ("tx-scatter-gather tx-checksum-ipv4 tx-tcp-segmentation tx-tcp6-segmentation "
          "tx-generic-segmentation rx-gro rx-checksum rx-hashing highdma")  # fmt: skip
    return {
        **of_links((lo, _ENS5)),
        **driver_statistics("ens5", numbered(_names(), 1_000_000, _KNOWN)),
        "netlink/feature-names.bin": names.answer(),
        "netlink/features.bin": names.said(lo, "rx-gro", "rx-gro") + names.said(_ENS5, on, on),
        "netlink/rings.bin": _ENS5.said(16, u32(2, 4096), u32(6, 1024), u32(5, 2048), u32(9, 512)),
        "netlink/channels.bin": _ENS5.said(18, u32(5, 8), u32(9, 4)),
        "netlink/coalesce.bin": _ENS5.said(20, u32(2, 0), u32(6, 64), u8(11, 1)),
        "ioctl/ens5.gdrvinfo.bin": drvinfo("ena", "5.10.0-32-amd64", "", _ENS5.slot),
        "sys/class/net/ens5/device/numa_node": b"-1\n",
        "udev/ens5.bin": b"Amazon.com, Inc.\nElastic Network Adapter (ENA)\n",
    }
