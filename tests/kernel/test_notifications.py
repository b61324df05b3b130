"""Multicast groups of the real kernel: one test says something, the subscription hears it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.kernel.netlink.notifications import Subscription

USERSOCK = socket.NETLINK_USERSOCK  # what programs say to each other; the kernel says nothing in it
GROUP, OTHER_GROUP = 7, 8


@contextmanager
def subscribed(*groups: int) -> Iterator[Subscription]:
    try:
        made = Subscription(USERSOCK, groups)
    except PermissionError:  # netlink_allowed() in net/netlink/af_netlink.c wants CAP_NET_ADMIN
        pytest.skip("joining a group of NETLINK_USERSOCK needs CAP_NET_ADMIN")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK) as made:
        yield made


def say(sender: socket.socket, body: bytes, group: int = GROUP) -> bytes:
    said = codec.HEADER.pack(16 + len(body), 99, 0, 0, 0) + body
    # After the group it is sent to port 0 as well, the kernel's, which has no such socket.
    with pytest.raises(ConnectionRefusedError):
        sender.sendto(said, (0, 1 << group - 1))
    return said


def test_everything_that_came_is_given_once_and_in_order(sender: socket.socket) -> None:
    with subscribed(GROUP) as heard:
        assert heard.drain() == []
        said = [say(sender, bytes([n] * 20)) for n in range(17)]

        assert heard.drain() == said
        assert heard.drain() == []


def test_only_the_groups_that_were_asked_for(sender: socket.socket) -> None:
    with subscribed(GROUP) as one, subscribed(GROUP, OTHER_GROUP) as both:
        first = say(sender, b"one")
        second = say(sender, b"two", OTHER_GROUP)

        assert one.drain() == [first]
        assert both.drain() == [first, second]


def test_what_came_before_is_not_heard(sender: socket.socket) -> None:
    with subscribed(GROUP):
        say(sender, b"before")
        with subscribed(GROUP) as late:
            assert late.drain() == []


def test_whoever_does_not_listen_is_told_and_hears_again(sender: socket.socket) -> None:
    """More than the socket's buffer holds: some of it is lost, which is what None says."""
    with subscribed(GROUP) as heard:
        for _ in range(3):
            for _ in range(2000):
                say(sender, bytes(4000))
            assert heard.drain() is None
            assert heard.drain() == []
            said = say(sender, b"after")
            assert heard.drain() == [said]


def test_a_message_larger_than_a_page_is_whole(sender: socket.socket) -> None:
    with subscribed(GROUP) as heard:
        said = say(sender, os.urandom(60_000))

        assert heard.drain() == [said]


def test_a_group_that_does_not_exist_leaves_no_socket_behind() -> None:
    with subscribed(GROUP):
        pass
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError):
        Subscription(USERSOCK, [1_000_000])

    assert os.listdir("/proc/self/fd") == before


def test_a_subscription_that_is_closed_hears_nothing(sender: socket.socket) -> None:
    with subscribed(GROUP) as heard:
        heard.close()
        with pytest.raises(OSError):
            heard.drain()
