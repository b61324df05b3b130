"""A host of any size, made up: the files that this exporter and node_exporter read.

The numbers come from a model that keeps every one of them, so that what an exporter has to say
of the host is known without reading its files.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable
from operator import add
from pathlib import Path

from tests.bench.nics import Nics
from tests.bench.steered import Steered

_CAPTURED = Path(__file__).parents[1] / "hosts" / "linux-6.18" / "proc" / "net"

SOFTNET = (
    "processed",
    "dropped",
    "time_squeeze",
    "received_rps",
    "flow_limit_count",
)
_SOFTNET_MAGNITUDES = (1 << 32, 10**5, 10**7, 1 << 32, 10**4)
_QUEUES = ("input_qlen", "process_qlen")
_SOFTNET_ROW = " ".join(["%08x"] * 15).encode() + b"\n"

SOFTIRQS = (
    "HI",
    "TIMER",
    "NET_TX",
    "NET_RX",
    "BLOCK",
    "IRQ_POLL",
    "TASKLET",
    "SCHED",
    "HRTIMER",
    "RCU",
)

MODES = (
    "user",
    "nice",
    "system",
    "idle",
    "iowait",
    "irq",
    "softirq",
    "steal",
    "guest",
    "guest_nice",
)
_MODE_MAGNITUDES = (10**8, 10**5, 10**8, 10**9, 10**6, 10**6, 10**8, 10**5, 10**4, 10**3)

SETTINGS = (
    "Ip.Forwarding",
    "Ip.DefaultTTL",
    "Tcp.RtoAlgorithm",
    "Tcp.RtoMin",
    "Tcp.RtoMax",
    "Tcp.MaxConn",
)
"""What snmp lists between its counters, and what never moves."""

_U32 = (1 << 32) - 1
_LONGEST_QUEUE = 1000
_BOOTED = 1_700_000_000


class BigHost:
    """A host with its files in ``folder``: written at once, and again by every advance().

    Columns have a value for each possible CPU, in order; files list those that are online.

    softnet: column of softnet_stat → values, u32.
    softirqs: vector → values, u32.
    ticks: mode → hundredths of a second.
    protocols: ``Udp.NoPorts`` → value, for all fields of snmp, netstat and snmp6.
    node_of: the NUMA node of each possible CPU.
    nics: its network cards. What they are asked for is not in files, so only a ReplayedHost has
        them.
    """

    def __init__(
        self,
        folder: Path,
        cpus: int = 256,
        nodes: int = 8,
        offline: Iterable[int] = (),
        seed: int = 1,
        cards: int = 0,
        queues: int = 64,
    ) -> None:
        chance = random.Random(seed)
        self.folder = folder
        self.possible = tuple(range(cpus))
        self.online = tuple(sorted(set(self.possible) - set(offline)))
        # Cores first and their second threads after all of them, as x86 firmware counts.
        share = max(1, cpus // nodes // 2)
        self.node_of = tuple([cpu // share % nodes for cpu in self.possible])
        self._nodes = nodes

        def column(magnitude: int, lowest: int = 0) -> list[int]:
            return [chance.randrange(lowest, magnitude) for _ in self.possible]

        self.softnet = {
            name: column(magnitude)
            for name, magnitude in zip(SOFTNET, _SOFTNET_MAGNITUDES, strict=True)
        }
        self.softnet |= {name: column(_LONGEST_QUEUE) for name in _QUEUES}
        self.softirqs = {name: column(1 << 32, 10**9) for name in SOFTIRQS}
        self.ticks = {
            mode: column(magnitude) for mode, magnitude in zip(MODES, _MODE_MAGNITUDES, strict=True)
        }
        # About as many as arch_probe_nr_irqs() (arch/x86/kernel/apic/vector.c) allots to a
        # server; most are never requested.
        self._interrupts = [chance.randrange(10**9) for _ in range(88 + 2 * cpus)]
        self._unused_interrupts = 8 * cpus + 2056 - len(self._interrupts)
        self._totals = [chance.randrange(10**12), chance.randrange(10**9)]  # ctxt, processes

        self._layouts = {name: _layout(_CAPTURED / name) for name in ("snmp", "netstat", "snmp6")}
        keys = [key for _, found in self._layouts.values() for key in found]
        given = _settings(_CAPTURED / "snmp")
        self._fields = [key for key in keys if key not in given]
        # No limit in the kernel but 64 bits; octets reach 15 digits, most errors stay below 6.
        self._counts = [chance.randrange(10 ** chance.randint(1, 15)) for _ in self._fields]
        self.protocols = given | dict(zip(self._fields, self._counts, strict=True))

        self._narrow = [*[self.softnet[name] for name in SOFTNET], *self.softirqs.values()]
        self._wide = [*self.ticks.values(), self._interrupts, self._totals, self._counts]
        counters = sum(map(len, self._narrow)) + sum(map(len, self._wide))
        # Each counter moves by another one of these.
        self._amounts = list(range(1, counters + 1))
        chance.shuffle(self._amounts)
        self._chance = chance
        self.nics = Nics(cards, queues, nodes, chance) if cards else None
        self._steered = Steered(self.nics, cpus, nodes, chance) if self.nics else None

        self._descriptors: dict[str, int] = {}
        self._write_once()
        self._write()

    def advance(self) -> None:
        """Move every counter by a different amount, and rewrite the files where they are."""
        turn = self._chance.randrange(len(self._amounts))
        amounts = iter(self._amounts[turn:] + self._amounts[:turn])
        for column in self._narrow:
            column[:] = [value & _U32 for value in map(add, column, amounts)]
        for column in self._wide:
            column[:] = map(add, column, amounts)
        for name in _QUEUES:
            column = self.softnet[name]
            column[:] = self._chance.choices(range(_LONGEST_QUEUE), k=len(column))
        self.protocols.update(zip(self._fields, self._counts, strict=True))
        if self.nics is not None:
            self.nics.advance()
        if self._steered is not None:
            self._steered.advance()
        self._write()

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _write_once(self) -> None:
        cpu = "sys/devices/system/cpu"
        self._put(f"{cpu}/online", _cpulist(self.online))
        self._put(f"{cpu}/possible", _cpulist(self.possible))
        for node in range(self._nodes):
            members = [number for number in self.online if self.node_of[number] == node]
            self._put(f"sys/devices/system/node/node{node}/cpulist", _cpulist(members))
        if self.nics is not None:
            for name, content in self.nics.settled():
                self._put(name, content)
            for name, target in self.nics.symbolic_links():
                (self.folder / name).symlink_to(target)
        if self._steered is not None:
            for name, content in self._steered.settled():
                self._put(name, content)

    def _write(self) -> None:
        self._put("proc/net/softnet_stat", self._softnet_stat())
        self._put("proc/softirqs", self._softirqs_text())
        self._put("proc/stat", self._stat())
        for name, (template, keys) in self._layouts.items():
            values = [self.protocols[key] for key in keys]
            self._put(f"proc/net/{name}", template % tuple(values))
        if self.nics is not None:
            for name, content in self.nics.moving():
                self._put(name, content)
        if self._steered is not None:
            for name, content in self._steered.moving():
                self._put(name, content)

    def _softnet_stat(self) -> bytes:
        """See softnet_seq_show() in net/core/net-procfs.c."""
        of = self.softnet
        nothing = [0] * len(self.possible)
        columns = [
            of["processed"],
            of["dropped"],
            of["time_squeeze"],
            *[nothing] * 6,  # what older kernels counted: fast routes, collisions of CPUs
            of["received_rps"],
            of["flow_limit_count"],
            list(map(add, of["input_qlen"], of["process_qlen"])),
            list(self.possible),
            of["input_qlen"],
            of["process_qlen"],
        ]
        rows = list(zip(*columns, strict=True))
        cells = [cell for cpu in self.online for cell in rows[cpu]]
        return _SOFTNET_ROW * len(self.online) % tuple(cells)

    def _softirqs_text(self) -> bytes:
        """See show_softirqs() in fs/proc/softirqs.c."""
        header = " " * 20 + "".join([f"CPU{cpu:<8}" for cpu in self.possible])
        cells = " %10d" * len(self.possible)
        rows = [f"{name:>12}:" + cells % tuple(row) for name, row in self.softirqs.items()]
        return "\n".join([header, *rows, ""]).encode()

    def _stat(self) -> bytes:
        """See show_stat() in fs/proc/stat.c."""
        rows = list(zip(*self.ticks.values(), strict=True))
        sums = [sum(column) for column in self.ticks.values()]
        vectors = [sum(row) for row in self.softirqs.values()]
        switches, processes = self._totals
        lines = [
            "cpu  " + " ".join(map(str, sums)),
            *[f"cpu{cpu} " + " ".join(map(str, rows[cpu])) for cpu in self.online],
            f"intr {sum(self._interrupts)} "
            + " ".join(map(str, self._interrupts))
            + " 0" * self._unused_interrupts,
            f"ctxt {switches}",
            f"btime {_BOOTED}",
            f"processes {processes}",
            "procs_running 3",
            "procs_blocked 0",
            f"softirq {sum(vectors)} " + " ".join(map(str, vectors)),
            "",
        ]
        return "\n".join(lines).encode()

    def _put(self, name: str, text: bytes) -> None:
        descriptor = self._descriptors.get(name)
        if descriptor is None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = self._descriptors[name] = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(descriptor, text, 0)
        os.ftruncate(descriptor, len(text))


def _layout(captured: Path) -> tuple[bytes, list[str]]:
    """A captured file with its values taken out, and ``<protocol>.<field>`` of each."""
    lines = captured.read_text().splitlines()
    if captured.name == "snmp6":
        names = [line.split()[0] for line in lines]
        text = "".join([f"{name:<32}\t%d\n" for name in names])
        return text.encode(), [re.sub(r"^(\w*?6)", r"\1.", name) for name in names]
    text, keys = "", []
    for line in lines[::2]:
        protocol, *fields = line.replace(":", "").split()
        text += f"{line}\n{protocol}:" + " %d" * len(fields) + "\n"
        keys += [f"{protocol}.{field}" for field in fields]
    return text.encode(), keys


def _settings(snmp: Path) -> dict[str, int]:
    """What the captured host has set."""
    lines = snmp.read_text().splitlines()
    found: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocol, *fields = names.replace(":", "").split()
        keys = [f"{protocol}.{field}" for field in fields]
        found |= dict(zip(keys, map(int, values.split()[1:]), strict=True))
    return {key: found[key] for key in SETTINGS}


def _cpulist(numbers: Iterable[int]) -> bytes:
    """See bitmap_print_to_pagebuf() in lib/bitmap-str.c."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    parts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
    return ",".join(parts).encode() + b"\n"
