"""Who serves the queues of the cards of a host that is made up: interrupts, NAPI, RSS and XPS.

A vector for each pair of queues, on a CPU of its own as far as there are some, as mlx5 sets it up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.bench.nics import Nics
from tests.hosts.hardware import steering
from tests.hosts.hardware.answers import Device
from tests.hosts.hardware.steering import Card, Irq, Machine, Napi

_FIRST_IRQ, _FIRST_NAPI = 100, 8193


class Steered:
    """The interrupts of some cards, and what is set to spread their packets."""

    def __init__(self, nics: Nics, cpus: int, nodes: int, chance: random.Random) -> None:
        self._chance = chance
        share = cpus // nodes
        machine = Machine(
            cpus, range(cpus), [range(n * share, (n + 1) * share) for n in range(nodes)], digits=4
        )
        self._machine = machine
        self._counts: dict[int, int] = {}
        self._irqs: list[Irq] = []
        self._files: dict[str, bytes] = {"proc/sys/net/core/rps_sock_flow_entries": b"0\n"}
        told = {"queues": b"", "napis": b"", "rss": b""}
        for number, name in enumerate(nics.devices):
            slot = f"0000:{number:02x}:00.0"
            device = Device(nics.index(name), name, 0, 0, 1500, (), slot=slot)
            irqs = self._vectors(slot, nics.queues)
            napis = {_FIRST_NAPI + irq.number: Napi(irq.number) for irq in irqs[1:]}
            told["queues"] += steering.queues(device, list(napis), list(napis))
            told["napis"] += steering.napis(device, napis)
            told["rss"] += steering.rss(device, steering.in_turn(nics.queues, 256))
            nothing = [()] * nics.queues
            xps = [(irq.effective,) for irq in irqs[1:]]
            card = Card(device, "mlx5_core", 0, irqs, nothing, [0] * nics.queues, xps)
            for path, content in card.files(machine).items():
                if "/msi_irqs/" in path or "/queues/" in path:
                    self._files[path] = content
        self._files |= {f"netlink/{name}.bin": content for name, content in told.items()}
        self._files |= steering.affinity(self._irqs)

    def _vectors(self, slot: str, queues: int) -> list[Irq]:
        first = _FIRST_IRQ + len(self._irqs)
        irqs = []
        for entry in range(queues + 1):
            kind = f"mlx5_comp{entry - 1}" if entry else "mlx5_async0"
            cpu = (len(self._irqs) + entry) % len(self._machine.online)
            chip = steering.pci_msix(slot, entry, 4)
            irqs.append(Irq(first + entry, chip, f"{kind}@pci:{slot}", (cpu,), cpu, {}))
            self._counts[first + entry] = self._chance.randrange(10**9)
        self._irqs += irqs
        return irqs

    def settled(self) -> Iterator[tuple[str, bytes]]:
        """The files that stay as they are."""
        yield from self._files.items()

    def advance(self) -> None:
        """Interrupt each CPU by every vector it has."""
        for irq in self._counts:
            self._counts[irq] += self._chance.randrange(1, 1000)

    def moving(self) -> Iterator[tuple[str, bytes]]:
        """The files that move."""
        irqs = [
            irq._replace(counts={irq.effective: self._counts[irq.number]}) for irq in self._irqs
        ]
        yield "proc/interrupts", steering.interrupts(self._machine, irqs)
