"""TCP: connections opened, refused and reset, and segments lost and sent again, one by one."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import ExitStack
from typing import Any

import pytest

from tests.live.lab import PATIENCE, End, Lab, Pair
from tests.live.packets import ACK, SYN, TCP, V4, V6, Version, ipv4, tcp

versions = pytest.mark.parametrize("ip", [V4, V6], ids=["IPv4", "IPv6"])

NOBODY = "10.19.1.77"
"""An address on the cable that no host has: what is sent to it goes unanswered."""

# Headers without IP's: a SYN's options are maximum segment size, SACK, timestamps and window.
HEADER, SYN_HEADER, BARE_HEADER = 32, 40, 20

IP_MINTTL = 21  # include/uapi/linux/in.h

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, without waiting


def stream(end: End, ip: Version = V4) -> socket.socket:
    made = end.namespace.socket(ip.family, socket.SOCK_STREAM)
    made.settimeout(PATIENCE)
    return made


def listener_of(end: End, ip: Version = V4, backlog: int = 1000) -> socket.socket:
    made = stream(end, ip)
    made.bind((end.address(ip.family), 0))
    made.listen(backlog)
    return made


class Connections:
    """Established connections from one end of a cable to the other, both ends of each."""

    def __init__(
        self, stack: ExitStack, count: int, left: End, right: End, ip: Version = V4
    ) -> None:
        self.clients: list[socket.socket] = []
        self.servers: list[socket.socket] = []
        listener = stack.enter_context(listener_of(right, ip))
        self.port: int = listener.getsockname()[1]
        for _ in range(count):
            self.clients.append(stack.enter_context(stream(left, ip)))
            self.clients[-1].connect(listener.getsockname())
            self.servers.append(stack.enter_context(listener.accept()[0]))
            self.servers[-1].settimeout(PATIENCE)

    def pass_on(self, data: bytes) -> None:
        """Send data over every connection, then read it at the other ends."""
        for client in self.clients:
            client.sendall(data)
        for server in self.servers:
            read = b""
            while len(read) < len(data):  # MSG_WAITALL does not wait on a socket with a timeout
                read += server.recv(len(data) - len(read))
            assert read == data


def segment(target: End, ports: tuple[int, int], flags: int, *more: Any, wrong: int = 0) -> bytes:
    """A packet from nobody. more: sequence number, acknowledgement, data."""
    return ipv4(NOBODY, target.v4, TCP, tcp(NOBODY, target.v4, ports, flags, *more, wrong=wrong))


def tcp_header(packet: bytes) -> tuple[int, ...]:
    """Ports, sequence number, acknowledgement, length, flags, window of an IPv4 packet."""
    return struct.unpack("!HHIIBBH", packet[20:36])


def begin_to_connect(end: End, address: tuple[str, int]) -> socket.socket:
    """A socket that has sent its SYN."""
    client = stream(end)
    client.setblocking(False)
    assert client.connect_ex(address) == errno.EINPROGRESS
    return client


@versions
def test_connections(pair: Pair, ip: Version) -> None:
    left, right = pair.left, pair.right
    with ExitStack() as stack:
        connections = Connections(stack, 211, left, right, ip)

        there = [ip.header + SYN_HEADER, ip.header + HEADER]
        back = [ip.header + SYN_HEADER]
        pair.sending.expect(
            {
                "tcp_active_opens": 211,
                "tcp_established_sockets": 211,
                "tcp_transmit_segments": 2 * 211,
                "tcp_receive_segments": 211,
            }
            | ip.transmitted(211, *there)
            | ip.delivered(211, *back)
        )
        pair.receiving.expect(
            {
                "tcp_passive_opens": 211,
                "tcp_established_sockets": 211,
                "tcp_receive_segments": 2 * 211,
                "tcp_transmit_segments": 211,
            }
            | ip.delivered(211, *there)
            | ip.transmitted(211, *back)
        )

        pair.start()
        for client in connections.clients:
            client.close()

        # A FIN one way, its ACK the other. At the right end it is CLOSE_WAIT, which counts.
        size = ip.header + HEADER
        pair.sending.expect(
            {
                "tcp_established_sockets": -211,
                "tcp_original_data_segments": 211,
                "tcp_transmit_segments": 211,
                "tcp_receive_segments": 211,
            }
            | ip.transmitted(211, size)
            | ip.delivered(211, size)
        )
        pair.receiving.expect(
            {"tcp_receive_segments": 211, "tcp_transmit_segments": 211}
            | ip.delivered(211, size)
            | ip.transmitted(211, size)
        )

        pair.receiving.start()
        for server in connections.servers:
            server.close()
        pair.receiving.expect(
            {
                "tcp_established_sockets": -211,
                "tcp_original_data_segments": 211,
                "tcp_transmit_segments": 211,
                "tcp_receive_segments": 211,
            }
            | ip.transmitted(211, size)
            | ip.delivered(211, size)
        )


@versions
def test_connections_to_a_port_without_a_listener(pair: Pair, ip: Version) -> None:
    left, right = pair.left, pair.right
    with listener_of(right, ip) as listener:
        closed = listener.getsockname()
    for _ in range(503):
        with stream(left, ip) as client, pytest.raises(ConnectionRefusedError):
            client.connect(closed)

    syn, rst = ip.header + SYN_HEADER, ip.header + BARE_HEADER
    pair.sending.expect(
        {
            "tcp_active_opens": 503,
            "tcp_failed_connection_attempts": 503,
            "tcp_transmit_segments": 503,
            "tcp_receive_segments": 503,
        }
        | ip.transmitted(503, syn)
        | ip.delivered(503, rst)
    )
    pair.receiving.expect(
        {
            "tcp_transmit_resets": 503,
            "tcp_receive_segments": 503,
            "tcp_transmit_segments": 503,
        }
        | ip.delivered(503, syn)
        | ip.transmitted(503, rst)
    )


def test_syns_that_meet_a_full_accept_queue(lab: Lab) -> None:
    left, right = lab.pair()
    with ExitStack() as stack:
        listener = stack.enter_context(listener_of(right, backlog=0))
        stack.enter_context(stream(left)).connect(listener.getsockname())  # one has room
        listening = lab.watch(right.namespace)
        for _ in range(101):
            # Closed before it would send a second SYN.
            begin_to_connect(left, listener.getsockname()).close()

        listening.expect(
            {"tcp_listen_overflows": 101, "tcp_listen_drops": 101, "tcp_receive_segments": 101}
            | V4.delivered(101, V4.header + SYN_HEADER)
        )


def test_final_acks_that_meet_a_full_accept_queue(lab: Lab) -> None:
    left, right = lab.pair()
    with ExitStack() as stack:
        listener = stack.enter_context(listener_of(right, backlog=20))
        port = listener.getsockname()[1]
        wire = stack.enter_context(left.wire(right))
        answers: dict[int, int] = {}
        for mine in range(1000, 1019):
            wire.send(segment(right, (mine, port), SYN))
            while mine not in answers:
                _, answered, sequence, *_ = tcp_header(wire.receive())
                answers[answered] = sequence
        for _ in range(21):
            stack.enter_context(stream(left)).connect(listener.getsockname())
        listening = lab.watch(right.namespace)
        for mine, sequence in answers.items():
            wire.send(segment(right, (mine, port), ACK, 1, sequence + 1))

        # Meanwhile the timer may send SYN-ACKs again.
        listening.expect(
            {"tcp_listen_overflows": 19, "tcp_listen_drops": 19, "tcp_receive_segments": 19}
            | V4.delivered(19, V4.header + BARE_HEADER),
            besides=frozenset(
                {
                    "ip_transmit_requests",
                    "ip_transmit_bytes",
                    "tcp_transmit_segments",
                    "tcp_retransmission_timeouts",
                    "tcp_retransmitted_segments",
                    "tcp_syn_retransmitted_segments",
                }
            ),
        )


def test_syns_that_meet_a_full_syn_queue_without_cookies(lab: Lab) -> None:
    left, right = lab.pair()
    right.namespace.sysctl(net__ipv4__tcp_syncookies=0)
    with listener_of(right, backlog=10) as listener, left.wire(right) as wire:
        listening = lab.watch(right.namespace)
        for number in range(109):
            wire.send(segment(right, (1000 + number, listener.getsockname()[1]), SYN))

        moved = listening.wait_for("tcp_receive_segments", 109)
        queued = len(right.namespace.run("ss", "-tanH", "state", "syn-recv").splitlines())
        again = moved.get("tcp_syn_retransmitted_segments", 0)
        assert moved["tcp_transmit_segments"] - again == queued > 0
        assert moved["tcp_request_queue_full_drops"] == moved["tcp_listen_drops"] == 109 - queued
        assert "tcp_listen_overflows" not in moved
        listening.agree()


def test_handshakes_by_cookie(lab: Lab) -> None:
    left, right = lab.pair()
    right.namespace.sysctl(net__ipv4__tcp_syncookies=2)
    listening = lab.watch(right.namespace)
    with ExitStack() as stack:
        connections = Connections(stack, 107, left, right)
        wire = stack.enter_context(left.wire(right))
        for number in range(37):
            wire.send(segment(right, (1000 + number, connections.port), ACK, 1, 1))

        sizes = V4.header + SYN_HEADER, V4.header + HEADER
        stray = V4.header + BARE_HEADER
        listening.expect(
            {
                "tcp_request_queue_full_cookies": 107,
                "tcp_syncookies_sent": 107,
                "tcp_syncookies_received": 107,
                "tcp_syncookies_failed": 37,
                "tcp_passive_opens": 107,
                "tcp_established_sockets": 107,
                "tcp_transmit_resets": 37,
                "tcp_receive_segments": 2 * 107 + 37,
                "tcp_transmit_segments": 107 + 37,
                "ip_receive_packets": 2 * 107 + 37,
                "ip_receive_bytes": 107 * sum(sizes) + 37 * stray,
                "ip_delivered_packets": 2 * 107 + 37,
                "ip_transmit_requests": 107 + 37,
                "ip_transmit_bytes": 107 * sizes[0] + 37 * stray,
            }
        )


def test_segments_with_a_wrong_checksum(pair: Pair) -> None:
    left, right = pair.left, pair.right
    with left.wire(right) as wire:
        for number in range(127):
            wire.send(segment(right, (1000 + number, 9), SYN, wrong=1))

    pair.receiving.expect(
        {
            "tcp_receive_errors": 127,
            "tcp_receive_checksum_errors": 127,
            "tcp_receive_segments": 127,
        }
        | V4.delivered(127, V4.header + BARE_HEADER)
    )


def test_syns_below_the_ttl_that_a_listener_asks_for(pair: Pair) -> None:
    left, right = pair.left, pair.right
    with listener_of(right) as listener, left.wire(right) as wire:
        listener.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 65)
        for number in range(137):
            wire.send(segment(right, (1000 + number, listener.getsockname()[1]), SYN))

        pair.receiving.expect(
            {"tcp_min_ttl_drops": 137, "tcp_receive_segments": 137}
            | V4.delivered(137, V4.header + BARE_HEADER)
        )


def test_final_acks_that_a_listener_defers(lab: Lab) -> None:
    """The connection is there for the one end; for the other it waits for data."""
    left, right = lab.pair()
    listening = lab.watch(right.namespace)
    with ExitStack() as stack:
        listener = stack.enter_context(listener_of(right))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
        for _ in range(139):
            stack.enter_context(stream(left)).connect(listener.getsockname())

        listening.expect(
            {
                "tcp_defer_accept_drops": 139,
                "tcp_receive_segments": 2 * 139,
                "tcp_transmit_segments": 139,
            }
            | V4.delivered(139, V4.header + SYN_HEADER, V4.header + HEADER)
            | V4.transmitted(139, V4.header + SYN_HEADER),
            besides=frozenset({"tcp_retransmission_timeouts"}),
        )


def test_data_that_comes_while_the_window_is_closed(lab: Lab) -> None:
    """Nobody reads, the peer fills the window, and then sends 13 segments too many.

    Kernels with BeyondWindow count those there, unless the receive queue is empty. They are no
    zero window drops any more.
    """
    left, right = lab.pair()
    with ExitStack() as stack:
        wire = stack.enter_context(left.wire(right))
        listener = stack.enter_context(stream(right))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind((right.v4, 0))
        listener.listen()
        receiving = lab.watch(right.namespace)
        segments, readers = 0, []
        for mine in range(1000, 1003):
            ports = (mine, listener.getsockname()[1])
            wire.send(segment(right, ports, SYN))
            _, _, sequence, _, _, _, window = tcp_header(wire.receive())
            wire.send(segment(right, ports, ACK, 1, sequence + 1))
            readers.append(stack.enter_context(listener.accept()[0]))
            sent, acknowledged = 1, 1
            while window:
                data = bytes(min(acknowledged + window - sent, 500))
                wire.send(segment(right, ports, ACK, sent, sequence + 1, data))
                sent, segments = sent + len(data), segments + 1
                _, _, _, acknowledged, _, _, window = tcp_header(wire.receive())
            for _ in range(13):
                wire.send(segment(right, ports, ACK, sent, sequence + 1, b"!"))
                wire.receive()
        moved = receiving.wait_for("tcp_receive_segments", 3 * (2 + 13) + segments)

        assert moved["tcp_to_zero_window_advertisements"] == 3
        assert "tcp_from_zero_window_advertisements" not in moved
        newer = "TcpExtBeyondWindow" in receiving.namespace.nstat()
        drops = "tcp_receive_beyond_window_segments" if newer else "tcp_zero_window_drops"
        assert moved[drops] == 3 * 13
        assert not newer or "tcp_zero_window_drops" not in moved

        receiving.start()
        for reader in readers:
            assert reader.recv(4096)
        receiving.expect(
            {"tcp_from_zero_window_advertisements": 3, "tcp_transmit_segments": 3}
            | V4.transmitted(3, V4.header + BARE_HEADER)
        )


def test_connections_for_which_time_wait_has_no_room(lab: Lab) -> None:
    left, right = lab.pair()
    left.namespace.sysctl(net__ipv4__tcp_max_tw_buckets=11)
    with ExitStack() as stack:
        connections = Connections(stack, 11 + 127, left, right)
        closing = lab.watch(left.namespace)
        for client in connections.clients:
            client.close()

        size = V4.header + HEADER
        closing.expect(
            {
                "tcp_time_wait_overflows": 127,
                "tcp_established_sockets": -(11 + 127),
                "tcp_original_data_segments": 11 + 127,
                "tcp_transmit_segments": 11 + 127,
                "tcp_receive_segments": 11 + 127,
            }
            | V4.transmitted(11 + 127, size)
            | V4.delivered(11 + 127, size)
        )


@pytest.mark.parametrize("unread", [False, True], ids=["linger 0", "unread data"])
def test_connections_that_are_reset(pair: Pair, unread: bool) -> None:
    left, right = pair.left, pair.right
    with ExitStack() as stack:
        connections = Connections(stack, 131, left, right)
        for client, server in zip(connections.clients, connections.servers, strict=True):
            if unread:
                server.send(b"unread")
            else:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        pair.start()
        for client in connections.clients:
            client.close()

        size = V4.header + HEADER
        gone = {"tcp_established_sockets": -131, "tcp_established_resets": 131}
        pair.sending.expect(
            {
                "tcp_aborts_on_close" if unread else "tcp_aborts_on_data": 131,
                "tcp_transmit_resets": 131,
                "tcp_transmit_segments": 131,
            }
            | gone
            | V4.transmitted(131, size)
        )
        pair.receiving.expect({"tcp_receive_segments": 131} | gone | V4.delivered(131, size))


def test_syns_that_are_not_answered(lab: Lab) -> None:
    """One is sent again after a second; two more seconds later the attempt is given up."""
    left, right = lab.pair()
    left.namespace.sysctl(net__ipv4__tcp_syn_retries=1)
    left.namespace.sysctl_if_there(net__ipv4__tcp_syn_linear_timeouts=0)
    right.namespace.nft(
        """
        table ip lab {
            counter dropped { }
            chain input {
                type filter hook input priority filter
                meta l4proto tcp counter name dropped drop
            }
        }
        """
    )
    connecting, silent = lab.watch(left.namespace), lab.watch(right.namespace)
    with ExitStack() as stack:
        for _ in range(53):
            stack.enter_context(begin_to_connect(left, (right.v4, 9)))

        connecting.expect(
            {
                "tcp_active_opens": 53,
                "tcp_transmit_segments": 53,
                "tcp_retransmitted_segments": 53,
                "tcp_syn_retransmitted_segments": 53,
                "tcp_retransmission_timeouts": 2 * 53,
                "tcp_aborts_on_timeout": 53,
                "tcp_failed_connection_attempts": 53,
            }
            | V4.transmitted(2 * 53, V4.header + SYN_HEADER)
        )
    # The firewall stands behind the first of IP's counters, and in none of its counters of drops.
    silent.expect(V4.received(2 * 53, V4.header + SYN_HEADER))
    assert right.namespace.nft_counters() == {"dropped": 2 * 53}


def test_syn_acks_that_are_not_answered(lab: Lab) -> None:
    """Those that are sent again are sent segments, too, unlike all others."""
    left, right = lab.pair()
    right.namespace.sysctl(net__ipv4__tcp_synack_retries=1)
    listening = lab.watch(right.namespace)
    with listener_of(right) as listener, left.wire(right) as wire:
        for number in range(59):
            wire.send(segment(right, (1000 + number, listener.getsockname()[1]), SYN))

        listening.expect(
            {
                "tcp_receive_segments": 59,
                "tcp_transmit_segments": 2 * 59,
                "tcp_retransmitted_segments": 59,
                "tcp_syn_retransmitted_segments": 59,
                "tcp_retransmission_timeouts": 2 * 59,
            }
            | V4.delivered(59, V4.header + BARE_HEADER)
            | V4.transmitted(2 * 59, V4.header + 24)
        )


def drop_the_first(
    end: End,
    port: int,
    times: int = 1,
    match: str = "ip length 53",
    *,
    hook: str = "input",
    answers: bool = False,
) -> None:
    """Let a firewall drop the first segments of each connection that match; the others pass.

    port: the listener's.
    answers: those that come from there, not those that go there.
    """
    near, far = ("sport", "dport") if answers else ("dport", "sport")
    seen = [f"seen{number}" for number in range(times)]
    sets = [f"set {name} {{ type inet_service; flags dynamic; size 999; }}" for name in seen]
    rules = [
        f"tcp {near} {port} {match} tcp {far} != @{name} add @{name} {{ tcp {far} }} "
        "counter name dropped drop"
        for name in seen
    ]
    chain = ["chain lab {", f"type filter hook {hook} priority filter", *rules, "}"]
    end.namespace.nft("\n".join(["table ip lab {", "counter dropped { }", *sets, *chain, "}"]))


def test_a_lost_last_segment_is_sent_again_by_a_probe(lab: Lab) -> None:
    """The recovery is counted when data sent after it is acknowledged, not before."""
    left, right = lab.pair()
    with ExitStack() as stack:
        connections = Connections(stack, 61, left, right)
        drop_the_first(right, connections.port)
        sending, receiving = lab.watch(left.namespace), lab.watch(right.namespace)
        connections.pass_on(b"1")

        data, ack = V4.header + HEADER + 1, V4.header + HEADER
        lost = {
            "tcp_original_data_segments": 61,
            "tcp_loss_probes": 61,
            "tcp_retransmitted_segments": 61,
            "tcp_transmit_segments": 61,
            "tcp_receive_segments": 61,
        }
        sending.expect(lost | V4.transmitted(61, data, data) | V4.delivered(61, ack))
        receiving.expect(
            {"tcp_receive_segments": 61, "tcp_transmit_segments": 61}
            | V4.received(61, data, data)
            | {"ip_delivered_packets": 61}
            | V4.transmitted(61, ack)
        )
        assert right.namespace.nft_counters() == {"dropped": 61}

        sending.start()
        connections.pass_on(b"2")
        sending.expect(
            {
                "tcp_original_data_segments": 61,
                "tcp_loss_probe_recoveries": 61,
                "tcp_transmit_segments": 61,
                "tcp_receive_segments": 61,
            }
            | V4.transmitted(61, data)
            | V4.delivered(61, ack)
        )


def test_a_segment_lost_thrice_waits_for_two_timeouts(lab: Lab) -> None:
    left, right = lab.pair()
    with ExitStack() as stack:
        connections = Connections(stack, 67, left, right)
        drop_the_first(right, connections.port, times=3)
        sending = lab.watch(left.namespace)
        connections.pass_on(b"1")

        sending.expect(
            {
                "tcp_original_data_segments": 67,
                "tcp_loss_probes": 67,
                "tcp_retransmission_timeouts": 2 * 67,
                "tcp_lost_retransmitted_segments": 67,
                "tcp_retransmitted_segments": 3 * 67,
                "tcp_transmit_segments": 67,
                "tcp_receive_segments": 67,
            }
            | V4.transmitted(4 * 67, V4.header + HEADER + 1)
            | V4.delivered(67, V4.header + HEADER)
        )
        assert right.namespace.nft_counters() == {"dropped": 3 * 67}


def test_a_lost_acknowledgement_makes_a_retransmission_needless(lab: Lab) -> None:
    left, right = lab.pair()
    with ExitStack() as stack:
        connections = Connections(stack, 73, left, right)
        drop_the_first(left, connections.port, match="", answers=True)
        sending, receiving = lab.watch(left.namespace), lab.watch(right.namespace)
        connections.pass_on(b"1")

        data, ack = V4.header + HEADER + 1, V4.header + HEADER
        dsack = ack + 12
        sending.expect(
            {
                "tcp_original_data_segments": 73,
                "tcp_loss_probes": 73,
                "tcp_retransmitted_segments": 73,
                "tcp_receive_dsacks": 73,
                "tcp_receive_dsack_segments": 73,
                "tcp_transmit_segments": 73,
                "tcp_receive_segments": 73,
                "ip_delivered_packets": 73,
            }
            | V4.transmitted(2 * 73, data)
            | V4.received(73, ack, dsack)
        )
        receiving.expect(
            {
                "tcp_receive_duplicate_segments": 73,
                "tcp_receive_segments": 2 * 73,
                "tcp_transmit_segments": 2 * 73,
            }
            | V4.delivered(2 * 73, data)
            | V4.transmitted(73, ack, dsack)
        )
        assert left.namespace.nft_counters() == {"dropped": 73}


def test_a_flight_lost_as_a_whole_is_sent_again_in_slow_start(lab: Lab) -> None:
    """But for the probe, which is its last segment, and the first, which the timeout sends."""
    left, right = lab.pair()
    left.namespace.ip("link", "set", "dev", left.device, "gso_max_segs", "1")
    with ExitStack() as stack:
        connections = Connections(stack, 79, left, right)
        drop_the_first(right, connections.port, times=6 + 1, match="ip length > 52")
        sending = lab.watch(left.namespace)
        size = connections.clients[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        connections.pass_on(bytes(6 * size))

        sending.expect(
            {
                "tcp_original_data_segments": 6 * 79,
                "tcp_transmit_segments": 6 * 79,
                "tcp_loss_probes": 79,
                "tcp_retransmission_timeouts": 79,
                "tcp_slow_start_retransmitted_segments": 5 * 79,
                "tcp_retransmitted_segments": (1 + 1 + 5) * 79,
            }
            | V4.transmitted((6 + 7) * 79, V4.header + HEADER + size),
            besides=frozenset({"tcp_receive_segments", *V4.delivered(1, 1)}),
        )
        assert right.namespace.nft_counters() == {"dropped": 7 * 79}


def test_retransmissions_that_this_host_refuses(lab: Lab) -> None:
    """The first of each connection; what stands in for a full qdisc here is a firewall."""
    left, right = lab.pair()
    with ExitStack() as stack:
        connections = Connections(stack, 83, left, right)
        drop_the_first(right, connections.port)
        left.namespace.nft(
            f"""
            table ip lab {{
                counter refused {{ }}
                set first {{ type inet_service; flags dynamic; size 999; }}
                set second {{ type inet_service; flags dynamic; size 999; }}
                chain output {{
                    type filter hook output priority filter
                    tcp dport != {connections.port} accept
                    ip length != 53 accept
                    tcp sport != @first add @first {{ tcp sport }} accept
                    tcp sport != @second add @second {{ tcp sport }} counter name refused drop
                }}
            }}
            """
        )
        sending = lab.watch(left.namespace)
        connections.pass_on(b"1")

        sending.expect(
            {
                "tcp_original_data_segments": 83,
                "tcp_failed_retransmitted_segments": 83,
                "tcp_retransmission_timeouts": 83,
                "tcp_retransmitted_segments": 2 * 83,
                "tcp_transmit_segments": 83,
                "tcp_receive_segments": 83,
                "ip_transmit_requests": 3 * 83,
                # The third of them is not refused: bytes count behind the firewall.
                "ip_transmit_bytes": 2 * 83 * (V4.header + HEADER + 1),
            }
            | V4.delivered(83, V4.header + HEADER)
        )
        assert left.namespace.nft_counters() == {"refused": 83}
        assert right.namespace.nft_counters() == {"dropped": 83}


def test_first_transmissions_that_this_host_refuses_are_no_retransmissions(lab: Lab) -> None:
    """Not even when they are tried again: they are still the original, sent once."""
    left, right = lab.pair()
    with ExitStack() as stack:
        connections = Connections(stack, 89, left, right)
        drop_the_first(left, connections.port, hook="output")
        sending = lab.watch(left.namespace)
        connections.pass_on(b"1")

        sending.expect(
            {
                "tcp_original_data_segments": 89,
                "tcp_transmit_segments": 2 * 89,
                "tcp_receive_segments": 89,
                "ip_transmit_requests": 2 * 89,
                "ip_transmit_bytes": 89 * (V4.header + HEADER + 1),
            }
            | V4.delivered(89, V4.header + HEADER)
        )
        assert left.namespace.nft_counters() == {"dropped": 89}


def test_a_segment_lost_ahead_of_others_is_sent_again_fast(lab: Lab) -> None:
    left, right = lab.pair()
    # Segments, not packets of many that a device is to cut.
    left.namespace.ip("link", "set", "dev", left.device, "gso_max_segs", "1")
    with ExitStack() as stack:
        connections = Connections(stack, 71, left, right)
        drop_the_first(right, connections.port, match="ip length > 52")
        sending, receiving = lab.watch(left.namespace), lab.watch(right.namespace)
        size = connections.clients[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        connections.pass_on(bytes(6 * size))

        # Behind a gap each segment is acknowledged at once, with an option that grows and shrinks.
        sending.expect(
            {
                "tcp_original_data_segments": 6 * 71,
                "tcp_transmit_segments": 6 * 71,
                "tcp_retransmitted_segments": 71,
                "tcp_fast_retransmitted_segments": 71,
                "tcp_sack_recoveries": 71,
                "tcp_receive_segments": 6 * 71,
                "ip_receive_packets": 6 * 71,
                "ip_delivered_packets": 6 * 71,
            }
            | V4.transmitted(7 * 71, V4.header + HEADER + size),
            besides=frozenset({"ip_receive_bytes"}),
        )
        receiving.expect(
            {
                "tcp_out_of_order_segments": 5 * 71,
                "tcp_receive_segments": 6 * 71,
                "tcp_transmit_segments": 6 * 71,
                "ip_delivered_packets": 6 * 71,
                "ip_transmit_requests": 6 * 71,
            }
            | V4.received(7 * 71, V4.header + HEADER + size),
            besides=frozenset({"ip_transmit_bytes"}),
        )
        assert right.namespace.nft_counters() == {"dropped": 71}
