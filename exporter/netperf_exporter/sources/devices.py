"""Sources about network devices and their queues: rtnetlink, and the family netdev."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple, TypeVar

from netperf_exporter.kernel.host import Host
from netperf_exporter.kernel.netlink import requests
from netperf_exporter.parsers import Malformed, links, netdev
from netperf_exporter.sources.reading import Source

T = TypeVar("T")

ByIndex = Mapping[int, T]
"""What is known of devices, by their ifindex; those that cannot tell are not in it."""


class LinksAsked(NamedTuple):
    """What the kernel says of devices, and which of them are wanted."""

    messages: tuple[bytes, ...]
    shown: Callable[[str, str], bool]


@lru_cache(maxsize=8)
def understood(asked: LinksAsked) -> tuple[links.Links, tuple[str, ...]]:
    """The devices, and what is wrong with any of them."""
    problems: list[str] = []
    return links.parse(asked.messages, asked.shown, problems), tuple(problems)


def _parse_links(asked: LinksAsked, problems: list[str]) -> links.Links:
    found, said = understood(asked)
    problems.extend(said)
    return found


def ask_links(host: Host) -> LinksAsked:
    """The devices as they are now. May wait for rtnl."""
    return LinksAsked(host.links(), host.shown)


def shown_links(host: Host) -> tuple[links.Link, ...]:
    """The devices that are exported one by one. May wait for rtnl."""
    return understood(ask_links(host))[0].shown


def unchanged(host: Host, asked: LinksAsked) -> set[int]:
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


def kept(parse: Callable[[bytes, list[str]], T]) -> Callable[[bytes, list[str]], T]:
    """The same function for answers that hardly ever change: understood once."""

    @lru_cache(maxsize=4)
    def parsed(answer: bytes) -> tuple[T, tuple[str, ...]]:
        problems: list[str] = []
        return parse(answer, problems), tuple(problems)

    def parse_once(answer: bytes, problems: list[str]) -> T:
        value, said = parsed(answer)
        problems.extend(said)
        return value

    return parse_once


LINKS = Source[links.Links]("links", ask_links, _parse_links)
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
    kept(netdev.queues),
)
"""Which queues there are, and who serves each. A change of channels is notified of by ethtool."""
