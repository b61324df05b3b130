"""Packets as a test wants them, the bad ones too: what no socket would send."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

TCP, UDP, HOP_BY_HOP, FRAGMENT = 6, 17, 0, 44

SYN, ACK = 0x02, 0x10

MORE_FRAGMENTS, DONT_FRAGMENT = 0x2000, 0x4000


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Version:
    """A version of IP.

    mark: what its families have behind the protocol's name: nothing, or a 6.
    header: bytes of its header.
    """

    family: socket.AddressFamily
    mark: str
    header: int

    def received(self, packets: int, *sizes: int) -> dict[str, float]:
        """What so many packets of each size, headers included, move when they arrive."""
        return self._moved("receive_packets", "receive_bytes", packets, sizes)

    def delivered(self, packets: int, *sizes: int) -> dict[str, float]:
        """What they move when they arrive and are for this host."""
        arrived = {f"ip{self.mark}_delivered_packets": packets * len(sizes)}
        return self.received(packets, *sizes) | arrived

    def transmitted(self, packets: int, *sizes: int) -> dict[str, float]:
        """What they move when this host sends them."""
        return self._moved("transmit_requests", "transmit_bytes", packets, sizes)

    def _moved(
        self, packets_name: str, bytes_name: str, packets: int, sizes: tuple[int, ...]
    ) -> dict[str, float]:
        moved: dict[str, float] = {f"ip{self.mark}_{packets_name}": packets * len(sizes)}
        return moved if self.mark else moved | {f"ip_{bytes_name}": packets * sum(sizes)}

    def packet(
        self, source: str, target: str, protocol: int, payload: bytes, hops: int = 64
    ) -> bytes:
        """A good packet."""
        make = ipv6 if self.mark else ipv4
        return make(source, target, protocol, payload, hops)


V4 = Version(socket.AF_INET, "", 20)
V6 = Version(socket.AF_INET6, "6", 40)


def ethernet(source: bytes, target: bytes, packet: bytes) -> bytes:
    """A frame around an IP packet."""
    return target + source + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet


def ipv4(
    source: str,
    target: str,
    protocol: int,
    payload: bytes,
    ttl: int = 64,
    *,
    identification: int = 0,
    fragment: int = 0,
    tos: int = 0,
    version_and_length: int = 0x45,
    total_length: int | None = None,
    wrong: int = 0,
) -> bytes:
    """An IPv4 packet. wrong: is added to its checksum."""
    length = 20 + len(payload) if total_length is None else total_length
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    start = struct.pack(
        *("!BBHHHBB", version_and_length, tos, length, identification, fragment, ttl, protocol)
    )
    total = checksum(start + b"\0\0" + addresses)
    return start + struct.pack("!H", (total + wrong) & 0xFFFF) + addresses + payload


def ipv6(
    source: str,
    target: str,
    next_header: int,
    payload: bytes,
    hop_limit: int = 64,
    *,
    payload_length: int | None = None,
) -> bytes:
    """An IPv6 packet."""
    length = len(payload) if payload_length is None else payload_length
    addresses = [socket.inet_pton(socket.AF_INET6, address) for address in (source, target)]
    return (
        struct.pack("!IHBB", 6 << 28, length, next_header, hop_limit)
        + b"".join(addresses)
        + payload
    )


def udp(source: str, target: str, ports: tuple[int, int], data: bytes, *, wrong: int = 0) -> bytes:
    """A UDP datagram, source port first. wrong: is added to its checksum."""
    start = struct.pack("!HHH", *ports, 8 + len(data))
    total = checksum(_pseudo(source, target, UDP, 8 + len(data)) + start + b"\0\0" + data)
    return start + struct.pack("!H", (total + wrong) & 0xFFFF or 0xFFFF) + data


def tcp(
    source: str,
    target: str,
    ports: tuple[int, int],
    flags: int,
    sequence: int = 0,
    acknowledgement: int = 0,
    data: bytes = b"",
    *,
    wrong: int = 0,
) -> bytes:
    """A TCP segment without options, source port first. wrong: is added to its checksum."""
    numbers = (sequence & 0xFFFFFFFF, acknowledgement & 0xFFFFFFFF)
    start = struct.pack("!HHIIBBH", *ports, *numbers, 5 << 4, flags, 65535)
    length = len(start) + 4 + len(data)
    total = checksum(_pseudo(source, target, TCP, length) + start + bytes(4) + data)
    return start + struct.pack("!HH", (total + wrong) & 0xFFFF, 0) + data


def _pseudo(source: str, target: str, protocol: int, length: int) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    return addresses + struct.pack("!II", length, protocol)
