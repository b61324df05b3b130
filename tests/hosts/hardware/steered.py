"""Hosts that differ in who takes the packets of a network device. Each is one situation.

They have little else, so that the situation is all there is to see. Figures are all different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.bench.nics import u32
from tests.hosts.hardware import steering
from tests.hosts.hardware.answers import (
    HOSTS,
    LOWER_UP,
    OPER_UP,
    UP,
    Answers,
    Device,
    FeatureNames,
    loopback,
    of_links,
)
from tests.hosts.hardware.steering import Card, Cpus, Irq, Machine, Napi, in_turn, pci_msi, pci_msix

COPIED = ("proc/version", "proc/net/snmp", "proc/net/netstat", "proc/net/snmp6")
"""Files of the captured host that a host of these has its kernel from."""

_COUNTED = (101_000, 202_000, 303_000_000, 404_000_000)
_OFFLOADS = "tx-scatter-gather rx-gro rx-checksum rx-hashing"
_OFF: Cpus = ()


@dataclass(frozen=True)
class HostMade:
    """One of these hosts.

    like: the captured host that it has its kernel from.
    answers: what the kernel says beside what follows from the cards.
    """

    about: str
    like: str
    machine: Machine
    cards: Sequence[Card]
    rfs_entries: int
    answers: Answers

    def files(self) -> Answers:
        irqs = [irq for card in self.cards for irq in card.irqs]
        devices = [card.device for card in self.cards]
        found = self.machine.files()
        found |= of_links([loopback(len(devices[0].counted)), *devices])
        for card in self.cards:
            found |= card.files(self.machine)
        like = {name: (HOSTS / self.like / name).read_bytes() for name in COPIED}
        softnet = (HOSTS / self.like / "proc/net/softnet_stat").read_bytes()
        columns = len(softnet.splitlines()[0].split())
        found |= like | steering.counted_by_cpu(self.machine, columns)
        return found | steering.affinity(irqs) | self.answers | {
            "proc/interrupts": steering.interrupts(self.machine, irqs),
            "proc/sys/net/core/rps_sock_flow_entries": b"%d\n" % self.rfs_entries,
        }  # fmt: skip


def _device(index: int, name: str, slot: str = "") -> Device:
    """slot: where links name their hardware (v5.14); here, those with 25 statistics (v5.19)."""
    counted = _COUNTED + (0,) * ((25 if slot else 24) - len(_COUNTED))
    return Device(index, name, UP | LOWER_UP, OPER_UP, 1500, counted, slot=slot)


def _combined(device: Device, most: int, queues: int) -> bytes:
    """channels_fill_reply() in net/ethtool/channels.c."""
    return device.said(18, u32(5, most), u32(9, queues))


def _features(like: str, device: Device, more: str = "") -> Answers:
    names = FeatureNames(like)
    on = f"{_OFFLOADS} {more}"
    return {
        "netlink/feature-names.bin": names.answer(),
        "netlink/features.bin": names.said(device, f"{_OFFLOADS} rx-ntuple-filter", on),
    }


def _flat(cpus: int) -> Machine:
    """One node, all its CPUs online."""
    return Machine(cpus, range(cpus), [range(cpus)])


def _256_cpus() -> HostMade:
    """mlx5e_set_default_xps_cpumasks() in en_main.c of mlx5 gives the CPU of vector v, of as many
    as there are CPUs, to queue v modulo the number of channels; those near the card come first
    (mlx5_comp_vector_get_cpu() in eq.c). An administrator then moved the interrupts."""
    nodes = [[*range(16 * n, 16 * n + 16), *range(128 + 16 * n, 144 + 16 * n)] for n in range(8)]
    machine = Machine(256, range(256), nodes, digits=4)
    near_first = [cpu for node in (3, 0, 1, 2, 4, 5, 6, 7) for cpu in nodes[node]]
    slot = "0000:41:00.0"
    eth0 = _device(2, "eth0", slot)
    irqs = [Irq(300, pci_msix(slot, 0, 4), f"mlx5_async0@pci:{slot}", range(256), 0, {0: 77})]
    for queue in range(64):
        cpu = nodes[3][queue % 32]
        # The count on CPU 255 is from before it was moved.
        irqs.append(Irq(301 + queue, pci_msix(slot, 1 + queue, 4), f"mlx5_comp{queue}@pci:{slot}",
                        [cpu], cpu, {cpu: 1_000_000 + 7 * queue, 255: 13}))  # fmt: skip
    xps = [near_first[queue::64] for queue in range(64)]
    card = Card(eth0, "mlx5_core", 3, irqs, [_OFF] * 64, [512] * 64, xps,
                version="6.12.117+deb13-amd64")  # fmt: skip
    ids = [8193 + queue for queue in range(64)]
    return HostMade("""\
Two sockets, eight nodes, 256 CPUs; a card of mlx5_core with 64 queues on node 3. Its interrupts
are on the CPUs of that node, XPS is as the driver sets it, and accelerated RFS is set up.
drivers/net/ethernet/mellanox/mlx5/core: pci_irq.c: irq_set_name(), en_main.c:
mlx5e_set_default_xps_cpumasks(); net/core/netdev-genl.c; net/ethtool/rss.c.""",
        "linux-6.12-two-nodes", machine, [card], 32_768, {
        "netlink/queues.bin": steering.queues(eth0, ids, ids),
        "netlink/napis.bin": steering.napis(
            eth0, {id: Napi(301 + queue) for queue, id in enumerate(ids)}),
        "netlink/channels.bin": _combined(eth0, 128, 64),
        "netlink/rss.bin": steering.rss(eth0, in_turn(64, 256)),
        **_features("linux-6.12-two-nodes", eth0, "rx-ntuple-filter"),
    })  # fmt: skip


def _virtio(pairs: int, flows: int, xps: Sequence[Cpus] | None) -> Card:
    """virtnet_find_vqs() in drivers/net/virtio_net.c: queue pairs, the control queue has no vector
    (vp_find_vqs_msix() in drivers/virtio/virtio_pci_common.c)."""
    slot = "0000:00:05.0"
    irqs = [Irq(24, pci_msi(slot, 0), "virtio1-config", range(4), 0, {})]
    for pair in range(pairs):
        for direction, name in enumerate(("input", "output")):
            entry = 1 + 2 * pair + direction
            cpu = (pair + direction) % 4 if xps is None else pair
            allowed = range(4) if xps is None else [cpu]
            irqs.append(Irq(24 + entry, pci_msi(slot, entry), f"virtio1-{name}.{pair}", allowed,
                            cpu, {cpu: 5_000 + 11 * entry}))  # fmt: skip
    return Card(_device(2, "eth0"), "virtio_net", -1, irqs, [_OFF] * pairs, [flows] * pairs,
                xps, sysfs="pci0000:00/0000:00:05.0/virtio1", version="1.0.0")  # fmt: skip


def _single_queue_vm() -> HostMade:
    card = _virtio(1, 0, None)
    return HostMade("""\
A virtual machine with four CPUs and a virtio_net device with one pair of queues: no RSS, and no
XPS, as xps_cpus_show() in net/core/net-sysfs.c refuses it to a single queue. Linux 5.10, before the
netlink family netdev, so that names decide: drivers/net/virtio_net.c: virtnet_find_vqs().
/sys/devices is as drivers/virtio/virtio.c makes it: the vectors are those of the function above.
The driver has no indirection table in 5.10.""",
        "linux-5.10", _flat(4), [card], 0, {
        "netlink/channels.bin": _combined(card.device, 1, 1),
        **_features("linux-5.10", card.device),
    })  # fmt: skip


def _named(
    driver: str, device: Device, slot: str, first: int, names: Sequence[str], cpus: Sequence[int],
    node: int, rps: Cpus, xps: Sequence[Cpus] | None, queues: int = 0, sysfs: str = "",
) -> Card:  # fmt: skip
    """A card of Linux 5.10 with a vector for each name, and each vector on one CPU.

    queues: how many it has; if 0, as many as it has vectors, but for one.
    """
    irqs = [
        Irq(first + entry, pci_msi(slot, entry), name, [cpu], cpu,
            {cpu: 1_000 * first + 13 * entry})
        for entry, (name, cpu) in enumerate(zip(names, cpus, strict=True))
    ]  # fmt: skip
    queues = queues or len(names) - 1
    return Card(device, driver, node, irqs, [rps] * queues, [0] * queues, xps, sysfs)


def _rss_collapsed() -> HostMade:
    eth0 = _device(2, "eth0")
    names = ["eth0", *[f"eth0-TxRx-{queue}" for queue in range(8)]]
    card = _named("igb", eth0, "0000:02:00.0", 40, names, [0, *range(8)], 0, _OFF, [_OFF] * 8)
    return HostMade("""\
Eight queues of igb, whose interrupts are on eight CPUs, but every entry of the indirection table
is queue 2 (ethtool -X eth0 weight 0 0 1). drivers/net/ethernet/intel/igb/igb_main.c:
igb_request_msix(), whose first vector is not a queue's; the driver sets no XPS. Linux 5.10: the
table by the ioctl, ethtool_get_rxfh_indir() in net/ethtool/ioctl.c.""",
        "linux-5.10", _flat(8), [card], 0, {
        "netlink/channels.bin": _combined(eth0, 8, 8),
        "ioctl/eth0.grxfhindir.bin": steering.rxfh_indir([2] * 128),
        **_features("linux-5.10", eth0),
    })  # fmt: skip


def _remote_irqs() -> HostMade:
    slot = "0000:81:00.0"
    eth0 = _device(2, "eth0", slot)
    where: list[tuple[Cpus, int]] = [
        ([0], 0), ([1], 1), ([2], 2), ([3], 3), (range(4), 0), (range(8), 1), (range(8), 6),
        (range(4, 8), 7)]  # fmt: skip
    irqs = [Irq(70, pci_msix(slot, 0), f"i40e-{slot}:misc", range(8), 2, {2: 9})]
    irqs += [
        Irq(71 + queue, pci_msix(slot, 1 + queue), f"i40e-eth0-TxRx-{queue}", allowed, cpu,
            {cpu: 71_000 + 13 * queue})
        for queue, (allowed, cpu) in enumerate(where)
    ]  # fmt: skip
    card = Card(eth0, "i40e", 1, irqs, [_OFF] * 8, [0] * 8, [[cpu] for cpu in range(8)],
                version="6.12.117+deb13-amd64")  # fmt: skip
    return HostMade("""\
A card of i40e on node 1, six of whose eight interrupts are taken on node 0. The kernel lists its
queues, but this driver tells no NAPI instance of them, so that names decide:
drivers/net/ethernet/intel/i40e/i40e_main.c: i40e_vsi_request_irq_msix(), i40e_config_xps_tx_ring();
net/core/netdev-genl.c; net/ethtool/rss.c. Linux 6.12.""",
        "linux-6.12-two-nodes", Machine(8, range(8), [range(4), range(4, 8)]), [card], 0, {
        "netlink/queues.bin": steering.queues(eth0, [None] * 8, [None] * 8),
        "netlink/channels.bin": _combined(eth0, 8, 8),
        "netlink/rss.bin": steering.rss(eth0, in_turn(8, 512)),
        **_features("linux-6.12-two-nodes", eth0),
    })  # fmt: skip


def _rps_everywhere() -> HostMade:
    eth0 = _device(2, "eth0")
    names = [*[f"eth0-TxRx-{queue}" for queue in range(8)], "eth0"]
    card = _named("ixgbe", eth0, "0000:03:00.0", 50, names, [*range(8), 0], 0, range(8),
                  [[cpu] for cpu in range(8)])  # fmt: skip
    return HostMade("""\
RPS on all eight CPUs for each of eight receive queues of ixgbe, each of which has a CPU of its own
already; no table for RFS. drivers/net/ethernet/intel/ixgbe/ixgbe_main.c: ixgbe_request_msix_irqs(),
ixgbe_configure_tx_ring() for XPS. Linux 5.10; show_rps_map() in net/core/net-sysfs.c.""",
        "linux-5.10", _flat(8), [card], 0, {
        "netlink/channels.bin": _combined(eth0, 63, 8),
        "ioctl/eth0.grxfhindir.bin": steering.rxfh_indir(in_turn(8, 128)),
        **_features("linux-5.10", eth0),
    })  # fmt: skip


def _rfs_half() -> HostMade:
    card = _virtio(4, 4_096, [[cpu] for cpu in range(4)])
    return HostMade("""\
Each receive queue has a flow table for RFS, but rps_sock_flow_entries is 0, so that none is used:
get_rps_cpu() in net/core/dev.c. Four pairs of queues of virtio_net, Linux 5.10; XPS and affinity as
virtnet_set_affinity() in drivers/net/virtio_net.c sets them. Ntuple filters are on.""",
        "linux-5.10", _flat(4), [card], 0, {
        "netlink/channels.bin": _combined(card.device, 4, 4),
        **_features("linux-5.10", card.device, "rx-ntuple-filter"),
    })  # fmt: skip


def _rfs_table_only() -> HostMade:
    ens5 = _device(2, "ens5")
    names = ["ena-mgmnt@pci:0000:00:05.0", *[f"ens5-Tx-Rx-{queue}" for queue in range(4)]]
    card = _named("ena", ens5, "0000:00:05.0", 27, names, [0, 0, 1, 2, 3], -1, _OFF, [_OFF] * 4,
                  sysfs="pci0000:00/0000:00:05.0")  # fmt: skip
    return HostMade("""\
The table of all sockets is there, but no receive queue has a flow table (rps_flow_cnt), so that
RFS does nothing: get_rps_cpu() in net/core/dev.c. Four queues of ena, Linux 5.10:
drivers/net/ethernet/amazon/ena/ena_netdev.c: ena_setup_mgmnt_intr(), ena_setup_io_intr(). One
vector has the name of the PCI function, which links do not tell before 5.14, so /sys/devices is as
drivers/pci/probe.c makes it.""",
        "linux-5.10", _flat(4), [card], 32_768, {
        "netlink/channels.bin": _combined(ens5, 4, 4),
        "ioctl/ens5.grxfhindir.bin": steering.rxfh_indir(in_turn(4, 128)),
        **_features("linux-5.10", ens5),
    })  # fmt: skip


def _xps_gap() -> HostMade:
    """ice_vsi_map_rings_to_vectors() in ice_lib.c gives a vector the queues that come next."""
    slot = "0000:3b:00.0"
    eth0 = _device(2, "eth0", slot)
    irqs = [Irq(80, pci_msix(slot, 0), f"ice-{slot}:misc", range(8), 0, {0: 4})]
    irqs += [
        Irq(81 + vector, pci_msix(slot, 1 + vector), f"ice-eth0-TxRx-{vector}", [vector], vector,
            {vector: 81_000 + 13 * vector})
        for vector in range(2)
    ]  # fmt: skip
    card = Card(eth0, "ice", 0, irqs, [_OFF] * 4, [0] * 4, [[0, 4], [1], [2, 6], [3]],
                version="7.2.12+deb14-amd64")  # fmt: skip
    ids = [8193, 8193, 8194, 8194]
    return HostMade("""\
XPS for four transmit queues of ice leaves out CPUs 5 and 7 of eight: xps_queue_show() in
net/core/net-sysfs.c. There are but two vectors for the queues, so that names do not tell which
serves which, but the kernel does. NAPI instances differ in their settings: net/core/netdev-genl.c:
netdev_nl_napi_fill_one(). drivers/net/ethernet/intel/ice: ice_main.c: ice_vsi_req_irq_msix(),
ice_lib.c: ice_vsi_map_rings_to_vectors().""",
        "linux-7.2", _flat(8), [card], 0, {
        "netlink/queues.bin": steering.queues(eth0, ids, ids),
        "netlink/napis.bin": steering.napis(
            eth0, {8193: Napi(81, 2, 200_000, 0), 8194: Napi(82, 100, 20_000, 1)}),
        "netlink/channels.bin": _combined(eth0, 8, 4),
        "netlink/rss.bin": steering.rss(eth0, in_turn(4, 512)),
        **_features("linux-7.2", eth0),
    })  # fmt: skip


def _offline_cpus() -> HostMade:
    """bnxt has no vector beside those of its queues."""
    online = [0, 1, 4, 5, 6, 7]
    slot = "0000:18:00.0"
    eth0 = _device(2, "eth0", slot)
    where: list[tuple[Cpus, int]] = [(range(16), 0), ([1], 1), (online, 4), (range(2, 8), 6)]
    irqs = [
        Irq(90 + queue, pci_msi(slot, queue), f"eth0-TxRx-{queue}", allowed, cpu,
            {cpu: 90_000 + 13 * queue})
        for queue, (allowed, cpu) in enumerate(where)
    ]  # fmt: skip
    card = Card(eth0, "bnxt_en", 0, irqs, [range(8), [2, 3], range(8), [3, 5]], [0] * 4,
                [[0, 4], [1, 5], [2, 3], [6, 7]], version="6.1.0-31-amd64")  # fmt: skip
    return HostMade("""\
CPUs 2 and 3 went offline after masks were set that have them, and CPUs 8 to 15 are possible but
were never there; the affinity of interrupt 90 still has all of them. A map keeps CPUs that went:
show_rps_map() and xps_queue_show() in net/core/net-sysfs.c; kernel/irq/proc.c. The header of
/proc/interrupts has CPUs that are online only. drivers/net/ethernet/broadcom/bnxt/bnxt.c:
bnxt_setup_msix(). Linux 6.1.""",
        "linux-6.1-offline-cpu", Machine(16, online, [range(4), range(4, 8)]), [card], 0, {
        "netlink/channels.bin": _combined(eth0, 8, 4),
        "ioctl/eth0.grxfhindir.bin": steering.rxfh_indir(in_turn(4, 128)),
    })  # fmt: skip


def _spare_vectors() -> HostMade:
    lan0, eth0 = _device(2, "lan0"), _device(3, "eth0")
    names = [*[f"eth0-TxRx-{queue}" for queue in range(8)],
             *[f"eth0-tx-{queue}" for queue in range(8, 12)], "eth0"]  # fmt: skip
    xps = [[queue, queue + 8] if queue < 4 else [queue] for queue in range(8)]
    card = _named("ixgbe", lan0, "0000:03:00.0", 50, names, [*range(12), 0], 0, _OFF, xps,
                  queues=8)  # fmt: skip
    other = _named("e1000e", eth0, "0000:00:19.0", 70, ["eth0"], [5], 0, _OFF, None, queues=1)
    return HostMade("""\
A card of ixgbe with eight queues and, as an XDP program is attached on a host with twelve CPUs,
twelve vectors beside the one for everything else: ixgbe_acquire_msix_vectors() in
drivers/net/ethernet/intel/ixgbe/ixgbe_lib.c; the last four only send for XDP, ixgbe_main.c:
ixgbe_request_msix_irqs(). It was eth0 when it requested them and is lan0 now; eth0 is an e1000e
with one vector: e1000e/netdev.c: e1000_request_irq(). Linux 5.10, so that names decide.""",
        "linux-5.10", _flat(12), [card, other], 0, {
        "netlink/channels.bin": _combined(lan0, 63, 8),
        "ioctl/lan0.grxfhindir.bin": steering.rxfh_indir(in_turn(8, 128)),
        **_features("linux-5.10", lan0),
    })  # fmt: skip


def hosts() -> Mapping[str, HostMade]:
    """Every host of this file, by the name of its folder."""
    return {
        "steering-256-cpus": _256_cpus(),
        "steering-single-queue-vm": _single_queue_vm(),
        "steering-rss-collapsed": _rss_collapsed(),
        "steering-remote-irqs": _remote_irqs(),
        "steering-rps-everywhere": _rps_everywhere(),
        "steering-rfs-half": _rfs_half(),
        "steering-rfs-table-only": _rfs_table_only(),
        "steering-xps-gap": _xps_gap(),
        "steering-offline-cpus": _offline_cpus(),
        "steering-spare-vectors": _spare_vectors(),
    }
