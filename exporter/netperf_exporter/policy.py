"""Which network devices are exported one by one; of the others only sums are, by kind."""

from __future__ import annotations

import re
from dataclasses import dataclass

ROLLED_UP_KINDS = frozenset(
    {
        "loopback", "veth", "tun", "dummy", "ifb", "nlmon", "vcan", "vrf", "wireguard",
        "ipvlan", "ipvtap", "macvlan", "macvtap", "netkit",
        "vxlan", "geneve", "gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan",
        "ipip", "sit", "ip6tnl", "vti", "vti6", "xfrm", "gtp", "bareudp", "fou",
    }
)  # fmt: skip
"""Kinds of software devices (IFLA_INFO_KIND; ``loopback`` by its hardware type) that carry what
other devices of the host count as well: ends of containers, tunnels, taps."""

ROLLED_UP_NAMES = re.compile(
    r"docker(\d.*|_gwbridge)|br-[0-9a-f]{12}|cni.*|virbr\d.*|lxcbr\d.*|podman\d.*"
)
"""Bridges that container engines and libvirt make, by the names they give them."""


@dataclass(frozen=True)
class DevicePolicy:
    """Says of a device whether it is exported one by one.

    include: only devices whose whole name matches, whatever their kind.
    exclude: no device whose whole name matches.
    Without include, the kinds and names above are rolled up. A device with a driver for
    hardware never is, unless it is excluded.
    """

    include: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None

    def __call__(self, name: str, kind: str) -> bool:
        """Whether a device of this name and kind is exported one by one."""
        if self.exclude is not None and self.exclude.fullmatch(name):
            return False
        if self.include is not None:
            return self.include.fullmatch(name) is not None
        return kind not in ROLLED_UP_KINDS and not (kind and ROLLED_UP_NAMES.fullmatch(name))
