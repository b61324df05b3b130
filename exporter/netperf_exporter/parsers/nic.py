"""What a network device says of itself through ethtool, whichever way it was asked.

parsers/ethtool_netlink.py and parsers/ethtool_ioctl.py both give these values, so that nothing
behind them can tell a kernel with ethtool netlink (v5.6 and later) from one without.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Named(NamedTuple, Generic[T]):
    """What was said of a device, and the name it had then."""

    device: str
    value: T


class Rings(NamedTuple):
    """Descriptors per ring, and how many there can be: struct ethtool_ringparam.

    0 for a kind of ring that the device has not.
    """

    rx: int
    rx_max: int
    tx: int
    tx_max: int


class Channels(NamedTuple):
    """Channels of each type in use, and how many there can be: struct ethtool_channels.

    0 for a type that the device has not.
    """

    rx: int
    tx: int
    other: int
    combined: int
    max_rx: int
    max_tx: int
    max_other: int
    max_combined: int


class Pause(NamedTuple):
    """Flow control: struct ethtool_pauseparam, and struct ethtool_pause_stats.

    rx_frames, tx_frames: None where the driver does not count them, or the way of asking does
        not tell.
    """

    autoneg: bool
    rx: bool
    tx: bool
    rx_frames: int | None = None
    tx_frames: int | None = None


class Fec(NamedTuple):
    """Forward error correction: struct ethtool_fecparam, and struct ethtool_fec_stats.

    modes: what is configured: ``auto``, ``off``, ``rs``, ``baser``, ``llrs`` (ETHTOOL_FEC_… in
        lower case). ETHTOOL_FEC_NONE, "cannot be configured", is the empty set.
    active: what is in use, in the same words. Empty while there is no link.
    corrected, uncorrectable: blocks. None where the driver does not count them, or the way of
        asking does not tell; so are the bits.
    """

    modes: frozenset[str]
    active: frozenset[str]
    corrected: int | None = None
    uncorrectable: int | None = None
    corrected_bits: int | None = None


class Features(NamedTuple):
    """Names of features: the bitsets of features_fill_reply() in net/ethtool/features.c.

    In parentheses: how struct ethtool_get_features_block calls them.

    hw: those that can be changed (``available``).
    wanted: those that somebody asked for (``requested``).
    active: those in use.
    nochange: those that nobody can change on any device (``never_changed``).
    """

    hw: frozenset[str]
    wanted: frozenset[str]
    active: frozenset[str]
    nochange: frozenset[str]


class Link(NamedTuple):
    """How fast the link is: struct ethtool_link_settings.

    speed: Mb/s. None where it is not known (SPEED_UNKNOWN), and where it is 0, as some drivers
        say while there is no link.
    duplex: ``half``, ``full`` or None where it is not known.
    """

    speed: int | None
    duplex: str | None


class DriverInfo(NamedTuple):
    """Which driver serves a device: struct ethtool_drvinfo."""

    driver: str
    version: str
    firmware_version: str
    bus_info: str


COALESCE_FIELDS = (
    "rx_coalesce_usecs",
    "rx_max_coalesced_frames",
    "rx_coalesce_usecs_irq",
    "rx_max_coalesced_frames_irq",
    "tx_coalesce_usecs",
    "tx_max_coalesced_frames",
    "tx_coalesce_usecs_irq",
    "tx_max_coalesced_frames_irq",
    "stats_block_coalesce_usecs",
    "use_adaptive_rx_coalesce",
    "use_adaptive_tx_coalesce",
    "pkt_rate_low",
    "rx_coalesce_usecs_low",
    "rx_max_coalesced_frames_low",
    "tx_coalesce_usecs_low",
    "tx_max_coalesced_frames_low",
    "pkt_rate_high",
    "rx_coalesce_usecs_high",
    "rx_max_coalesced_frames_high",
    "tx_coalesce_usecs_high",
    "tx_max_coalesced_frames_high",
    "rate_sample_interval",
)
"""The fields of struct ethtool_coalesce after ``cmd``, in their order, which is also that of the
netlink attributes (net/ethtool/coalesce.c: __CHECK_SUPPORTED_OFFSET())."""

Coalesce = dict[str, int]
"""By the names above, and those of struct kernel_ethtool_coalesce. A field that is not there is
one that the driver does not support, as far as the way of asking can tell."""
