"""ethtool_ioctl: structures of include/uapi/linux/ethtool.h."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers import ethtool_ioctl as parser
from netperf_exporter.parsers.nic import (
    COALESCE_FIELDS,
    Channels,
    DriverInfo,
    Fec,
    Link,
    Pause,
    Rings,
)

U32 = st.integers(0, 2**32 - 1)
SIZES: list[tuple[Callable[[bytes], object], int]] = [
    (parser.driver_info, 196),
    (parser.rings, 36),
    (parser.channels, 36),
    (parser.coalesce, 92),
    (parser.pause, 16),
    (parser.fec, 16),
    (parser.link, 60),
]


def strings_of(*names: bytes) -> bytes:
    """ETH_GSTRING_LEN bytes each."""
    return b"".join(name.ljust(32, b"\0") for name in names)


def link_settings(speed: int, words: int = 4, duplex: int = 1) -> bytes:
    """struct ethtool_link_settings and three bitmaps."""
    head = struct.pack("=IIB6xb", 0x4C, speed, duplex, words)
    return head + bytes(32) + b"\xff" * (12 * words)


def gfeatures(*blocks: tuple[int, int, int, int], filled: int | None = None) -> bytes:
    """struct ethtool_gfeatures."""
    head = struct.pack("=II", 0x3A, len(blocks) if filled is None else filled)
    return head + b"".join(struct.pack("=IIII", *block) for block in blocks)


def test_rings() -> None:
    """The maxima come first: rx, mini, jumbo, tx; then what is set, in the same order."""
    answer = struct.pack("=9I", 0x10, 4096, 512, 256, 1024, 40, 50, 60, 70)

    assert parser.rings(answer) == Rings(rx=40, rx_max=4096, tx=70, tx_max=1024)


def test_channels() -> None:
    """The maxima come first: rx, tx, other, combined; then the counts, in the same order."""
    answer = struct.pack("=9I", 0x3C, 1, 2, 3, 4, 5, 6, 7, 8)

    assert parser.channels(answer) == Channels(
        rx=5, tx=6, other=7, combined=8, max_rx=1, max_tx=2, max_other=3, max_combined=4
    )


def test_coalesce() -> None:
    """Each field where the structure has it; a driver cleared the command."""
    fields = parser.coalesce(struct.pack("=23I", *range(23)))

    assert tuple(fields) == COALESCE_FIELDS
    adaptive = ("use_adaptive_rx_coalesce", "use_adaptive_tx_coalesce")
    others = {name: position for position, name in enumerate(COALESCE_FIELDS, 1)}
    assert fields == others | dict.fromkeys(adaptive, 1)
    assert fields["rx_coalesce_usecs"] == 1
    assert fields["tx_coalesce_usecs"] == 5
    assert (fields["pkt_rate_high"], fields["rate_sample_interval"]) == (17, 22)


def test_pause() -> None:
    """autoneg, rx_pause, tx_pause."""
    assert parser.pause(struct.pack("=4I", 0x12, 0, 1, 0)) == Pause(False, True, False)
    assert parser.pause(struct.pack("=4I", 0x12, 1, 0, 7)) == Pause(True, False, True)


def test_fec() -> None:
    """What is active comes first in the structure; "none" is nothing; a new bit has a number."""
    found = parser.fec(struct.pack("=4I", 0x50, 1 << 3, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 9, 0))

    assert found.active == {"rs"}
    assert found.modes == {"auto", "rs", "baser", "bit9"}
    assert parser.fec(struct.pack("=4I", 0x50, 1, 1, 0)) == Fec(frozenset(), frozenset())


def test_driver_info() -> None:
    """Texts end at the NUL, or fill their field."""
    answer = struct.pack(
        "=I32s32s32s32s32s12x5I",
        *(3, b"mlx5_core", b"6.1.0", b"22.3\xff \0junk", b"0000:3b:00.0" + b"x" * 20, b""),
        *(0, 9, 0, 0, 0),
    )

    assert parser.driver_info(answer) == DriverInfo(
        "mlx5_core", "6.1.0", "22.3\\xff", "0000:3b:00.0" + "x" * 20
    )


@pytest.mark.parametrize(
    ("said", "speed"),
    [(25_000, 25_000), (1, 1), (2**31 - 1, 2**31 - 1), (0, None), (2**32 - 1, None)],
)
def test_the_speed_of_a_link(said: int, speed: int | None) -> None:
    """SPEED_UNKNOWN and 0 are no speed."""
    assert parser.link(link_settings(said)) == Link(speed, "full")
    assert parser.link(link_settings(said, words=2, duplex=0)) == Link(speed, "half")
    assert parser.link(link_settings(said, duplex=255)) == Link(speed, None)


def test_the_answer_to_the_first_question_is_no_link() -> None:
    """link_mode_masks_nwords is negative there, and nothing else is filled in."""
    with pytest.raises(Malformed, match="-4 words"):
        parser.link(link_settings(0, 1)[:15] + struct.pack("=b", -4) + bytes(32))


def test_features() -> None:
    """Bit by bit over blocks of 32; bits without a name are passed over."""
    names = [b"tx-checksum-ipv4", b"", *[b"f%d" % bit for bit in range(2, 40)]]
    blocks = (0b1000, 0b101, 0b111, 0b10), (0, 1, 1 << 7, 1 << 2), (0,) * 4
    found = parser.features(gfeatures(*blocks, filled=2), strings_of(*names))

    assert found.hw == {"f3"}
    assert found.wanted == {"tx-checksum-ipv4", "f2", "f32"}
    assert found.active == {"tx-checksum-ipv4", "f2", "f39"}
    assert found.nochange == {"f34"}


NO_BITS = (0,) * 4


@pytest.mark.parametrize(
    "answer",
    [gfeatures(NO_BITS), gfeatures(NO_BITS, NO_BITS, filled=1), gfeatures(NO_BITS, NO_BITS)[:-1]],
)
def test_features_without_bits(answer: bytes) -> None:
    """More names than blocks that were filled, or a part of a block."""
    with pytest.raises(Malformed):
        parser.features(answer, strings_of(*[b"x"] * 33))


def test_statistics_keep_their_order_and_repetitions() -> None:
    """vmxnet3 has the same names for each queue; others pad with blanks, or leave no NUL."""
    strings = strings_of(b"Tx Queue#", b"  ucast pkts tx", b"  ucast pkts tx", b"y" * 32)
    names, values = parser.statistics(strings, struct.pack("=4Q", 0, 5, 2**64 - 1, 7))

    assert names == ("Tx Queue#", "ucast pkts tx", "ucast pkts tx", "y" * 32)
    assert values == (0, 5, 2**64 - 1, 7)
    assert parser.statistics(bytes(bytearray(strings)), bytes(32))[0] is names


@pytest.mark.parametrize(("strings", "values"), [(31, 8), (33, 8), (32, 0), (32, 16), (0, 8)])
def test_statistics_that_do_not_fit_together(strings: int, values: int) -> None:
    """A value for each name, and names of 32 bytes."""
    with pytest.raises(Malformed):
        parser.statistics(bytes(strings), bytes(values))


@pytest.mark.parametrize(("parse", "size"), SIZES, ids=lambda item: getattr(item, "__name__", ""))
def test_another_length_is_malformed(parse: Callable[[bytes], object], size: int) -> None:
    """One byte more, one less, or none."""
    content = link_settings(1000, 1) if parse is parser.link else bytes(size)
    parse(content)
    for wrong in (content + b"\0", content[:-1], b""):
        with pytest.raises(Malformed, match=r"ethtool_\w+ has \d+ bytes"):
            parse(wrong)


@given(st.lists(U32, min_size=8, max_size=8), U32)
def test_round_trip_of_rings_and_channels(fields: list[int], command: int) -> None:
    """Every number is in one place and keeps its value."""
    answer = struct.pack("=9I", command, *fields)
    rings, channels = parser.rings(answer), parser.channels(answer)

    assert rings == (fields[4], fields[0], fields[7], fields[3])
    assert channels == (*fields[4:], *fields[:4])


@given(st.lists(st.tuples(st.text("abz_09", max_size=31), st.integers(0, 2**64 - 1))))
def test_round_trip_of_statistics(rows: list[tuple[str, int]]) -> None:
    """What the driver has is what is read."""
    strings = strings_of(*[name.encode() for name, _ in rows])
    names, values = parser.statistics(strings, struct.pack(f"={len(rows)}Q", *[v for _, v in rows]))

    assert list(zip(names, values, strict=True)) == rows


@given(st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4), st.integers(0, 64))
def test_round_trip_of_features(numbers: list[int], count: int) -> None:
    """Each bit by its name, in each of the four sets."""
    low, high = (tuple(n >> shift & 2**32 - 1 for n in numbers) for shift in (0, 32))
    names = [f"feature-{bit}" for bit in range(count)]
    answer = struct.pack("=II8I", 0x3A, 2, *low, *high)
    found = parser.features(answer, strings_of(*[name.encode() for name in names]))

    for number, names_set in zip(numbers, found, strict=True):
        assert names_set == {name for bit, name in enumerate(names) if number >> bit & 1}


@given(
    st.binary(max_size=250)
    | st.sampled_from([16, 36, 60, 92, 196]).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    st.binary(max_size=130),
)
def test_any_bytes_give_a_value_or_a_clear_error(answer: bytes, more: bytes) -> None:
    """Nothing but Malformed is raised."""
    for parse, _ in SIZES:
        try:
            parse(answer)
        except Malformed as error:
            assert str(error).isprintable()
    for pair in (parser.features, parser.statistics):
        try:
            pair(answer, more)
        except Malformed as error:
            assert str(error).isprintable()
