"""What one device says, as the Readings of a scrape that sees no other device."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

from netperf_exporter.collectors import nic, queues
from netperf_exporter.kernel.ethtool import Statistics
from netperf_exporter.kernel.host import LiveHost
from netperf_exporter.kernel.udev import UNKNOWN
from netperf_exporter.parsers import Malformed, ethtool_statistics
from netperf_exporter.parsers.links import Link, Links
from netperf_exporter.parsers.nic import DriverInfo
from netperf_exporter.queues import QUEUES
from netperf_exporter.sources import (
    DRIVER_STATISTICS,
    DRIVERS,
    LINKS,
    SOURCES,
    Absent,
    Derived,
    Driver,
    Outcome,
    Readings,
    Source,
    Value,
    read,
)

COLLECTORS = (nic, queues)
"""Those that export what drivers say, in the order in which a scrape asks them."""

_NEEDED = {
    source
    for collector in COLLECTORS
    for need in collector.NEEDS
    for source in (need.needs if isinstance(need, Derived) else (need,))
}
_TITLE = "NIC statistics:"
_CELL = 32  # ETH_GSTRING_LEN
_IFINDEX = 1

Outcomes = dict[Source[Any] | Derived[Any], Outcome]


def live(device: str, driver: str | None = None) -> Readings | None:
    """Ask this host's kernel, or None if it has no such device.

    driver: whose statistics they are taken to be, whatever the kernel says.
    """
    host = LiveHost(shown=lambda name, _kind: name == device)
    outcomes: Outcomes = {LINKS: read(LINKS, host)}
    shown = Readings(outcomes)[LINKS].shown
    if not shown:
        return None
    outcomes |= {source: read(source, host) for source in SOURCES if source in _NEEDED - {LINKS}}
    if driver is not None:
        (link,) = shown
        said = (Readings(outcomes).get(DRIVERS) or {}).get(link.ifindex)
        known = said or _driver(driver, {})
        outcomes[DRIVERS] = _value({link.ifindex: known._replace(name=driver)})
    return _derived(outcomes)


def listed(text: str, device: str, driver: str | None = None) -> Readings:
    """Read what ``ethtool -S`` printed of a device, perhaps after what ``ethtool -i`` did.

    device: the name it is given. driver: goes before what the text says. Raises Malformed.
    """
    # A terminal or a mail may have put blank lines at the end, and other line ends.
    lines = text.replace("\r\n", "\n").rstrip("\n ").split("\n")
    head = lines.index(_TITLE) if _TITLE in lines else 0
    said = dict([_printable(line).partition(": ")[::2] for line in lines[:head]])
    name = driver or said.get("driver", "")
    link = Link(
        ifindex=_IFINDEX,
        name=_printable(device),
        kernel_name=device,
        kind="",
        operstate="unknown",
        mtu=0,
        master=0,
        lower=0,
        carrier_changes=0,
        enabled=True,
        up=True,
    )
    outcomes: Outcomes = dict.fromkeys(_NEEDED, Absent("not in this text", 0.0))
    outcomes[LINKS] = _value(Links((link,), {}, {_IFINDEX: link}))
    outcomes[DRIVER_STATISTICS] = _value({_IFINDEX: _statistics(lines[head:], head)})
    if name:
        outcomes[DRIVERS] = _value({_IFINDEX: _driver(name, said)})
    return _derived(outcomes)


def _driver(name: str, said: Mapping[str, str]) -> Driver:
    """said: what ``ethtool -i`` printed, by the words before the colons."""
    words = [said.get(key, "") for key in ("version", "firmware-version", "bus-info")]
    return Driver(name, DriverInfo(name, *words), numa_node="", hardware=UNKNOWN)


def _statistics(lines: list[str], before: int) -> Statistics:
    """The answer of a kernel to which ``ethtool -S`` would have printed these lines."""
    try:
        names, values = ethtool_statistics.text("\n".join(lines))
    except Malformed as error:
        raise Malformed(
            re.sub(r"^line (\d+)", lambda number: f"line {int(number[1]) + before}", str(error))
        ) from None
    cells = [name.encode("utf-8", "surrogateescape") for name in names]
    for number, cell in enumerate(cells, before + 2):
        if len(cell) > _CELL:
            raise Malformed(f"line {number} has a name of more than {_CELL} bytes")
    strings = b"".join([cell.ljust(_CELL, b"\0") for cell in cells])
    return Statistics(strings, struct.pack(f"={len(values)}Q", *values))


def _printable(text: str) -> str:
    """For labels, which are UTF-8: bytes that were none are written as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _derived(outcomes: Outcomes) -> Readings:
    queues = QUEUES.advance(QUEUES.start, Readings(outcomes))
    return Readings({**outcomes, QUEUES: _value(queues)})


def _value(value: object) -> Value:
    return Value(value, (), 0.0)
