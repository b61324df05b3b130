"""Hosts with hardware nobody here owns: what they export is what was worked out by hand.

The hosts are written by make_hardware.py. Sums are spelled out, so that they can be looked up in
its figures; nothing here comes from the exporter's own output.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netperf_exporter.collectors import (
    COLLECTORS,
    coalescing,
    fec,
    link,
    nic,
    nicstatistics,
    pause,
    queues,
)
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.host import ReplayedHost
from netperf_exporter.policy import DevicePolicy
from netperf_exporter.sources import Options
from tests.hosts import make_hardware

HERE = Path(__file__).parent
MLX5, ENA, BNXT = "nic-mlx5-ring-full", "nic-ena-allowance", "nic-bnxt-separate-rings"
OF_HARDWARE = (link, nic, nicstatistics, coalescing, pause, fec, queues)

Samples = Mapping[str, float]
"""By the values of their labels with | between: the device first, then in the order of the labels'
names."""


def of(rows: str, *values: float) -> dict[str, float]:
    return dict(zip(rows.split(), values, strict=True))


def by_queue(first: str, *values: float) -> dict[str, float]:
    return {f"{first}|{queue}": value for queue, value in enumerate(values)}


def ones(*rows: str) -> dict[str, float]:
    return dict.fromkeys(rows, 1)


PORTS = "eth0 eth1 eth2"
LINKS = f"{PORTS} bond0 bond0.100"
ROLLED_UP: dict[str, Samples] = {
    "interfaces": of("loopback", 1),
    **{f"interfaces_{name}_total": of("loopback", 0) for name in (  # since it was first seen
        "receive_packets", "transmit_packets", "receive_bytes", "transmit_bytes", "receive_errors",
        "transmit_errors", "receive_dropped", "transmit_dropped")},
}  # fmt: skip

_MLX5_LINKS: dict[str, Samples] = {
    "interface_receive_packets_total":
        of(LINKS, 1_450_000_134, 118_000_026, 0, 1_568_000_160, 7_000_019),
    "interface_transmit_packets_total":
        of(LINKS, 920_000_092, 64_000_011, 0, 984_000_103, 5_000_017),
    "interface_receive_bytes_total":
        of(LINKS, 1_980_000_000_417, 99_000_000_123, 0, 2_079_000_000_540, 9_100_000_011),
    "interface_transmit_bytes_total":
        of(LINKS, 610_000_000_205, 47_000_000_321, 0, 657_000_000_526, 3_300_000_007),
    "interface_receive_errors_total": of(LINKS, 86, 0, 0, 87, 0),
    "interface_transmit_errors_total": of(LINKS, 13, 0, 0, 14, 0),
    "interface_receive_dropped_total": of(LINKS, 0, 0, 0, 2, 1),
    "interface_transmit_dropped_total": of(LINKS, 91, 0, 0, 92, 0),
    "interface_receive_missed_total": of(LINKS, 48_211, 0, 0, 48_212, 0),
    "interface_receive_nohandler_total": of(LINKS, 19, 21, 0, 40, 0),
    "interface_receive_otherhost_dropped_total": of(LINKS, 33, 0, 0, 34, 0),
    "interface_receive_crc_errors_total": of(LINKS, 61, 0, 0, 62, 0),
    "interface_receive_frame_errors_total": of(LINKS, 0, 0, 0, 4, 0),
    "interface_receive_length_errors_total": of(LINKS, 25, 0, 0, 26, 0),
    "interface_receive_over_errors_total": of(LINKS, 0, 0, 0, 3, 0),
    "interface_receive_fifo_errors_total": of(LINKS, 0, 0, 0, 5, 0),
    "interface_transmit_carrier_errors_total": of(LINKS, 0, 0, 0, 6, 0),
    "interface_transmit_aborted_errors_total": of(LINKS, 13, 0, 0, 15, 0),
    "interface_transmit_fifo_errors_total": of(LINKS, 0, 0, 0, 7, 0),
    "interface_transmit_heartbeat_errors_total": of(LINKS, 0, 0, 0, 8, 0),
    "interface_transmit_window_errors_total": of(LINKS, 0, 0, 0, 9, 0),
    "interface_up": of(LINKS, 1, 1, 0, 1, 1),
    "interface_mtu_bytes": of(LINKS, 9000, 9000, 1500, 9000, 1500),
    "interface_carrier_changes_total": of(LINKS, 5, 2, 1, 3, 4),
    # 100 and 50 Gb/s, and what the bond makes of both.
    "interface_speed_bytes":
        of("eth0 eth1 bond0 bond0.100", 12_500_000_000, 6_250_000_000, *[18_750_000_000] * 2),
    # Bus, driver, kind, master, node, state.
    "interface_info": ones(
        "eth0|0000:3b:00.0|mlx5_core||bond0|0|up", "eth1|0000:af:00.0|mlx5_core||bond0|1|up",
        "eth2|0000:af:00.1|mlx5_core|||1|down", "bond0||bonding|bond|||up",
        "bond0.100||802.1Q VLAN Support|vlan|||up"),
    "interface_lower_info": ones("bond0.100|bond0", "bond0|eth0", "bond0|eth1"),
    **ROLLED_UP,
}  # fmt: skip

_MLX5_CARD = "mlx5_core|6.12.117+deb13-amd64|22.39.2048 (MT_0000000359)"
_MLX5_MODEL = "MT2892 Family [ConnectX-6 Dx]|Mellanox Technologies"
_SOFTWARE = ("rx-gro", "tx-checksum-ip-generic", "tx-generic-segmentation", "tx-scatter-gather",
             "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation")  # fmt: skip

_MLX5_NIC: dict[str, Samples] = {
    "nic_receive_losses_total": of(
        "eth0|ring_full eth0|fifo_full eth0|pci eth0|down eth0|oversize eth0|link",
        48_211 + 4, 9_173, 6, 29, 14 + 17, 61 + 5 + 3 + 2 + 7 + 11)
    | {f"{port}|{cause}": 0 for port in ("eth1", "eth2")
       for cause in ("ring_full", "fifo_full", "pci", "down", "oversize", "link")},
    "nic_transmit_losses_total": of("eth0|tx_drop eth0|oversize", 13, 16)
    | of("eth1|tx_drop eth1|oversize eth2|tx_drop eth2|oversize", 0, 0, 0, 0),
    "nic_receive_events_total": of(
        "eth0|fifo_full eth0|filter eth0|host_alloc eth0|link eth0|pause eth0|pci",
        730, 41 + 37, 53, 23 + 19 + 12, 511, 8 + 9)
    | {f"{port}|{cause}": int(cause == "link") for port in ("eth1", "eth2")
       for cause in ("fifo_full", "filter", "host_alloc", "link", "pause", "pci")},
    "nic_transmit_events_total":
        of("eth0|pause eth0|pci", 6_007, 10 + 15)
    | of("eth1|pause eth1|pci eth2|pause eth2|pci", 0, 0, 0, 0),
    "nic_ring_size": of("eth0|rx eth0|tx eth1|rx eth1|tx eth2|rx eth2|tx",
                        1024, 2048, 8192, 4096, 512, 256),
    "nic_ring_maximum_size": of("eth0|rx eth0|tx eth1|rx eth1|tx eth2|rx eth2|tx", *[8192] * 6),
    "nic_channels": of("eth0|combined eth1|combined eth2|combined", 4, 4, 4),
    "nic_maximum_channels": of("eth0|combined eth1|combined eth2|combined", 32, 32, 32),
    "nic_offload_enabled":
        {f"{device}|{name}": 1 for device in LINKS.split() for name in _SOFTWARE}
    | {f"{port}|{name}": 1 for port in PORTS.split() for name in ("rx-checksum", "rx-hashing")}
    | {f"{port}|{name}": 0 for port in PORTS.split() for name in ("rx-gro-hw", "rx-ntuple-filter")}
    | of("eth0|rx-lro eth1|rx-lro eth2|rx-lro bond0|rx-lro", 0, 1, 0, 0)
    | of("eth0|hw-tc-offload eth1|hw-tc-offload eth2|hw-tc-offload", 0, 0, 1),
    "nic_info": ones(
        *[f"{port}|{_MLX5_CARD}|{_MLX5_MODEL}" for port in PORTS.split()],
        "bond0|bonding|6.12.117+deb13-amd64|2||", "bond0.100|802.1Q VLAN Support|1.8|||"),
    "nic_coalescing": {
        f"{port}|{name}": value for port, *values in (
            ("eth0", 8, 128, 16, 32, 1, 1, 0, 1), ("eth1", 64, 256, 33, 65, 0, 0, 0, 1),
            ("eth2", 9, 129, 17, 34, 1, 1, 0, 1))
        for name, value in zip((
            "rx_coalesce_usecs", "rx_max_coalesced_frames", "tx_coalesce_usecs",
            "tx_max_coalesced_frames", "use_adaptive_rx_coalesce", "use_adaptive_tx_coalesce",
            "use_cqe_mode_tx", "use_cqe_mode_rx"), values, strict=True)},
    "nic_receive_pause_enabled": of(PORTS, 1, 1, 0),
    "nic_transmit_pause_enabled": of(PORTS, 1, 0, 0),
    "nic_receive_pause_frames_total": of(PORTS, 513, 43, 0),
    "nic_transmit_pause_frames_total": of(PORTS, 6_011, 0, 0),
    "nic_fec_info": ones("eth0|rs", "eth1|rs"),
    "nic_fec_corrected_blocks_total": of("eth0 eth1", 7_654_321, 12_345),
    "nic_fec_uncorrectable_blocks_total": of("eth0 eth1", 3, 0),
}  # fmt: skip

_NOTHING = (0, 0, 0, 0)
_ADDED: dict[str, Samples] = {  # nothing yet: since the exporter first saw the queues
    f"queues_transmit_{worst}{name}_total": of(PORTS, 0, 0, 0)
    for worst in ("", "worst_") for name in ("stops", "wakes", "drops")
}  # fmt: skip

_MLX5_QUEUES: dict[str, Samples] = {
    # By the kernel, not 1009 more, as the driver says a moment later.
    "queue_receive_packets_total":
        by_queue("eth0", 812_000_011, 233_000_029, 198_000_041, 207_000_053)
    | by_queue("eth1", 31_000_003, 29_000_005, 28_000_007, 30_000_011)
    | by_queue("eth2", *_NOTHING),
    "queue_receive_bytes_total":
        by_queue("eth0", 1_124_000_000_101, 305_000_000_103, 270_000_000_107, 281_000_000_109)
    | by_queue("eth1", 26_000_000_013, 24_000_000_017, 23_000_000_019, 25_000_000_023)
    | by_queue("eth2", *_NOTHING),
    "queue_transmit_packets_total":
        by_queue("eth0", 230_000_011, 229_000_013, 231_000_031, 230_000_037)
    | by_queue("eth1", 16_000_001, 15_900_002, 16_100_003, 15_999_999)
    | by_queue("eth2", *_NOTHING),
    "queue_transmit_bytes_total":
        by_queue("eth0", 152_000_000_051, 151_000_000_053, 154_000_000_057, 153_000_000_059)
    | by_queue("eth1", 11_700_000_031, 11_600_000_037, 11_800_000_041, 11_500_000_043)
    | by_queue("eth2", *_NOTHING),
    "queue_receive_drops_total":
        by_queue("eth0|oversize", 24, 26, 28, 30)
    | by_queue("eth1|oversize", *_NOTHING) | by_queue("eth2|oversize", *_NOTHING),
    "queue_transmit_stops_total":
        by_queue("eth0", 301, 307, 311, 313) | by_queue("eth1", *_NOTHING)
    | by_queue("eth2", *_NOTHING),
    "queue_transmit_wakes_total":
        by_queue("eth0", 300, 306, 310, 312) | by_queue("eth1", *_NOTHING)
    | by_queue("eth2", *_NOTHING),
    "queue_transmit_drops_total":
        by_queue("eth0|pci", 21, 22, 23, 25) | by_queue("eth1|pci", *_NOTHING)
    | by_queue("eth2|pci", *_NOTHING),
    **_ADDED,
    "queue_statistics_source_info": ones(
        "eth0|qstats", "eth1|qstats", "eth2|qstats", "bond0|none", "bond0.100|none"),
}  # fmt: skip


def _of_one(device: str, **families: float) -> dict[str, Samples]:
    return {name: {device: value} for name, value in families.items()}


_ENA: dict[str, Samples] = {
    **_of_one(
        "ens5", interface_receive_packets_total=404_000_010,
        interface_transmit_packets_total=303_000_006,
        interface_receive_bytes_total=505_000_000_026,
        interface_transmit_bytes_total=404_000_000_046, interface_receive_dropped_total=2_017,
        interface_up=1, interface_mtu_bytes=9001, interface_carrier_changes_total=2,
    ),
    "interface_info": ones("ens5|0000:00:05.0|ena||||up"),
    **ROLLED_UP,
    "nic_transmit_events_total": of("ens5|timeout ens5|mixed", 3 + 2, 4),
    "nic_allowance_exceeded_total": of(
        "ens5|bw_in_allowance_exceeded ens5|bw_out_allowance_exceeded "
        "ens5|pps_allowance_exceeded ens5|conntrack_allowance_exceeded "
        "ens5|linklocal_allowance_exceeded", 1_201, 307, 89, 17, 7),
    "nic_ring_size": of("ens5|rx ens5|tx", 1024, 512),
    "nic_ring_maximum_size": of("ens5|rx ens5|tx", 4096, 2048),
    "nic_channels": of("ens5|combined", 4),
    "nic_maximum_channels": of("ens5|combined", 8),
    "nic_offload_enabled": {f"ens5|{name}": 1 for name in (
        "rx-checksum", "rx-gro", "rx-hashing", "tx-checksum-ipv4", "tx-generic-segmentation",
        "tx-scatter-gather", "tx-tcp-segmentation", "tx-tcp6-segmentation")},
    "nic_info": ones(
        "ens5|ena|5.10.0-32-amd64||Elastic Network Adapter (ENA)|Amazon.com, Inc."),
    "nic_coalescing": of(
        "ens5|rx_coalesce_usecs ens5|tx_coalesce_usecs ens5|use_adaptive_rx_coalesce", 0, 64, 1),
    "queue_receive_packets_total":
        by_queue("ens5", 101_000_001, 100_000_003, 102_000_002, 101_000_004),
    "queue_receive_bytes_total":
        by_queue("ens5", 126_000_000_005, 125_000_000_006, 127_000_000_007, 127_000_000_008),
    "queue_transmit_packets_total":
        by_queue("ens5", 75_000_001, 76_000_002, 74_000_003, 78_000_000),
    "queue_transmit_bytes_total":
        by_queue("ens5", 101_000_000_011, 102_000_000_012, 100_000_000_013, 101_000_000_010),
    "queue_receive_drops_total": by_queue("ens5|host_alloc", 11, 13, 19, 18),
    "queue_transmit_stops_total": by_queue("ens5", 211, 223, 227, 229),
    "queue_transmit_wakes_total": by_queue("ens5", 210, 222, 226, 228),
    "queue_transmit_drops_total": by_queue("ens5|pci", 31, 32, 33, 34)
    | by_queue("ens5|tx_drop", 41 + 100, 42 + 200, 43 + 300, 44 + 400),
    "queue_statistics_source_info": ones("ens5|driver"),
}  # fmt: skip

_BNXT: dict[str, Samples] = {
    **_of_one(
        "eth0", interface_receive_packets_total=33_010_410,
        interface_transmit_packets_total=23_100_450, interface_receive_bytes_total=50_001_040_010,
        interface_transmit_bytes_total=16_002_680_010, interface_receive_errors_total=4,
        interface_transmit_errors_total=81, interface_transmit_dropped_total=146,
        interface_receive_length_errors_total=64, interface_receive_crc_errors_total=52,
        interface_receive_frame_errors_total=3, interface_receive_missed_total=1_010,
        interface_transmit_fifo_errors_total=76, interface_carrier_changes_total=7,
        interface_speed_bytes=3_125_000_000, nic_receive_pause_enabled=1,
        nic_transmit_pause_enabled=0, interface_up=1, interface_mtu_bytes=1500,
    ),
    "interface_info": ones("eth0|0000:18:00.0|bnxt_en|||0|up"),
    "nic_receive_losses_total": of(
        "eth0|fifo_full eth0|link eth0|oversize",
        501 + 502 + 503 + 504 + 505 + 506 + 507 + 508, 52 + 3 + 4 + 5, 53),
    "nic_receive_events_total": of(
        "eth0|oversize eth0|fifo_full eth0|link eth0|pause", 54, 66, 67 + 9 + 6,
        1_000 + 601 + 602 + 603 + 604 + 605 + 606 + 607 + 608),
    "nic_transmit_events_total": of(
        "eth0|pci eth0|link eth0|pause", 76, 81 + 82 + 83,
        2_000 + 701 + 702 + 703 + 704 + 705 + 706 + 707 + 708),
    "nic_ring_size": of("eth0|rx eth0|tx", 511, 1000),
    "nic_ring_maximum_size": of("eth0|rx eth0|tx", 2047, 2047),
    "nic_channels": of("eth0|rx eth0|tx eth0|combined", 4, 4, 0),
    "nic_maximum_channels": of("eth0|rx eth0|tx eth0|combined", 74, 73, 37),
    "nic_offload_enabled": of("eth0|rx-lro", 0) | {f"eth0|{name}": 1 for name in (
        "rx-checksum", "rx-gro", "rx-gro-hw", "rx-hashing", "rx-ntuple-filter",
        "tx-checksum-ipv4", "tx-checksum-ipv6", "tx-generic-segmentation", "tx-scatter-gather",
        "tx-tcp-segmentation", "tx-tcp6-segmentation")},
    "nic_info": ones("eth0|bnxt_en|5.10.0-32-amd64|218.0.219.13/pkg 21.80.9.6||"),
    "nic_fec_info": ones("eth0|rs"),
    "queue_receive_packets_total": by_queue(
        "eth0", 9_000_000 + 101 + 1_000, 8_000_000 + 102 + 2_000, 7_000_000 + 103 + 3_000,
        9_000_000 + 104 + 4_000),
    "queue_receive_bytes_total": by_queue(
        "eth0", 11_000_000_000 + 10_001 + 100_000, 12_000_000_000 + 10_002 + 200_000,
        13_000_000_000 + 10_003 + 300_000, 14_000_000_000 + 10_004 + 400_000),
    # Of rings 4 to 7.
    "queue_transmit_packets_total": by_queue(
        "eth0", 5_000_000 + 111 + 10_000, 5_500_000 + 112 + 20_000, 6_000_000 + 113 + 30_000,
        6_500_000 + 114 + 40_000),
    "queue_transmit_bytes_total": by_queue(
        "eth0", 2_000_000_000 + 20_001 + 500_000, 3_000_000_000 + 20_002 + 600_000,
        5_000_000_000 + 20_003 + 700_000, 6_000_000_000 + 20_004 + 800_000),
    "queue_receive_drops_total":
        by_queue("eth0|ring_full", 251, 252, 253, 254) | by_queue("eth0|mixed", 62, 63, 64, 65),
    "queue_transmit_drops_total":
        by_queue("eth0|mixed", 35, 36, 37, 38) | by_queue("eth0|tx_drop", 45, 46, 47, 48),
    "queue_statistics_source_info": ones("eth0|driver"),
}  # fmt: skip

EXPECTED: dict[str, Mapping[str, Samples]] = {
    MLX5: {**_MLX5_LINKS, **_MLX5_NIC, **_MLX5_QUEUES},
    ENA: _ENA,
    BNXT: _BNXT,
}
"""By host and family: every sample that the family has."""

SOME_STATISTICS: dict[str, Samples] = {
    MLX5: of("eth0|rx_out_of_buffer eth0|rx0_packets eth0|rx_prio0_discards", 48_211,
             812_000_011 + 1_009, 9_174) | of("eth1|link_down_events_phy eth2|tx3_bytes", 1, 0),
    ENA: of("ens5|conntrack_allowance_exceeded ens5|queue_3_rx_empty_rx_ring ens5|interface_up",
            17, 12, 6),
    BNXT: {"eth0|[3]: rx_errors": 58, "eth0|[4]: tx_mcast_packets": 111,
           "eth0|rx_total_discard_pkts": 1_010},
}  # fmt: skip

ABSENT = {
    MLX5: ("queue_transmit_timeouts_total",),
    ENA: (
        "interface_speed_bytes", "interface_receive_otherhost_dropped_total",
        "nic_receive_losses_total", "nic_transmit_losses_total", "nic_fec_info",
        "nic_fec_corrected_blocks_total", "nic_receive_pause_enabled",
        "nic_receive_pause_frames_total",
    ),
    BNXT: (
        "interface_receive_otherhost_dropped_total", "nic_transmit_losses_total",
        "nic_receive_pause_frames_total", "nic_fec_corrected_blocks_total",
        "queue_transmit_stops_total", "queues_transmit_stops_total",
    ),
}  # fmt: skip
"""What the device does not have, its driver does not tell, or the ioctl does not."""

NO_SUCH_HARDWARE = {
    "queue_transmit_timeouts_total", "queues_transmit_timeouts_total",
    "queues_transmit_worst_timeouts_total",
}  # fmt: skip


@cache
def exported(host: str) -> dict[str, Samples]:
    """By family without its prefix: devices by the policy that is the default, all details on."""
    replayed = ReplayedHost(HERE / host, DevicePolicy())
    body = Exporter(replayed, COLLECTORS, Options(transmit_queue_details=True)).scrape()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for name, labels, value, *_ in family.samples:
            row = [labels[label] for label in sorted(labels, key=lambda n: (n != "device", n))]
            found.setdefault(name.removeprefix("netperf_"), {})["|".join(row)] = value
    return dict(found)


EACH = [pytest.param(host, family, id=f"{host}-{family}")
        for host, families in EXPECTED.items() for family in families]  # fmt: skip


@pytest.mark.parametrize(("host", "family"), EACH)
def test_a_family_has_these_samples_and_no_others(host: str, family: str) -> None:
    assert EXPECTED[host][family] == exported(host)[family]


@pytest.mark.parametrize("host", EXPECTED)
def test_raw_statistics_have_the_driver_s_names(host: str) -> None:
    found = exported(host)["nic_statistic"]

    assert SOME_STATISTICS[host] == {row: found.get(row) for row in SOME_STATISTICS[host]}


@pytest.mark.parametrize("host", EXPECTED)
def test_what_is_not_known_has_no_sample(host: str) -> None:
    assert not [family for family in ABSENT[host] if family in exported(host)]


def test_coalescing_by_the_ioctl() -> None:
    """Apart from what is adaptive: see the next test."""
    found = dict(exported(BNXT)["nic_coalescing"])
    del found["eth0|use_adaptive_rx_coalesce"]

    assert {f"eth0|{name}": value for name, value in {
        "rx_coalesce_usecs": 6, "rx_max_coalesced_frames": 15, "rx_coalesce_usecs_irq": 1,
        "rx_max_coalesced_frames_irq": 2, "tx_coalesce_usecs": 28, "tx_max_coalesced_frames": 30,
        "tx_coalesce_usecs_irq": 3, "tx_max_coalesced_frames_irq": 4,
        "stats_block_coalesce_usecs": 1_000_000,
    }.items()} == {row: value for row, value in found.items() if value}  # fmt: skip


def test_what_is_adaptive_is_1_by_the_ioctl_as_well() -> None:
    """bnxt_get_coalesce() puts the bit that it has among its own flags into the structure."""
    assert exported(BNXT)["nic_coalescing"]["eth0|use_adaptive_rx_coalesce"] == 1


@pytest.mark.parametrize("host", EXPECTED)
def test_nothing_fails(host: str) -> None:
    found = exported(host)

    assert set(found["parse_errors_total"].values()) == {0}
    assert set(found["scrape_collector_success"].values()) == {1}


def test_every_family_of_these_collectors_is_expected_of_a_host() -> None:
    families = {f.name.removeprefix("netperf_") for c in OF_HARDWARE for f in c.FAMILIES}
    expected = {family for host in EXPECTED.values() for family in host} | {"nic_statistic"}

    assert families - NO_SUCH_HARDWARE == expected


@pytest.mark.parametrize("name", EXPECTED)
def test_the_folder_is_what_is_written(name: str, tmp_path: Path) -> None:
    """But for what it has from the captured host, which may be captured anew."""
    make_hardware.write(make_hardware.hosts()[name], tmp_path)

    def files(folder: Path) -> dict[str, bytes]:
        parts = ("ABOUT.md", "netlink/*", "ioctl/*", "udev/*", "sys/class/net/*/**/*")
        found = {path for part in parts for path in folder.glob(part)}
        return {
            str(path.relative_to(folder)):
                str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            for path in found if path.is_symlink() or path.is_file()
        }  # fmt: skip

    assert files(tmp_path) == files(HERE / name)
