"""What the kernel answers about network devices, packed as it packs it.

By nothing of the exporter, from the kernel files that are named along with each.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import nics
from tests.bench.nics import attribute, generic, nest, u32

HOSTS = Path(__file__).parents[1]
_DRIVERS = HOSTS.parent / "drivers"

Answers = dict[str, bytes]
"""The files of a host, by their path in its folder."""
Values = Mapping[str, int]

UP, LOWER_UP, SLAVE, MASTER = 0x1003, 0x10040, 0x800, 0x400  # IFF_…; UP: no loopback, may send
SPEED_UNKNOWN = 0xFFFFFFFF
OPER_UNKNOWN, OPER_DOWN, OPER_UP = 0, 2, 6  # IFOPER_…


@dataclass(frozen=True)
class Device:
    """A network device.

    counted: struct rtnl_link_stats64, as many fields as the kernel has.
    slot: of its PCI function; "" without hardware.
    """

    index: int
    name: str
    flags: int
    operstate: int
    mtu: int
    counted: Sequence[int]
    carrier_changes: int = 0
    type: int = 1  # ARPHRD_ETHER
    kind: str = ""
    master: int = 0
    lower: int = 0
    slot: str = ""

    def link(self) -> bytes:
        """RTM_NEWLINK: rtnl_fill_ifinfo() in net/core/rtnetlink.c."""
        body = struct.pack("=BxHiII", 0, self.type, self.index, self.flags, 0)
        body += attribute(3, _text(self.name)) + attribute(16, bytes([self.operstate]))
        body += u32(4, self.mtu) + u32(35, self.carrier_changes)
        body += u32(10, self.master) if self.master else b""
        body += u32(5, self.lower) if self.lower else b""
        body += nest(18, attribute(1, _text(self.kind))) if self.kind else b""
        body += attribute(56, _text(self.slot)) + attribute(57, _text("pci")) if self.slot else b""
        return nics.message(16, body)

    def statistics(self) -> bytes:
        """RTM_NEWSTATS with IFLA_STATS_LINK_64: rtnl_fill_statsinfo() in net/core/rtnetlink.c."""
        counted = struct.pack(f"={len(self.counted)}Q", *self.counted)
        return nics.message(92, struct.pack("=BxHII", 0, 0, self.index, 1) + attribute(1, counted))

    def said(self, command: int, *attributes: bytes) -> bytes:
        """An answer of the family ethtool: ethnl_default_dump_one() in net/ethtool/netlink.c."""
        header = nest(1, u32(1, self.index), attribute(2, _text(self.name)))
        return generic(command, header, *attributes)


def loopback(fields: int) -> Device:
    return Device(1, "lo", 0x10049, OPER_UNKNOWN, 65536, [41] * fields, type=772)


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def u8(type: int, value: int) -> bytes:
    """nla_put_u8()."""
    return attribute(type, bytes([value]))


def u64(type: int, value: int) -> bytes:
    """nla_put_u64_64bit() where unaligned access is cheap: without padding."""
    return attribute(type, struct.pack("=Q", value))


def words(bits: Sequence[int], size: int) -> bytes:
    """A bitmap of so many bits."""
    number = sum([1 << bit for bit in bits])
    return number.to_bytes(-(-size // 32) * 4, sys.byteorder)


def bitset(type: int, bits: Sequence[int], size: int, mask: Sequence[int] | None = None) -> bytes:
    """ethnl_put_bitset32() in net/ethtool/bitset.c, compact."""
    value = attribute(4, words(bits, size))
    if mask is None:
        return nest(type, attribute(1, b""), u32(2, size), value)
    return nest(type, u32(2, size), value, attribute(5, words(mask, size)))


def drvinfo(driver: str, version: str, firmware: str, bus: str) -> bytes:
    """struct ethtool_drvinfo (include/uapi/linux/ethtool.h, as all that follow)."""
    fields = [part.encode().ljust(32, b"\0") for part in (driver, version, firmware, bus, "")]
    return struct.pack("=I", 3) + b"".join(fields) + bytes(12 + 5 * 4)


def numbers(command: int, *values: int) -> bytes:
    """A structure of __u32 after its command."""
    return struct.pack(f"={1 + len(values)}I", command, *values)


class FeatureNames:
    """The names of a kernel's features, as a captured host has them, and sets of them."""

    def __init__(self, host: str) -> None:
        self.strings = (HOSTS / host / "ioctl/eth0.feature-strings.bin").read_bytes()
        cells = [self.strings[at : at + 32] for at in range(0, len(self.strings), 32)]
        self.names = [cell.rstrip(b"\0").decode() for cell in cells]

    def bits(self, features: str) -> list[int]:
        return [self.names.index(name) for name in features.split()]

    def answer(self) -> bytes:
        """ETHTOOL_MSG_STRSET_GET: strset_fill_set() in net/ethtool/strset.c."""
        strings = [nest(1, u32(1, bit), attribute(2, _text(name)))
                   for bit, name in enumerate(self.names)]  # fmt: skip
        of_set = nest(1, u32(1, 4), u32(2, len(strings)), nest(3, *strings))
        return generic(1, nest(2, of_set))

    def said(self, device: Device, hw: str, active: str) -> bytes:
        """ETHTOOL_MSG_FEATURES_GET: features_fill_reply() in net/ethtool/features.c."""
        size = len(self.names)
        able, used, every = self.bits(hw), self.bits(active), range(size)
        wanted = [bit for bit in used if bit in able]
        sets = (bitset(2, able, size, every), bitset(3, wanted, size), bitset(4, used, size))
        return device.said(11, *sets, bitset(5, self.bits("netns-local"), size)
                           if "netns-local" in self.names else bitset(5, [], size))  # fmt: skip

    def gfeatures(self, hw: str, active: str) -> bytes:
        """ethtool_get_features() in net/ethtool/ioctl.c, to who has room for eight blocks."""
        able, used = self.bits(hw), self.bits(active)
        sets = [struct.unpack("=2I", words(bits, 64)) for bits in (able, used, used, [])]
        filled = struct.pack("=II8I", 0x3A, 2, *[s[block] for block in (0, 1) for s in sets])
        return filled.ljust(8 + 8 * 16, b"\0")


def driver_statistics(device: str, named: Values) -> Answers:
    """ETHTOOL_GSTRINGS and ETHTOOL_GSTATS, without their headers."""
    cells = [name.encode().ljust(32, b"\0") for name in named]
    return {
        f"ioctl/{device}.strings.bin": b"".join(cells),
        f"ioctl/{device}.statistics.bin": struct.pack(f"={len(named)}Q", *named.values()),
    }


def listed(driver: str) -> list[str]:
    """The names in a listing of tests/drivers."""
    lines = (_DRIVERS / driver / "ethtool-S.txt").read_text().splitlines()[1:]
    return [line.rpartition(":")[0].strip() for line in lines]


def numbered(names: Sequence[str], first: int, known: Values) -> dict[str, int]:
    """Every name with its figure; those of no special meaning have different ones."""
    unknown = known.keys() - set(names)
    if unknown:
        raise ValueError(f"the driver has no {sorted(unknown)}")
    return {name: known.get(name, first + 37 * at) for at, name in enumerate(names)}


def of_queues(name: str, *values: int) -> dict[str, int]:
    """A statistic of queues 0, 1, …, whose number is where the braces are."""
    return {name.format(queue): value for queue, value in enumerate(values)}


def of_links(devices: Sequence[Device]) -> Answers:
    return {
        "netlink/links.bin": b"".join([device.link() for device in devices]),
        "netlink/link-stats.bin": b"".join([device.statistics() for device in devices]),
        **{f"sys/class/net/{d.name}/ifindex": b"%d\n" % d.index for d in devices},
    }
