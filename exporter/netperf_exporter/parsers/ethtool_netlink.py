"""The generic netlink family ``ethtool``: what its dumps say of each device.

Written by ethnl_default_dump_one() in net/ethtool/netlink.c and, after the header that names the
device, by the files of net/ethtool/ that each function here names; attributes in
include/uapi/linux/ethtool_netlink.h (later in ethtool_netlink_generated.h). A device whose
driver does not have an operation is not in that operation's dump.

Every function gives what could be understood, by ifindex. A device that could not is left out
and said; the whole dump is Malformed if that is all there was.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import TypeVar

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.nic import (
    COALESCE_FIELDS,
    Channels,
    Coalesce,
    Features,
    Fec,
    Link,
    Named,
    Pause,
    Rings,
)

T = TypeVar("T")

_GENERIC_HEADER = 4  # struct genlmsghdr
_HEADER, _DEV_INDEX, _DEV_NAME = 1, 1, 2  # ETHTOOL_A_…_HEADER, ETHTOOL_A_HEADER_…
_NOMASK, _BITS, _VALUE = 1, 3, 4  # ETHTOOL_A_BITSET_…
_BIT, _BIT_INDEX, _BIT_VALUE = 1, 1, 3  # ETHTOOL_A_BITSET_BITS_BIT, ETHTOOL_A_BITSET_BIT_…
_MAX_BITS = 0x7FFF  # ETHNL_MAX_BITSET_SIZE in net/ethtool/bitset.h

_SPEED_UNKNOWN = 0xFFFFFFFF
_DUPLEX = {0: "half", 1: "full"}
_FEC_MODES = {49: "off", 50: "rs", 51: "baser", 74: "llrs"}  # ETHTOOL_LINK_MODE_FEC_…_BIT
_COALESCE_NAMES = {
    **dict(enumerate(COALESCE_FIELDS, start=2)),  # ETHTOOL_A_COALESCE_RX_USECS is 2
    24: "use_cqe_mode_tx",
    25: "use_cqe_mode_rx",
    26: "tx_aggr_max_bytes",
    27: "tx_aggr_max_frames",
    28: "tx_aggr_time_usecs",
    31: "rx_cqe_frames",
    32: "rx_cqe_nsecs",
}
_STRSET_STRINGSETS, _STRINGSET, _STRINGSET_ID, _STRINGSET_STRINGS = 2, 1, 1, 3
_STRING, _STRING_INDEX, _STRING_VALUE = 1, 1, 2
_ETH_SS_FEATURES = 4


class _Attributes:
    """The attributes of a message or of a nest, by type.

    device: of a message: what to call in a problem the device that it is about.
    """

    def __init__(self, buffer: bytes, start: int, end: int) -> None:
        self.device = "a device"
        self.buffer = buffer
        self.spans = {found.type: found for found in codec.attributes(buffer, start, end)}

    def __contains__(self, type: int) -> bool:
        return type in self.spans

    def integer(self, type: int) -> int | None:
        """None if it is not there. Raises ValueError if it is no integer."""
        span = self.spans.get(type)
        if span is None:
            return None
        try:
            return codec.integer(self.buffer, span)
        except ValueError as error:
            raise ValueError(f"attribute {type} is {error}") from None

    def number(self, type: int) -> int:
        """0 if it is not there: the kernel leaves out a number whose maximum is 0."""
        return self.integer(type) or 0

    def nest(self, type: int) -> _Attributes | None:
        """None if it is not there."""
        span = self.spans.get(type)
        return None if span is None else _Attributes(self.buffer, span.start, span.end)

    def payload(self, type: int) -> bytes:
        """Empty if it is not there."""
        span = self.spans.get(type)
        return b"" if span is None else self.buffer[span.start : span.end]

    def all_nests(self, type: int, of: int) -> Iterator[_Attributes]:
        """The nests of a type that repeats, inside another one."""
        outer = self.spans.get(type)
        if outer is not None:
            for found in codec.attributes(self.buffer, outer.start, outer.end):
                if found.type == of:
                    yield _Attributes(self.buffer, found.start, found.end)


def linkmodes(dump: bytes, problems: list[str]) -> dict[int, Named[Link]]:
    """ETHTOOL_MSG_LINKMODES_GET: linkmodes_fill_reply() in linkmodes.c."""

    def link(message: _Attributes) -> Link:
        speed, duplex = message.integer(5), message.integer(6)
        return Link(
            None if speed in (None, 0, _SPEED_UNKNOWN) else speed,
            None if duplex is None else _DUPLEX.get(duplex),
        )

    return _each(dump, link, problems)


def features(
    dump: bytes, names: tuple[str, ...], problems: list[str]
) -> dict[int, Named[Features]]:
    """ETHTOOL_MSG_FEATURES_GET: features_fill_reply() in features.c.

    names: those of the running kernel, from feature_names().
    """

    def sets(message: _Attributes) -> Features:
        return Features(*[_feature_set(message.payload(type), names) for type in (2, 3, 4, 5)])

    return _each(dump, sets, problems)


def rings(dump: bytes, problems: list[str]) -> dict[int, Named[Rings]]:
    """ETHTOOL_MSG_RINGS_GET: rings_fill_reply() in rings.c."""
    return _each(dump, partial(_numbers, Rings, (6, 2, 9, 5)), problems)


def channels(dump: bytes, problems: list[str]) -> dict[int, Named[Channels]]:
    """ETHTOOL_MSG_CHANNELS_GET: channels_fill_reply() in channels.c."""
    return _each(dump, partial(_numbers, Channels, (6, 7, 8, 9, 2, 3, 4, 5)), problems)


def coalesce(dump: bytes, problems: list[str]) -> dict[int, Named[Coalesce]]:
    """ETHTOOL_MSG_COALESCE_GET: coalesce_fill_reply() in coalesce.c.

    The kernel leaves out what the driver does not support and is 0.
    """

    def fields(message: _Attributes) -> Coalesce:
        found: Coalesce = {}
        for type in message.spans:
            name = _COALESCE_NAMES.get(type)
            if name is not None:
                try:
                    found[name] = message.number(type)
                except ValueError as error:
                    problems.append(f"{message.device}, {name}: {error}")
        return found

    return _each(dump, fields, problems)


def pause(dump: bytes, problems: list[str]) -> dict[int, Named[Pause]]:
    """ETHTOOL_MSG_PAUSE_GET: pause_fill_reply() in pause.c."""

    def parameters(message: _Attributes) -> Pause:
        frames = message.nest(5)
        return Pause(
            bool(message.number(2)),
            bool(message.number(3)),
            bool(message.number(4)),
            frames.integer(3) if frames else None,
            frames.integer(2) if frames else None,
        )

    return _each(dump, parameters, problems)


def fec(dump: bytes, problems: list[str]) -> dict[int, Named[Fec]]:
    """ETHTOOL_MSG_FEC_GET: fec_fill_reply() in fec.c."""

    def state(message: _Attributes) -> Fec:
        modes = [_fec_mode(bit) for bit in _bits(message.payload(2))]
        if message.number(3):
            modes.append("auto")
        active = message.integer(4)
        counted = message.nest(5)
        return Fec(
            frozenset(modes),
            frozenset() if active is None else frozenset((_fec_mode(active),)),
            *[_total(counted.payload(type)) if counted else None for type in (2, 3, 4)],
        )

    return _each(dump, state, problems)


def feature_names(answer: bytes) -> tuple[str, ...]:
    """The name of each feature's bit: strset_fill_reply() in strset.c. Raises Malformed."""
    names: dict[int, str] = {}
    for message in codec.messages(answer):
        attributes = _Attributes(answer, message.start + _GENERIC_HEADER, message.end)
        for strings in attributes.all_nests(_STRSET_STRINGSETS, _STRINGSET):
            try:
                if strings.integer(_STRINGSET_ID) != _ETH_SS_FEATURES:
                    continue
                for string in strings.all_nests(_STRINGSET_STRINGS, _STRING):
                    index = string.integer(_STRING_INDEX)
                    if index is not None and index < _MAX_BITS:
                        names[index] = _string(string.payload(_STRING_VALUE))
            except ValueError as error:
                raise Malformed(f"names of features: {error}") from None
    if not names:
        raise Malformed("no names of features")
    return tuple([names.get(index, "") for index in range(max(names) + 1)])


def _each(
    dump: bytes, decode: Callable[[_Attributes], T], problems: list[str]
) -> dict[int, Named[T]]:
    """Every message of a dump: from which device it is, and what is in it."""
    found: dict[int, Named[T]] = {}
    end = 0
    for message in codec.messages(dump):
        end = message.end
        attributes = _Attributes(dump, message.start + _GENERIC_HEADER, message.end)
        try:
            header = attributes.nest(_HEADER)
            index = header.number(_DEV_INDEX) if header else 0
            if header is None or not index:
                problems.append("a message that does not say of which device")
                continue
            name = _string(header.payload(_DEV_NAME))
            attributes.device = f"device {name!r}"
            found[index] = Named(name, decode(attributes))
        except ValueError as error:
            problems.append(f"{attributes.device}: {error}")
    if end + 3 & ~3 < len(dump):
        problems.append(f"the last {len(dump) - end} of {len(dump)} bytes are no message")
    if problems and not found:
        raise Malformed(problems[0])
    return found


def _numbers(kind: Callable[..., T], types: tuple[int, ...], message: _Attributes) -> T:
    return kind(*[message.number(type) for type in types])


def _string(payload: bytes) -> str:
    return payload.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _bits(bitset: bytes) -> list[int]:
    """The bits that are set: ethnl_put_bitset32() in net/ethtool/bitset.c.

    A request asks for words of bits. A kernel may also list them one by one, with their names;
    then, unless the list is one of what is set, each says whether it is.
    """
    attributes = _Attributes(bitset, 0, len(bitset))
    if _BITS in attributes:
        listed = [
            (bit.number(_BIT_INDEX), _NOMASK in attributes or _BIT_VALUE in bit)
            for bit in attributes.all_nests(_BITS, _BIT)
        ]
        bits = [index for index, is_set in listed if is_set]
    else:
        value = attributes.payload(_VALUE)
        if not value or len(value) % 4:
            raise ValueError(f"a bitset of {len(value)} bytes")
        words = struct.unpack(f"={len(value) // 4}I", value)
        bits = [
            32 * position + bit
            for position, word in enumerate(words)
            for bit in range(word.bit_length())
            if word >> bit & 1
        ]
    return bits


@lru_cache(maxsize=512)
def _feature_set(bitset: bytes, names: tuple[str, ...]) -> frozenset[str]:
    """Devices of one driver have the same sets, and they hardly ever change."""
    found = [names[bit] for bit in _bits(bitset) if bit < len(names)]
    return frozenset(filter(None, found))


def _fec_mode(bit: int) -> str:
    return _FEC_MODES.get(bit) or f"link mode {bit}"


def _total(counted: bytes) -> int | None:
    """The first of some u64: the sum; those of the lanes follow (fec_stats_recalc())."""
    if not counted:
        return None
    if len(counted) % 8:
        raise ValueError(f"counters of {len(counted)} bytes")
    total: int = struct.unpack_from("=Q", counted)[0]
    return total
