"""Sources about network devices: rtnetlink, the netdev and ethtool families, and drivers."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.host import Host
from netperf_exporter.kernel.netlink import generic, requests
from netperf_exporter.kernel.udev import UNKNOWN, Hardware
from netperf_exporter.parsers import (
    Malformed,
    ethtool_ioctl,
    ethtool_netlink,
    links,
    netdev,
    nic,
)
from netperf_exporter.sources import reading
from netperf_exporter.sources.reading import ABSENT, KERNEL, Source

T = TypeVar("T")

ByIndex = Mapping[int, T]
"""What is known of devices, by their ifindex; those that cannot tell are not in it."""


class _LinksAsked(NamedTuple):
    messages: tuple[bytes, ...]
    shown: Callable[[str, str], bool]


@lru_cache(maxsize=8)
def _understood(asked: _LinksAsked) -> tuple[links.Links, tuple[str, ...]]:
    problems: list[str] = []
    return links.parse(asked.messages, asked.shown, problems), tuple(problems)


def _parse_links(asked: _LinksAsked, problems: list[str]) -> links.Links:
    found, said = _understood(asked)
    problems.extend(said)
    return found


def _ask_links(host: Host) -> _LinksAsked:
    return _LinksAsked(host.links(), host.shown)


def shown_links(host: Host) -> tuple[links.Link, ...]:
    """The devices that are exported one by one. May wait for rtnl."""
    return _understood(_ask_links(host))[0].shown


def _unchanged(host: Host, asked: _LinksAsked) -> set[int]:
    """The devices, by ifindex, of which the kernel has told nothing new since.

    A name is all that the ioctl and /sys go by. Of the others it may have been another device's
    meanwhile, even if they are now what they were.
    """
    now = host.links()
    same = set(map(id, now))
    unchanged = set()
    for message in asked.messages:
        if id(message) in same:
            with suppress(Malformed):
                unchanged.add(links.parse_link(message).ifindex)
    return unchanged


def _kept(parse: Callable[[bytes, list[str]], T]) -> Callable[[bytes, list[str]], T]:
    """The same function for answers that hardly ever change: understood once."""

    @lru_cache(maxsize=4)
    def understood(answer: bytes) -> tuple[T, tuple[str, ...]]:
        problems: list[str] = []
        return parse(answer, problems), tuple(problems)

    def parse_once(answer: bytes, problems: list[str]) -> T:
        value, said = understood(answer)
        problems.extend(said)
        return value

    return parse_once


LINKS = Source[links.Links]("links", _ask_links, _parse_links)
"""The same object while no device changed."""

LINK_STATISTICS = Source[links.Statistics](
    "link_statistics",
    lambda host: host.dump(requests.LINK_STATS),
    lambda dump, _: links.parse_statistics(dump),
)

QUEUE_STATISTICS = Source[netdev.QueueStatistics](
    "qstats", lambda host: host.dump(requests.QSTATS), netdev.queue_statistics
)

QUEUE_NAPIS = Source[ByIndex[netdev.Queues]](
    "queue_napis",
    lambda host: host.settings(requests.QUEUES, shown_links(host)),
    _kept(netdev.queues),
)
"""Which queues there are, and who serves each. A change of channels is notified of by ethtool."""


# Settings: ethtool netlink tells of all devices at once, the ioctl of one after the other. A device
# that fails, or is on its way out, ends a dump for all (ethnl_default_dumpit() in
# net/ethtool/netlink.c), so then, too, each is asked by itself.


class _OneByOne(NamedTuple):
    answers: tuple[tuple[int, bytes], ...]
    problems: tuple[str, ...]


def _settings(
    name: str,
    ask_all: Callable[[Host], bytes],
    parse_all: Callable[[bytes, list[str]], Mapping[int, nic.Named[T]]],
    ask_one: Callable[[Host, str], bytes],
    parse_one: Callable[[bytes], T],
    lane: str = KERNEL,
) -> Source[ByIndex[T]]:
    def read(host: Host) -> bytes | _OneByOne:
        try:
            return ask_all(host)
        except OSError:
            one_by_one = _each(host, ask_one)
            if not one_by_one.answers:
                raise
            return one_by_one

    @lru_cache(maxsize=4)  # settings hardly ever change
    def understood(answer: bytes | _OneByOne) -> tuple[ByIndex[T], tuple[str, ...]]:
        problems: list[str] = []
        if isinstance(answer, _OneByOne):
            return {index: parse_one(said) for index, said in answer.answers}, answer.problems
        found = {index: named.value for index, named in parse_all(answer, problems).items()}
        return found, tuple(problems)

    def parse(answer: bytes | _OneByOne, problems: list[str]) -> ByIndex[T]:
        found, said = understood(answer)
        problems.extend(said)
        return found

    return Source[ByIndex[T]](name, read, parse, lane)


def _each(host: Host, ask: Callable[[Host, str], bytes]) -> _OneByOne:
    asked = _ask_links(host)
    answers: dict[int, bytes] = {}
    problems: list[str] = []
    for link in _understood(asked)[0].shown:
        try:
            answers[link.ifindex] = ask(host, link.kernel_name)
        except OSError as error:
            if error.errno not in ABSENT:
                problems.append(f"{link.name}: {error.strerror or error}")
    unchanged = _unchanged(host, asked)
    kept = [(i, said) for i, said in answers.items() if i in unchanged]
    return _OneByOne(tuple(kept), tuple(problems))


def _by_command(command: ethtool.Command) -> Callable[[Host, str], bytes]:
    return lambda host, device: host.ethtool(device, command)


def _by_dump(request: generic.Request) -> Callable[[Host], bytes]:
    return lambda host: host.settings(request, shown_links(host))


RINGS = _settings(
    "rings",
    _by_dump(requests.RINGS),
    ethtool_netlink.rings,
    _by_command(ethtool.GRINGPARAM),
    ethtool_ioctl.rings,
)

CHANNELS = _settings(
    "channels",
    _by_dump(requests.CHANNELS),
    ethtool_netlink.channels,
    _by_command(ethtool.GCHANNELS),
    ethtool_ioctl.channels,
)

COALESCE = _settings(
    "coalesce",
    _by_dump(requests.COALESCE),
    ethtool_netlink.coalesce,
    _by_command(ethtool.GCOALESCE),
    ethtool_ioctl.coalesce,
)

# What follows asks the firmware, on some devices.

LINK_SPEEDS = _settings(
    "link_modes",
    _by_dump(requests.LINKMODES),
    ethtool_netlink.linkmodes,
    lambda host, device: host.link_settings(device),
    ethtool_ioctl.link,
    reading.DRIVERS,
)

PAUSE = _settings(
    "pause",
    lambda host: host.dump(requests.PAUSE),
    ethtool_netlink.pause,
    _by_command(ethtool.GPAUSEPARAM),
    ethtool_ioctl.pause,
    reading.DRIVERS,
)

FEC = _settings(
    "fec",
    lambda host: host.dump(requests.FEC),
    ethtool_netlink.fec,
    _by_command(ethtool.GFECPARAM),
    ethtool_ioctl.fec,
    reading.DRIVERS,
)


# Features: bits, and names that are the same for every device of a kernel.


class _FeatureBits(NamedTuple):
    names: bytes
    dump: bytes


class _FeatureAnswers(NamedTuple):
    names: bytes
    one_by_one: _OneByOne


# The names of the bits, by host, as each way of asking gives them.
_feature_names: WeakKeyDictionary[Host, bytes] = WeakKeyDictionary()
_feature_strings: WeakKeyDictionary[Host, bytes] = WeakKeyDictionary()


def _read_features(host: Host) -> _FeatureBits | _FeatureAnswers:
    try:
        dump = host.settings(requests.FEATURES, shown_links(host))
        if host not in _feature_names:
            _feature_names[host] = host.ask(requests.FEATURE_NAMES)
        return _FeatureBits(_feature_names[host], dump)
    except OSError:
        one_by_one = _each(host, _by_command(ethtool.GFEATURES))
        if not one_by_one.answers:
            raise
        if host not in _feature_strings:
            _feature_strings[host] = _ask_feature_strings(host)
        return _FeatureAnswers(_feature_strings[host], one_by_one)


def _ask_feature_strings(host: Host) -> bytes:
    """Any device will do, but the first may just have gone."""
    strings = _each(host, lambda host, device: host.feature_strings(device))
    if not strings.answers:
        raise OSError(errno.EAGAIN, "no device could say what its features are called")
    return strings.answers[0][1]


@lru_cache(maxsize=4)
def _understood_features(
    asked: _FeatureBits | _FeatureAnswers,
) -> tuple[ByIndex[nic.Features], tuple[str, ...]]:
    problems: list[str] = []
    if isinstance(asked, _FeatureAnswers):
        parse = ethtool_ioctl.features
        answers, said_of_some = asked.one_by_one
        return {index: parse(said, asked.names) for index, said in answers}, said_of_some
    names = ethtool_netlink.feature_names(asked.names)
    found = ethtool_netlink.features(asked.dump, names, problems)
    return {index: named.value for index, named in found.items()}, tuple(problems)


def _parse_features(
    asked: _FeatureBits | _FeatureAnswers, problems: list[str]
) -> ByIndex[nic.Features]:
    found, said = _understood_features(asked)
    problems.extend(said)
    return found


FEATURES = Source[ByIndex[nic.Features]]("features", _read_features, _parse_features)


# Drivers.


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
    asked = _ask_links(host)
    known: dict[int, _Known] = {}
    new: dict[int, _Known] = {}
    problems: list[str] = []
    for link in _understood(asked)[0].shown:
        if link.ifindex in before and before[link.ifindex].link == link:
            known[link.ifindex] = before[link.ifindex]
            continue
        try:
            new[link.ifindex] = _Known(link, _ask_driver(host, link))
        except OSError as error:
            problems.append(f"{link.name}: {error.strerror or error}")
    unchanged = _unchanged(host, asked) if new else set()
    known |= {index: said for index, said in new.items() if index in unchanged}
    _known_drivers[host] = known
    every = dict(known)
    for index in new.keys() - unchanged:
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
