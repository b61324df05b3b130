"""Devices and their settings, kept by notifications, under a kernel that a test plays."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.kernel import devices, settings
from netperf_exporter.kernel.devices import Devices
from netperf_exporter.kernel.netlink import codec, generic, requests
from netperf_exporter.kernel.netlink import socket as netlink
from netperf_exporter.kernel.settings import REMEMBERED_SECONDS, Settings
from netperf_exporter.parsers.links import Link, parse_link
from tests import messages

LINK_GROUP, MONITOR_GROUP = 1, 42
MODES = requests.LINKMODES


class Kernel:
    """Has devices, and tells its subscriptions when one changes."""

    def __init__(self) -> None:
        self.devices: dict[int, bytes] = {}
        self.subscriptions: list[Subscription] = []
        self.listings = 0
        self.modes = 0
        self.while_listing: list[Callable[[], None]] = []
        self.broken = 0

    def set(self, ifindex: int, name: bytes, mtu: int = 1500) -> None:
        self.devices[ifindex] = messages.link(ifindex, name, mtu=mtu)
        self.tell(self.devices[ifindex])

    def remove(self, ifindex: int) -> None:
        if self.devices.pop(ifindex, None) is not None:
            self.tell(messages.link(ifindex, b"gone", type=messages.DELLINK))

    def tell(self, datagram: bytes, group: int = LINK_GROUP) -> None:
        for subscription in self.subscriptions:
            if not subscription.closed and subscription.group == group:
                subscription.waiting.append(datagram)

    def overflow(self) -> None:
        for subscription in self.subscriptions:
            subscription.waiting.clear()
            subscription.lost = True

    # In place of what the module calls.

    def subscribe(self, protocol: int, groups: Iterable[int]) -> Subscription:
        (group,) = groups
        made = Subscription(group)
        self.subscriptions.append(made)
        return made

    def dump(self, request: netlink.Request) -> bytes:
        assert request.name == "links"
        if self.broken:
            raise OSError(self.broken, "broken")
        self.listings += 1
        while self.while_listing:
            self.while_listing.pop(0)()
        return b"".join(self.devices.values())

    def modes_of(self, request: generic.Request) -> bytes:
        assert request is MODES
        if self.broken:
            raise OSError(self.broken, "broken")
        self.modes += 1
        while self.while_listing:
            self.while_listing.pop(0)()
        return b"modes %d" % self.modes

    def seen_by(self, kept: Devices) -> dict[int, Link]:
        found = [parse_link(message) for message in kept.links()]
        assert len({link.ifindex for link in found}) == len(found)
        return {link.ifindex: link for link in found}

    def truth(self) -> dict[int, Link]:
        return {ifindex: parse_link(message) for ifindex, message in self.devices.items()}


class Subscription:
    def __init__(self, group: int) -> None:
        self.group = group
        self.waiting: list[bytes] = []
        self.lost = False
        self.closed = False

    def drain(self) -> list[bytes] | None:
        assert not self.closed
        came, self.waiting = self.waiting, []
        lost, self.lost = self.lost, False
        return None if lost else came

    def close(self) -> None:
        self.closed = True


@contextmanager
def booted() -> Iterator[Kernel]:
    kernel = Kernel()
    ethtool = generic.Family(30, 1, frozenset(), {"monitor": MONITOR_GROUP})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "Subscription", kernel.subscribe)
        patch.setattr(settings, "Subscription", kernel.subscribe)
        patch.setattr(netlink, "dump", kernel.dump)
        patch.setattr(generic, "dump", kernel.modes_of)
        patch.setattr(generic, "family", lambda name: ethtool)
        yield kernel


def test_devices_are_listed_once_and_then_heard_of() -> None:
    with booted() as kernel:
        kernel.set(1, b"lo")
        kept = Devices()
        first = kept.links()
        assert kept.links() is first
        kernel.set(2, b"eth0")
        assert kernel.seen_by(kept) == kernel.truth()
        kernel.set(2, b"eth0", mtu=9000)
        kernel.set(2, b"wan", mtu=9000)
        assert kernel.seen_by(kept) == kernel.truth()
        kernel.remove(2)
        assert kernel.seen_by(kept) == kernel.truth() != {}

        assert kernel.listings == 1


def test_what_changes_while_the_kernel_lists_is_not_missed() -> None:
    with booted() as kernel:
        kernel.set(1, b"lo")
        kernel.while_listing.append(lambda: kernel.set(2, b"eth0"))
        kernel.while_listing.append(lambda: kernel.remove(1))
        kept = Devices()
        kept.links()

        assert kernel.seen_by(kept) == kernel.truth()


def test_after_an_overflow_they_are_listed_anew() -> None:
    with booted() as kernel:
        kernel.set(1, b"lo")
        kept = Devices()
        kept.links()
        kernel.set(2, b"eth0")
        kernel.overflow()
        assert kernel.seen_by(kept) == kernel.truth()
        kernel.set(3, b"eth1")
        assert kernel.seen_by(kept) == kernel.truth()

        assert kernel.listings == 2
        assert [subscription.closed for subscription in kernel.subscriptions] == [True, False]


def test_a_bridge_that_tells_of_its_port_says_nothing_of_the_device() -> None:
    """br_ifinfo_notify() in net/bridge/br_netlink.c; not even when it stops being a port."""
    with booted() as kernel:
        kernel.set(2, b"eth0")
        kept = Devices()
        before = kernel.seen_by(kept)
        for type in (messages.NEWLINK, messages.DELLINK):
            kernel.tell(messages.link(2, b"eth0", type=type, family=7, mtu=1, operstate=None))

        assert kernel.seen_by(kept) == before
        assert kernel.listings == 1


def test_a_notification_that_says_too_little_has_them_listed_anew() -> None:
    """As a wireless event does (wireless_nlevent_process() in net/wireless/wext-core.c)."""
    with booted() as kernel:
        kernel.set(2, b"wlan0", mtu=1400)
        kept = Devices()
        kept.links()
        kernel.tell(messages.link(2, b"wlan0", operstate=None, mtu=0))

        assert kernel.seen_by(kept) == kernel.truth()
        assert kernel.listings == 2


def test_other_messages_are_passed_over() -> None:
    with booted() as kernel:
        kernel.set(2, b"eth0")
        kept = Devices()
        before = kept.links()
        kernel.tell(messages.link(2, b"address", type=20))  # RTM_NEWADDR
        kernel.tell(b"")

        assert [*kept.links()] == [*before]
        assert kernel.listings == 1


def test_several_messages_in_one_datagram_are_all_taken() -> None:
    with booted() as kernel:
        kept = Devices()
        kept.links()
        for ifindex in (2, 3):
            kernel.devices[ifindex] = messages.link(ifindex, b"eth%d" % ifindex)
        kernel.tell(b"".join(kernel.devices.values()))

        assert kernel.seen_by(kept) == kernel.truth()


@pytest.mark.parametrize("when", ["at first", "after an overflow"])
def test_a_listing_that_fails_is_tried_again(when: str) -> None:
    with booted() as kernel:
        kept = Devices()
        if when == "after an overflow":
            kept.links()
            kernel.overflow()
        kernel.set(2, b"eth0")
        kernel.broken = errno.EAGAIN
        for _ in range(3):
            with pytest.raises(OSError, match="broken"):
                kept.links()
        kernel.broken = 0

        assert kernel.seen_by(kept) == kernel.truth()
        assert sum(not subscription.closed for subscription in kernel.subscriptions) == 1


def test_settings_are_asked_for_after_a_change_and_not_before() -> None:
    with booted() as kernel:
        now = 0.0
        kept = Settings(lambda: now)
        first = kept.dump(MODES, "eth0 is up")
        assert kept.dump(MODES, "eth0 is up") is first
        second = kept.dump(MODES, "eth0 is down")
        assert second != first
        kernel.tell(messages.ethtool(2, "eth0"), MONITOR_GROUP)
        third = kept.dump(MODES, "eth0 is down")
        assert third != second
        kernel.overflow()
        fourth = kept.dump(MODES, "eth0 is down")
        assert fourth != third
        now = REMEMBERED_SECONDS - 1
        assert kept.dump(MODES, "eth0 is down") is fourth
        now = REMEMBERED_SECONDS + 1
        assert kept.dump(MODES, "eth0 is down") != fourth

        assert kernel.modes == 5


def test_a_change_while_the_kernel_answers_is_not_missed() -> None:
    with booted() as kernel:
        kept = Settings()
        told = partial(kernel.tell, messages.ethtool(2, "eth0"), MONITOR_GROUP)
        kernel.while_listing.append(told)
        first = kept.dump(MODES, "eth0")

        assert kept.dump(MODES, "eth0") != first
        assert kernel.modes == 2


def test_settings_that_could_not_be_read_are_asked_for_again() -> None:
    with booted() as kernel:
        kept = Settings()
        kept.dump(MODES, "eth0 is up")
        kernel.broken = errno.EIO
        for _ in range(2):
            with pytest.raises(OSError, match="broken"):
                kept.dump(MODES, "eth0 is down")
        kernel.broken = 0

        assert kept.dump(MODES, "eth0 is down") == b"modes 2"


def test_other_answers_are_kept_as_long_as_dumps() -> None:
    with booted() as kernel:
        now = 0.0
        kept = Settings(lambda: now)
        answers = iter(range(9))
        assert [kept.keep("rss", "up", lambda: next(answers)) for _ in range(3)] == [0, 0, 0]
        changes = kept.changes()
        assert kept.changes() == changes
        kernel.tell(messages.ethtool(2, "eth0"), MONITOR_GROUP)
        assert kept.changes() != changes
        assert kept.keep("rss", "up", lambda: next(answers)) == 1
        assert kept.keep("other", "up", lambda: "x") == "x"
        now = REMEMBERED_SECONDS + 1

        assert kept.keep("rss", "up", lambda: next(answers)) == 2


actions = st.one_of(
    st.tuples(
        st.just("set"), st.integers(1, 4), st.sampled_from([b"a", b"b"]), st.integers(68, 70)
    ),
    st.tuples(st.just("remove"), st.integers(1, 4)),
    st.tuples(st.sampled_from(["overflow", "wireless", "bridge", "look", "junk"])),
)


@given(st.lists(actions, max_size=25), st.lists(actions, max_size=5))
def test_whatever_happened_a_look_shows_what_is_there(
    history: list[tuple[object, ...]], meanwhile: list[tuple[object, ...]]
) -> None:
    """meanwhile: what happens during the first listing."""
    with booted() as kernel:
        kept = Devices()

        def happen(action: tuple[object, ...]) -> None:
            match action:
                case "set", int(ifindex), bytes(name), int(mtu):
                    kernel.set(ifindex, name, mtu)
                case "remove", int(ifindex):
                    kernel.remove(ifindex)
                case ("overflow",):
                    kernel.overflow()
                case ("wireless",):
                    kernel.tell(messages.link(1, b"a", operstate=None))
                case ("bridge",):
                    kernel.tell(messages.link(1, b"a", family=7, type=messages.DELLINK))
                case ("junk",):
                    kernel.tell(codec.HEADER.pack(17, 16, 0, 0, 0) + b"x")
                case ("look",):
                    assert kernel.seen_by(kept) == kernel.truth()

        listing = [action for action in meanwhile if action[0] != "look"]
        kernel.while_listing = [partial(happen, action) for action in listing]
        kept.links()
        for action in history:
            happen(action)

        assert kernel.seen_by(kept) == kernel.truth()
        assert sum(not subscription.closed for subscription in kernel.subscriptions) == 1
