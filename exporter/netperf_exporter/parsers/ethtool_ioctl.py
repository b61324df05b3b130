"""Answers of the ethtool ioctl: the structures of include/uapi/linux/ethtool.h.

What kernels before v5.6 say of devices, and the statistics of drivers, which no netlink message
has. The structures begin with the command, which is not looked at: some drivers clear all before
they fill it in (bnxt_get_coalesce() in drivers/net/ethernet/broadcom/bnxt/bnxt_ethtool.c).
"""

from __future__ import annotations

import struct
from functools import lru_cache

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.nic import (
    COALESCE_FIELDS,
    Channels,
    Coalesce,
    DriverInfo,
    Features,
    Fec,
    Link,
    Pause,
    Rings,
)

_STRING = 32  # ETH_GSTRING_LEN
_DRVINFO = struct.Struct("=4x32s32s32s32s64x")
_RINGPARAM = struct.Struct("=4x8I")  # maxima of rx, mini, jumbo, tx; then what is set
_CHANNELS = struct.Struct("=4x8I")  # maxima of rx, tx, other, combined; then the counts
_COALESCE = struct.Struct(f"=4x{len(COALESCE_FIELDS)}I")
_PAUSEPARAM = struct.Struct("=4x3I")
_FECPARAM = struct.Struct("=4xII4x")
_LINK_SETTINGS = struct.Struct("=4xIB6xb32x")  # speed, duplex, link_mode_masks_nwords; then bitmaps
_GFEATURES = struct.Struct("=4xI")
_FEATURES_BLOCK = struct.Struct("=4I")  # available, requested, active, never_changed
_FEC = ("none", "auto", "off", "rs", "baser", "llrs")  # enum ethtool_fec_config_bits
_DUPLEX = {0: "half", 1: "full"}
_INT_MAX = 2**31 - 1


def driver_info(answer: bytes) -> DriverInfo:
    """Read the answer to ETHTOOL_GDRVINFO."""
    _check(answer, _DRVINFO, "ethtool_drvinfo")
    # Drivers of software devices say N/A (br_getinfo() in net/bridge/br_device.c, and others).
    return DriverInfo(
        *[text if text != "N/A" else "" for text in map(_text, _DRVINFO.unpack(answer))]
    )


def rings(answer: bytes) -> Rings:
    """Read the answer to ETHTOOL_GRINGPARAM."""
    _check(answer, _RINGPARAM, "ethtool_ringparam")
    rx_max, _, _, tx_max, rx, _, _, tx = _RINGPARAM.unpack(answer)
    return Rings(rx, rx_max, tx, tx_max)


def channels(answer: bytes) -> Channels:
    """Read the answer to ETHTOOL_GCHANNELS."""
    _check(answer, _CHANNELS, "ethtool_channels")
    fields = _CHANNELS.unpack(answer)
    return Channels(*fields[4:], *fields[:4])


def coalesce(answer: bytes) -> Coalesce:
    """Read the answer to ETHTOOL_GCOALESCE; what a driver does not support is 0 in it."""
    _check(answer, _COALESCE, "ethtool_coalesce")
    said = dict(zip(COALESCE_FIELDS, _COALESCE.unpack(answer), strict=True))
    # A driver may put any bit of its own flags there: bnxt_get_coalesce(). Over netlink it is 1.
    for field in ("use_adaptive_rx_coalesce", "use_adaptive_tx_coalesce"):
        said[field] = int(said[field] != 0)
    return said


def pause(answer: bytes) -> Pause:
    """Read the answer to ETHTOOL_GPAUSEPARAM."""
    _check(answer, _PAUSEPARAM, "ethtool_pauseparam")
    return Pause(*map(bool, _PAUSEPARAM.unpack(answer)))


def fec(answer: bytes) -> Fec:
    """Read the answer to ETHTOOL_GFECPARAM. A bit that has no name yet is called bitN."""
    _check(answer, _FECPARAM, "ethtool_fecparam")
    active, configured = _FECPARAM.unpack(answer)
    # What is in use is a mode. Some drivers say AUTO while there is no link (mlx5e_get_fecparam());
    # fec_prepare_data() in net/ethtool/fec.c tells nothing then, and OFF neither.
    return Fec(_fec_names(configured), _fec_names(active) - {"auto"})


def link(answer: bytes) -> Link:
    """Read the answer to ETHTOOL_GLINKSETTINGS, the one with bitmaps.

    Drivers say SPEED_UNKNOWN or 0 without a link; more than INT_MAX is no speed either
    (ethtool_validate_speed()).
    """
    if len(answer) < _LINK_SETTINGS.size:
        raise Malformed(f"ethtool_link_settings has {len(answer)} bytes")
    speed, duplex, words = _LINK_SETTINGS.unpack_from(answer)
    if words < 1 or len(answer) != _LINK_SETTINGS.size + 3 * 4 * words:
        raise Malformed(f"ethtool_link_settings has {len(answer)} bytes for {words} words")
    return Link(speed if 0 < speed <= _INT_MAX else None, _DUPLEX.get(duplex))


def features(answer: bytes, strings: bytes) -> Features:
    """Read the answer to ETHTOOL_GFEATURES.

    strings: the names of the bits, ETH_SS_FEATURES; a bit without a name is not in use.
    """
    names = _names(strings)
    blocks, odd = divmod(len(answer) - _GFEATURES.size, _FEATURES_BLOCK.size)
    if odd or blocks < 0:
        raise Malformed(f"ethtool_gfeatures has {len(answer)} bytes")
    # The kernel says how many blocks it has, and fills as many of these as there was room for.
    (filled,) = _GFEATURES.unpack_from(answer)
    if len(names) > 32 * min(filled, blocks):
        raise Malformed(f"{len(names)} features in {min(filled, blocks)} blocks")
    kinds = zip(*_FEATURES_BLOCK.iter_unpack(answer[_GFEATURES.size :]), strict=True)
    sets = [_set_names(words, names) for words in kinds]
    return Features(*sets) if sets else Features(*[frozenset[str]()] * 4)


def _set_names(words: tuple[int, ...], names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(
        [name for bit, name in enumerate(names) if name and words[bit // 32] >> bit % 32 & 1]
    )


def statistics(strings: bytes, values: bytes) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and values of ETHTOOL_GSTATS, in the driver's order.

    Names may repeat (vmxnet3), so that only their place says whose they are. The tuple of names
    is the same while the strings are.
    """
    names = _names(strings)
    if len(values) != 8 * len(names):
        raise Malformed(f"{len(values)} bytes of values for {len(names)} names")
    return names, struct.unpack(f"={len(names)}Q", values)


@lru_cache(maxsize=256)
def _names(strings: bytes) -> tuple[str, ...]:
    if len(strings) % _STRING:
        raise Malformed(f"{len(strings)} bytes of strings of {_STRING}")
    return tuple(
        [_text(strings[start : start + _STRING]) for start in range(0, len(strings), _STRING)]
    )


def _text(field: bytes) -> str:
    # Up to the NUL, or all of it: drivers that copy long names leave none. Firmware versions may
    # be any bytes an EEPROM had.
    return field.partition(b"\0")[0].strip().decode(errors="backslashreplace")


def _fec_names(bits: int) -> frozenset[str]:
    # ETHTOOL_FEC_NONE, the first, says that there is nothing to configure.
    set_bits = [bit for bit in range(1, 32) if bits >> bit & 1]
    return frozenset([_FEC[bit] if bit < len(_FEC) else f"bit{bit}" for bit in set_bits])


def _check(answer: bytes, layout: struct.Struct, name: str) -> None:
    if len(answer) != layout.size:
        raise Malformed(f"{name} has {len(answer)} bytes, not {layout.size}")
