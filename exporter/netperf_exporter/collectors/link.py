"""link: what the kernel counts for each network device, and in which state the device is.

Devices that only carry on what another one counts (ends of containers, tunnels) are summed by
kind: see --device.include.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from netperf_exporter.collectors import rows
from netperf_exporter.metric import Block, Family, counter, gauge, info
from netperf_exporter.parsers import nic
from netperf_exporter.parsers.links import STATISTICS, Link, Links, Statistics
from netperf_exporter.rollups import ROLLED_UP
from netperf_exporter.sources import (
    DRIVERS,
    LINK_SPEEDS,
    LINK_STATISTICS,
    LINKS,
    ByIndex,
    Driver,
    Readings,
)
from netperf_exporter.sums import Sums

_BYTES_OF_A_MEGABIT = 10**6 // 8

NEEDS = (LINKS, LINK_STATISTICS, ROLLED_UP, DRIVERS, LINK_SPEEDS)


def _of_stats(field: str, name: str, help: str, unit: str = "") -> tuple[int, Family]:
    family = counter(
        f"interface_{name}", f"{help} (rtnl_link_stats64.{field})", "device", unit=unit
    )
    return STATISTICS.index(field), family


FIELDS = dict(
    [
        _of_stats("rx_packets", "receive_packets", "Packets that the driver handed to the stack."),
        _of_stats("tx_packets", "transmit_packets", "Packets that the device took for sending."),
        _of_stats("rx_bytes", "receive_bytes", "Bytes of those packets.", "bytes"),
        _of_stats("tx_bytes", "transmit_bytes", "Bytes of those packets.", "bytes"),
        _of_stats(
            "rx_errors",
            "receive_errors",
            "Bad packets that were received. Contains crc, frame, length, over and, with most "
            "drivers, fifo errors.",
        ),
        _of_stats(
            "tx_errors",
            "transmit_errors",
            "Packets that could not be sent. Contains carrier, aborted, fifo, heartbeat and window "
            "errors.",
        ),
        _of_stats(
            "rx_dropped",
            "receive_dropped",
            "Received packets that were dropped: by the driver for want of memory, and by the core "
            "because the CPU's backlog was full (softnet_dropped counts these too) or because "
            "nobody handles their protocol, which is no loss. Not those that the hardware missed. "
            "(dev_get_stats() in net/core/dev.c)",
        ),
        _of_stats(
            "tx_dropped",
            "transmit_dropped",
            "Packets that the driver did not send for want of room. Not what a qdisc drops.",
        ),
        _of_stats(
            "rx_missed_errors",
            "receive_missed",
            "Packets that the hardware lost because the host was not ready for them: no descriptor "
            "in the ring, or no room in the device; which of these depends on the driver.",
        ),
        _of_stats(
            "rx_nohandler",
            "receive_nohandler",
            "Packets dropped because the device is an inactive member of a bond or team. No loss.",
        ),
        _of_stats(
            "rx_otherhost_dropped",
            "receive_otherhost_dropped",
            "Packets dropped because their MAC address is another host's (promiscuous mode, a "
            "switch that floods). No loss.",
        ),
        _of_stats("rx_crc_errors", "receive_crc_errors", "Packets with a wrong checksum."),
        _of_stats("rx_frame_errors", "receive_frame_errors", "Packets with a frame misaligned."),
        _of_stats("rx_length_errors", "receive_length_errors", "Packets of an invalid length."),
        _of_stats("rx_over_errors", "receive_over_errors", "Packets that overran the receiver."),
        _of_stats(
            "rx_fifo_errors",
            "receive_fifo_errors",
            "Packets that overran the device's FIFO. Some drivers repeat missed packets here.",
        ),
        _of_stats(
            "tx_carrier_errors", "transmit_carrier_errors", "Packets lost for want of a carrier."
        ),
        _of_stats(
            "tx_aborted_errors", "transmit_aborted_errors", "Packets given up after collisions."
        ),
        _of_stats("tx_fifo_errors", "transmit_fifo_errors", "Packets cut by a FIFO underrun."),
        _of_stats(
            "tx_heartbeat_errors", "transmit_heartbeat_errors", "Heartbeats that were not seen."
        ),
        _of_stats("tx_window_errors", "transmit_window_errors", "Collisions that came too late."),
    ]
)
"""By position in struct rtnl_link_stats64, in the order of the output."""

UP = gauge(
    "interface_up",
    "1 if packets can pass: the device is up and its operational state (RFC 2863) does not forbid "
    "it. (IFF_UP and IFF_RUNNING; dev_get_flags() in net/core/dev.c)",
    "device",
)
MTU = gauge(
    "interface_mtu_bytes",
    "The longest packet that the device takes, without the link header. (IFLA_MTU)",
    "device",
    unit="bytes",
)
CARRIER_CHANGES = counter(
    "interface_carrier_changes",
    "Times the carrier came or went. (IFLA_CARRIER_CHANGES; netif_carrier_on() and "
    "netif_carrier_off() in net/sched/sch_generic.c)",
    "device",
)
SPEED = gauge(
    "interface_speed_bytes",
    "Bytes per second that the link can carry in each direction. No sample while there is no link "
    "or the driver does not know. (ETHTOOL_A_LINKMODES_SPEED)",
    "device",
    unit="bytes",
)
INFO = info(
    "interface",
    "What a device is: its driver and where that found it, the NUMA node of the hardware, its "
    "operational state, the device it is a member of, and the kind of a software device. "
    "(ETHTOOL_GDRVINFO, /sys/class/net/*/device, IFLA_OPERSTATE, IFLA_MASTER, IFLA_INFO_KIND)",
    "device",
    "driver",
    "bus_info",
    "numa_node",
    "operstate",
    "master",
    "kind",
)
LOWER = info(
    "interface_lower",
    "A device that another one stands on: the one below a VLAN, macvlan or tunnel, or a member of "
    "a bond or bridge. What the upper one counts, the lower one has counted as well: add up one "
    "of them. (IFLA_LINK, IFLA_MASTER)",
    "device",
    "lower",
)


def _rolled_up(name: str, what: str, field: str, unit: str = "") -> Family:
    return counter(
        f"interfaces_{name}",
        f"{what} of all devices of a kind that are not exported one by one, since the exporter "
        f"first saw each; what a device that went had added stays. (rtnl_link_stats64.{field})",
        "kind",
        unit=unit,
    )


ROLLED_UP_FIELDS = (
    _rolled_up("receive_packets", "Packets received", "rx_packets"),
    _rolled_up("transmit_packets", "Packets sent", "tx_packets"),
    _rolled_up("receive_bytes", "Bytes received", "rx_bytes", "bytes"),
    _rolled_up("transmit_bytes", "Bytes sent", "tx_bytes", "bytes"),
    _rolled_up("receive_errors", "Receive errors", "rx_errors"),
    _rolled_up("transmit_errors", "Transmit errors", "tx_errors"),
    _rolled_up("receive_dropped", "Received packets dropped", "rx_dropped"),
    _rolled_up("transmit_dropped", "Packets not sent", "tx_dropped"),
)
"""In the order of rollups.FIELDS."""

ROLLED_UP_COUNT = gauge(
    "interfaces",
    "Devices of a kind that are not exported one by one. (IFLA_INFO_KIND)",
    "kind",
)

FAMILIES = (
    *FIELDS.values(),
    UP,
    MTU,
    CARRIER_CHANGES,
    SPEED,
    INFO,
    LOWER,
    *ROLLED_UP_FIELDS,
    ROLLED_UP_COUNT,
)


def collect(readings: Readings) -> Iterator[Block]:
    """Every device that is shown, and the sums of the others."""
    links = readings[LINKS]
    yield from _counters(links.shown, readings[LINK_STATISTICS])
    yield from _states(links.shown)
    speeds = readings.spare(LINK_SPEEDS)
    if speeds is not None:
        yield from _speeds(links.shown, speeds)
    drivers = readings.spare(DRIVERS)
    if drivers is not None and links.shown:
        yield Block((INFO,), tuple(_info_rows(links, drivers)), (1,) * len(links.shown))
    lower = tuple(_lower_rows(links))
    if lower:
        yield Block((LOWER,), lower, (1,) * len(lower))
    yield from _of_kinds(links, readings[ROLLED_UP])


def _counters(shown: tuple[Link, ...], statistics: Statistics) -> Iterator[Block]:
    # A device that came or went between the two dumps has no counters in this scrape.
    counted = tuple([link for link in shown if link.ifindex in statistics])
    columns = list(zip(*[statistics[link.ifindex] for link in counted], strict=True))
    fields = tuple([field for field in FIELDS if field < len(columns)])
    values = [value for field in fields for value in columns[field]]
    if values:
        yield Block(_families(fields), rows.of_links(counted), values)


@lru_cache(maxsize=4)
def _families(fields: tuple[int, ...]) -> tuple[Family, ...]:
    return tuple([FIELDS[field] for field in fields])


def _states(shown: tuple[Link, ...]) -> Iterator[Block]:
    if shown:
        values = [figure for link in shown for figure in (link.up, link.mtu, link.carrier_changes)]
        columns = [int(value) for first in range(3) for value in values[first::3]]
        yield Block((UP, MTU, CARRIER_CHANGES), rows.of_links(shown), columns)


def _speeds(shown: tuple[Link, ...], speeds: ByIndex[nic.Link]) -> Iterator[Block]:
    known = {
        link: speed.speed
        for link in shown
        if (speed := speeds.get(link.ifindex)) is not None and speed.speed is not None
    }
    if known:
        values = [megabits * _BYTES_OF_A_MEGABIT for megabits in known.values()]
        yield Block((SPEED,), rows.of_links(tuple(known)), values)


def _info_rows(links: Links, drivers: ByIndex[Driver]) -> Iterator[tuple[str, ...]]:
    for link in links.shown:
        driver = drivers.get(link.ifindex)
        said = (driver.name, driver.info.bus_info, driver.numa_node) if driver else ("", "", "")
        master = links.by_index.get(link.master)
        yield (link.name, *said, link.operstate, master.name if master else "", link.kind)


def _lower_rows(links: Links) -> Iterator[tuple[str, str]]:
    for link in links.shown:
        if link.lower in links.by_index and link.lower != link.ifindex:
            yield (link.name, links.by_index[link.lower].name)
    for link in links.shown:
        if link.master in links.by_index:
            yield (links.by_index[link.master].name, link.name)


def _of_kinds(links: Links, sums: Sums[str]) -> Iterator[Block]:
    kinds = tuple([kind for kind in sorted(sums) if sums[kind].total])
    if kinds:
        columns = zip(*[sums[kind].total for kind in kinds], strict=True)
        values = [value for column in columns for value in column]
        yield Block(ROLLED_UP_FIELDS, rows.of_words(kinds), values)
        count = [len(links.rolled_up.get(kind, ())) for kind in kinds]
        yield Block((ROLLED_UP_COUNT,), rows.of_words(kinds), count)
