"""Network devices to be watched: veth pairs in a namespace of their own, and packets for them."""

from __future__ import annotations

import itertools
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from types import TracebackType

from tests.live.lab import Namespace, command

_NUMBERS = itertools.count(1)
_MAC = bytes((2, 0, 0, 0, 0, 1))
_IPV4 = 0x0800
_PATIENCE = 5.0


class Wires:
    """A namespace with veth pairs ``v0a``–``v0b``, ``v1a``–``v1b``, … with so many queues.

    ifbs: what comes out at ``v0b`` goes through ``ifb0`` then, and so on: a device that says of
        each queue how many packets it had. A packet of one queue of ``v0b`` is in the queue before
        it there (skb_get_rx_queue() in include/linux/skbuff.h takes off one that nobody put on),
        so veth devices have one queue more then.
    """

    def __init__(self, pairs: int, queues: int, ifbs: bool = False) -> None:
        self.namespace = Namespace(f"gauge{os.getpid()}-{next(_NUMBERS)}")
        self.pairs = pairs
        self._queues = queues + ifbs
        command("ip", "netns", "add", self.namespace.name)
        try:
            self._build(ifbs)
        except BaseException:
            self._remove()
            raise
        self._wires: list[socket.socket] = []
        self._frames: list[bytes] = []

    def __enter__(self) -> Wires:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for wire in self._wires:
            wire.close()
        self._remove()

    def send(self) -> None:
        """A packet for each queue of each device, in the direction from a to b and back."""
        if not self._wires:
            self._wires = [self._wire(f"v{i}{end}") for i in range(self.pairs) for end in "ab"]
            self._frames = self._frame_of_each_queue()
        for wire in self._wires:
            for frame in self._frames:
                wire.send(frame)

    def batch(self, lines: Sequence[str]) -> None:
        """Have ip do all of this."""
        self.namespace.run("ip", "-batch", "-", stdin="\n".join(lines))

    def _build(self, ifbs: bool) -> None:
        # Without IPv6 nobody but the bench sends anything.
        self.namespace.sysctl(net__ipv6__conf__default__disable_ipv6=1)
        queues = _queues(self._queues)
        lines = ["link set lo up"]
        for pair in range(self.pairs):
            a, b = f"v{pair}a", f"v{pair}b"
            lines.append(f"link add name {a} {queues} type veth peer name {b} {queues}")
            lines += [f"link set {a} up", f"link set {b} up"]
            if ifbs:
                lines += [f"link add name ifb{pair} {_queues(self._queues - 1)} type ifb"]
                lines.append(f"link set ifb{pair} up")
        self.batch(lines)
        if self._queues:
            for pair, end in itertools.product(range(self.pairs), "ab"):
                # A queue counts what passes its NAPI, and a packet does so only if it may still
                # be merged: veth_skb_is_eligible_for_gro() in drivers/net/veth.c.
                self.namespace.run("ethtool", "-K", f"v{pair}{end}", "gro", "on", "tso", "off")
        if ifbs:
            for pair in range(self.pairs):
                self.namespace.tc("qdisc", "add", "dev", f"v{pair}b", "ingress")
                self.namespace.tc(
                    *f"filter add dev v{pair}b parent ffff: protocol all u32 match u32 0 0 "
                    f"action mirred egress redirect dev ifb{pair}".split()
                )

    def _remove(self) -> None:
        # What has left the namespace's list lives on as long as a process is in it.
        command("ip", "netns", "del", self.namespace.name)

    def _wire(self, device: str) -> socket.socket:
        made = self.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        made.bind((device, _IPV4))
        return made

    def _frame_of_each_queue(self) -> list[bytes]:
        """Which queue a frame takes depends on a hash with a random key: try until all are hit."""
        found: dict[int, bytes] = {}
        for frame in _frames():
            before = self._packets("v0b")
            self._wires[0].send(frame)
            deadline = time.monotonic() + _PATIENCE
            while (now := self._packets("v0b")) == before:
                if time.monotonic() > deadline:
                    raise RuntimeError("v0b does not count by queue what it receives")
            found.setdefault(next(q for q in now if now[q] != before[q]), frame)
            if len(found) == self._queues:
                break
        return list(found.values())

    def _packets(self, device: str) -> dict[int, int]:
        said = self.namespace.run("ethtool", "-S", device)
        found = re.findall(r"^ +rx_queue_(\d+)_xdp_packets: (\d+)$", said, re.MULTILINE)
        return {int(queue): int(packets) for queue, packets in found}


def _queues(number: int) -> str:
    return f"numrxqueues {number} numtxqueues {number}" if number else ""


def _frames() -> Iterator[bytes]:
    """UDP packets to nobody, each of another flow. See RFC 791, RFC 768."""
    for port in range(1, 1 << 16):
        udp = struct.pack("!HHHH", port, 9, 8, 0)
        ends = bytes((198, 18, 0, 1, 198, 18, 0, 2))
        ip = struct.pack("!BxHxxxxBBxx", 0x45, 28, 64, socket.IPPROTO_UDP) + ends
        yield _MAC + _MAC + struct.pack("!H", _IPV4) + ip + udp


def can_make(queues: int) -> str:
    """Why no devices can be made here, or ""."""
    if os.geteuid():
        return "network namespaces need root"
    try:
        with Wires(1, queues):
            return ""
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        return str(error)
