"""A host whose devices a test makes up, and whose drivers it may hold."""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from pathlib import Path

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.ethtool import Statistics
from netperf_exporter.kernel.host import ReplayedHost, Request
from tests import messages


class FakeHost(ReplayedHost):
    """Devices of one driver, which answers unless somebody holds it.

    devices: their names, by ifindex.
    counted: what every counter of every device has counted since the test began.
    held: names of devices whose driver is held, and "rtnl".
    """

    def __init__(self, folder: Path, devices: Mapping[int, bytes]) -> None:
        for name in ("proc/net", "sys"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        cpu = "1 2 3 4 5 6 7 8 9 10"
        (folder / "proc/stat").write_text(f"cpu  {cpu}\ncpu0 {cpu}\n")
        super().__init__(folder)
        self.devices = devices
        self.counted = 0
        self.held: dict[str, threading.Event] = {}
        self.messages = tuple([messages.link(i, name) for i, name in devices.items()])

    def hold(self, what: str) -> None:
        self.held[what] = threading.Event()

    def release(self, what: str) -> None:
        self.held.pop(what).set()

    def release_all(self) -> None:
        for what in list(self.held):
            self.release(what)

    def _wait(self, what: str) -> None:
        event = self.held.get(what)
        if event is not None:
            event.wait(120)

    def links(self) -> tuple[bytes, ...]:
        self._wait("rtnl")
        return self.messages

    def dump(self, request: Request) -> bytes:
        self._wait("rtnl")
        if request.name == "link-stats":
            rows = [
                (i, range(i * 100 + self.counted, i * 100 + self.counted + 25))
                for i in self.devices
            ]
            return b"".join([messages.statistics(i, row) for i, row in rows])
        return super().dump(request)

    def ethtool(self, device: str, command: ethtool.Command) -> bytes:
        self._wait("rtnl")
        if command is ethtool.GDRVINFO:
            return struct.pack("=I32s", command.number, b"ifb").ljust(command.size, b"\0")
        return super().ethtool(device, command)

    def statistics(self, device: str, index: int) -> Statistics:
        self._wait(device)
        names = [f"{way}_queue_{n}_packets" for way in ("rx", "tx") for n in range(4)]
        return Statistics(
            messages.strings(*names), struct.pack("=8Q", *range(index * 10, index * 10 + 8))
        )
