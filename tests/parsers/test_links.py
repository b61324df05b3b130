"""Network devices out of rtnetlink's messages."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.parsers import Malformed, links
from netperf_exporter.parsers.links import STATISTICS, Links
from tests import messages

# dev_valid_name() in net/core/dev.c: no slash, no colon, no white space, neither "." nor "..".
names = (
    st.binary(min_size=1, max_size=15)
    .map(lambda raw: bytes([b for b in raw if b not in b"\0/: \t\n\v\f\r\xa0"]))
    .filter(lambda raw: raw not in {b"", b".", b".."})
)
awkward_names = st.sampled_from(
    [b"a\xff", b"a\\xff", b"a\\xff#1", b"a\\xff#2", b"a\\xff#2#2", b"a\\xff#3", b"eth0"]
)
u32 = st.integers(0, 2**32 - 1)


def every(_name: str, _kind: str) -> bool:
    return True


def parsed(*made: bytes) -> Links:
    problems: list[str] = []
    found = links.parse(made, every, problems)
    assert problems == []
    return found


def test_what_a_device_is() -> None:
    message = messages.link(
        7, b"vlan0", kind="vlan", operstate=2, mtu=1400, master=3, lower=6, carrier_changes=9
    )

    assert links.parse_link(message)._asdict() == {
        "ifindex": 7,
        "name": "vlan0",
        "kernel_name": "vlan0",
        "kind": "vlan",
        "operstate": "down",
        "mtu": 1400,
        "master": 3,
        "lower": 6,
        "carrier_changes": 9,
        "enabled": True,
        "up": True,
    }


def test_the_other_end_of_a_veth_is_not_below_it() -> None:
    assert links.parse_link(messages.link(7, b"veth0", kind="veth", lower=6)).lower == 0


def test_what_is_not_said_is_nothing() -> None:
    link = links.parse_link(
        codec.HEADER.pack(16 + 16 + 8, 16, 0, 0, 0)
        + struct.pack("=BxHiII", 0, 1, 7, 0, 0)
        + codec.attribute(3, b"eth\0")
    )

    assert (link.kind, link.operstate, link.mtu, link.master, link.lower) == (
        "",
        "unknown",
        0,
        0,
        0,
    )
    assert (link.enabled, link.up) == (False, False)


def test_loopback_is_known_by_its_hardware() -> None:
    assert links.parse_link(messages.link(1, b"lo", hardware=772)).kind == "loopback"


@pytest.mark.parametrize(
    ("flags", "enabled", "up"),
    [
        (0, False, False),
        (messages.UP, True, False),  # no carrier, or the state forbids it
        (messages.RUNNING, False, False),
        (messages.UP | messages.RUNNING | 0x11002, True, True),
    ],
)
def test_packets_pass_when_it_is_up_and_running(flags: int, enabled: bool, up: bool) -> None:
    link = links.parse_link(messages.link(1, b"eth0", flags=flags))

    assert (link.enabled, link.up) == (enabled, up)


def test_operational_states_by_number() -> None:
    """IF_OPER_*; one that is new is written as its number."""
    said = [links.parse_link(messages.link(1, b"eth0", operstate=n)).operstate for n in range(8)]

    assert said == [
        *("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up", "7")
    ]


@given(u32.map(lambda n: n & 0x7FFFFFFF), names, u32, u32, u32, u32)
def test_any_name_and_any_numbers_are_read_back(
    ifindex: int, name: bytes, mtu: int, master: int, lower: int, changes: int
) -> None:
    made = messages.link(
        ifindex, name, mtu=mtu, master=master, lower=lower, carrier_changes=changes
    )
    link = links.parse_link(made)

    assert link[:1] + link[5:9] == (ifindex, mtu, master, lower, changes)
    assert link.kernel_name.encode("utf-8", "surrogateescape") == name
    link.name.encode()  # can be written
    if not name.decode("utf-8", "replace").count("\ufffd"):
        assert link.name.encode() == name


@given(st.binary(max_size=200))
def test_any_bytes_are_a_link_or_a_clear_error(body: bytes) -> None:
    for message in (body, messages.message(16, body)):
        try:
            link = links.parse_link(message)
        except Malformed as error:
            assert "link" in str(error)
        else:
            link.name.encode()


@given(
    st.lists(
        st.tuples(st.integers(1, 5), awkward_names | names, st.sampled_from(["", "veth", "ifb"])),
        max_size=6,
    )
)
def test_every_device_has_a_name_of_its_own_and_is_in_one_place(
    devices: list[tuple[int, bytes, str]],
) -> None:
    made = [messages.link(ifindex, name, kind=kind) for ifindex, name, kind in devices]
    found = links.parse(made, lambda _, kind: kind != "ifb", [])
    rolled_up = [link for links in found.rolled_up.values() for link in links]
    latest = {ifindex: (name, kind) for ifindex, name, kind in devices}

    assert {link.ifindex for link in [*found.shown, *rolled_up]} == latest.keys()
    assert len(found.shown) + len(rolled_up) == len(latest) == len(found.by_index)
    labels = [link.name for link in found.by_index.values()]
    assert len(set(labels)) == len(labels)
    assert [link.ifindex for link in found.shown] == sorted(link.ifindex for link in found.shown)
    for ifindex, link in found.by_index.items():
        name, kind = latest[ifindex]
        assert link.kernel_name.encode("utf-8", "surrogateescape") == name
        assert link.kind == kind
        assert (link in found.shown) == (kind != "ifb")
    assert set(found.rolled_up) <= {"ifb"}


def test_an_escaped_name_does_not_take_another_ones() -> None:
    """Three devices, of which one is really called like the way out of the clash of the others."""
    found = parsed(
        messages.link(3, b"a\\xff#7"), messages.link(5, b"a\xff"), messages.link(7, b"a\\xff")
    )

    assert [link.name for link in found.shown] == ["a\\xff#7", "a\\xff", "a\\xff#7#7"]


def test_a_message_that_cannot_be_read_costs_its_device() -> None:
    problems: list[str] = []
    broken = messages.link(4, b"four")[:-8]
    nameless = messages.message(16, struct.pack("=BxHiII", 0, 1, 5, 0, 0))
    found = links.parse([messages.link(3, b"three"), nameless, broken[:20]], every, problems)

    assert [link.name for link in found.shown] == ["three"]
    assert problems == ["link 5 has no name", "a link message is cut short"]


# Statistics.


def dump(rows: Mapping[int, tuple[int, ...]]) -> bytes:
    return b"".join([messages.statistics(ifindex, row) for ifindex, row in rows.items()])


u64 = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("fields", [23, 24, 25, 40])
def test_statistics_of_kernels_that_have_fewer_or_more_fields(fields: int) -> None:
    rows = {n: tuple(range(n * 100, n * 100 + fields)) for n in (1, 2, 90000)}

    assert links.parse_statistics(dump(rows)) == rows


def test_the_fields_are_those_of_the_structure() -> None:
    """struct rtnl_link_stats64 in include/uapi/linux/if_link.h, up to what it ends with."""
    assert len(STATISTICS) == len(set(STATISTICS)) == 25
    assert STATISTICS[:8] == (
        *("rx_packets", "tx_packets", "rx_bytes", "tx_bytes"),
        *("rx_errors", "tx_errors", "rx_dropped", "tx_dropped"),
    )
    assert STATISTICS[15] == "rx_missed_errors"
    assert STATISTICS[23:] == ("rx_nohandler", "rx_otherhost_dropped")


def test_no_device_has_no_statistics() -> None:
    assert links.parse_statistics(b"") == {}


@given(st.dictionaries(u32, st.lists(u64, min_size=1, max_size=30).map(tuple), max_size=5))
def test_devices_may_differ_in_what_they_have(rows: dict[int, tuple[int, ...]]) -> None:
    """They do not, but a message that is not like the others must not be read like them."""
    assert links.parse_statistics(dump(rows)) == rows


@given(st.dictionaries(u32, st.tuples(u64, u64), min_size=1, max_size=4), st.data())
def test_messages_of_another_kind_among_them_are_passed_over(
    rows: dict[int, tuple[int, ...]], data: st.DataObject
) -> None:
    parts = [messages.statistics(ifindex, row) for ifindex, row in rows.items()]
    other = messages.statistics(5, (1, 2), attribute=4)
    parts.insert(data.draw(st.integers(0, len(parts))), other)

    assert links.parse_statistics(b"".join(parts)) == rows


@given(st.binary(max_size=300))
def test_any_bytes_are_statistics_or_malformed(text: bytes) -> None:
    for made in (text, dump({1: (1, 2), 2: (3, 4)}) + text, dump({1: (5,)})[: len(text)]):
        try:
            found = links.parse_statistics(made)
        except Malformed:
            continue
        assert all(isinstance(value, int) for row in found.values() for value in row)
