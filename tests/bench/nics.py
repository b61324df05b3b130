"""Network cards of a host that is made up: what netlink and SIOCETHTOOL answer about them.

They are cards of mlx5_core: its names of statistics are those of tests/drivers/mlx5_core, for
any number of queues. What is written here is written by this file alone, so that whoever reads
it is tried against another understanding of the kernel's structures.
"""

from __future__ import annotations

import itertools
import random
import re
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import add
from pathlib import Path

_LISTING = Path(__file__).parents[1] / "drivers" / "mlx5_core" / "ethtool-S.txt"

LINK_STATISTICS = 25
"""Fields of struct rtnl_link_stats64 (include/uapi/linux/if_link.h)."""

RECEIVED = ("rx-packets", "rx-bytes", "rx-alloc-fail", "rx-hw-gro-packets",
            "rx-hw-gro-wire-packets", "rx-hw-gro-wire-bytes")  # fmt: skip
SENT = ("tx-packets", "tx-bytes", "tx-csum-none", "tx-needs-csum",
        "tx-hw-gso-packets", "tx-hw-gso-bytes", "tx-stop", "tx-wake")  # fmt: skip
"""What mlx5e_get_queue_stats_rx() and …_tx() fill in (en_main.c of mlx5)."""

# Those of a busy host: packets of some queues still fit into 32 bits, bytes of hardly any.
_RECEIVED_DIGITS = (10, 14, 4, 10, 10, 14)
_SENT_DIGITS = (10, 14, 5, 10, 9, 13, 5, 5)

_RECEIVED = (8, 9, 12, 19, 21, 22)  # NETDEV_A_QSTATS_…
_SENT = (10, 11, 26, 27, 28, 29, 33, 34)

FEATURES = ("tx-scatter-gather", "tx-checksum-ip-generic", "tx-generic-segmentation",
            "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation", "rx-gro",
            "rx-gro-hw", "rx-lro", "rx-checksum", "rx-hashing", "rx-ntuple-filter",
            "hw-tc-offload", "rx-vlan-hw-parse", "highdma", "loopback")  # fmt: skip
"""Some of netdev_features_strings (net/ethtool/common.c), 13 of which are exported by default."""

_BIGGEST = 1 << 64


def attribute(type: int, payload: bytes) -> bytes:
    """struct nlattr, and nla_put() in lib/nlattr.c."""
    return struct.pack("=HH", 4 + len(payload), type) + payload.ljust(
        -len(payload) // 4 * -4, b"\0"
    )


def u32(type: int, value: int) -> bytes:
    """nla_put_u32()."""
    return attribute(type, struct.pack("=I", value))


def uint(type: int, value: int) -> bytes:
    """nla_put_uint(): no longer than need be."""
    return attribute(type, struct.pack("=I" if value < 1 << 32 else "=Q", value))


def nest(type: int, *attributes: bytes) -> bytes:
    """nla_nest_start(), with NLA_F_NESTED."""
    return attribute(type | 1 << 15, b"".join(attributes))


def message(type: int, body: bytes) -> bytes:
    """struct nlmsghdr, a part of a dump (NLM_F_MULTI)."""
    return struct.pack("=IHHII", 16 + len(body), type, 2, 1, 4711) + body


def generic(command: int, *attributes: bytes) -> bytes:
    """A message of a generic netlink family, struct genlmsghdr."""
    return message(28, struct.pack("=BBH", command, 1, 0) + b"".join(attributes))


class Nics:
    """Cards ``eth0``, ``eth1``, … with so many queues in each direction.

    links: by card, struct rtnl_link_stats64.
    received, sent: by card and queue, RECEIVED and SENT.
    statistics: by card, in the order of ``names``.
    """

    def __init__(self, cards: int, queues: int, nodes: int, chance: random.Random) -> None:
        self.devices = tuple([f"eth{card}" for card in range(cards)])
        self.queues = queues
        self.names = names(queues)
        self._nodes = nodes
        self._chance = chance

        def counters(magnitudes: Sequence[int]) -> list[int]:
            return [chance.randrange(10**magnitude) for magnitude in magnitudes]

        self.links = [counters([12] * LINK_STATISTICS) for _ in self.devices]
        self.received = [[counters(_RECEIVED_DIGITS) for _ in range(queues)] for _ in self.devices]
        self.sent = [[counters(_SENT_DIGITS) for _ in range(queues)] for _ in self.devices]
        self.statistics = [counters([12] * len(self.names)) for _ in self.devices]

    def index(self, device: str) -> int:
        """Its ifindex; 1 is the loopback device."""
        return self.devices.index(device) + 2

    def advance(self) -> None:
        """Move every counter."""
        rows = [
            *self.links,
            *itertools.chain.from_iterable(self.received),
            *itertools.chain.from_iterable(self.sent),
            *self.statistics,
        ]
        for row in rows:
            first = self._chance.randrange(1, 1000)
            row[:] = [v % _BIGGEST for v in map(add, row, range(first, first + len(row)))]

    def settled(self) -> Iterator[tuple[str, bytes]]:
        """The files that stay as they are."""
        lo = self._link(1, "lo", 772, 0x49, b"")
        cards = [self._link(self.index(d), d, 1, 0x11043, _hardware(d)) for d in self.devices]
        yield "netlink/links.bin", lo + b"".join(cards)
        q = self.queues
        yield "netlink/rings.bin", self._each(16, u32(2, 8192) + u32(5, 8192) + u32(6, 1024)
                                              + u32(9, 1024))  # fmt: skip
        yield "netlink/channels.bin", self._each(18, u32(5, q) + u32(9, q))
        yield "netlink/linkmodes.bin", self._each(4, u32(5, 100_000) + attribute(6, b"\1"))
        all, none = _bitset((1 << len(FEATURES)) - 1), _bitset(0)
        sets = nest(2, all) + nest(3, all) + nest(4, all) + nest(5, none)
        yield "netlink/features.bin", self._each(11, sets)
        strings = [nest(1, u32(1, bit), attribute(2, name.encode() + b"\0"))
                   for bit, name in enumerate(FEATURES)]  # fmt: skip
        count = u32(2, len(FEATURES))
        yield "netlink/feature-names.bin", generic(1, nest(2, nest(1, u32(1, 4), count,
                                                                  nest(3, *strings))))  # fmt: skip
        for device in self.devices:
            yield from self._settled_of(device)

    def moving(self) -> Iterator[tuple[str, bytes]]:
        """The files that have counters in them."""
        no_counters = [0] * LINK_STATISTICS
        of_links = zip(range(1, 2 + len(self.devices)), [no_counters, *self.links], strict=True)
        yield "netlink/link-stats.bin", b"".join([_link_statistics(*of) for of in of_links])
        yield "netlink/qstats.bin", b"".join(self._queue_statistics())
        for device, values in zip(self.devices, self.statistics, strict=True):
            yield f"ioctl/{device}.statistics.bin", struct.pack(f"={len(values)}Q", *values)

    def symbolic_links(self) -> Iterator[tuple[str, str]]:
        """Where below /sys is a link, and where it leads."""
        for device in self.devices:
            folder = f"sys/class/net/{device}"
            yield f"{folder}/device", f"../../../devices/pci/{_slot(device)}"
            yield f"sys/devices/pci/{_slot(device)}/driver", "../../../bus/pci/drivers/mlx5_core"

    def _settled_of(self, device: str) -> Iterator[tuple[str, bytes]]:
        cells = [name.encode().ljust(32, b"\0") for name in self.names]
        yield f"ioctl/{device}.strings.bin", b"".join(cells)
        said = ("mlx5_core", "7.3.0", "28.42.1000 (MT_0000000834)", _slot(device), "")
        lengths = (32, 32, 32, 32, 32)  # struct ethtool_drvinfo, include/uapi/linux/ethtool.h
        fields = [t.encode().ljust(n, b"\0") for t, n in zip(said, lengths, strict=True)]
        info = struct.pack("=I", 3) + b"".join(fields) + bytes(12) + struct.pack("=5I", *[0] * 5)
        yield f"ioctl/{device}.gdrvinfo.bin", info
        yield f"sys/class/net/{device}/ifindex", b"%d\n" % self.index(device)
        node = self.devices.index(device) % self._nodes
        yield f"sys/devices/pci/{_slot(device)}/numa_node", b"%d\n" % node
        yield "sys/bus/pci/drivers/mlx5_core/bind", b""

    def _link(self, index: int, name: str, type: int, flags: int, more: bytes) -> bytes:
        """rtnl_fill_ifinfo() in net/core/rtnetlink.c."""
        body = struct.pack("=BxHiII", 0, type, index, flags, 0)
        body += attribute(3, name.encode() + b"\0") + u32(13, 1000) + attribute(16, b"\6")
        return message(16, body + u32(4, 1500) + u32(35, 2) + more)

    def _each(self, command: int, attributes: bytes) -> bytes:
        """ethnl_default_dump_one() in net/ethtool/netlink.c, the same of every card."""
        heads = [nest(1, u32(1, self.index(d)), attribute(2, d.encode() + b"\0"))
                 for d in self.devices]  # fmt: skip
        return b"".join([generic(command, head, attributes) for head in heads])

    def _queue_statistics(self) -> Iterator[bytes]:
        """netdev_nl_stats_by_queue() in net/core/netdev-genl.c."""
        for device, received, sent in zip(self.devices, self.received, self.sent, strict=True):
            which = u32(1, self.index(device))
            for direction, queues, types in ((0, received, _RECEIVED), (1, sent, _SENT)):
                for queue, values in enumerate(queues):
                    said = [uint(t, v) for t, v in zip(types, values, strict=True)]
                    yield generic(12, which, u32(2, direction), u32(3, queue), *said)


@lru_cache(maxsize=4)
def names(queues: int) -> tuple[str, ...]:
    """Of all statistics: of the card as they are listed, of a queue as of the listed queue 0."""
    listed = [line.split(":")[0].strip() for line in _LISTING.read_text().splitlines()[1:]]
    ours = [name for name in listed if not name.startswith("s00_")]  # of a switch behind the card
    found: list[str] = []
    for kind, run in itertools.groupby(ours, _kind):
        if kind is None:
            found += run
            continue
        of_first = [name for name in run if re.match(rf"{kind}0_", name)]
        found += [re.sub(r"\d+", str(q), name, count=1) for q in range(queues) for name in of_first]
    return tuple(found)


def _kind(name: str) -> str | None:
    found = re.match(r"(rx|tx|ch)\d+_", name)
    return found[1] if found else None


def _link_statistics(index: int, fields: Sequence[int]) -> bytes:
    """rtnl_fill_statsinfo() in net/core/rtnetlink.c."""
    of_link = attribute(1, struct.pack(f"={len(fields)}Q", *fields))
    return message(92, struct.pack("=BxHII", 0, 0, index, 1) + of_link)


def _bitset(bits: int) -> bytes:
    """ethnl_put_bitset32() in net/ethtool/bitset.c, compact and without a mask."""
    return attribute(1, b"") + u32(2, len(FEATURES)) + u32(4, bits)


def _hardware(device: str) -> bytes:
    return attribute(56, _slot(device).encode() + b"\0") + attribute(57, b"pci\0")


def _slot(device: str) -> str:
    return f"0000:{int(device.removeprefix('eth')):02x}:00.0"
