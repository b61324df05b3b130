"""Runs inside a guest: what happens to network cards while an exporter watches them.

    python -m tests.guest.nic_scenario FOLDER

The cards under test and the exporter are in one namespace, the card that sends to them in another.
Each step leaves a file: what the usual tools say, one scrape, what the tools say now.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guest.inside import (
    End,
    in_namespace,
    inside,
    make_namespaces,
    move,
    received,
    run,
    send,
    send_too_long,
    wait_for_carrier,
    wait_for_passage,
    wait_until,
)
from tests.guest.networks import card

HOST, PEER = "host", "peer"
CPUS = range(4)
DRIVERS = ("vmxnet3", "virtio_net", "e1000e", "8139cp")
FLAGS = (
    *("--web.listen-address=127.0.0.1:0", "--device.include=.*", "--log.level=debug"),
    *("--collector.nicstatistics", "--collector.queues.transmit-details"),
    "--collector.nic.offload-include=.*",
)
TOOLS = """
ip -s -s -j link show >link
for device in $(ls /sys/class/net); do
    for option in S g l k; do ethtool -$option $device >$device.$option 2>/dev/null; done
done
:
"""


class Exporter:
    """Runs in the namespace of the cards under test."""

    def __init__(self, log: Path) -> None:
        command = ("ip", "netns", "exec", HOST, ".venv/bin/netperf-exporter", *FLAGS)
        with log.open("w") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr)

        def port() -> str:
            found = re.search(r"metrics at http://127\.0\.0\.1:(\d+)/", log.read_text())
            return found[1] if found else ""

        wait_until(lambda: bool(port()), "the exporter does not serve")
        self._port = int(port())

    def scrape(self) -> str:
        """Everything it exports now."""

        def connect() -> socket.socket:
            return socket.create_connection(("127.0.0.1", self._port), timeout=60)

        client = http.client.HTTPConnection("127.0.0.1", self._port)
        client.sock = inside(HOST, connect)
        client.request("GET", "/metrics", headers={"Connection": "close"})
        return client.getresponse().read().decode()

    @contextmanager
    def scraping(self, into: list[str]) -> Iterator[None]:
        """Scrapes without a pause meanwhile."""
        done = threading.Event()

        def scrape() -> None:
            while not done.is_set():
                into.append(self.scrape())

        thread = threading.Thread(target=scrape)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def tools() -> dict[str, str]:
    """What ip and ethtool say: the file link, and for each device its .S, .g, .l and .k."""
    folder = Path("/run/tools")
    run("rm", "-rf", str(folder))
    folder.mkdir()
    in_namespace(HOST, "sh", "-c", f"cd {folder}; {TOOLS}")
    return {path.name: path.read_text() for path in folder.iterdir()}


def main(folder: Path) -> None:
    """Go through all steps."""
    make_namespaces(HOST, PEER)
    in_namespace(HOST, "ip", "link", "set", "lo", "up")
    ends = {driver: move(card(driver), HOST) for driver in DRIVERS}
    peer = move(card("e1000"), PEER)
    wait_for_carrier(peer, *ends.values())
    exporter = Exporter(folder / "log")
    devices = {driver: end.device for driver, end in ends.items()}

    def step(name: str, act: Callable[[], object] = lambda: None) -> None:
        done = act()
        before = tools()
        metrics = exporter.scrape()
        found = {"before": before, "metrics": metrics, "after": tools(), "devices": devices}
        (folder / f"{name}.json").write_text(json.dumps({**found, "done": done}))

    step("start")
    step("traffic", lambda: traffic(ends, peer))
    step("long", lambda: send_too_long(peer, ends["e1000e"]))
    step("rings", lambda: rings(ends, peer))
    step("burst", lambda: burst(peer, ends["vmxnet3"]))
    step("channels", lambda: channels(ends["virtio_net"], peer))
    scrapes: list[str] = []
    with exporter.scraping(scrapes):
        rename(ends)
        scrapes.append("reload")
        again = reload_driver(ends["e1000e"])
    wait_for_passage(peer, again)
    (folder / "scrapes.json").write_text(json.dumps(scrapes))
    step("end")
    exporter.process.terminate()
    exporter.process.wait(60)


def traffic(ends: dict[str, End], peer: End) -> dict[str, object]:
    """A number of frames to each card, and from each of its queues another; tells which."""
    to, by_cpu = {}, {}
    for number, (driver, end) in enumerate(ends.items()):
        to[driver] = 50 + 7 * number
        send(peer, end, to[driver], flow=number)
        by_cpu[driver] = [20 + 10 * number + 3 * cpu for cpu in CPUS]
        for cpu, frames in zip(CPUS, by_cpu[driver], strict=True):
            send(end, peer, frames, flow=cpu, cpu=cpu)
    return {"to": to, "by_cpu": by_cpu}


def rings(ends: dict[str, End], peer: End) -> None:
    """Other sizes than drivers begin with."""
    for driver, sizes in (("vmxnet3", "rx 32 tx 256"), ("e1000e", "rx 512 tx 128")):
        in_namespace(HOST, "ethtool", "-G", ends[driver].device, *sizes.split())
        wait_for_passage(peer, ends[driver])


def burst(source: End, target: End) -> dict[str, int]:
    """More frames at once than the ring of 32 has room for; tells how many.

    netem lets them go all together, on the CPU that should take them from the ring meanwhile.
    """
    frames = 300
    for line in Path("/proc/interrupts").read_text().splitlines():
        if f"{target.device}-rxtx-" in line:
            number = line.split(":")[0].strip()
            Path(f"/proc/irq/{number}/smp_affinity_list").write_text("0\n")
    netem = ("qdisc", "replace", "dev", source.device, "root", "netem")
    in_namespace(source.namespace, "tc", *netem, "delay", "2s")
    send(source, target, frames, cpu=0, arrive=False)
    time.sleep(4)
    in_namespace(source.namespace, "tc", "qdisc", "delete", "dev", source.device, "root")
    send(source, target, 1)
    return {"sent": frames + 1}


def channels(end: End, peer: End) -> dict[str, int]:
    """Half as many queues, and frames over them."""
    before = received(end)
    in_namespace(HOST, "ethtool", "-L", end.device, "combined", "2")
    for flow in range(8):
        send(end, peer, 5, flow=flow, cpu=flow % 4)
        send(peer, end, 5, flow=flow)
    return {"received": received(end) - before}


def rename(ends: dict[str, End]) -> None:
    """Two cards exchange their names, ten times."""
    first, second = ends["vmxnet3"].device, ends["8139cp"].device
    for _ in range(10):
        script = f"link set {first} name spare\nlink set {second} name {first}\n"
        script += f"link set spare name {second}\n"
        Path("/run/rename").write_text(script)
        in_namespace(HOST, "ip", "-batch", "/run/rename")
        time.sleep(0.3)


def reload_driver(end: End) -> End:
    """Its device goes, and a new one comes, under another name."""
    run("busybox", "modprobe", "-r", "e1000e")
    time.sleep(3)
    run("busybox", "modprobe", "e1000e")
    wait_until(lambda: any_card("e1000e"), "e1000e found no card")
    run("ip", "link", "set", card("e1000e"), "name", "again")
    new = move("again", end.namespace)
    time.sleep(3)
    return new


def any_card(driver: str) -> bool:
    """Whether a driver has a device here."""
    try:
        return bool(card(driver))
    except ValueError:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
