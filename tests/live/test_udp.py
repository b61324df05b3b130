"""UDP: each datagram is found again in the family that owns its fate."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from tests.live.lab import Lab, Pair, reader_of
from tests.live.packets import UDP, V4, V6, Version, udp

versions = pytest.mark.parametrize("ip", [V4, V6], ids=["IPv4", "IPv6"])


@versions
def test_datagrams_that_a_process_reads(pair: Pair, ip: Version) -> None:
    left, right = pair.left, pair.right
    with reader_of(right, ip) as reader, reader_of(left, ip) as sender:
        for _ in range(4801):
            sender.sendto(bytes(20), reader.getsockname())
            reader.recv(20)

        pair.sending.expect(
            {f"udp{ip.mark}_transmit_datagrams": 4801} | ip.transmitted(4801, ip.header + 8 + 20)
        )
        pair.receiving.expect(
            {f"udp{ip.mark}_receive_datagrams": 4801} | ip.delivered(4801, ip.header + 8 + 20)
        )


@versions
def test_a_datagram_is_received_when_it_is_read(pair: Pair, ip: Version) -> None:
    left, right = pair.left, pair.right
    with reader_of(right, ip) as reader, reader_of(left, ip) as sender:
        for _ in range(13):
            sender.sendto(bytes(20), reader.getsockname())
        pair.receiving.expect(ip.delivered(13, ip.header + 8 + 20))

        pair.receiving.start()
        for _ in range(13):
            reader.recv(20)
        pair.receiving.expect({f"udp{ip.mark}_receive_datagrams": 13})


@versions
def test_datagrams_to_a_port_without_a_socket(pair: Pair, ip: Version) -> None:
    left, right = pair.left, pair.right
    with reader_of(right, ip) as reader:
        closed = reader.getsockname()
    with reader_of(left, ip) as sender:
        for _ in range(1009):
            with suppress(ConnectionRefusedError):
                sender.sendto(bytes(20), closed)

    # Each is answered by an ICMP error, which has the whole packet in it.
    size = ip.header + 8 + 20
    pair.receiving.expect(
        {f"udp{ip.mark}_receive_no_port_datagrams": 1009}
        | ip.delivered(1009, size)
        | ip.transmitted(1009, ip.header + 8 + size)
    )
    heard = {} if ip.mark else {"icmp_receive_destination_unreachable_messages": 1009}
    pair.sending.expect(
        {f"udp{ip.mark}_transmit_datagrams": 1009, **heard}
        | ip.transmitted(1009, size)
        | ip.delivered(1009, ip.header + 8 + size)
    )


@versions
def test_datagrams_that_find_the_receive_buffer_full(pair: Pair, ip: Version) -> None:
    left, right = pair.left, pair.right
    with reader_of(right, ip) as reader, reader_of(left, ip) as sender:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(997):
            sender.sendto(bytes(500), reader.getsockname())
        moved = pair.receiving.wait_for(f"ip{ip.mark}_delivered_packets", 997)
        dropped = int(moved[f"udp{ip.mark}_receive_buffer_errors"])
        pair.receiving.expect(
            {
                f"udp{ip.mark}_receive_buffer_errors": dropped,
                f"udp{ip.mark}_receive_errors": dropped,
            }
            | ip.delivered(997, ip.header + 8 + 500)
        )

        pair.receiving.start()
        reader.setblocking(False)
        kept = 0
        with suppress(BlockingIOError):
            while reader.recv(500):
                kept += 1
        pair.receiving.expect({f"udp{ip.mark}_receive_datagrams": kept})

    assert kept > 0
    assert kept + dropped == 997


@versions
@pytest.mark.parametrize("size", [20, 500], ids=["at once", "when read"])
def test_datagrams_with_a_wrong_checksum(pair: Pair, ip: Version, size: int) -> None:
    """The kernel checks small ones as they arrive, larger ones while it copies them."""
    left, right = pair.left, pair.right
    source, target = left.address(ip.family), right.address(ip.family)
    with reader_of(right, ip) as reader, left.wire(right) as wire:
        ports = (9, reader.getsockname()[1])
        for wrong in [0] * 11 + [1] * 103:
            datagram = udp(source, target, ports, bytes(size), wrong=wrong)
            wire.send(ip.packet(source, target, UDP, datagram))
        arrived = ip.delivered(103 + 11, ip.header + 8 + size)
        dropped = {
            f"udp{ip.mark}_receive_checksum_errors": 103,
            f"udp{ip.mark}_receive_errors": 103,
        }
        pair.receiving.expect(arrived | dropped if size == 20 else arrived)

        reader.setblocking(False)
        for _ in range(11):
            assert reader.recv(1000) == bytes(size)
        with pytest.raises(BlockingIOError):
            reader.recv(1000)
        pair.receiving.expect(arrived | dropped | {f"udp{ip.mark}_receive_datagrams": 11})


@versions
def test_sends_that_a_qdisc_drops(lab: Lab, ip: Version) -> None:
    left, right = lab.pair()
    left.shape("rate 4mbit burst 2000 limit 3000")
    sending, receiving = lab.watch(left.namespace), lab.watch(right.namespace)
    with reader_of(right, ip) as reader, reader_of(left, ip) as sender:
        for _ in range(499):
            sender.sendto(bytes(500), reader.getsockname())

        size = ip.header + 8 + 500
        dropped = left.qdisc()["drops"]
        sent = 499 - dropped
        sending.expect(
            {
                f"udp{ip.mark}_transmit_datagrams": sent,
                f"udp{ip.mark}_transmit_buffer_errors": dropped,
                f"ip{ip.mark}_transmit_discards": dropped,
            }
            | ip.transmitted(499, size)
        )
        receiving.expect(ip.delivered(sent, size))

    assert dropped > 0
    assert left.qdisc() == {"packets": sent, "drops": dropped, "qlen": 0}
