"""What is set to spread a device's packets over CPUs, and whether that can be what was meant.

Facts from configuration alone; what needs a rate (one queue has all the packets) is PromQL's. A
verdict is None where what it takes to judge is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from netperf_exporter.parsers.links import Link
from netperf_exporter.parsers.nic import Features
from netperf_exporter.sources import (
    AFFINITY,
    CPUS,
    FEATURES,
    QUEUE_STEERING,
    RFS_ENTRIES,
    RSS,
    Affinity,
    Cpus,
    QueueSteering,
    Readings,
)
from netperf_exporter.topology import DeviceTopology, Topology

NEEDS = (AFFINITY, CPUS, FEATURES, QUEUE_STEERING, RFS_ENTRIES, RSS)

CpuSet = tuple[int, ...]
ByQueue = Mapping[int, int]


@dataclass(frozen=True, eq=False)
class DeviceSteering:
    """What is set on one device. The same object while nothing changed.

    rps_cpus, xps_cpus: how many online CPUs are in the mask of each queue that has one.
    rps_flows: entries of the flow table of each queue that has one.
    rss_weights: the share of the indirection table that each receive queue has; those with none
        are 0. Empty where there is no table.
    arfs: whether the NIC may be told to steer flows.
    remote: by the queues an interrupt serves (Topology.label), whether it is on another node.
    """

    link: Link
    rps_cpus: ByQueue
    rps_flows: ByQueue
    xps_cpus: ByQueue
    rss_weights: Mapping[int, float]
    arfs: bool | None
    remote: Mapping[str, bool]
    rps_covers_all_cpus: bool | None
    rps_redundant: bool | None
    rfs_ineffective: bool | None
    xps_gap: bool | None


class Steering(NamedTuple):
    """What is set on all devices that are shown, and for all of them.

    rfs_entries: of the table of all sockets' flows; None on a kernel without CONFIG_RPS, and where
        only the first network namespace can tell.
    """

    devices: tuple[DeviceSteering, ...]
    rfs_entries: int | None


def facts(readings: Readings, topology: Topology) -> Steering:
    """Everything that is known of steering."""
    steering = readings.get(QUEUE_STEERING) or {}
    tables = readings.get(RSS) or {}
    features = readings.get(FEATURES) or {}
    affinity = readings.get(AFFINITY) or {}
    entries = readings.get(RFS_ENTRIES)
    cpus = readings.get(CPUS)
    used = any(_any_flows(of_device) for of_device in steering.values())
    return Steering(
        tuple(
            [
                _kept_facts(
                    topology,
                    _Inputs(
                        device,
                        steering.get(device.link.ifindex),
                        tables.get(device.link.ifindex),
                        features.get(device.link.ifindex),
                        [affinity.get(irq) for irq in device.vectors],
                        entries,
                        used,
                        cpus,
                    ),
                )
                for device in topology.devices
            ]
        ),
        entries,
    )


class _Inputs(NamedTuple):
    """All that the facts of a device are made of, beside what its interrupts are called.

    affinity: of its vectors, in their order.
    flows_anywhere: whether any receive queue of any device has a flow table.
    """

    device: DeviceTopology
    steering: QueueSteering | None
    table: CpuSet | None
    features: Features | None
    affinity: Sequence[Affinity | None]
    rfs_entries: int | None
    flows_anywhere: bool
    cpus: Cpus | None


# By ifindex: what was made last, and of what. Settings hardly ever change.
_kept: dict[int, tuple[_Inputs, DeviceSteering]] = {}
_MOST_KEPT = 1024


def _kept_facts(topology: Topology, inputs: _Inputs) -> DeviceSteering:
    index = inputs.device.link.ifindex
    kept = _kept.get(index)
    if kept is None or kept[0] != inputs:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        kept = _kept[index] = (inputs, _facts(topology, inputs))
    return kept[1]


def _facts(topology: Topology, inputs: _Inputs) -> DeviceSteering:
    device, set_up = inputs.device, inputs.steering
    online = frozenset(inputs.cpus.online) if inputs.cpus else None
    affinity = dict(zip(device.vectors, inputs.affinity, strict=True))
    weights = rss_weights(inputs.table or (), [queue.queue for queue in device.receive])
    if set_up is None:
        set_up = _NOTHING
    return DeviceSteering(
        link=device.link,
        rps_cpus=_numbers(set_up.rps_cpus, online),
        rps_flows={queue: flows for queue, flows in set_up.rps_flows.items() if flows},
        xps_cpus=_numbers(set_up.xps_cpus, online),
        rss_weights=weights,
        arfs=arfs_enabled(inputs.features, set_up.rps_flows, inputs.rfs_entries),
        remote=_remote(topology, device, affinity, inputs.cpus),
        rps_covers_all_cpus=rps_covers_all_cpus(set_up.rps_cpus, online),
        rps_redundant=rps_redundant(set_up.rps_cpus, online, _serving(device, weights, affinity)),
        rfs_ineffective=rfs_ineffective(
            set_up.rps_flows, inputs.rfs_entries, inputs.flows_anywhere, bool(device.link.kind)
        ),
        xps_gap=xps_gap(set_up.xps_cpus, online, [queue.queue for queue in device.transmit])
        if inputs.steering is not None
        else None,
    )


_NOTHING = QueueSteering({}, {}, {}, {})


def _any_flows(steering: QueueSteering) -> bool:
    return any(steering.rps_flows.values())


def _numbers(masks: Mapping[int, CpuSet], online: Collection[int] | None) -> dict[int, int]:
    """How many CPUs are in each mask that is not empty. One that went offline stays in it."""
    numbers = {mask: len(_online(mask, online)) for mask in set(masks.values())}
    return {queue: numbers[mask] for queue, mask in masks.items() if mask}


def _online(cpus: Iterable[int], online: Collection[int] | None) -> set[int]:
    return set(cpus) if online is None else {cpu for cpu in cpus if cpu in online}


def _union(masks: Mapping[int, CpuSet]) -> set[int]:
    return set().union(*set(masks.values()))


def rss_weights(table: Sequence[int], queues: Iterable[int]) -> dict[int, float]:
    """The share of received flows that each queue gets: its share of the indirection table.

    The NIC takes the entry that the lowest bits of a packet's hash name, and every entry is as
    likely as another. Set with `ethtool -X` (ethtool_set_rxfh() in net/ethtool/ioctl.c), by the
    driver to ethtool_rxfh_indir_default() in include/linux/ethtool.h: all queues in turn.
    """
    if not table:
        return {}
    entries = Counter(table)
    return {queue: entries[queue] / len(table) for queue in sorted({*queues, *entries})}


def arfs_enabled(
    features: Features | None, flows: Mapping[int, int], entries: int | None
) -> bool | None:
    """Whether the NIC may be told to bring a flow to the queue of the CPU that reads it.

    set_rps_cpu() in net/core/dev.c asks ndo_rx_flow_steer() if the device has NETIF_F_NTUPLE
    (ethtool: rx-ntuple-filter), and only where RFS found a CPU: in a flow table of the queue and
    the table of all sockets. Whether the driver has that function, and a map from CPUs to queues
    (rx_cpu_rmap), nobody tells.
    """
    if features is None or entries is None:
        return None
    return "rx-ntuple-filter" in features.active and entries > 0 and any(flows.values())


def irq_on_remote_node(
    affinity: Affinity, numa_node: int, node_of: Mapping[int, int]
) -> bool | None:
    """Whether no CPU that takes an interrupt is on the node of the device.

    The interrupt's CPU polls the queue (____napi_schedule() in net/core/dev.c puts it on its own
    list), and reads across the interconnect what the device wrote near itself: drivers put rings
    and pages on its node (dev_to_node(), for page_pool_init() in net/core/page_pool.c as nid). Of
    a node without online CPUs no CPU could do better, so nothing is said.
    """
    cpus = affinity.effective or affinity.allowed
    nodes = {node_of[cpu] for cpu in cpus if cpu in node_of}
    if not nodes or numa_node not in node_of.values():
        return None
    return numa_node not in nodes


def _remote(
    topology: Topology,
    device: DeviceTopology,
    affinity: Mapping[int, Affinity | None],
    cpus: Cpus | None,
) -> dict[str, bool]:
    """Of the interrupts that serve queues; if two serve one, whether any is remote."""
    found: dict[str, bool] = {}
    if device.numa_node is not None and cpus is not None:
        for irq, of_irq in affinity.items():
            label = topology.label(device, irq)
            if label and of_irq is not None:
                remote = irq_on_remote_node(of_irq, device.numa_node, cpus.node_of)
                if remote is not None:
                    found[label] = remote or found.get(label, False)
    return found


def rps_covers_all_cpus(masks: Mapping[int, CpuSet], online: Collection[int] | None) -> bool | None:
    """Whether some receive queue's packets are spread over all online CPUs.

    get_rps_cpu() in net/core/dev.c picks a CPU of the mask by the packet's hash, whichever node it
    is on and whoever is busy there, and wakes it by an interprocessor interrupt. Isolated CPUs
    were taken out when the mask was written (rps_cpumask_housekeeping() in net/core/net-sysfs.c).
    """
    if not masks or not online:
        return None
    return any(_online(mask, online).issuperset(online) for mask in set(masks.values()))


def rps_redundant(
    masks: Mapping[int, CpuSet], online: Collection[int] | None, serving: int
) -> bool | None:
    """Whether the NIC has spread the packets already over as many CPUs as RPS does.

    Then RPS adds a second queue, the backlog, and an interprocessor interrupt (enqueue_to_backlog()
    in net/core/dev.c), and gains no CPU. Counted against the CPUs of all queues' masks together:
    queues that each use the CPUs of one node are spread over more than one mask has.

    serving: on how many CPUs the queues are that RSS gives packets to. One is not spread.
    """
    if not masks:
        return None
    return serving > 1 and 0 < len(_online(_union(masks), online)) <= serving


def _serving(
    device: DeviceTopology,
    weights: Mapping[int, float],
    affinity: Mapping[int, Affinity | None],
) -> int:
    """On how many CPUs the receive queues are that get packets.

    Without an indirection table those count that have an interrupt. Queues whose interrupts are
    all on one CPU are spread by nobody but RPS.
    """
    used = [q for q in device.receive if (weights[q.queue] if weights else q.irq is not None)]
    known = [affinity.get(q.irq) if q.irq is not None else None for q in used]
    cpus: set[int] = set()
    for of_irq in known:
        if of_irq is None or not (of_irq.effective or of_irq.allowed):
            return len(used)
        cpus.update(of_irq.effective or of_irq.allowed)
    return min(len(used), len(cpus))


def rfs_ineffective(
    flows: Mapping[int, int], entries: int | None, flows_anywhere: bool, software: bool = False
) -> bool | None:
    """Whether one half of RFS is set and not the other, so that it does nothing.

    get_rps_cpu() in net/core/dev.c looks a flow's reader up only if the receive queue has a flow
    table (rps_flow_cnt) and there is the table of all sockets (rps_sock_flow_entries). It does not
    take a mask of RPS. The table of all sockets without any queue's is of no use to any device;
    with that of another device's queue this device is merely not meant, and neither is one of
    software (bond, VLAN), whose packets were steered below it.
    """
    if entries is None or not flows:
        return None
    if any(flows.values()):
        return not entries
    if software:
        return None
    return bool(entries) and not flows_anywhere


def xps_gap(
    masks: Mapping[int, CpuSet], online: Collection[int] | None, queues: Iterable[int]
) -> bool | None:
    """Whether XPS is set up but some online CPU has no transmit queue.

    get_xps_queue() in net/core/dev.c finds nothing for such a CPU, and netdev_pick_tx() takes a
    queue by hash: one whose lock and completions other CPUs have. Drivers set the masks for CPUs
    that are online when the device comes up (__netif_set_xps_queue() in net/core/dev.c leaves out
    others), so a CPU that came later is a gap. Queues of a single-queue device have no masks
    (xps_cpus_show() in net/core/net-sysfs.c: ENOENT), and no gap. Nor is it one if each queue has a
    CPU of its own and there are fewer queues than CPUs, as ixgbe and others set it up.
    """
    if online is None:
        return None
    covered = _union(masks)
    gap = bool(covered) and not covered.issuperset(online)
    if gap and all(len(_online(mask, online)) == 1 for mask in masks.values()):
        gap = len(masks) >= len(online)
    if gap and not masks.keys() >= set(queues):
        return None  # the mask that is not known may have it
    return gap
