"""Runs inside a guest: what ``ethtool -S`` prints of every driver here, after some traffic.

python -m tests.guest.driver_texts FOLDER
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
)

CPUS = range(4)
QUEUES = 3
LEFT, RIGHT = "left", "right"
BROADCAST, GROUP = b"\xff" * 6, b"\x01\x00\x5e\x01\x02\x03"


def main(folder: Path) -> None:
    """Make traffic between each two devices of a driver, and write a file for each driver."""
    make_namespaces(LEFT, RIGHT)
    by_driver: dict[str, list[str]] = {}
    for device in sorted(Path("/sys/class/net").iterdir()):
        if (device / "device/driver").exists():
            driver = (device / "device/driver").resolve().name
            by_driver.setdefault(driver, []).append(device.name)
    for driver, (first, second) in by_driver.items():
        left, right = exchange(move(first, LEFT), move(second, RIGHT))
        send_too_long(left, right)
        save(folder, driver, right)
    save(folder, "veth", veth())
    save(folder, "ifb", ifb())


def exchange(left: End, right: End) -> tuple[End, End]:
    """Unicast both ways over all queues, and a few frames for everybody and for a group."""
    wait_for_carrier(left, right)
    send_over_queues(left, right, CPUS, 20)
    send_over_queues(right, left, CPUS, 30)
    send(left, right, 4, mac=BROADCAST, size=1400)
    in_namespace(left.namespace, "ip", "link", "set", left.device, "allmulticast", "on")
    send(right, left, 5, mac=GROUP, size=700)
    return left, right


def veth() -> End:
    """With GRO packets go through NAPI, which counts them; veth_skb_is_eligible_for_gro()."""
    queues = ("numrxqueues", str(QUEUES), "numtxqueues", str(QUEUES))
    run("ip", "link", "add", "veth0", *queues, "type", "veth", "peer", "veth1", *queues)
    ends = move("veth0", LEFT), move("veth1", RIGHT)
    for end in ends:
        in_namespace(end.namespace, "ethtool", "-K", end.device, "gro", "on", "tso", "off")
    return exchange(*ends)[1]


def ifb() -> End:
    """What veth1 receives goes over the ifb device, which sits in its namespace."""
    queues = ("numrxqueues", str(QUEUES), "numtxqueues", str(QUEUES))
    run("ip", "link", "add", "redirected", *queues, "type", "ifb")
    end = move("redirected", RIGHT)
    in_namespace(RIGHT, "tc", "qdisc", "add", "dev", "veth1", "ingress")
    redirect = "parent ffff: matchall action mirred egress redirect dev redirected"
    in_namespace(RIGHT, "tc", "filter", "add", "dev", "veth1", *redirect.split())
    send_over_queues(End(LEFT, "veth0"), End(RIGHT, "veth1"), CPUS, 40)
    return end


def save(folder: Path, driver: str, end: End) -> None:
    """The text of one device."""
    try:
        text = in_namespace(end.namespace, "ethtool", "-S", end.device)
    except RuntimeError as error:
        print(f"{driver}: {error}")
        return
    (folder / f"{driver}.txt").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
