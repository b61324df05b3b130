"""Driver statistics: each driver's spelling, what looks like a queue and is none, hostile names."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netperf_exporter import drivers
from netperf_exporter.drivers import Driver
from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.ethtool_statistics import Layout, layout, names, text

DRIVERS = {driver.name: driver for driver in drivers.load().drivers}

# driver, name, direction, queue, measure or cause
QUEUES = [
    ("virtio_net", "rx_queue_0_packets", "receive", 0, "packets"),
    ("virtio_net", "tx_queue_11_xdp_tx_drops", "transmit", 11, "xdp_tx_error"),
    ("virtio_net", "rx0_drops", "receive", 0, "mixed"),
    ("virtio_net", "tx3_tx_timeouts", "transmit", 3, "timeouts"),
    ("mlx5_core", "rx0_packets", "receive", 0, "packets"),
    ("mlx5_core", "tx12_stopped", "transmit", 12, "stops"),
    ("mlx5_core", "rx0_xdp_drop", "receive", 0, "xdp_drop"),
    ("mlx5_core", "tx4_dropped", "transmit", 4, "pci"),
    ("mlx4_en", "tx15_bytes", "transmit", 15, "bytes"),
    ("mlx4_en", "rx2_xdp_tx_full", "receive", 2, "xdp_tx_error"),
    ("ixgbe", "rx_queue_0_packets", "receive", 0, "packets"),
    ("ixgbe", "tx_queue_63_bytes", "transmit", 63, "bytes"),
    ("ixgbevf", "rx_queue_0_packets", "receive", 0, "packets"),
    ("igb", "rx_queue_3_drops", "receive", 3, "ring_full"),
    ("igb", "tx_queue_0_restart", "transmit", 0, "wakes"),
    ("igc", "rx_queue_3_drops", "receive", 3, "ring_full"),
    ("i40e", "rx-0.packets", "receive", 0, "packets"),
    ("i40e", "tx-127.bytes", "transmit", 127, "bytes"),
    ("iavf", "tx-3.packets", "transmit", 3, "packets"),
    ("ice", "rx_queue_0_bytes", "receive", 0, "bytes"),
    ("ena", "queue_0_tx_cnt", "transmit", 0, "packets"),
    ("ena", "queue_7_rx_skb_alloc_fail", "receive", 7, "host_alloc"),
    ("ena", "queue_7_tx_dma_mapping_err", "transmit", 7, "pci"),
    ("gve", "rx_bytes[0]", "receive", 0, "bytes"),
    ("gve", "tx_stop[15]", "transmit", 15, "stops"),
    ("gve", "rx_no_buffers_posted[3]", "receive", 3, "ring_full"),
    ("bnxt_en", "[0]: rx_ucast_packets", "receive", 0, "packets"),
    ("bnxt_en", "[3]: tx_discards", "transmit", 3, "tx_drop"),
    ("bnxt_en", "[2]: rx_discards", "receive", 2, "ring_full"),
    ("bnx2x", "[0]: rx_discards", "receive", 0, "ring_full"),
    ("bnx2x", "[5]: tx_exhaustion_events", "transmit", 5, "stops"),
    ("nfp", "txq_0_pkts", "transmit", 0, "packets"),
    ("nfp", "rxq_3_bytes", "receive", 3, "bytes"),
    ("sfc", "rx-0.rx_packets", "receive", 0, "packets"),
    ("sfc", "tx-3.tx_packets", "transmit", 3, "packets"),
    ("qede", "0: rcv_pkts", "receive", 0, "packets"),
    ("qede", "2_0: xmit_pkts", "transmit", 2, "packets"),
    ("hv_netvsc", "tx_queue_0_packets", "transmit", 0, "packets"),
    ("mana", "rx_0_packets", "receive", 0, "packets"),
    ("mana", "tx_12_mana_map_err", "transmit", 12, "pci"),
    ("hns3", "txq15_wake", "transmit", 15, "wakes"),
    ("hns3", "rxq3_l2_err", "receive", 3, "link"),
    ("hns3", "txq3_busy", "transmit", 3, "stops"),
    ("enic", "rq[0]_no_skb", "receive", 0, "host_alloc"),
    ("enic", "wq[3]_null_pkt", "transmit", 3, "tx_drop"),
    ("atlantic", "Queue[0] InPackets", "receive", 0, "packets"),
    ("atlantic", "TC1 Queue[5] Restarts", "transmit", 5, "wakes"),
    ("stmmac", "q0_rx_pkt_n", "receive", 0, "packets"),
    ("mvpp2", "rxq_0_queue_full_drops", "receive", 0, "ring_full"),
    ("mvpp2", "txq_7_packets_dequeued", "transmit", 7, "packets"),
    ("enetc", "Rx ring  0 frames", "receive", 0, "packets"),
    ("enetc", "Tx ring 15 frames", "transmit", 15, "packets"),
    ("enetc", "Rx ring  3 discarded frames", "receive", 3, "ring_full"),
    ("enetc", "Tx window drop  2 frames", "transmit", 2, "tx_drop"),
    ("be2net", "rxq0: rx_pkts", "receive", 0, "packets"),
    ("be2net", "txq7: tx_stops", "transmit", 7, "stops"),
    ("be2net", "rxq1: rx_drops_no_frags", "receive", 1, "ring_full"),
    ("liquidio", "rx-0-dropped_nomem", "receive", 0, "host_alloc"),
    ("octeontx2", "rxq0: frames", "receive", 0, "packets"),
    ("ionic", "rx_0_dropped", "receive", 0, "mixed"),
    ("ionic", "tx_3_dma_map_err", "transmit", 3, "pci"),
    ("fbnic", "rde_5_pkt_bdq_drop", "receive", 5, "ring_full"),
    ("idpf", "rx_q-0_pkts", "receive", 0, "packets"),
    ("idpf", "tx_q-12_bytes", "transmit", 12, "bytes"),
    ("thunderx", "rxq12: frames", "receive", 12, "packets"),
    ("macb", "q0_rx_packets", "receive", 0, "packets"),
    ("macb", "q7_tx_dropped", "transmit", 7, "tx_drop"),
    ("bcmgenet", "rxq0_packets", "receive", 0, "packets"),
    ("bcmgenet", "txq16_dropped", "transmit", 16, "tx_drop"),
    ("veth", "rx_queue_0_drops", "receive", 0, "mixed"),
    ("veth", "tx_queue_3_xdp_xmit_errors", "transmit", 3, "xdp_xmit_error"),
    ("ifb", "rx_queue_0_packets", "receive", 0, "packets"),
    ("txgbe_ngbe", "rx_queue_0_packets", "receive", 0, "packets"),
]

# Rows that are known and are nothing of an ordinary queue.
NOT_QUEUES = [
    ("virtio_net", "tx3_kicks"),
    ("virtio_net", "rx0_hw_packets"),
    ("mlx5_core", "rx3_xdp_tx_full"),
    ("mlx5_core", "tx0_xdp_xmit"),
    ("mlx5_core", "rx1_xsk_buff_alloc_err"),
    ("mlx5_core", "ch7_poll"),
    ("mlx5_core", "qos_tx2_packets"),
    ("mlx5_core", "ptp_tx0_packets"),
    ("mlx5_core", "ptp_cq0_cqe"),
    ("mlx5_core", "rx_prio0_discards"),
    ("mlx5_core", "rx_64_bytes_phy"),
    ("mlx5_core", "rx_1024_to_1518_bytes_phy"),
    ("mlx5_core", "rx_err_lane_0_phy"),
    ("mlx5_core", "rx_out_of_buffer"),
    ("mlx4_en", "rx0_dropped"),
    ("mlx4_en", "rx_prio_0_packets"),
    ("mlx4_en", "rx_pause_prio_1"),
    ("mlx4_en", "rx_packets_phy"),
    ("ixgbe", "tx_pb_0_pxon"),
    ("ixgbe", "rx_pb_7_pxoff"),
    ("ixgbe", "rx_missed_errors"),
    ("ixgbevf", "xdp_queue_1_packets"),
    ("igb", "rx_queue_1_alloc_failed"),
    ("i40e", "veb.tc_0_tx_packets"),
    ("i40e", "port.tx_priority_3_xon_tx"),
    ("i40e", "port.rx_size_64"),
    ("ice", "tx_priority_0_xon.nic"),
    ("ice", "rx_size_64.nic"),
    ("ena", "queue_7_rx_empty_rx_ring"),
    ("ena", "queue_7_rx_dma_mapping_err"),
    ("ena", "queue_8_xdp_tx_bytes"),
    ("gve", "rx_completed_desc[0]"),
    ("bnxt_en", "[2]: tpa_packets"),
    ("bnxt_en", "[9]: missed_irqs"),
    ("nfp", "rvec_1_tx_busy"),
    ("nfp", "rvec_1_rx_pkts"),
    ("sfc", "tx-xdp-cpu-12.tx_packets"),
    ("qede", "1 [XDP]: xmit_pkts"),
    ("hv_netvsc", "cpu3_rx_packets"),
    ("hv_netvsc", "cpu3_vf_tx_bytes"),
    ("mana", "hc_tc0_rx_pkt_phy"),
    ("mana", "hc_rx_bytes"),
    ("hns3", "rxq3_pktnum_rcd"),
    ("hns3", "rxq0_dropped"),
    ("enic", "wq[3]_desc_full_awake"),
    ("atlantic", "Queue[3] SkbAllocFails"),
    ("atlantic", "PTP Queue[31] InPackets"),
    ("stmmac", "q3_tx_irq_n"),
    ("dpaa", "rx packets [CPU 3]"),
    ("dpaa", "rx packets [TOTAL]"),
    ("liquidio", "tx-3-iq_busy"),
    ("liquidio", "rx-0-dropped"),
    ("octeontx2", "txq_qos1: bytes"),
    ("octeontx2", "cgx_rxstat0: "),
    ("octeontx2", "cgx_txstat17: "),
    ("ionic", "frames_rx_64b"),
    ("ionic", "rx_pripause_0_1us_count"),
    ("fbnic", "xdp_tx_queue_2_dropped"),
    ("fbnic", "rxb_fifo3_drop"),
    ("fbnic", "rxb_intf0_frames"),
    ("thunderx", "bgx_rxstat0: "),
]


def queues_of(found: Layout) -> list[tuple[str, str, int]]:
    """Direction, measure or cause, and queue of everything that is per queue."""
    return [
        (direction, what, queue)
        for direction, tables in (
            ("receive", (found.receive, found.receive_drops)),
            ("transmit", (found.transmit, found.transmit_drops)),
        )
        for table in tables
        for what, queues in table.items()
        for queue in queues
    ]


def places(found: Layout) -> list[int]:
    """Every position of a layout, as often as it occurs."""
    per_queue = (found.receive, found.transmit, found.receive_drops, found.transmit_drops)
    of_device = (
        found.receive_losses,
        found.transmit_losses,
        found.receive_events,
        found.transmit_events,
    )
    return [
        *(
            p
            for table in per_queue
            for queues in table.values()
            for ps in queues.values()
            for p in ps
        ),
        *(p for table in of_device for ps in table.values() for p in ps),
        *found.gauges,
        *found.other,
        *found.unknown,
        *(position for position, _ in found.checks),
    ]


def read(driver: str | None, listed: Sequence[str]) -> Layout:
    """The layout for a driver of the table, all values zero."""
    return layout(DRIVERS[driver] if driver else None, listed, [0] * len(listed))


@pytest.mark.parametrize(("driver", "name", "direction", "queue", "what"), QUEUES)
def test_a_row_of_a_queue(driver: str, name: str, direction: str, queue: int, what: str) -> None:
    """Every driver's own spelling."""
    found = read(driver, [name])

    assert [(direction, what, queue)] == queues_of(found)
    assert found.other == found.unknown == ()


@pytest.mark.parametrize(("driver", "name"), NOT_QUEUES)
def test_a_row_that_is_of_no_queue_is_understood_as_that(driver: str, name: str) -> None:
    """Neither a queue nor unknown."""
    found = read(driver, [name])

    assert queues_of(found) == []
    assert found.unknown == ()


def test_what_several_rows_count_together_adds_up() -> None:
    """bnxt counts unicast, multicast and broadcast packets apart."""
    listed = [f"[0]: rx_{kind}_packets" for kind in ("ucast", "mcast", "bcast")]

    assert read("bnxt_en", listed).receive == {"packets": {0: (0, 1, 2)}}


def test_transmit_rings_after_the_receive_rings_are_numbered_anew() -> None:
    """bnxt without combined channels: rings 0 and 1 receive, 2 and 3 send."""
    listed = ["[0]: rx_discards", "[1]: rx_discards", "[2]: tx_discards", "[3]: tx_discards"]

    assert read("bnxt_en", listed).transmit_drops == {"tx_drop": {0: (2,), 1: (3,)}}


def test_combined_rings_keep_their_number() -> None:
    """bnxt with combined channels."""
    listed = ["[0]: rx_discards", "[0]: tx_discards", "[1]: rx_discards", "[1]: tx_discards"]

    assert read("bnxt_en", listed).transmit_drops == {"tx_drop": {0: (1,), 1: (3,)}}


def test_queues_of_a_second_class_follow_those_of_the_first() -> None:
    """qede: N_C is the stack's queue C × number of queues + N."""
    listed = ["0_0: xmit_pkts", "0_1: xmit_pkts", "1_0: xmit_pkts", "1_1: xmit_pkts"]

    assert read("qede", listed).transmit == {"packets": {0: (0,), 1: (2,), 2: (1,), 3: (3,)}}


def test_a_sum_is_never_added_to_its_parts() -> None:
    """liquidio's dropped is the sum of three rows beside it."""
    listed = ["rx-0-dropped", "rx-0-dropped_nomem", "rx-0-dropped_toomany", "rx-0-fw_dropped"]
    found = read("liquidio", listed)

    assert found.receive_drops == {
        "host_alloc": {0: (1,)},
        "mixed": {0: (2,)},
        "down": {0: (3,)},
    }
    assert found.other == (0,)


@pytest.mark.parametrize(
    ("row", "of_a_queue", "cause"),
    [
        ("rx_fcs", "rxq0_crc_errors", ("receive", "link")),
        ("tx_dropped", "txq0_dropped", ("transmit", "tx_drop")),
    ],
)
def test_a_row_sums_the_queues_only_where_the_queues_have_it(
    row: str, of_a_queue: str, cause: tuple[str, str]
) -> None:
    """bcmgenet up to 6.12 has them for the device only, later ones for each queue as well."""
    direction, what = cause
    alone = read("bcmgenet", [row, "rxq0_errors", "rxq0_dropped"])
    beside = read("bcmgenet", [row, of_a_queue])

    assert getattr(alone, f"{direction}_losses") == {what: (0,)}
    assert getattr(beside, f"{direction}_losses") == {}
    assert getattr(beside, f"{direction}_drops") == {what: {0: (1,)}}
    assert beside.other == (0,)


def test_losses_of_the_device_are_kept_apart_from_signs_of_trouble() -> None:
    """igb: MPC is lost packets, RNBC a warning, and rx_fifo_errors both of RQDPC and MPC again."""
    found = read("igb", ["rx_missed_errors", "rx_no_buffer_count", "rx_fifo_errors", "tx_packets"])

    assert found.receive_losses == {"fifo_full": (0,)}
    assert found.receive_events == {"ring_full": (1,)}
    assert found.other == (2, 3)


def test_a_gauge_is_a_gauge() -> None:
    """mlx5's PCI stalls are percent."""
    found = read("mlx5_core", ["outbound_pci_stalled_rd", "outbound_pci_stalled_rd_events"])

    assert (found.gauges, found.transmit_events) == ((0,), {"pci": (1,)})


VMXNET3 = """\
NIC statistics:
     Tx Queue#: 0
       ucast pkts tx: 1
       mcast pkts tx: 2
       bcast pkts tx: 3
       pkts tx discard: 4
       drv dropped tx total: 5
          too many frags: 6
       ring full: 7
     Tx Queue#: 1
       ucast pkts tx: 8
     Rx Queue#: 0
       ucast pkts rx: 9
       pkts rx OOB: 10
       drv dropped rx total: 11
          err: 12
          fcs: 13
     Rx Queue#: 1
       pkts rx OOB: 14
     tx timeout count: 15
"""


def test_rows_after_a_header_are_of_the_queue_that_is_its_value() -> None:
    """vmxnet3: the same names for every queue."""
    found = layout(DRIVERS["vmxnet3"], *text(VMXNET3))

    assert found.transmit == {"packets": {0: (1, 2, 3), 1: (9,)}, "stops": {0: (7,)}}
    assert found.transmit_drops == {"tx_drop": {0: (4, 5)}}
    assert found.receive == {"packets": {0: (11,)}}
    assert found.receive_drops == {"ring_full": {0: (12,), 1: (17,)}, "mixed": {0: (13,)}}
    assert found.transmit_events == {"timeout": (18,)}
    assert found.checks == ((0, 0), (8, 1), (10, 0), (16, 1))
    assert (found.other, found.unknown) == ((6, 14, 15), ())


@pytest.mark.parametrize("value", [-1, 65_536, 2**64 - 1])
def test_a_header_with_no_number_of_a_queue_begins_none(value: int) -> None:
    """Nor do its rows go to the queue before it."""
    listed = ["Tx Queue#", "  ucast pkts tx", "Tx Queue#", "  ucast pkts tx"]
    found = layout(DRIVERS["vmxnet3"], listed, [7, 0, value, 0])

    assert found.transmit == {"packets": {7: (1,)}}
    assert (found.unknown, found.checks) == ((2, 3), ((0, 7),))


def test_a_queue_that_begins_twice_is_read_once() -> None:
    """Which of the two is right cannot be told, but not their sum."""
    listed = ["Rx Queue#", "  pkts rx OOB", "Rx Queue#", "  pkts rx OOB"]
    found = layout(DRIVERS["vmxnet3"], listed, [3, 1, 3, 1])

    assert found.receive_drops == {"ring_full": {3: (1,)}}
    assert found.unknown == (2, 3)


def test_after_the_section_nothing_is_the_devices() -> None:
    """cxgb4: padded names, and the loopback port's counters at the end."""
    listed = [
        "rx_bg0_frames_dropped  ",
        "-------Loopback----------- ",
        "frames_dropped         ",
        "rx_bg0_frames_dropped  ",
    ]
    found = read("cxgb4", listed)

    assert found.receive_losses == {"fifo_full": (0,)}
    assert found.other == (1, 2, 3)


@pytest.mark.parametrize("driver", [None, *DRIVERS])
@pytest.mark.parametrize("prefix", ["p05_", "s00_p05_", "p128_"])
def test_a_switch_behind_the_device_is_kept_apart(driver: str | None, prefix: str) -> None:
    """Whatever the driver and whatever the switch calls its counters."""
    listed = ["rx_packets", "rx0_packets", "rx_queue_0_packets", "in_discards", "rx_crc_errors"]
    found = read(driver, [prefix + name for name in listed])

    assert tuple(range(5)) == found.other


def test_the_page_pools_rows_are_nothing_of_ours() -> None:
    """With drivers that are in the table and with others."""
    for driver in (None, "veth", "mvneta"):
        assert read(driver, ["rx_pp_alloc_fast", "rx_pp_recycle_ring_full"]).other == (0, 1)


@pytest.mark.parametrize("driver", [None, "tg3", "mlx5_core", "mana", "ionic", "igb"])
def test_sizes_and_priorities_never_become_queues(driver: str | None) -> None:
    """However much they look like one."""
    listed = [
        "rx_65_to_127_bytes_phy",
        "tx_1024_to_max_packets",
        "rx_64_or_less_octet_packets",
        "rx_prio3_packets",
        "rx_prio_3_bytes",
        "tx_pb_3_packets",
        "tx_priority_3_packets",
        "rx_size_127",
        "rx_64_bytes_phy",
        "tx_tc_0_packets",
    ]

    assert queues_of(read(driver, listed)) == []


def test_a_driver_that_is_not_in_the_table_is_read_with_care() -> None:
    """Queues from 0 without a hole, in the usual words; nothing of the device."""
    listed = [
        "rx_queue_0_packets",
        "rx_queue_1_packets",
        "rx_queue_0_drops",
        "tx_queue_0_bytes",
        "tx_queue_0_restarts_of_the_pump",
        "rx_dropped",
    ]
    found = read(None, listed)

    assert found.receive == {"packets": {0: (0,), 1: (1,)}}
    assert found.receive_drops == {"mixed": {0: (2,)}}
    assert found.transmit == {"bytes": {0: (3,)}}
    assert found.unknown == (4, 5)
    assert {} == found.receive_losses == found.transmit_losses


@pytest.mark.parametrize(
    "pattern",
    [
        "{}_queue_%d_packets",
        "{}q%d_packets",
        "{}_q%d: packets",
        "queue_%d_{}_packets",
        "q%d_{}_packets",
        "{}-%d.packets",
        "{}-%d-packets",
        "{}_packets[%d]",
        "{}%d_packets",
        "{}_%d_packets",
        "[%d]: {}_packets",
    ],
)
def test_the_usual_spellings_of_a_queue_need_no_table(pattern: str) -> None:
    """In both directions."""
    for direction in ("receive", "transmit"):
        row = pattern.format("rx" if direction == "receive" else "tx")
        found = read(None, [row % queue for queue in range(3)])

        assert [(direction, "packets", queue) for queue in range(3)] == queues_of(found)


def test_numbers_with_a_hole_are_no_queues_of_an_unknown_driver() -> None:
    """64 and 128 are sizes."""
    assert read(None, ["rx_64_bytes", "rx_128_bytes"]).unknown == (0, 1)


def test_two_words_for_one_measure_of_an_unknown_driver_do_not_add_up() -> None:
    """The first is believed."""
    found = read(None, ["rx_queue_0_packets", "rx_queue_0_frames", "rx0_packets"])

    assert found.receive == {"packets": {0: (0,)}}
    assert found.unknown == (1, 2)


def test_a_driver_written_anew_is_read_with_care() -> None:
    """None of its rows of queues is as the table has it, the rest is."""
    found = read("igb", ["rx-0.packets", "rx-1.packets", "rx_missed_errors", "rx_wonders"])

    assert found.receive == {"packets": {0: (0,), 1: (1,)}}
    assert found.receive_losses == {"fifo_full": (2,)}
    assert found.unknown == (3,)


def test_a_driver_as_the_table_has_it_is_not_read_by_general_rules_too() -> None:
    """Its odd row stays unknown."""
    found = read("igb", ["rx_queue_0_packets", "rx-0.packets"])

    assert (found.receive, found.unknown) == ({"packets": {0: (0,)}}, (1,))


@pytest.mark.parametrize(
    "name",
    ["rx_queue_65536_packets", "rx_queue_99999999999999999_packets", "rx_queue_\u0663_packets"],
)
def test_a_number_no_queue_can_have_is_none(name: str) -> None:
    """Nor is a digit that is not ASCII."""
    assert queues_of(read("igb", [name, "rx_queue_0_bytes"]))[1:] == []
    assert queues_of(read(None, [name])) == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "\N{OWL}\N{OWL}",
        'rx_queue_0_"packets"',
        "rx_queue_0_packets\nrx_queue_1_packets",
        "rx_queue_0_packets\n.",
        "rx_queue_0_packet",
        "x" * 31,
        "rx_missed_error\N{REPLACEMENT CHARACTER}",
        "rx_missed_errors{}",
    ],
)
def test_a_hostile_name_is_unknown(name: str) -> None:
    """Whatever it contains."""
    for driver in (None, "igb", "vmxnet3"):
        assert read(driver, [name]).unknown == (0,)


def test_a_name_that_comes_twice_counts_once() -> None:
    """Of a queue and of the device."""
    found = read("igb", ["rx_queue_0_drops", "rx_missed_errors"] * 2)

    assert found.receive_drops == {"ring_full": {0: (0,)}}
    assert found.receive_losses == {"fifo_full": (1,)}
    assert found.unknown == (2, 3)


def test_a_name_cut_at_31_characters_is_known() -> None:
    """As vsnprintf() leaves it."""
    for driver, name in (
        ("nfp", "mac.rx_frame_check_sequence_errors"),
        ("macb", "rx_greater_than_1518_byte_frames"),
        ("enetc", "MAC rx 1523 to max-octet packets"),
    ):
        assert len(name) > 31
        assert read(driver, [name[:31]]).unknown == ()


def test_cells_end_at_their_nul() -> None:
    """What follows it is whatever the buffer held."""
    strings = b"rx_packets".ljust(32, b"\0") + b"a\0b".ljust(32, b"x") + b"c" * 32 + b"rest"

    assert names(strings) == ("rx_packets", "a", "c" * 32)


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="ascii"), max_size=31)))
def test_names_round_trip(listed: list[str]) -> None:
    """What was packed is what is read."""
    strings = b"".join([name.encode().ljust(32, b"\0") for name in listed])

    assert tuple(listed) == names(strings)


@given(st.binary())
@example(b"\xff" * 32)
def test_any_bytes_are_names(strings: bytes) -> None:
    """As many as there are whole cells."""
    found = names(strings)

    assert len(strings) // 32 == len(found)
    for name in found:
        assert name.encode()


NAME = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=31)


@given(st.lists(st.tuples(NAME, st.integers(0, 2**64 - 1))))
@example([("a: b", 1), ("", 0), ("  padded ", 2**64 - 1), ("x: 5", 6)])
def test_a_listing_round_trips(rows: list[tuple[str, int]]) -> None:
    """Names may contain ": ", blanks and anything but an end of line."""
    listing = "NIC statistics:\n" + "".join(f"     {name}: {value}\n" for name, value in rows)

    assert (tuple(n for n, _ in rows), tuple(v for _, v in rows)) == text(listing)


@pytest.mark.parametrize(
    ("listing", "number"),
    [
        ("", 1),
        ("no stats available\n", 1),
        ("NIC statistics:\n     a: 1\n\n", 3),
        ("NIC statistics:\n    a: 1\n", 2),
        ("NIC statistics:\n     a: 1\n     b\n", 3),
        ("NIC statistics:\n     a: -1\n", 2),
        ("NIC statistics:\n     a: 18446744073709551616\n", 2),
        ("NIC statistics:\n     a: \u0663\n", 2),
    ],
)
def test_what_ethtool_does_not_print_is_refused_with_its_line(listing: str, number: int) -> None:
    """So that the reader of a captured file finds it."""
    with pytest.raises(Malformed, match=f"line {number} is "):
        text(listing)


@given(st.text())
@example("NIC statistics:\n     \ud800\n")
def test_any_text_gives_a_listing_or_a_clear_error(listing: str) -> None:
    """Nothing but Malformed is raised, and its message is one printable line."""
    try:
        found, values = text(listing)
    except Malformed as error:
        assert str(error).isprintable()
    else:
        assert len(found) == len(values)


KNOWN = sorted(
    {name for _, name, *_ in QUEUES}
    | {name for _, name in NOT_QUEUES}
    | {
        name.replace("0", str(queue))
        for _, name, *_ in QUEUES
        for queue in (1, 2, 64, 65_535, 65_536)
    }
    | {name for driver in DRIVERS.values() for name in driver.device.names}
    | {"Tx Queue#", "Rx Queue#", "ucast pkts tx", "pkts rx OOB", "-------Loopback-----------"}
    | {"1_1: xmit_pkts", "1_65535: xmit_pkts", "[7]: tx_ucast_packets", "p01_rx_packets"}
)


@given(
    st.sampled_from([None, *DRIVERS.values()]),
    st.lists(st.sampled_from(KNOWN) | NAME, max_size=30),
    st.data(),
)
def test_every_position_is_in_exactly_one_place(
    driver: Driver | None, listed: list[str], data: st.DataObject
) -> None:
    """Whatever the names and values, repeated or not; and no queue has an impossible number."""
    values = data.draw(
        st.lists(
            st.integers(-1, 4) | st.integers(0, 2**64 - 1),
            min_size=len(listed),
            max_size=len(listed),
        )
    )
    found = layout(driver, listed, values)

    assert sorted(places(found)) == list(range(len(listed)))
    assert all(0 <= queue <= 65_535 for _, _, queue in queues_of(found))
    assert all(values[position] == value for position, value in found.checks)


@given(st.lists(st.sampled_from(KNOWN), max_size=20), st.permutations(range(21)))
def test_the_order_of_names_decides_nothing_but_their_position(
    listed: list[str], order: list[int]
) -> None:
    """Where no header makes it matter: what is found is found wherever it stands."""
    # A row of its own, or the driver would be read by the general rules, where the first row wins.
    for driver, own in (
        ("igb", "tx_queue_7_bytes"),
        ("mlx5_core", "tx7_bytes"),
        ("bnxt_en", "[0]: rx_discards"),
        ("qede", "0: xdp_no_pass"),
    ):
        unique = list(dict.fromkeys([*listed, own]))
        shuffled = [unique[position] for position in order if position < len(unique)]
        found, again = read(driver, unique), read(driver, shuffled)

        assert {unique[p] for p in found.unknown} == {shuffled[p] for p in again.unknown}
        assert sorted(queues_of(found)) == sorted(queues_of(again))
