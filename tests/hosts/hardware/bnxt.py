"""A port of bnxt_en with separate rings, Linux 5.10 without the netlink family ethtool."""

from __future__ import annotations

import re
import struct

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
    numbers,
    of_links,
    of_queues,
    words,
)

_ETH0 = Device(
    2, "eth0", UP | LOWER_UP, OPER_UP, 1500,
    (33_010_410, 23_100_450, 50_001_040_010, 16_002_680_010, 4, 81, 0, 146, 410, 0,
     64, 0, 52, 3, 0, 1_010, 0, 0, 76, 0, 0, 0, 0, 0),
    carrier_changes=7, slot="0000:18:00.0",
)  # fmt: skip
_BNXT_FLAG_DIM = 0x2000000  # bnxt.h

_KNOWN = {
    **of_queues("[{}]: rx_ucast_packets", 9_000_000, 8_000_000, 7_000_000, 9_000_000),
    **of_queues("[{}]: rx_mcast_packets", 101, 102, 103, 104),
    **of_queues("[{}]: rx_bcast_packets", 1_000, 2_000, 3_000, 4_000),
    **of_queues("[{}]: rx_ucast_bytes", 11_000_000_000, 12_000_000_000, 13_000_000_000,
                14_000_000_000),
    **of_queues("[{}]: rx_mcast_bytes", 10_001, 10_002, 10_003, 10_004),
    **of_queues("[{}]: rx_bcast_bytes", 100_000, 200_000, 300_000, 400_000),
    **of_queues("[{}]: rx_discards", 251, 252, 253, 254),
    **of_queues("[{}]: rx_errors", 55, 56, 57, 58),
    **of_queues("[{}]: rx_buf_errors", 62, 63, 64, 65),
    **{f"[{4 + queue}]: tx_{what}": value for what, values in {
        "ucast_packets": (5_000_000, 5_500_000, 6_000_000, 6_500_000),
        "mcast_packets": (111, 112, 113, 114),
        "bcast_packets": (10_000, 20_000, 30_000, 40_000),
        "ucast_bytes": (2_000_000_000, 3_000_000_000, 5_000_000_000, 6_000_000_000),
        "mcast_bytes": (20_001, 20_002, 20_003, 20_004),
        "bcast_bytes": (500_000, 600_000, 700_000, 800_000),
        "errors": (35, 36, 37, 38),
        "discards": (45, 46, 47, 48),
    }.items() for queue, value in enumerate(values)},
    "rx_total_discard_pkts": 1_010, "tx_total_discard_pkts": 186, "rx_fcs_err_frames": 52,
    "rx_align_err_frames": 3, "rx_jbr_frames": 4, "rx_undrsz_frames": 5, "rx_runt_frames": 6,
    "rx_ovrsz_frames": 53, "rx_mtu_err_frames": 54, "rx_buffer_passed_threshold": 66,
    "rx_pcs_symbol_err": 67, "link_down_events": 9, "rx_pause_frames": 1_000, "rx_pfc_frames": 70,
    "continuous_pause_events": 71, "resume_pause_events": 72, "continuous_roce_pause_events": 73,
    "resume_roce_pause_events": 74, "tx_pause_frames": 2_000, "tx_pfc_frames": 75,
    "tx_fifo_underruns": 76, "tx_err": 81, "tx_fcs_err_frames": 82, "tx_jabber_frames": 83,
    **of_queues("rx_discard_packets_cos{}", 501, 502, 503, 504, 505, 506, 507, 508),
    **of_queues("rx_pfc_ena_frames_pri{}", *range(601, 609)),
    **of_queues("pfc_pri{}_rx_duration_us", *range(611, 619)),
    **of_queues("pfc_pri{}_rx_transitions", *range(621, 629)),
    **of_queues("tx_pfc_ena_frames_pri{}", *range(701, 709)),
    **of_queues("pfc_pri{}_tx_duration_us", *range(711, 719)),
    **of_queues("pfc_pri{}_tx_transitions", *range(721, 729)),
}  # fmt: skip


def _names() -> list[str]:
    """bnxt_get_strings() in bnxt_ethtool.c: of a ring what is_rx_ring() or is_tx_ring() say."""
    names = listed("bnxt_en-6.1")
    of_first = [name for name in names if name.startswith("[0]: ")]
    of_port = [name for name in names if not name.startswith("[")]
    # Of 6.1 but not 5.10; and rows by priority, which a card has that knows its queues' priorities.
    later = re.compile(r"rx_total_netpoll_discards|rx_fec_\w+|p05_\w+|[rt]x_(bytes|packets)_pri\d")
    rings = []
    for ring in range(8):
        others = re.compile(r"\[0]: tx_" if ring < 4 else r"\[0]: (rx_|tpa_)")
        rings += [name.replace("0", str(ring), 1) for name in of_first if not others.match(name)]
    return [*rings, *[name for name in of_port if not later.fullmatch(name)]]


def answers() -> Answers:
    """Separate rings for receiving and sending, and nothing but the ioctl to ask with."""
    names = FeatureNames("linux-5.10")
    on = ("tx-scatter-gather tx-checksum-ipv4 tx-checksum-ipv6 tx-tcp-segmentation "
          "tx-tcp6-segmentation tx-generic-segmentation rx-gro rx-gro-hw rx-checksum rx-hashing "
          "rx-ntuple-filter")  # fmt: skip
    firmware = "218.0.219.13/pkg 21.80.9.6"
    settings = struct.pack("=IIBBBBBBBbBBBx28x", 0x4C, 25_000, 1, 3, 0, 1, 0, 0, 0, 3, 0, 0, 0)
    advertised = words([6, 31, 50], 96)
    answers = {
        "gdrvinfo": drvinfo("bnxt_en", "5.10.0-32-amd64", firmware, _ETH0.slot),
        "gringparam": numbers(0x10, 2047, 0, 8191, 2047, 511, 0, 2044, 1000),
        "gchannels": numbers(0x3C, 74, 73, 0, 37, 4, 4, 0, 0),
        # Cleared, the command as well, before it is filled: bnxt_get_coalesce().
        "gcoalesce": numbers(0, 6, 15, 1, 2, 28, 30, 3, 4, 1_000_000, _BNXT_FLAG_DIM, *[0] * 12),
        "gpauseparam": numbers(0x12, 1, 1, 0),
        "gfecparam": numbers(0x50, 1 << 3, 1 << 1 | 1 << 3, 0),
        "glinksettings": settings + advertised * 2 + bytes(12),
        "gfeatures": names.gfeatures(f"{on} rx-lro", f"{on} highdma"),
        "feature-strings": names.strings,
    }
    return {
        **of_links((loopback(24), _ETH0)),
        "ioctl/lo.gfeatures.bin": names.gfeatures("rx-gro", "rx-gro"),
        "ioctl/lo.feature-strings.bin": names.strings,
        **driver_statistics("eth0", numbered(_names(), 1_000_000, _KNOWN)),
        **{f"ioctl/eth0.{name}.bin": answer for name, answer in answers.items()},
        "sys/class/net/eth0/device/numa_node": b"0\n",
    }
