"""What the kernel says of interrupts, queues and masks, printed as it prints them.

By nothing of the exporter, from the kernel files that are named along with each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.bench.nics import attribute, generic, u32, uint
from tests.hosts.hardware.answers import Answers, Device, drvinfo, numbers

Cpus = Sequence[int]


@dataclass(frozen=True)
class Machine:
    """A machine.

    possible: how many CPUs it may have (nr_cpu_ids).
    online: those that it has now.
    nodes: by NUMA node, its CPUs, online or not.
    digits: those of the number of interrupts that there may be, at least 3.
    """

    possible: int
    online: Cpus
    nodes: Sequence[Cpus]
    digits: int = 3

    def files(self) -> Answers:
        """drivers/base/cpu.c and drivers/base/node.c: a node lists the CPUs that are online."""
        system = "sys/devices/system"
        nodes = {
            f"{system}/node/node{node}/cpulist": _line(listed(set(cpus) & set(self.online)))
            for node, cpus in enumerate(self.nodes)
        }
        return {
            f"{system}/cpu/online": _line(listed(self.online)),
            f"{system}/cpu/possible": _line(listed(range(self.possible))),
            **nodes,
        }


class Irq(NamedTuple):
    """An interrupt.

    chip: of the controller, with the interrupt's number there, as pci_msi() and pci_msix() say it.
    allowed, effective: see irq_affinity_list_proc_show() and irq_effective_aff_list_proc_show() in
        kernel/irq/proc.c.
    counts: by CPU, if there are any.
    """

    number: int
    chip: str
    action: str
    allowed: Cpus
    effective: int
    counts: Mapping[int, int]


class Napi(NamedTuple):
    """What the kernel says of a NAPI instance beside its id. None before v6.13."""

    irq: int
    defer_hard_irqs: int | None = None
    gro_flush_timeout: int | None = None
    threaded: int | None = None


@dataclass(frozen=True)
class Card:
    """A network device on hardware.

    sysfs: where the hardware is below /sys/devices; "" to put all of it where the links of /sys
        begin, as captured hosts have it.
    rps, flows: of each receive queue, the CPUs and the entries of its table.
    xps: of each transmit queue, the CPUs. None if it has no such file.
    """

    device: Device
    driver: str
    numa_node: int
    irqs: Sequence[Irq]
    rps: Sequence[Cpus]
    flows: Sequence[int]
    xps: Sequence[Cpus] | None
    sysfs: str = ""
    version: str = "5.10.0-32-amd64"

    def files(self, machine: Machine) -> Answers:
        name = self.device.name
        function = self._function()
        found = {
            f"{function}/numa_node": b"%d\n" % self.numa_node,
            f"ioctl/{name}.gdrvinfo.bin": drvinfo(self.driver, self.version, "", self.device.slot),
            **{f"{function}/msi_irqs/{irq.number}": b"msix\n" for irq in self.irqs},
        }
        for queue, (cpus, flows) in enumerate(zip(self.rps, self.flows, strict=True)):
            folder = f"sys/class/net/{name}/queues/rx-{queue}"
            found[f"{folder}/rps_cpus"] = _line(mask(cpus, machine.possible))
            found[f"{folder}/rps_flow_cnt"] = b"%d\n" % flows
        for queue, cpus in enumerate(self.xps or ()):
            folder = f"sys/class/net/{name}/queues/tx-{queue}"
            found[f"{folder}/xps_cpus"] = _line(mask(cpus, machine.possible))
            found[f"{folder}/xps_rxqs"] = _line(mask((), len(self.rps)))
        if self.xps is None:
            # Git keeps no empty folder; every queue has this file, which nobody here reads.
            found[f"sys/class/net/{name}/queues/tx-0/tx_timeout"] = b"0\n"
        return found

    def symbolic_links(self) -> dict[str, str]:
        """Where below /sys is a link, and where it leads."""
        here = f"sys/class/net/{self.device.name}/device"
        if not self.sysfs:
            return {f"{here}/driver": self.driver}
        bus = f"{'../' * (self.sysfs.count('/') + 2)}bus/{'virtio' if self._is_virtio() else 'pci'}"
        return {
            here: f"../../../devices/{self.sysfs}",
            f"sys/devices/{self.sysfs}/subsystem": bus,
            f"sys/devices/{self.sysfs}/driver": f"{bus}/drivers/{self.driver}",
        }

    def _is_virtio(self) -> bool:
        return "/virtio" in self.sysfs

    def _function(self) -> str:
        """The folder of the PCI function, which is interrupted; that of virtio0 is above it."""
        if not self.sysfs:
            return f"sys/class/net/{self.device.name}/device"
        return f"sys/devices/{self.sysfs.rpartition('/')[0] if self._is_virtio() else self.sysfs}"


def pci_msi(slot: str, entry: int) -> str:
    """A vector up to v6.1: pci_msi_domain_calc_hwirq() in drivers/pci/msi.c, of domain 0."""
    _, bus, devfn = slot.split(":")
    device, function = devfn.split(".")
    number = (int(bus, 16) << 8 | int(device, 16) << 3 | int(function)) << 11 | entry
    return f"{'PCI-MSI':>8} {number}-{'edge':<8}"


def pci_msix(slot: str, entry: int, digits: int = 3) -> str:
    """A vector since v6.2: pci_create_device_domain() in drivers/pci/msi/irqdomain.c."""
    return f"PCI-MSIX-{slot} {entry:{digits}}-{'edge':<8}"


def interrupts(machine: Machine, irqs: Iterable[Irq]) -> bytes:
    """/proc/interrupts: show_interrupts() in kernel/irq/proc.c.

    Of what arch_show_interrupts() in arch/x86/kernel/irq.c adds only a row for each form it has.
    """
    width = machine.digits

    def counts(by_cpu: Mapping[int, int]) -> str:
        return "".join([f"{by_cpu.get(cpu, 0):10} " for cpu in machine.online])

    lines = [" " * (width + 8) + "".join([f"CPU{cpu:<8}" for cpu in machine.online])]
    lines += [
        f"{irq.number:{width}}: {counts(irq.counts)} {irq.chip}  {irq.action}" for irq in irqs
    ]
    timers = {cpu: 60_000 + cpu for cpu in machine.online}
    lines.append(f"{'LOC':>{width}}: {counts(timers)}  Local timer interrupts")
    lines.append(f"{'ERR':>{width}}: {0:10}")
    return ("\n".join(lines) + "\n").encode()


def counted_by_cpu(machine: Machine, softnet_columns: int) -> Answers:
    """What every CPU counts, with different figures.

    /proc/stat: show_stat() in fs/proc/stat.c, without what is not of a CPU; /proc/softirqs:
    show_softirqs() in fs/proc/softirqs.c, of all possible CPUs; /proc/net/softnet_stat:
    softnet_seq_show() in net/core/net-procfs.c, where column 12 is the CPU, if there are as many.
    """
    ticks = {
        cpu: [10 + cpu, 0, 40 + cpu, 9_000 + cpu, 0, 0, cpu, 0, 0, 0] for cpu in machine.online
    }
    total = [sum(column) for column in zip(*ticks.values(), strict=True)]
    stat = ["cpu  " + " ".join(map(str, total))]
    stat += [" ".join([f"cpu{cpu}", *map(str, of_cpu)]) for cpu, of_cpu in ticks.items()]
    names = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER",
             "RCU")  # fmt: skip
    runs = [" " * 20 + "".join([f"CPU{cpu:<8}" for cpu in range(machine.possible)])]
    for first, name in enumerate(names):
        counts = [1_000 * first + cpu if cpu in ticks else 0 for cpu in range(machine.possible)]
        runs.append(f"{name:>12}:" + "".join([f" {count:10}" for count in counts]))
    rows = []
    for cpu in machine.online:
        row = [5_000 + cpu, *[0] * (softnet_columns - 1)]
        if softnet_columns > 12:
            row[12] = cpu
        rows.append(" ".join([f"{number:08x}" for number in row]))
    return {
        "proc/stat": _line("\n".join(stat)),
        "proc/softirqs": _line("\n".join(runs)),
        "proc/net/softnet_stat": _line("\n".join(rows)),
    }


def affinity(irqs: Iterable[Irq]) -> Answers:
    """/proc/irq: see Irq."""
    found: Answers = {}
    for irq in irqs:
        found[f"proc/irq/{irq.number}/smp_affinity_list"] = _line(listed(irq.allowed))
        found[f"proc/irq/{irq.number}/effective_affinity_list"] = b"%d\n" % irq.effective
    return found


def mask(cpus: Iterable[int], bits: int) -> str:
    """%*pb: bitmap_string() in lib/vsprintf.c."""
    number = sum([1 << cpu for cpu in cpus])
    last = bits % 32 or 32
    groups = [f"{number >> bits - last:0{-(-last // 4)}x}"]
    groups += [f"{number >> shift & 0xFFFFFFFF:08x}" for shift in range(bits - last - 32, -1, -32)]
    return ",".join(groups)


def listed(cpus: Iterable[int]) -> str:
    """%*pbl: bitmap_list_string() in lib/vsprintf.c."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join([f"{a}-{b}" if b > a else f"{a}" for a, b in runs])


def _line(text: str) -> bytes:
    return text.encode() + b"\n"


def queues(device: Device, rx: Sequence[int | None], tx: Sequence[int | None]) -> bytes:
    """queue-get: netdev_nl_queue_fill_one() in net/core/netdev-genl.c. By queue its NAPI id."""
    said = b""
    for type, ids in ((0, rx), (1, tx)):
        for queue, id in enumerate(ids):
            served = b"" if id is None else u32(4, id)
            said += generic(10, u32(1, queue), u32(3, type), u32(2, device.index), served)
    return said


def napis(device: Device, by_id: Mapping[int, Napi]) -> bytes:
    """napi-get: netdev_nl_napi_fill_one() in net/core/netdev-genl.c. The last one comes first."""
    said = b""
    for id, napi in sorted(by_id.items(), reverse=True):
        said += generic(
            11,
            u32(2, id), u32(1, device.index), u32(3, napi.irq),
            b"" if napi.threaded is None else uint(8, napi.threaded),
            u32(4, 4_000 + id) if napi.threaded else b"",
            b"" if napi.defer_hard_irqs is None else u32(5, napi.defer_hard_irqs),
            b"" if napi.gro_flush_timeout is None else uint(7, 0) + uint(6, napi.gro_flush_timeout),
        )  # fmt: skip
    return said


def rss(device: Device, table: Sequence[int]) -> bytes:
    """ETHTOOL_MSG_RSS_GET: rss_fill_reply() in net/ethtool/rss.c, with a key of mlx5's length."""
    entries = struct.pack(f"={len(table)}I", *table)
    return device.said(38, attribute(4, entries), u32(3, 1), attribute(5, bytes(range(40))))


def rxfh_indir(table: Sequence[int]) -> bytes:
    """ETHTOOL_GRXFHINDIR: ethtool_get_rxfh_indir() in net/ethtool/ioctl.c."""
    return numbers(0x38, len(table), *table)


def in_turn(queues: int, entries: int) -> list[int]:
    """ethtool_rxfh_indir_default() in include/linux/ethtool.h."""
    return [entry % queues for entry in range(entries)]
