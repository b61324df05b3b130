"""netdev: queues and what they counted, in whatever layout the messages come."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.parsers import Malformed, netdev
from netperf_exporter.parsers.netdev import (
    MEASURES,
    Napi,
    Queues,
    napis,
    queue_statistics,
    queues,
)

RX, TX = 0, 1
NUMBERS = {name: number for number, name in MEASURES.items()}
U64 = st.integers(0, 2**32) | st.integers(0, 2**64 - 1)
INDEX = st.integers(1, 2**31 - 1)
ANY_MEASURES = st.dictionaries(st.sampled_from(sorted(NUMBERS)), U64)


def uint(type: int, value: int) -> bytes:
    """As nla_put_uint() writes it: in 4 bytes if it fits."""
    return codec.attribute(type, struct.pack("=I" if value < 2**32 else "=Q", value))


def message(*attributes: bytes) -> bytes:
    body = b"\x0c\x01\0\0" + b"".join(attributes)
    return codec.HEADER.pack(16 + len(body), 20, 2, 7, 9) + body


def counted(ifindex: int, type: int, queue: int, measures: dict[str, int]) -> bytes:
    """netdev_nl_stats_queue(): the queue, then what its driver counts."""
    return message(
        codec.u32(1, ifindex),
        codec.u32(2, type),
        codec.u32(3, queue),
        *[uint(NUMBERS[name], value) for name, value in measures.items()],
    )


def queue(ifindex: int, type: int, number: int, *more: bytes) -> bytes:
    """netdev_nl_queue_fill_one()."""
    return message(codec.u32(1, number), codec.u32(3, type), codec.u32(2, ifindex), *more)


@pytest.fixture(params=["first seen", "seen before"])
def _memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "first seen":
        monkeypatch.setattr(netdev, "_layouts", {})


@pytest.mark.usefixtures("_memory")
def test_statistics_are_columns_by_queue() -> None:
    """What virtio_net writes, with a counter that needs 8 bytes in one queue and 4 in another."""
    dump = b"".join(
        [
            counted(4, RX, 0, {"rx-packets": 68725, "rx-bytes": 3205475483}),
            counted(4, RX, 1, {"rx-packets": 5, "rx-bytes": 2**40 + 1}),
            counted(4, TX, 0, {"tx-packets": 1, "tx-bytes": 2, "tx-stop": 3, "tx-wake": 0}),
            counted(7, RX, 0, {"rx-packets": 2**32, "rx-bytes": 2**64 - 2}),
        ]
    )
    for _ in range(2):
        problems: list[str] = []
        statistics = queue_statistics(dump, problems)

        assert problems == []
        assert statistics.receive == {
            4: {"rx-packets": {0: 68725, 1: 5}, "rx-bytes": {0: 3205475483, 1: 2**40 + 1}},
            7: {"rx-packets": {0: 2**32}, "rx-bytes": {0: 2**64 - 2}},
        }
        assert statistics.transmit == {
            4: {
                "tx-packets": {0: 1},
                "tx-bytes": {0: 2},
                "tx-stop": {0: 3},
                "tx-wake": {0: 0},
            }
        }


def test_what_a_driver_does_not_count_is_absent() -> None:
    """Queues of one device may count different things; those of a measure are in order."""
    dump = b"".join(
        [
            counted(4, RX, 0, {"rx-packets": 10, "rx-hw-drops": 0}),
            counted(4, RX, 1, {"rx-packets": 11}),
            counted(4, RX, 2, {"rx-packets": 12, "rx-hw-drops": 1}),
            counted(4, RX, 3, {"rx-packets": 13}),
        ]
    )
    receive = queue_statistics(dump, []).receive

    assert receive == {4: {"rx-packets": {0: 10, 1: 11, 2: 12, 3: 13}, "rx-hw-drops": {0: 0, 2: 1}}}
    assert list(receive[4]["rx-packets"]) == [0, 1, 2, 3]


def test_a_queue_that_counts_nothing_makes_no_column() -> None:
    assert queue_statistics(counted(4, TX, 0, {}), []).transmit == {4: {}}


def test_measures_of_a_later_kernel_are_passed_over() -> None:
    """Whatever shape they have."""
    dump = message(
        codec.u32(1, 4),
        codec.u32(2, RX),
        codec.u32(3, 0),
        uint(NUMBERS["rx-packets"], 9),
        codec.u32(99, 1),
        codec.nested(100, codec.u32(1, 1)),
    )
    problems: list[str] = []

    assert queue_statistics(dump, problems).receive == {4: {"rx-packets": {0: 9}}}
    assert problems == []


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (message(codec.u32(1, 4), codec.u32(2, RX)), "do not say of which queue"),
        (counted(4, 2, 0, {"rx-packets": 1}), "device 4 has statistics of queues of type 2"),
    ],
)
def test_a_broken_message_costs_only_itself(broken: bytes, problem: str) -> None:
    good = [counted(4, RX, number, {"rx-packets": number}) for number in range(2)]
    problems: list[str] = []
    statistics = queue_statistics(good[0] + broken + good[1], problems)

    assert statistics.receive == {4: {"rx-packets": {0: 0, 1: 1}}}
    assert len(problems) == 1
    assert problem in problems[0]
    with pytest.raises(Malformed, match=problem):
        queue_statistics(broken, [])


def test_a_broken_counter_costs_only_itself() -> None:
    odd = codec.attribute(NUMBERS["rx-bytes"], b"abc")
    which = codec.u32(1, 4), codec.u32(2, RX), codec.u32(3, 0)
    problems: list[str] = []
    statistics = queue_statistics(message(*which, odd, uint(NUMBERS["rx-packets"], 5)), problems)

    assert statistics.receive == {4: {"rx-packets": {0: 5}}}
    assert problems == ["attribute 9 has 3 bytes"]


def test_a_dump_that_was_cut_is_said() -> None:
    dump = counted(4, RX, 0, {"rx-packets": 1}) + counted(4, RX, 1, {"rx-packets": 2})
    problems: list[str] = []

    assert queue_statistics(dump[:-3], problems).receive == {4: {"rx-packets": {0: 1}}}
    assert problems == [f"the last {len(dump) // 2 - 3} of {len(dump) - 3} bytes are no message"]


def test_an_empty_dump_is_no_failure() -> None:
    """A host whose drivers do not count by queue, or whose devices are all down."""
    assert queue_statistics(b"", []) == ({}, {})
    assert queues(b"", []) == {}
    assert napis(b"", []) == {}


def test_queues_name_their_napi_instance_if_they_have_one() -> None:
    """A queue whose driver has not said is served by none that we know."""
    dump = b"".join(
        [
            queue(1, RX, 0),
            queue(1, TX, 0),
            queue(4, RX, 0, codec.u32(4, 257)),
            queue(4, RX, 1, codec.u32(4, 258), codec.nested(7)),  # an AF_XDP socket
            queue(4, TX, 0),
        ]
    )

    assert queues(dump, []) == {
        1: Queues({0: None}, {0: None}),
        4: Queues({0: 257, 1: 258}, {0: None}),
    }


def test_a_lease_is_not_taken_for_the_queue() -> None:
    """NETDEV_A_QUEUE_LEASE nests the id and type of another device's queue."""
    lease = codec.nested(8, codec.nested(2, codec.u32(1, 9), codec.u32(3, RX)), codec.u32(1, 77))
    problems: list[str] = []

    assert queues(queue(4, RX, 3, lease), problems) == {4: Queues({3: None}, {})}
    assert problems == []


def test_a_napi_instance_of_v6_12() -> None:
    """Interrupt, and a thread if it has one; settings came later."""
    dump = message(codec.u32(2, 8193), codec.u32(1, 4), codec.u32(3, 45), codec.u32(4, 977))

    assert napis(dump, []) == {8193: Napi(4, 8193, irq=45, pid=977)}


def test_a_napi_instance_with_settings() -> None:
    """In the order in which netdev_nl_napi_fill_one() writes; without an interrupt."""
    dump = message(
        codec.u32(2, 8193),
        codec.u32(1, 4),
        uint(8, 2),
        codec.u32(5, 100),
        uint(7, 20_000_000),
        uint(6, 2**33),
    )

    assert napis(dump, []) == {
        8193: Napi(
            4,
            8193,
            defer_hard_irqs=100,
            gro_flush_timeout=2**33,
            irq_suspend_timeout=20_000_000,
            threaded=2,
        )
    }


@pytest.mark.parametrize("parse", [queues, napis])
def test_what_does_not_say_which_it_is_is_left_out(parse: object) -> None:
    which = "a queue" if parse is queues else "a NAPI instance"
    good = queue(4, RX, 0) if parse is queues else message(codec.u32(2, 1), codec.u32(1, 4))
    nameless = message(codec.u32(4, 1))
    assert callable(parse)
    problems: list[str] = []

    assert len(parse(nameless + good, problems)) == 1
    assert problems == [f"{which} that does not say which it is"]
    with pytest.raises(Malformed, match=which):
        parse(nameless, [])


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.tuples(INDEX, st.sampled_from([RX, TX])),
        st.dictionaries(st.integers(0, 1023), ANY_MEASURES, min_size=1, max_size=6),
        max_size=4,
    )
)
def test_statistics_are_read_as_the_kernel_writes_them(
    written: dict[tuple[int, int], dict[int, dict[str, int]]],
) -> None:
    """Any measures of any size, queue after queue and device after device."""
    dump = b"".join(
        counted(ifindex, type, number, written[ifindex, type][number])
        for ifindex, type in written
        for number in sorted(written[ifindex, type])
    )
    problems: list[str] = []
    statistics = queue_statistics(dump, problems)

    assert problems == []
    read = {
        (ifindex, type): {name: list(column.items()) for name, column in measures.items()}
        for type in (RX, TX)
        for ifindex, measures in statistics[type].items()
    }
    assert read == {
        which: {
            name: [(number, by[number][name]) for number in sorted(by) if name in by[number]]
            for name in {name for measures in by.values() for name in measures}
        }
        for which, by in written.items()
    }


@settings(deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 40), st.sampled_from([b"", b"a", b"abcd", b"abcdefgh"])),
            max_size=6,
        ),
        max_size=4,
    ),
    st.binary(max_size=60),
    st.data(),
)
def test_any_bytes_give_a_value_or_a_clear_error(
    bodies: list[list[tuple[int, bytes]]], noise: bytes, data: st.DataObject
) -> None:
    """Nothing but Malformed is raised, and every problem is one printable line."""
    messages = b"".join(
        message(*[codec.attribute(type, payload) for type, payload in body]) for body in bodies
    )
    damaged = bytearray(messages + noise)
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for dump in (noise, messages + noise, bytes(damaged)):
        for parse in (queue_statistics, queues, napis):
            problems: list[str] = []
            try:
                parse(dump, problems)
            except Malformed as error:
                assert str(error).isprintable()
            assert all(problem.isprintable() for problem in problems)


def test_layouts_are_not_remembered_without_end() -> None:
    """A driver that leaves out a different set each time does not fill the memory."""
    dumps = [
        counted(4, RX, 0, {name: 2 ** (32 * long), "rx-packets": 2 ** (32 * (1 - long))})
        for name in NUMBERS
        if name != "rx-packets"
        for long in (0, 1)
    ]
    assert len({len(dump) for dump in dumps}) == 1
    assert len(dumps) > netdev._LAYOUTS_OF_ONE_LENGTH
    for dump in dumps:
        queue_statistics(dump, [])
    remembered = netdev._layouts[len(dumps[-1])]

    assert len(remembered) == netdev._LAYOUTS_OF_ONE_LENGTH
    assert remembered[0].unpack(dumps[-1], 0)[::2] == remembered[0].headers


def test_only_integers_that_come_once_make_a_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an attribute that comes twice the last one counts, as in nla_parse()."""
    monkeypatch.setattr(netdev, "_layouts", {})
    which = codec.u32(1, 4), codec.u32(2, RX), codec.u32(3, 0)
    twice = message(*which, codec.u32(8, 1), codec.u32(8, 2))
    mixed = message(*which, codec.nested(100, codec.u32(1, 1), codec.u32(2, 1)), codec.u32(8, 2))
    for dump in (twice, mixed, twice, mixed):
        assert queue_statistics(dump, []).receive == {4: {"rx-packets": {0: 2}}}

    assert netdev._layouts == {}
