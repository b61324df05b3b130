"""Queues: the kernel's words first, the driver's for the rest, and sums that never fall."""

from __future__ import annotations

import logging
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter import queues
from netperf_exporter.kernel.ethtool import Statistics
from netperf_exporter.kernel.udev import UNKNOWN
from netperf_exporter.parsers import links, netdev
from netperf_exporter.parsers.netdev import QueueStatistics
from netperf_exporter.parsers.nic import Channels, DriverInfo
from netperf_exporter.queues import QUEUES, DeviceQueues, Queues, understand
from netperf_exporter.sources import (
    CHANNELS,
    DRIVER_STATISTICS,
    DRIVERS,
    LINKS,
    QUEUE_NAPIS,
    QUEUE_STATISTICS,
    Absent,
    Derived,
    Driver,
    Failed,
    NotRead,
    Outcome,
    Readings,
    Source,
    Value,
)
from tests import messages

ETH0, ETH1 = 2, 3


def link(ifindex: int, name: bytes) -> bytes:
    return messages.link(ifindex, name)


def channels(combined: int) -> Channels:
    return Channels(0, 0, 0, combined, 0, 0, 0, combined)


def statistics(values: dict[str, int]) -> Statistics:
    return Statistics(messages.strings(*values), struct.pack(f"={len(values)}Q", *values.values()))


def readings(
    *devices: bytes,
    kernel: QueueStatistics | None = None,
    driver: dict[int, dict[str, int]] | None = None,
    drivers: dict[int, str] | None = None,
    combined: dict[int, int] | None = None,
    queues: dict[int, tuple[int, int]] | None = None,
    **failed: Source[Any],
) -> Readings:
    """What one scrape read. None is what the kernel does not have."""
    raw = None if driver is None else {i: statistics(values) for i, values in driver.items()}
    served = {
        i: netdev.Queues(dict.fromkeys(range(rx)), dict.fromkeys(range(tx)))
        for i, (rx, tx) in (queues or {}).items()
    }
    info = {
        i: Driver(name, DriverInfo(name, "", "", ""), "", UNKNOWN)
        for i, name in (drivers or {}).items()
    }
    found: dict[Source[Any], Any] = {
        LINKS: links.parse(devices or (link(ETH0, b"eth0"),), lambda *_: True, []),
        QUEUE_STATISTICS: kernel,
        DRIVER_STATISTICS: raw,
        DRIVERS: None if drivers is None else info,
        QUEUE_NAPIS: None if queues is None else served,
        CHANNELS: None if combined is None else {i: channels(n) for i, n in combined.items()},
    }
    outcomes: dict[Source[Any] | Derived[Any], Outcome] = {
        source: Absent("not here", 0.0) if value is None else Value(value, (), 0.0)
        for source, value in found.items()
    }
    return Readings(outcomes | {source: Failed("late", 0.0) for source in failed.values()})


def advanced(*history: Readings) -> Queues:
    state = QUEUES.start
    for one in history:
        state = QUEUES.advance(state, one)
    return state


def only(found: Queues) -> DeviceQueues:
    (device,) = found.devices
    return device


def table(columns: queues.Measures) -> dict[str, dict[int, int]]:
    return {
        measure: dict(zip(column.queues, column.values, strict=True))
        for measure, column in columns.items()
    }


VIRTIO = {"rx0_drops": 3, "rx0_kicks": 9, "tx0_kicks": 4, "tx0_tx_timeouts": 5}


def test_what_the_kernel_says_of_each_queue() -> None:
    kernel = QueueStatistics(
        {ETH0: {"rx-packets": {0: 10, 1: 11}, "rx-bytes": {0: 100, 1: 110}, "rx-csum-bad": {0: 1}}},
        {
            ETH0: {
                "tx-packets": {0: 20},
                "tx-stop": {0: 2},
                "tx-wake": {0: 1},
                "tx-csum-none": {0: 4},
            }
        },
    )
    device = only(advanced(readings(kernel=kernel)))

    assert device.source == "qstats"
    assert table(device.receive) == {"packets": {0: 10, 1: 11}, "bytes": {0: 100, 1: 110}}
    assert table(device.transmit) == {"packets": {0: 20}, "stops": {0: 2}, "wakes": {0: 1}}
    assert device.receive_drops == device.transmit_drops == {}


def test_drops_by_cause_are_not_in_the_rest_as_well() -> None:
    """The kernel's rx-hw-drops contains the others; a cause alone contains nothing."""
    kernel = QueueStatistics(
        {
            ETH0: {
                "rx-hw-drops": {0: 10, 1: 5, 2: 1},
                "rx-hw-drop-overruns": {0: 7, 1: 5},
                "rx-hw-drop-ratelimits": {0: 1, 2: 4},  # read a moment later than the whole
            }
        },
        {ETH0: {"tx-hw-drop-errors": {0: 3}}},
    )
    device = only(advanced(readings(kernel=kernel)))

    assert table(device.receive_drops) == {
        "mixed": {0: 2, 1: 0, 2: 0},
        "ring_full": {0: 7, 1: 5},
        "allowance": {0: 1, 2: 4},
    }
    assert list(table(device.transmit_drops).values()) == [{0: 3}]


def test_the_driver_says_what_the_kernel_does_not() -> None:
    kernel = QueueStatistics(
        {ETH0: {"rx-packets": {0: 10}, "rx-hw-drops": {0: 77}}}, {ETH0: {"tx-packets": {0: 20}}}
    )
    one = readings(
        kernel=kernel, driver={ETH0: VIRTIO}, drivers={ETH0: "virtio_net"}, combined={ETH0: 1}
    )
    device = only(advanced(one))

    assert device.source == "qstats"
    assert table(device.receive)["packets"] == {0: 10}
    assert table(device.transmit)["timeouts"] == {0: 5}
    assert sum(sum(by.values()) for by in table(device.receive_drops).values()) == 77


def test_drops_that_the_kernel_counts_are_not_the_drivers_as_well() -> None:
    """rx-hw-drops is of all causes, so what fbnic's rde rows say is among them."""
    rows = {"rde_0_pkt_err": 3, "rde_0_pkt_cq_drop": 5, "rde_0_pkt_bdq_drop": 7}
    driver: dict[str, Any] = {"driver": {ETH0: rows}, "drivers": {ETH0: "fbnic"}}
    kernel = QueueStatistics({ETH0: {"rx-packets": {0: 10}, "rx-hw-drops": {0: 15}}}, {})
    both = only(advanced(readings(kernel=kernel, **driver)))
    alone = only(advanced(readings(**driver)))

    assert sum(sum(by.values()) for by in table(both.receive_drops).values()) == 15
    assert sum(sum(by.values()) for by in table(alone.receive_drops).values()) == 15
    assert len(alone.receive_drops) == 2


def test_rows_of_queues_that_are_not_there_are_left_out() -> None:
    """By the kernel's list of queues, or else by the channels; unless they are not zero."""
    rows = {f"rx_queue_{n}_packets": 9 if n == 5 else int(n < 2) for n in range(6)}
    driver: dict[str, Any] = {"driver": {ETH0: rows}, "drivers": {ETH0: "ixgbe"}}

    def found(**more: Any) -> list[int]:
        return list(table(only(advanced(readings(**driver, **more))).receive)["packets"])

    assert found() == [0, 1, 2, 3, 4, 5]
    assert found(combined={ETH0: 4}) == [0, 1, 2, 3, 5]
    assert found(combined={ETH0: 4}, queues={ETH0: (2, 3)}) == [0, 1, 5]


def test_a_driver_alone() -> None:
    said = {"rx_queue_0_packets": 4, "rx_queue_0_bytes": 40, "tx_queue_0_packets": 6}
    device = only(advanced(readings(driver={ETH0: said}, drivers={ETH0: "ifb"})))

    assert device.source == "driver"
    assert table(device.receive) == {"packets": {0: 4}, "bytes": {0: 40}}
    assert table(device.transmit) == {"packets": {0: 6}}


def test_nobody_says_anything() -> None:
    device = only(advanced(readings()))

    assert device.source == "none"
    assert device.receive == device.transmit == {}


def test_rows_of_queues_that_are_not_there_are_left_out_while_they_are_zero() -> None:
    said = {f"rx_queue_{n}_packets": value for n, value in enumerate((5, 0, 0, 8))}
    one = readings(driver={ETH0: said}, drivers={ETH0: "ifb"}, combined={ETH0: 2})

    assert table(only(advanced(one)).receive) == {"packets": {0: 5, 1: 0, 3: 8}}


def test_statistics_are_not_read_by_guess_before_the_driver_is_known() -> None:
    """Of a device that came just now; where no driver can be known, a guess is all there is."""
    said = {"rx_queue_0_packets": 4}
    new = advanced(readings(driver={ETH0: said}, drivers={ETH1: "ifb"}))
    never = advanced(readings(driver={ETH0: said}))

    assert only(new).source == "none"
    assert new.drivers == {}
    assert only(never).source == "driver"


@pytest.mark.parametrize(
    "source", [LINKS, DRIVERS, DRIVER_STATISTICS, QUEUE_STATISTICS, QUEUE_NAPIS]
)
def test_what_could_not_be_read_is_not_taken_for_nothing(source: Source[Any]) -> None:
    with pytest.raises(NotRead):
        advanced(readings(failed=source))


def stops(*by_queue: int, ifindex: int = ETH0, name: bytes = b"eth0") -> Readings:
    kernel = QueueStatistics({}, {ifindex: {"tx-stop": dict(enumerate(by_queue))}})
    return readings(link(ifindex, name), kernel=kernel)


def test_sums_accumulate_and_do_not_jump_when_queues_come_and_go() -> None:
    history = [
        stops(100, 200),
        stops(101, 205),
        stops(102),
        stops(102, 900, 900),
        stops(103, 901, 902),
    ]
    found = [advanced(*history[: n + 1]).sums[ETH0, "stops"] for n in range(len(history))]

    assert [each.total for each in found] == [(0,), (6,), (7,), (7,), (11,)]
    assert [each.worst for each in found] == [(0,), (5,), (6,), (6,), (8,)]


def test_a_gap_is_made_up_for_and_a_device_that_went_is_forgotten() -> None:
    gap = readings()
    before, after = stops(5), stops(8)

    assert advanced(before, gap, after).sums[ETH0, "stops"].total == (3,)
    gone = readings(link(ETH1, b"eth1"))
    assert advanced(before, after, gone).sums == {}
    assert advanced(before, after, gone, stops(50)).sums[ETH0, "stops"].total == (0,)


def test_another_device_with_the_same_index_begins_at_zero() -> None:
    found = advanced(stops(5), stops(9), stops(1000, name=b"eth7"))

    assert found.sums[ETH0, "stops"].total == (0,)


def test_transmit_drops_of_all_causes_are_one_sum() -> None:
    def drops(errors: int, limited: int) -> Readings:
        counted = {"tx-hw-drop-errors": {0: errors}, "tx-hw-drop-ratelimits": {0: limited}}
        return readings(kernel=QueueStatistics({}, {ETH0: counted}))

    assert advanced(drops(1, 1), drops(3, 5)).sums[ETH0, "drops"].total == (6,)


@given(st.lists(st.lists(st.integers(0, 50), max_size=4), min_size=1, max_size=8))
def test_no_sum_falls_and_the_worst_is_part_of_it(history: list[list[int]]) -> None:
    state = QUEUES.start
    total = worst = 0
    for by_queue in history:
        state = QUEUES.advance(state, stops(*by_queue))
        found = state.sums[ETH0, "stops"]
        if found.total:
            assert found.total[0] >= total
            assert found.worst[0] >= worst
            total, worst = found.total[0], found.worst[0]
            assert worst <= total


def test_a_plan_is_made_once_for_as_long_as_the_names_stay() -> None:
    one, other = statistics(VIRTIO), statistics({**VIRTIO, "rx1_drops": 1})
    first = understand("virtio_net", one).plan

    assert understand("virtio_net", one._replace(values=one.values[::-1])).plan is first
    assert understand("virtio_net", other).plan is not first
    assert understand("veth", one).plan is not first


def test_a_number_among_the_values_makes_a_new_plan_when_it_changes() -> None:
    """vmxnet3 heads each queue's rows with one that has the queue's number as its value."""
    names = ("Tx Queue#", "  ucast pkts tx", "Rx Queue#", "  ucast pkts rx")
    padded = b"".join([name.encode().ljust(32, b"\0") for name in names])

    def of(queue: int) -> queues.DriverReading:
        return understand("vmxnet3", Statistics(padded, struct.pack("=4Q", queue, 7, queue, 9)))

    assert list(of(0).plan.layout.transmit["packets"]) == [0]
    assert list(of(5).plan.layout.transmit["packets"]) == [5]
    assert list(of(0).plan.layout.transmit["packets"]) == [0]


def test_plans_do_not_pile_up() -> None:
    for number in range(600):
        understand("nobody", statistics({f"counter{number}": 1}))

    assert len(queues._plans) <= 256


def test_a_driver_that_nobody_knows_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for number in range(3):
        understand("strange", statistics({f"stranger{number}": 1}))

    assert sum("strange" in record.getMessage() for record in caplog.records) == 1
