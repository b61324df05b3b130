"""Sources about the settings of network devices.

Ethtool netlink tells of all devices at once, the ioctl of one after the other. A device that fails,
or is on its way out, ends a dump for all (ethnl_default_dumpit() in net/ethtool/netlink.c), so
then, too, each is asked by itself.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.host import Host
from netperf_exporter.kernel.netlink import generic, requests
from netperf_exporter.parsers import Malformed, ethtool_ioctl, ethtool_netlink, nic, rss
from netperf_exporter.sources.devices import ByIndex, ask_links, shown_links, unchanged, understood
from netperf_exporter.sources.reading import ABSENT, DRIVERS, KERNEL, Source

T = TypeVar("T")


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
    remembered: bool = False,
) -> Source[ByIndex[T]]:
    """Where remembered, what devices say one by one is kept as long as a dump is."""

    def read(host: Host) -> bytes | _OneByOne:
        try:
            return ask_all(host)
        except OSError:
            if remembered:
                one_by_one = host.remembered(name, host.links(), lambda: _each(host, ask_one))
            else:
                one_by_one = _each(host, ask_one)
            if not one_by_one.answers:
                raise
            return one_by_one

    @lru_cache(maxsize=4)  # settings hardly ever change
    def parsed(answer: bytes | _OneByOne) -> tuple[ByIndex[T], tuple[str, ...]]:
        problems: list[str] = []
        if isinstance(answer, bytes):
            found = {index: named.value for index, named in parse_all(answer, problems).items()}
            return found, tuple(problems)
        problems += answer.problems
        found = {}
        for index, said in answer.answers:
            try:
                found[index] = parse_one(said)
            except Malformed as error:
                problems.append(f"device {index}: {error}")
        return found, tuple(problems)

    def parse(answer: bytes | _OneByOne, problems: list[str]) -> ByIndex[T]:
        found, said = parsed(answer)
        problems.extend(said)
        return found

    return Source[ByIndex[T]](name, read, parse, lane)


def _each(host: Host, ask: Callable[[Host, str], bytes]) -> _OneByOne:
    asked = ask_links(host)
    answers: dict[int, bytes] = {}
    problems: list[str] = []
    for link in understood(asked)[0].shown:
        try:
            answers[link.ifindex] = ask(host, link.kernel_name)
        except OSError as error:
            if error.errno not in ABSENT:
                problems.append(f"{link.name}: {error.strerror or error}")
    same = unchanged(host, asked)
    kept = [(i, said) for i, said in answers.items() if i in same]
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
    DRIVERS,
)

PAUSE = _settings(
    "pause",
    lambda host: host.dump(requests.PAUSE),
    ethtool_netlink.pause,
    _by_command(ethtool.GPAUSEPARAM),
    ethtool_ioctl.pause,
    DRIVERS,
)

FEC = _settings(
    "fec",
    lambda host: host.dump(requests.FEC),
    ethtool_netlink.fec,
    _by_command(ethtool.GFECPARAM),
    ethtool_ioctl.fec,
    DRIVERS,
)

RSS = _settings(
    "rss",
    _by_dump(requests.RSS),
    rss.tables,
    lambda host, device: host.indirection(device),
    rss.table,
    DRIVERS,
    remembered=True,
)
"""The indirection table of each device that has one; what ethtool -X changes is notified of by
the latest kernels only (ethtool_rss_notify() in net/ethtool/rss.c), so it may be a minute old."""


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
