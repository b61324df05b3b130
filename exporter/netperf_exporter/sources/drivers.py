"""Sources about the drivers of network devices, and what these count by themselves."""

from __future__ import annotations

import errno
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.host import Host
from netperf_exporter.kernel.udev import UNKNOWN, Hardware
from netperf_exporter.parsers import ethtool_ioctl, links, nic
from netperf_exporter.sources import reading
from netperf_exporter.sources.devices import ByIndex, ask_links, shown_links, unchanged, understood
from netperf_exporter.sources.reading import ABSENT, Source


class Driver(NamedTuple):
    """Who serves a device.

    name: of the driver as sysfs knows it, or, of a device without hardware, as it calls itself.
    numa_node: where the hardware is attached; "" if that is nowhere or not known.
    """

    name: str
    info: nic.DriverInfo
    numa_node: str
    hardware: Hardware


class _DriverAnswer(NamedTuple):
    info: bytes
    sysfs_driver: str = ""
    numa_node: bytes = b""
    hardware: Hardware = UNKNOWN


class _Known(NamedTuple):
    link: links.Link
    answer: _DriverAnswer | None


# By host and index: what was said while the device was as it is. A flap may be a new firmware.
_known_drivers: WeakKeyDictionary[Host, dict[int, _Known]] = WeakKeyDictionary()


class _DriverAnswers(NamedTuple):
    answers: tuple[tuple[int, _DriverAnswer], ...]
    problems: tuple[str, ...]


def _read_drivers(host: Host) -> _DriverAnswers:
    before = _known_drivers.get(host, {})
    asked = ask_links(host)
    known: dict[int, _Known] = {}
    new: dict[int, _Known] = {}
    problems: list[str] = []
    for link in understood(asked)[0].shown:
        if link.ifindex in before and before[link.ifindex].link == link:
            known[link.ifindex] = before[link.ifindex]
            continue
        try:
            new[link.ifindex] = _Known(link, _ask_driver(host, link))
        except OSError as error:
            problems.append(f"{link.name}: {error.strerror or error}")
    same = unchanged(host, asked) if new else set()
    known |= {index: said for index, said in new.items() if index in same}
    _known_drivers[host] = known
    every = dict(known)
    for index in new.keys() - same:
        # In another state it still has the driver that it had.
        if index in before and before[index].link.name == new[index].link.name:
            every[index] = before[index]
    answers = [(i, said.answer) for i, said in every.items() if said.answer is not None]
    return _DriverAnswers(tuple(answers), tuple(problems))


def _ask_driver(host: Host, link: links.Link) -> _DriverAnswer | None:
    """None if it does not tell, or if it went away meanwhile."""
    folder = f"class/net/{link.kernel_name}"
    try:
        info = host.ethtool(link.kernel_name, ethtool.GDRVINFO)
        if not _is_in_sysfs(host, folder, link.ifindex):
            return _DriverAnswer(info)
        where = host.sys_resolved(f"{folder}/device")
        driver = host.sys_resolved(f"{folder}/device/driver").rpartition("/")[2]
        if driver == "driver":
            return _DriverAnswer(info)  # no hardware
        hardware = host.hardware(link.kernel_name, link.ifindex)
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        return None
    return _DriverAnswer(info, driver, _numa_node(host, where), hardware)


def _is_in_sysfs(host: Host, folder: str, ifindex: int) -> bool:
    """Not if /sys is of another namespace, or if there is none."""
    try:
        return int(host.sys_once(f"{folder}/ifindex")) == ifindex
    except (OSError, ValueError):
        return False


def _numa_node(host: Host, where: str) -> bytes:
    """The node of the nearest device above that has one: of virtio0 that is the PCI function."""
    while "/" in where:
        try:
            return host.sys_once(f"{where}/numa_node")
        except OSError:
            where = where.rpartition("/")[0]
    return b""


def _parse_drivers(asked: _DriverAnswers, problems: list[str]) -> ByIndex[Driver]:
    problems += asked.problems
    return {index: _driver(answer) for index, answer in asked.answers}


@lru_cache(maxsize=1024)
def _driver(answer: _DriverAnswer) -> Driver:
    info = ethtool_ioctl.driver_info(answer.info)
    node = answer.numa_node.strip().decode("ascii", "replace")
    name = answer.sysfs_driver or info.driver
    return Driver(name, info, node if node.isdecimal() else "", answer.hardware)


DRIVERS = Source[ByIndex[Driver]]("drivers", _read_drivers, _parse_drivers, reading.DRIVERS)
"""GDRVINFO, and /sys/class/net/*/device."""


# The statistics of drivers (ethtool -S).


class _StatisticsAnswer(NamedTuple):
    ifindex: int
    device: str
    answer: ethtool.Statistics | str  # or what went wrong


_LISTING = 0
# By host: the devices that are being asked; _LISTING while it is not known which there are.
_being_asked: WeakKeyDictionary[Host, set[int]] = WeakKeyDictionary()


def _read_statistics(host: Host) -> tuple[_StatisticsAnswer, ...]:
    """Ask each driver. One that does not answer is passed over until it does."""
    busy = _being_asked.setdefault(host, set())
    if _LISTING in busy:
        raise OSError(errno.ETIMEDOUT, "the devices are still being listed")
    busy.add(_LISTING)
    try:
        shown = shown_links(host)
    finally:
        busy.discard(_LISTING)
    answers = []
    for link in shown:
        # A device that is down is left alone: asking would wake its hardware.
        if not link.enabled:
            continue
        if link.ifindex in busy:
            answers.append(_StatisticsAnswer(link.ifindex, link.name, "no answer from its driver"))
            continue
        busy.add(link.ifindex)
        try:
            said = host.statistics(link.kernel_name, link.ifindex)
        except OSError as error:
            if error.errno not in ABSENT:
                why = f"{error.strerror or error}"
                answers.append(_StatisticsAnswer(link.ifindex, link.name, why))
        else:
            answers.append(_StatisticsAnswer(link.ifindex, link.name, said))
        finally:
            busy.discard(link.ifindex)
    return tuple(answers)


RawStatistics = ByIndex[ethtool.Statistics]


def _parse_statistics(answers: tuple[_StatisticsAnswer, ...], problems: list[str]) -> RawStatistics:
    problems += [f"{a.device}: {a.answer}" for a in answers if isinstance(a.answer, str)]
    return {a.ifindex: a.answer for a in answers if not isinstance(a.answer, str)}


DRIVER_STATISTICS = Source[RawStatistics](
    "driver_statistics", _read_statistics, _parse_statistics, reading.DRIVERS, overlapping=True
)
