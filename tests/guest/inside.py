"""Runs inside a guest: cards in network namespaces, and frames of a known number between them.

A namespace is quiet: no IPv6, no addresses, so nothing moves in it but what is sent with send().
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.live.packets import UDP, ethernet, ipv4, udp

PATIENCE = 60.0
"""Seconds until what should happen in a guest, however slow, is given up."""

_CLONE_NEWNET = 0x40000000
_ETH_P_IP = 0x0800
_SIOCGIFFLAGS, _SIOCGIFHWADDR, _IFF_RUNNING = 0x8913, 0x8927, 0x40

T = TypeVar("T")

_threads: dict[str, ThreadPoolExecutor] = {}


class End(NamedTuple):
    """A device in a namespace."""

    namespace: str
    device: str


def run(*words: str) -> str:
    """Run a command to its end and give what it wrote. Raises with what it said."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def in_namespace(namespace: str, *words: str) -> str:
    """Run a command in a namespace, with a /sys of its own; "" is the one of the guest."""
    return run(*(("ip", "netns", "exec", namespace) if namespace else ()), *words)


def make_namespaces(*names: str) -> None:
    """Add quiet namespaces."""
    for name in names:
        run("ip", "netns", "add", name)
        for which in ("all", "default"):
            setting = f"net.ipv6.conf.{which}.disable_ipv6=1"
            in_namespace(name, "sysctl", "-q", "-w", setting)


def move(device: str, namespace: str) -> End:
    """Put a device into a namespace and switch it on."""
    run("ip", "link", "set", device, "netns", namespace)
    run("ip", "-n", namespace, "link", "set", device, "up")
    return End(namespace, device)


def inside(namespace: str, call: Callable[[], T]) -> T:
    """Call something in a thread that stays in the namespace. Starting a program takes longer."""
    if namespace not in _threads:
        _threads[namespace] = ThreadPoolExecutor(1, initializer=_enter, initargs=(namespace,))
    return _threads[namespace].submit(call).result()


def received(end: End) -> int:
    """How many packets a device has received."""
    text = inside(end.namespace, Path("/proc/thread-self/net/dev").read_text)
    rows = [line.partition(":") for line in text.splitlines()]
    return int(next(row.split()[1] for name, _, row in rows if name.strip() == end.device))


def mac_of(end: End) -> bytes:
    """The Ethernet address of a device."""
    said: bytes = inside(end.namespace, lambda: _ioctl(end.device, _SIOCGIFHWADDR))
    return said[2:8]


def wait_for_carrier(*ends: End) -> None:
    """Wait until devices can send: cards negotiate for a while."""
    for end in ends:

        def running(end: End = end) -> bool:
            said = inside(end.namespace, lambda: _ioctl(end.device, _SIOCGIFFLAGS))
            return bool(int.from_bytes(said[:2], sys.byteorder) & _IFF_RUNNING)

        wait_until(running, f"no carrier on {end}")


def send(
    source: End,
    target: End,
    frames: int,
    *,
    flow: int = 0,
    cpu: int | None = None,
    size: int = 100,
    mac: bytes | None = None,
    arrive: bool = True,
) -> None:
    """Send UDP packets to a device and wait until it has received them.

    flow: numbers the port, so that each flow has a hash of its own.
    cpu: on which CPU, where a driver has a queue for each.
    size: bytes of the datagram's data.
    mac: the destination, if that is not the target's own.
    arrive: whether it will receive them, or lose some.
    """
    before = received(target)
    addresses = "198.51.100.1", "198.51.100.2"
    datagram = udp(*addresses, (10_000 + flow, 9), bytes(size))
    frame = ethernet(mac_of(source), mac or mac_of(target), ipv4(*addresses, UDP, datagram))

    def transmit() -> None:
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, everywhere if cpu is None else {cpu})
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind((source.device, _ETH_P_IP))
            for _ in range(frames):
                wire.send(frame)
        os.sched_setaffinity(0, everywhere)

    inside(source.namespace, transmit)
    if arrive:
        wait_until(
            lambda: received(target) >= before + frames,
            f"not all of {frames} frames went from {source} to {target}",
        )


def send_over_queues(source: End, target: End, cpus: Iterable[int], frames: int) -> None:
    """Several flows from each CPU, each flow with more frames than the one before."""
    for number, cpu in enumerate(cpus):
        for flow in range(3):
            send(source, target, frames + 7 * number + 3 * flow, flow=3 * cpu + flow, cpu=cpu)


def send_too_long(source: End, target: End) -> None:
    """Six frames that the target, most cards, cannot take."""
    in_namespace(source.namespace, "ip", "link", "set", source.device, "mtu", "4000")
    wait_for_passage(source, target)
    send(source, target, 6, size=3000, arrive=False)
    send(source, target, 1)  # when that one has come, so have those


def wait_for_passage(source: End, target: End) -> None:
    """Send until something comes: after a change of settings many cards negotiate anew."""

    def passes() -> bool:
        before = received(target)
        send(source, target, 1, arrive=False)
        time.sleep(0.2)
        return received(target) > before

    wait_until(passes, f"nothing passes any more from {source} to {target}")


def wait_until(true: Callable[[], bool], otherwise: str) -> None:
    """Ask until the answer is yes. Raises with the text when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.05)


def _enter(namespace: str) -> None:
    if namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/run/netns/{namespace}").open("rb") as file:
            if libc.setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


def _ioctl(device: str, number: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        return fcntl.ioctl(handle, number, struct.pack("16s24x", device.encode()))[16:]
