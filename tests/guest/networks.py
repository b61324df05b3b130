"""Runs inside a guest: the network of a host that is going to be captured, and traffic on it.

python -m tests.guest.networks NAME
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.guest.inside import (
    End,
    in_namespace,
    make_namespaces,
    move,
    run,
    send,
    send_over_queues,
    send_too_long,
    wait_for_carrier,
    wait_until,
)

HOST = ""
PEER = "peer"


def two_old_cards() -> None:
    """A driver in the table and one that is not."""
    first, second = End(HOST, card("e1000")), End(HOST, card("8139cp"))
    for number, end in enumerate((first, second), 1):
        run("ip", "address", "add", f"192.0.2.{number}/24", "dev", end.device)
        run("ip", "link", "set", end.device, "up")
    wait_for_carrier(first, second)
    send(first, second, 60)
    send(second, first, 70)
    send_too_long(second, first)


def vlan_on_many_queues() -> None:
    """Four queues, a VLAN, IPv6, RPS; the peer has the same VLAN."""
    make_namespaces(PEER)
    end, peer = End(HOST, card("virtio_net")), move(card("e1000e"), PEER)
    up(end.device, "2001:db8::1/64")
    for mask in Path("/sys/class/net", end.device, "queues").glob("rx-*/rps_cpus"):
        mask.write_text("d\n")
    run(*f"ip link add link {end.device} name vlan10 type vlan id 10".split())
    in_namespace(PEER, *f"ip link add link {peer.device} name vlan10 type vlan id 10".split())
    up("vlan10", "2001:db8:0:10::1/64")
    in_namespace(PEER, "ip", "link", "set", "vlan10", "up")
    wait_for_carrier(end, peer)
    cpus = (0, 2, 3)  # 1 is offline
    send_over_queues(end, peer, cpus, 20)
    send_over_queues(peer, end, cpus, 30)
    send(End(HOST, "vlan10"), End(PEER, "vlan10"), 40)
    send(End(PEER, "vlan10"), End(HOST, "vlan10"), 50)


def bond_over_two_nodes() -> None:
    """The inactive member has the address of the bond, so the hub brings it everything as well."""
    make_namespaces(PEER)
    first, spare, second = card("vmxnet3"), *cards("e1000e")
    peer = move(spare, PEER)
    # Not bond0: the module makes one when it is loaded.
    settings = ("mode", "active-backup", "miimon", "100")
    run("ip", "link", "add", "bond1", "type", "bond", *settings)
    run("ip", "link", "delete", "bond0")
    for device in (first, second):
        run("ip", "link", "set", device, "down")
        run("ip", "link", "set", device, "master", "bond1")
    up("bond1", "192.0.2.1/24")
    bond = End(HOST, "bond1")
    wait_for_carrier(bond, End(HOST, second), peer)
    active = Path("/sys/class/net/bond1/bonding/active_slave")
    wait_until(lambda: active.read_text() == f"{first}\n", f"{first} is not active")
    send_over_queues(bond, peer, range(4), 20)
    send_over_queues(peer, bond, range(4), 30)
    send_too_long(peer, End(HOST, second))


def bridge_of_containers() -> None:
    """Three namespaces behind a bridge with a card of two queues; the other card stands alone."""
    port, alone = End(HOST, card("virtio_net")), End(HOST, card("e1000e"))
    run("ip", "link", "add", "bridge0", "type", "bridge")
    up("bridge0", "192.0.2.1/24")
    up(alone.device, "198.51.100.7/24")
    up(port.device, master="bridge0")
    inner = []
    for number in range(3):
        make_namespaces(f"container{number}")
        inside, outside = f"inside{number}", f"veth{number}"
        run(*f"ip link add {outside} type veth peer {inside}".split())
        inner.append(move(inside, f"container{number}"))
        up(outside, master="bridge0")
    wait_for_carrier(alone, port, *inner)
    send(inner[0], inner[1], 40)
    send(inner[1], inner[2], 50)
    send_over_queues(inner[2], alone, range(2), 30)
    send_over_queues(alone, inner[0], range(2), 20)


NETWORKS = {
    "linux-5.10": two_old_cards,
    "linux-6.1-offline-cpu": vlan_on_many_queues,
    "linux-6.12-two-nodes": bond_over_two_nodes,
    "linux-7.2": bridge_of_containers,
}


def cards(driver: str) -> list[str]:
    """The devices of a driver, in the order of their slots."""
    found = [
        path
        for path in Path("/sys/class/net").iterdir()
        if (path / "device/driver").resolve().name == driver
    ]
    return [path.name for path in sorted(found, key=lambda path: (path / "device").resolve())]


def card(driver: str) -> str:
    """The one device of a driver."""
    (device,) = cards(driver)
    return device


def up(device: str, address: str = "", master: str = "") -> None:
    """Switch a device on."""
    if master:
        run("ip", "link", "set", device, "master", master)
    run("ip", "link", "set", device, "up")
    if address:
        run("ip", "address", "add", address, "dev", device)


if __name__ == "__main__":
    NETWORKS[sys.argv[1]]()
