"""ethtool over netlink: each dump, bitsets compact and verbose, and broken devices."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.parsers import Malformed, ethtool_netlink
from netperf_exporter.parsers.nic import (
    COALESCE_FIELDS,
    Channels,
    Features,
    Fec,
    Link,
    Named,
    Pause,
    Rings,
)

NAMES = ("tx-scatter-gather", "", "rx-gro", *[f"feature-{bit}" for bit in range(3, 64)])
U32 = st.integers(0, 2**32 - 1)
BITS = st.frozensets(st.integers(0, 63))
NO_NAME = "a message that does not say of which device"


def features(dump: bytes, problems: list[str]) -> dict[int, Named[Features]]:
    return ethtool_netlink.features(dump, NAMES, problems)


PARSERS: tuple[Callable[[bytes, list[str]], dict[int, Any]], ...] = (
    ethtool_netlink.linkmodes,
    ethtool_netlink.rings,
    ethtool_netlink.channels,
    ethtool_netlink.coalesce,
    ethtool_netlink.pause,
    ethtool_netlink.fec,
    features,
)


def u8(type: int, value: int) -> bytes:
    return codec.attribute(type, bytes((value,)))


def u64(type: int, *values: int) -> bytes:
    return codec.attribute(type, struct.pack(f"={len(values)}Q", *values))


def raw(*attributes: bytes) -> bytes:
    body = b"\x10\x01\0\0" + b"".join(attributes)
    return codec.HEADER.pack(16 + len(body), 21, 2, 7, 9) + body


def message(*attributes: bytes, index: int = 4, name: str = "eth0") -> bytes:
    """ethnl_fill_reply_header(), then what the operation writes."""
    return raw(codec.nested(1, codec.u32(1, index), codec.string(2, name)), *attributes)


def bitset(
    type: int, bits: frozenset[int], mask: frozenset[int] | None = None, compact: bool = True
) -> bytes:
    """ethnl_put_bitset32() for 64 bits."""
    head = (b"" if mask is not None else codec.attribute(1, b"")) + codec.u32(2, 64)
    if compact:
        words = [bits] if mask is None else [bits, mask]
        values = [
            codec.attribute(at, struct.pack("=II", *_words(value)))
            for at, value in enumerate(words, 4)
        ]
        return codec.nested(type, head, *values)
    listed = [
        codec.nested(
            1,
            codec.u32(1, bit),
            codec.string(2, f"bit {bit}"),
            codec.attribute(3, b"") if mask is not None and bit in bits else b"",
        )
        for bit in sorted(bits if mask is None else mask)
    ]
    return codec.nested(type, head, codec.nested(3, *listed))


def _words(bits: frozenset[int]) -> tuple[int, int]:
    number = sum(1 << bit for bit in bits)
    return number & 0xFFFFFFFF, number >> 32


def strings(set: int, names: tuple[str, ...]) -> bytes:
    """strset_fill_set()."""
    listed = [
        codec.nested(1, codec.u32(1, index), codec.string(2, name))
        for index, name in enumerate(names)
    ]
    return codec.nested(1, codec.u32(1, set), codec.u32(2, len(names)), codec.nested(3, *listed))


def only(found: dict[int, Named[Any]]) -> Any:
    """The value of the one device."""
    assert list(found) == [4]
    assert found[4].device == "eth0"
    return found[4].value


@pytest.mark.parametrize(
    ("speed", "duplex", "expected"),
    [
        (25000, 1, Link(25000, "full")),
        (10, 0, Link(10, "half")),
        (0xFFFFFFFF, 0xFF, Link(None, None)),
        (0, 0xFF, Link(None, None)),
    ],
)
def test_speed_and_duplex_are_none_while_they_are_not_known(
    speed: int, duplex: int, expected: Link
) -> None:
    """SPEED_UNKNOWN, DUPLEX_UNKNOWN, and the 0 of drivers without a link."""
    modes = bitset(3, frozenset({31}), frozenset({31, 47}))
    dump = message(u8(2, 1), modes, codec.u32(5, speed), u8(6, duplex), u8(10, 0))

    assert only(ethtool_netlink.linkmodes(dump, [])) == expected


def test_rings_of_a_kind_that_is_not_there_are_0() -> None:
    """rings_fill_reply() leaves out what has the maximum 0; later kernels append more."""
    both = message(
        codec.u32(2, 4096), codec.u32(6, 512), codec.u32(5, 8192), codec.u32(9, 1024), u8(13, 0)
    )
    receive = message(codec.u32(2, 4096), codec.u32(6, 512))

    assert only(ethtool_netlink.rings(both, [])) == Rings(rx=512, rx_max=4096, tx=1024, tx_max=8192)
    assert only(ethtool_netlink.rings(receive, [])) == Rings(512, 4096, 0, 0)


def test_channels_of_a_type_that_is_not_there_are_0() -> None:
    every = message(*[codec.u32(type, 10 * type) for type in range(2, 10)])
    combined = message(codec.u32(5, 63), codec.u32(9, 16))

    assert only(ethtool_netlink.channels(every, [])) == Channels(
        rx=60, tx=70, other=80, combined=90, max_rx=20, max_tx=30, max_other=40, max_combined=50
    )
    assert only(ethtool_netlink.channels(combined, [])) == Channels(0, 0, 0, 16, 0, 0, 0, 63)


def test_coalescing_has_the_names_of_the_structures() -> None:
    """Numbers of one byte and of four; profiles, which are no number, are passed over."""
    dump = message(
        codec.u32(2, 3),
        codec.u32(9, 7),
        u8(11, 1),
        codec.u32(23, 5),
        u8(24, 1),
        codec.u32(28, 9),
        codec.nested(29, codec.nested(1, codec.u32(1, 1))),
        codec.u32(32, 8),
    )
    problems: list[str] = []

    assert only(ethtool_netlink.coalesce(dump, problems)) == {
        "rx_coalesce_usecs": 3,
        "tx_max_coalesced_frames_irq": 7,
        "use_adaptive_rx_coalesce": 1,
        "rate_sample_interval": 5,
        "use_cqe_mode_tx": 1,
        "tx_aggr_time_usecs": 9,
        "rx_cqe_nsecs": 8,
    }
    assert problems == []


@given(st.dictionaries(st.sampled_from(COALESCE_FIELDS), U32))
def test_coalescing_fields_are_numbered_in_the_order_of_the_structure(
    fields: dict[str, int],
) -> None:
    dump = message(*[codec.u32(2 + COALESCE_FIELDS.index(name), fields[name]) for name in fields])

    assert only(ethtool_netlink.coalesce(dump, [])) == fields


def test_a_broken_coalescing_field_costs_only_itself() -> None:
    problems: list[str] = []
    dump = message(codec.attribute(2, b"abc"), codec.u32(3, 9))

    assert only(ethtool_netlink.coalesce(dump, problems)) == {"rx_max_coalesced_frames": 9}
    assert problems == ["device 'eth0', rx_coalesce_usecs: attribute 2 is an integer of 3 bytes"]


def test_pause_frames_are_none_where_the_driver_does_not_count() -> None:
    """No nest before v5.10, an empty one without the driver's help, else one or both."""
    said = u8(2, 1), u8(3, 1), u8(4, 0)
    counted = codec.nested(5, codec.attribute(1, b""), u64(2, 2**40), u64(3, 7))
    for nest, frames in (
        (b"", (None, None)),
        (codec.nested(5), (None, None)),
        (counted, (7, 2**40)),
    ):
        dump = message(*said, nest)
        assert only(ethtool_netlink.pause(dump, [])) == Pause(True, True, False, *frames)


@pytest.mark.parametrize("compact", [True, False])
def test_error_correction_has_the_words_of_ethtool(compact: bool) -> None:
    """Modes are bits of link modes; AUTO is an attribute of its own."""
    dump = message(
        bitset_of_link_modes({49, 50, 51, 74}, compact),
        u8(3, 1),
        codec.u32(4, 50),
        codec.nested(5, u64(2, 700, 300, 400), u64(3, 9), codec.attribute(4, b"")),
    )

    assert only(ethtool_netlink.fec(dump, [])) == Fec(
        frozenset({"off", "rs", "baser", "llrs", "auto"}), frozenset({"rs"}), 700, 9, None
    )


def test_error_correction_without_a_link_is_not_active() -> None:
    dump = message(bitset_of_link_modes({51}), u8(3, 0))

    assert only(ethtool_netlink.fec(dump, [])) == Fec(frozenset({"baser"}), frozenset())


def test_modes_of_error_correction_that_nobody_knows_have_their_number() -> None:
    dump = message(bitset_of_link_modes({120}), u8(3, 0), codec.u32(4, 120))

    assert only(ethtool_netlink.fec(dump, [])) == Fec(
        frozenset({"link mode 120"}), frozenset({"link mode 120"})
    )


def bitset_of_link_modes(bits: set[int], compact: bool = True) -> bytes:
    """As many words as the kernel has for its link modes."""
    if not compact:
        return bitset(2, frozenset(bits), compact=False)
    number = sum(1 << bit for bit in bits)
    words = struct.pack("=4I", *[number >> 32 * at & 0xFFFFFFFF for at in range(4)])
    return codec.nested(2, codec.attribute(1, b""), codec.u32(2, 125), codec.attribute(4, words))


@settings(deadline=None)
@given(BITS, BITS, BITS, BITS, st.booleans())
def test_features_are_the_same_compact_or_verbose(
    hw: frozenset[int],
    wanted: frozenset[int],
    active: frozenset[int],
    nochange: frozenset[int],
    compact: bool,
) -> None:
    """A kernel may list bits though it was asked for words. Bits without a name are left out."""
    dump = message(
        bitset(2, hw, frozenset(range(64)), compact),
        bitset(3, wanted, None, compact),
        bitset(4, active, None, compact),
        bitset(5, nochange, None, compact),
    )

    assert only(features(dump, [])) == Features(
        *[
            frozenset(NAMES[bit] for bit in bits if bit != 1)
            for bits in (hw, wanted, active, nochange)
        ]
    )


def test_a_set_of_features_that_is_missing_is_not_an_empty_one() -> None:
    """Or an offload that is on would be off."""
    dump = message(bitset(2, frozenset(), frozenset()))
    with pytest.raises(Malformed, match="device 'eth0': a bitset of 0 bytes"):
        features(dump, [])


def test_names_of_features_go_by_their_bits() -> None:
    """ETHTOOL_MSG_STRSET_GET answers without a header, for all devices."""
    other = strings(1, ("not", "these"))
    answer = raw(codec.nested(2, other, strings(4, NAMES)))

    assert ethtool_netlink.feature_names(answer) == NAMES
    for nothing in (b"", raw(), raw(codec.nested(2, other))):
        with pytest.raises(Malformed, match="no names of features"):
            ethtool_netlink.feature_names(nothing)


def test_every_device_of_a_dump_is_there() -> None:
    """By its index; its name is for people, and escaped where it is no UTF-8."""
    odd = raw(codec.nested(1, codec.u32(1, 3), codec.attribute(2, b"\xffeth\0")), codec.u32(6, 2))
    dump = message(codec.u32(6, 1), index=2, name="lan") + odd

    assert ethtool_netlink.rings(dump, []) == {
        2: Named("lan", Rings(1, 0, 0, 0)),
        3: Named("\\xffeth", Rings(2, 0, 0, 0)),
    }


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (
            message(codec.attribute(6, b"abc"), name="bad"),
            "device 'bad': attribute 6 is an integer of 3 bytes",
        ),
        (raw(codec.u32(6, 1)), NO_NAME),
        (raw(codec.nested(1, codec.string(2, "lan")), codec.u32(6, 1)), NO_NAME),
        (
            raw(codec.nested(1, codec.attribute(1, b"abc"))),
            "a device: attribute 1 is an integer of 3 bytes",
        ),
    ],
)
def test_a_broken_device_costs_only_itself(broken: bytes, problem: str) -> None:
    good = message(codec.u32(6, 1), index=2), message(codec.u32(6, 2), index=3)
    problems: list[str] = []

    assert list(ethtool_netlink.rings(good[0] + broken + good[1], problems)) == [2, 3]
    assert problems == [problem]
    with pytest.raises(Malformed, match=problem):
        ethtool_netlink.rings(broken, [])


def test_a_dump_that_was_cut_is_said() -> None:
    dump = message(codec.u32(6, 1), index=2) + message(codec.u32(6, 2), index=3)
    problems: list[str] = []

    assert list(ethtool_netlink.rings(dump[:-4], problems)) == [2]
    assert problems == [f"the last {len(dump) // 2 - 4} of {len(dump) - 4} bytes are no message"]


@pytest.mark.parametrize("parse", PARSERS)
def test_an_empty_dump_is_no_failure(parse: Callable[[bytes, list[str]], dict[int, Any]]) -> None:
    """No device has such an operation."""
    assert parse(b"", []) == {}


BYTES = st.binary(max_size=20)
ATTRIBUTE = st.tuples(st.integers(0, 33), BYTES | st.sampled_from([b"\1", b"\1\0\0\0", bytes(8)]))
NESTED = st.lists(ATTRIBUTE, max_size=4).map(
    lambda inner: b"".join(codec.attribute(type, payload) for type, payload in inner)
)
ANY = st.lists(st.tuples(st.integers(0, 33), BYTES | NESTED | NESTED.map(lambda nest: nest * 2)))


@settings(deadline=None)
@given(ANY, BYTES, st.booleans())
def test_any_bytes_give_a_value_or_a_clear_error(
    attributes: list[tuple[int, bytes]], noise: bytes, named: bool
) -> None:
    """Nothing but Malformed is raised, and every problem is one printable line."""
    body = [codec.attribute(type, payload) for type, payload in attributes]
    for dump in (noise, (message if named else raw)(*body) + noise):
        for parse in PARSERS:
            problems: list[str] = []
            try:
                parse(dump, problems)
            except Malformed as error:
                assert str(error).isprintable()
            assert all(problem.isprintable() for problem in problems)
        try:
            assert ethtool_netlink.feature_names(dump)
        except Malformed as error:
            assert str(error).isprintable()
