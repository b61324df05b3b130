"""IP: packets dropped on their way through, one cause at a time."""

from __future__ import annotations

import struct

import pytest

from tests.live.lab import End, Lab, Pair, reader_of
from tests.live.packets import (
    DONT_FRAGMENT,
    FRAGMENT,
    HOP_BY_HOP,
    MORE_FRAGMENTS,
    UDP,
    V4,
    V6,
    Version,
    ipv4,
    ipv6,
    udp,
)

versions = pytest.mark.parametrize("ip", [V4, V6], ids=["IPv4", "IPv6"])

ELSEWHERE = {V4: "198.51.100.9", V6: "2001:db8::9"}
"""Addresses that no host of the lab has and no route of it leads to."""

REPLIES = frozenset({"ip_transmit_requests", "ip_transmit_bytes"})

EXPERIMENTAL = 253
"""A protocol that nobody speaks (RFC 3692)."""


def datagram(ip: Version, source: str, target: str, hops: int = 64) -> bytes:
    """A packet with 20 bytes in it, for a port that nobody uses."""
    return ip.packet(source, target, UDP, udp(source, target, (9, 9), bytes(20)), hops)


SIZE = 8 + 20  # of such a packet, without IP's header


def forward(end: End) -> None:
    end.namespace.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)


def router(lab: Lab, mtu: int = 1500) -> tuple[End, End]:
    """A host beside a router that leads elsewhere: the host, and what it sees of the router."""
    left, middle = lab.pair()
    out, right = lab.cable(middle.namespace, lab.namespace())
    forward(middle)
    for ip in (V4, V6):
        via = right.address(ip.family)
        middle.namespace.ip("route", "add", ELSEWHERE[ip], "via", via)
    out.namespace.ip("link", "set", "dev", out.device, "mtu", str(mtu))
    return left, middle


@versions
def test_calls_without_a_route(pair: Pair, ip: Version) -> None:
    with reader_of(pair.left, ip) as sender:
        for _ in range(211):
            with pytest.raises(OSError, match="Network is unreachable"):
                sender.sendto(b"", (ELSEWHERE[ip], 9))
        for _ in range(13):
            with pytest.raises(OSError, match="Network is unreachable"):
                sender.connect((ELSEWHERE[ip], 9))

    pair.sending.expect({f"ip{ip.mark}_transmit_no_route_errors": 211 + 13})


@versions
def test_packets_to_be_forwarded(lab: Lab, ip: Version) -> None:
    left, middle = router(lab)
    forwarding = lab.watch(middle.namespace)
    with left.wire(middle) as wire:
        for _ in range(223):
            wire.send(datagram(ip, left.address(ip.family), ELSEWHERE[ip]))

    size = ip.header + SIZE
    # Bytes count where a packet leaves; as requests count only those of this host.
    passed = {} if ip is V6 else {"ip_forwarded_packets": 223, "ip_transmit_bytes": 223 * size}
    forwarding.expect(ip.received(223, size) | passed)


@versions
def test_packets_to_be_forwarded_without_a_route(lab: Lab, ip: Version) -> None:
    left, right = lab.pair()
    forward(right)
    forwarding = lab.watch(right.namespace)
    with left.wire(right) as wire:
        for _ in range(227):
            wire.send(datagram(ip, left.address(ip.family), ELSEWHERE[ip]))

    # IPv4 tells a sender only a few times.
    replies = {"ip6_transmit_requests": 227} if ip is V6 else {}
    forwarding.expect(
        {f"ip{ip.mark}_receive_no_route_errors": 227}
        | ip.received(227, ip.header + SIZE)
        | replies,
        besides=REPLIES,
    )


@versions
def test_packets_for_another_host_where_none_are_forwarded(lab: Lab, ip: Version) -> None:
    left, right = lab.pair()
    right.namespace.ip("route", "add", ELSEWHERE[ip], "dev", right.device)
    receiving = lab.watch(right.namespace)
    with left.wire(right) as wire:
        for _ in range(229):
            wire.send(datagram(ip, left.address(ip.family), ELSEWHERE[ip]))

    receiving.expect(
        {f"ip{ip.mark}_receive_address_errors": 229} | ip.received(229, ip.header + SIZE)
    )


def test_packets_that_the_reverse_path_filter_drops(lab: Lab) -> None:
    left, right = lab.pair()
    right.namespace.sysctl(net__ipv4__conf__all__rp_filter=1)
    receiving = lab.watch(right.namespace)
    with left.wire(right) as wire:
        for _ in range(233):
            wire.send(datagram(V4, ELSEWHERE[V4], right.v4))

    receiving.expect({"ip_reverse_path_filter_drops": 233} | V4.received(233, V4.header + SIZE))


@versions
def test_packets_whose_hops_end(lab: Lab, ip: Version) -> None:
    left, middle = router(lab)
    forwarding = lab.watch(middle.namespace)
    with left.wire(middle) as wire:
        for _ in range(239):
            wire.send(datagram(ip, left.address(ip.family), ELSEWHERE[ip], hops=1))

    size = ip.header + SIZE
    forwarding.expect(
        {f"ip{ip.mark}_receive_header_errors": 239}
        | ip.received(239, size)
        | ip.transmitted(239, ip.header + 8 + size)
    )


@versions
def test_packets_too_big_for_the_next_link(lab: Lab, ip: Version) -> None:
    left, middle = router(lab, mtu=1280)
    source, target = left.address(ip.family), ELSEWHERE[ip]
    payload = udp(source, target, (9, 9), bytes(1300))
    forwarding, sending = lab.watch(middle.namespace), lab.watch(left.namespace)
    with left.wire(middle) as wire:
        for _ in range(241):
            if ip is V6:
                wire.send(ipv6(source, target, UDP, payload))
            else:
                wire.send(ipv4(source, target, UDP, payload, fragment=DONT_FRAGMENT))

    # The ICMP error holds as much of the packet as fits into the smallest MTU.
    reply = 1280 if ip is V6 else 576
    forwarding.expect(
        {
            f"ip{ip.mark}_fragmentation_failures": 241,
            "ip6_receive_too_big_errors" if ip is V6 else "ip_forwarded_packets": 241,
        }
        | ip.received(241, ip.header + 8 + 1300)
        | ip.transmitted(241, reply)
    )
    told = "icmp6_receive_packet_too_big" if ip is V6 else "icmp_receive_destination_unreachable"
    sending.expect({f"{told}_messages": 241} | ip.delivered(241, reply))


@versions
def test_datagrams_in_fragments(pair: Pair, ip: Version) -> None:
    left, right = pair.left, pair.right
    with reader_of(right, ip) as reader, reader_of(left, ip) as sender:
        for _ in range(113):
            sender.sendto(bytes(4000), reader.getsockname())
            reader.recv(4000)

    datagrams, fragments = f"udp{ip.mark}_%s_datagrams", f"ip{ip.mark}_%s"
    length = 3 * 20 + 8 + 4000
    v4_out = {"ip_transmit_bytes": 113 * length}
    v4_in = {"ip_receive_bytes": 113 * length, "ip_reassembly_fragments": 3 * 113}
    pair.sending.expect(
        {datagrams % "transmit": 113, fragments % "transmit_requests": 113}
        | (v4_out if ip is V4 else {})
    )
    pair.receiving.expect(
        {
            datagrams % "receive": 113,
            fragments % "receive_packets": 3 * 113,
            fragments % "delivered_packets": 113,
        }
        | (v4_in if ip is V4 else {})
    )


@versions
def test_fragments_that_a_qdisc_drops(lab: Lab, ip: Version) -> None:
    """One for each datagram: the others are not even sent."""
    left, right = lab.pair()
    left.shape("rate 20mbit burst 2000 limit 6000")
    sending = lab.watch(left.namespace)
    with reader_of(right, ip) as reader, reader_of(left, ip) as sender:
        for _ in range(199):
            sender.sendto(bytes(4000), reader.getsockname())

        dropped = left.qdisc()["drops"]
        sending.expect(
            {
                f"ip{ip.mark}_fragmentation_failures": dropped,
                f"ip{ip.mark}_transmit_discards": dropped,
                f"udp{ip.mark}_transmit_buffer_errors": dropped,
                f"udp{ip.mark}_transmit_datagrams": 199 - dropped,
                f"ip{ip.mark}_transmit_requests": 199,
            },
            besides=frozenset({"ip_transmit_bytes"}),
        )

    assert 0 < dropped < 199


def fragment_of(ip: Version, source: str, target: str, number: int, offset: int = 0) -> bytes:
    """64 bytes from the middle of a packet."""
    if ip is V4:
        here = MORE_FRAGMENTS | offset >> 3
        return ipv4(source, target, UDP, bytes(64), identification=number, fragment=here)
    header = struct.pack("!BBHI", UDP, 0, offset | 1, number)
    return ipv6(source, target, FRAGMENT, header + bytes(64))


@versions
def test_fragments_that_stay_alone(lab: Lab, ip: Version) -> None:
    left, right = lab.pair()
    right.namespace.sysctl(net__ipv4__ipfrag_time=1, net__ipv6__ip6frag_time=1)
    receiving = lab.watch(right.namespace)
    with left.wire(right) as wire:
        for number in range(53):
            source, target = left.address(ip.family), right.address(ip.family)
            wire.send(fragment_of(ip, source, target, number))

    size = 64 + (20 if ip is V4 else 40 + 8)
    also = {"ip_reassembly_fragments": 53, "ip_reassembly_timeouts": 53} if ip is V4 else {}
    receiving.expect(
        {f"ip{ip.mark}_reassembly_failures": 53}
        | also
        | ip.received(53, size)
        | ip.transmitted(53, ip.header + 8 + size)
    )


@versions
def test_fragments_that_overlap(pair: Pair, ip: Version) -> None:
    left, right = pair.left, pair.right
    with left.wire(right) as wire:
        for number in range(257):
            for offset in (0, 32):
                source, target = left.address(ip.family), right.address(ip.family)
                wire.send(fragment_of(ip, source, target, number, offset))

    size = 64 + (20 if ip is V4 else 40 + 8)
    also = {"ip_reassembly_fragments": 2 * 257} if ip is V4 else {}
    pair.receiving.expect(
        {f"ip{ip.mark}_reassembly_failures": 257} | also | ip.received(2 * 257, size)
    )


def test_ipv4_packets_with_an_error(pair: Pair) -> None:
    left, right = pair.left, pair.right
    ends, data = (left.v4, right.v4, UDP), bytes(20)
    packets = {
        ipv4(*ends, data, wrong=1): 101,  # checksum
        ipv4(*ends, data, version_and_length=0x55): 103,
        ipv4(*ends, data, version_and_length=0x44): 107,
        ipv4(*ends, data, total_length=41): 109,
    }
    with left.wire(right) as wire:
        for packet, number in packets.items():
            for _ in range(number):
                wire.send(packet)

    pair.receiving.expect(
        {
            "ip_receive_header_errors": 101 + 103 + 107,
            "ip_receive_checksum_errors": 101,
            "ip_receive_truncated_packets": 109,
        }
        | V4.received(101 + 103 + 107 + 109, 40)
    )


def test_ipv6_packets_with_an_error(pair: Pair) -> None:
    left, right = pair.left, pair.right
    ends, data = (left.v6, right.v6), bytes(20)
    unknown_option = bytes((UDP, 0, 0x5E, 4, 0, 0, 0, 0))  # to be dropped without a word
    packets = {
        ipv6("ff02::1", right.v6, UDP, data): 101,
        ipv6(*ends, HOP_BY_HOP, unknown_option + data): 103,
        ipv6(*ends, UDP, data, payload_length=21): 107,
    }
    with left.wire(right) as wire:
        for packet, number in packets.items():
            for _ in range(number):
                wire.send(packet)

    pair.receiving.expect(
        {"ip6_receive_header_errors": 101 + 103, "ip6_receive_truncated_packets": 107}
        | V6.received(101 + 103 + 107, 0)
    )


def test_ipv6_packets_where_ipv6_is_off(lab: Lab) -> None:
    left, right = lab.pair()
    right.namespace.sysctl(**{f"net__ipv6__conf__{right.device}__disable_ipv6": 1})
    receiving = lab.watch(right.namespace)
    with left.wire(right) as wire:
        for _ in range(271):
            wire.send(datagram(V6, left.v6, right.v6))

    receiving.expect({"ip6_receive_discards": 271} | V6.received(271, V6.header + SIZE))


def test_packets_of_a_protocol_that_nobody_takes(pair: Pair) -> None:
    left, right = pair.left, pair.right
    with left.wire(right) as wire:
        for _ in range(277):
            wire.send(ipv4(left.v4, right.v4, EXPERIMENTAL, bytes(20)))

    pair.receiving.expect(
        {"ip_receive_unknown_protocol_packets": 277}
        | V4.received(277, 40)
        | V4.transmitted(277, 28 + 40)
    )


def test_ipv6_packets_of_a_protocol_that_nobody_takes(pair: Pair) -> None:
    """Each is answered by an ICMPv6 error, of which the kernel sends only so many."""
    left, right = pair.left, pair.right
    with left.wire(right) as wire:
        for _ in range(277):
            wire.send(ipv6(left.v6, right.v6, EXPERIMENTAL, bytes(20)))

    moved = pair.receiving.wait_for("ip6_receive_packets", 277)
    assert moved["ip6_receive_unknown_protocol_packets"] == 277
    assert "ip6_delivered_packets" not in moved


def test_packets_marked_congested(pair: Pair) -> None:
    left, right = pair.left, pair.right
    with reader_of(right, V4) as reader, left.wire(right) as wire:
        ports = (9, reader.getsockname()[1])
        payload = udp(left.v4, right.v4, ports, bytes(20))
        for tos in [3] * 83 + [1] * 17:
            wire.send(ipv4(left.v4, right.v4, UDP, payload, tos=tos))

        pair.receiving.expect(
            {"ip_receive_ecn_ce_packets": 83} | V4.delivered(83 + 17, V4.header + SIZE)
        )
