"""steering: which CPUs take a device's packets (RSS, RPS, RFS, XPS), and whether that fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from netperf_exporter import steering
from netperf_exporter.metric import UNLABELLED, Block, Family, Value, gauge
from netperf_exporter.parsers.netdev import Napi
from netperf_exporter.sources import NAPIS, Readings
from netperf_exporter.steering import DeviceSteering
from netperf_exporter.topology import TOPOLOGY, Topology

NEEDS = (TOPOLOGY, NAPIS, *steering.NEEDS)

RPS_CPUS = gauge(
    "steering_rps_cpus",
    "Online CPUs that packets of this receive queue are spread over after its own CPU has polled "
    "them. Only queues that have a mask. (queues/rx-*/rps_cpus; get_rps_cpu() in net/core/dev.c)",
    "device",
    "queue",
)
RPS_FLOWS = gauge(
    "steering_rps_flows",
    "Flows of this receive queue that RFS can follow. Only queues that have a table. "
    "(queues/rx-*/rps_flow_cnt; get_rps_cpu() in net/core/dev.c)",
    "device",
    "queue",
)
XPS_CPUS = gauge(
    "steering_xps_cpus",
    "Online CPUs that send through this transmit queue. Only queues that have a mask. "
    "(queues/tx-*/xps_cpus; get_xps_queue() in net/core/dev.c)",
    "device",
    "queue",
)
RSS_WEIGHT = gauge(
    "steering_rss_weight_ratio",
    "Share of the indirection table, and so of the flows, that this receive queue has. 0 for one "
    "that gets none. Flows are not packets: one alone fills one queue. (ETHTOOL_MSG_RSS_GET, "
    "ETHTOOL_GRXFHINDIR; ethtool -x)",
    "device",
    "queue",
)
RFS_TABLE = gauge(
    "steering_rfs_table_entries",
    "Flows of all sockets whose reader's CPU RFS remembers. 0: RFS is off. "
    "(net.core.rps_sock_flow_entries; rps_sock_flow_sysctl() in net/core/sysctl_net_core.c)",
)
ARFS = gauge(
    "steering_arfs_enabled",
    "1 if the NIC may be told to bring flows to the queue of their reader's CPU: ntuple filters "
    "are on and RFS works on some queue. Whether its driver can do that, the kernel does not tell. "
    "(rx-ntuple-filter; set_rps_cpu() in net/core/dev.c)",
    "device",
)
REMOTE = gauge(
    "steering_irq_remote_node",
    "1 if every CPU that takes this queue's interrupt is on another NUMA node than the device. "
    "Label queue as in queue_irq_info. Only where both nodes are known. "
    "(effective_affinity_list, numa_node; ____napi_schedule() in net/core/dev.c)",
    "device",
    "queue",
)

_VERDICTS: tuple[tuple[Family, Callable[[DeviceSteering], bool | None]], ...] = (
    (
        gauge(
            "steering_rps_covers_all_cpus",
            "1 if packets of some receive queue are spread over all online CPUs, those of other "
            "NUMA nodes included. (queues/rx-*/rps_cpus; get_rps_cpu() in net/core/dev.c)",
            "device",
        ),
        lambda device: device.rps_covers_all_cpus,
    ),
    (
        gauge(
            "steering_rps_redundant",
            "1 if RPS is on although RSS has spread the packets already over as many CPUs as all "
            "masks of the device have. (queues/rx-*/rps_cpus, ethtool -x; get_rps_cpu() in "
            "net/core/dev.c)",
            "device",
        ),
        lambda device: device.rps_redundant,
    ),
    (
        gauge(
            "steering_rfs_ineffective",
            "1 if one half of RFS is set and the other not, so that it does nothing: flow tables "
            "of receive queues, and the table of all sockets. (queues/rx-*/rps_flow_cnt, "
            "net.core.rps_sock_flow_entries; get_rps_cpu() in net/core/dev.c)",
            "device",
        ),
        lambda device: device.rfs_ineffective,
    ),
    (
        gauge(
            "steering_xps_gap",
            "1 if XPS is set up but some online CPU is in no transmit queue's mask, and sends "
            "through queues that others use. (queues/tx-*/xps_cpus; get_xps_queue() in "
            "net/core/dev.c)",
            "device",
        ),
        lambda device: device.xps_gap,
    ),
)

_OF_NAPI = "Of the NAPI instance that serves this receive queue."
_NAPI: tuple[tuple[Family, Callable[[Napi], int | None]], ...] = (
    (
        gauge(
            "napi_threaded",
            f"Whether a thread polls, which the scheduler may move: 0 no, 1 yes, 2 one that polls "
            f"all the time. {_OF_NAPI} (napi-get: threaded; netdev_nl_napi_fill_one() in "
            "net/core/netdev-genl.c)",
            "device",
            "queue",
        ),
        lambda napi: napi.threaded,
    ),
    (
        gauge(
            "napi_defer_hard_irqs",
            "How many polls that found nothing are followed by a timer instead of the interrupt. "
            f"{_OF_NAPI} (napi-get: defer-hard-irqs; napi_complete_done() in net/core/dev.c)",
            "device",
            "queue",
        ),
        lambda napi: napi.defer_hard_irqs,
    ),
    (
        gauge(
            "napi_gro_flush_timeout_seconds",
            "How long GRO may hold packets back, and a deferred interrupt waits. "
            f"{_OF_NAPI} (napi-get: gro-flush-timeout; napi_complete_done() in net/core/dev.c)",
            "device",
            "queue",
            unit="seconds",
            scale=-9,
        ),
        lambda napi: napi.gro_flush_timeout,
    ),
)

FAMILIES = (
    RPS_CPUS,
    RPS_FLOWS,
    XPS_CPUS,
    RSS_WEIGHT,
    RFS_TABLE,
    ARFS,
    REMOTE,
    *[family for family, _ in _VERDICTS],
    *[family for family, _ in _NAPI],
)


def collect(readings: Readings) -> Iterator[Block]:
    """Steering of every device that is shown."""
    topology = readings[TOPOLOGY]
    devices, entries = steering.facts(readings, topology)
    by_queue, by_device = _blocks(devices)
    yield from by_queue
    if entries is not None:
        yield Block((RFS_TABLE,), UNLABELLED, (entries,))
    yield from by_device
    if readings.options.napi_settings:
        napis = readings.get(NAPIS)
        yield from _napis(topology, napis or {})


_Blocks = tuple[Block, ...]


@lru_cache(maxsize=4)
def _blocks(devices: tuple[DeviceSteering, ...]) -> tuple[_Blocks, _Blocks]:
    """What is said of queues, and of devices. Once for as long as facts are the same objects."""
    by_queue = (
        _of_queues(RPS_CPUS, devices, lambda device: device.rps_cpus),
        _of_queues(RPS_FLOWS, devices, lambda device: device.rps_flows),
        _of_queues(XPS_CPUS, devices, lambda device: device.xps_cpus),
        _of_queues(RSS_WEIGHT, devices, lambda device: device.rss_weights),
    )
    by_device = (
        _of_devices(ARFS, devices, lambda device: device.arfs),
        _of_queues(REMOTE, devices, lambda device: device.remote),
        *[_of_devices(family, devices, verdict) for family, verdict in _VERDICTS],
    )
    return _filled(by_queue), _filled(by_device)


def _filled(blocks: _Blocks) -> _Blocks:
    return tuple([block for block in blocks if block.rows])


def _of_queues(
    family: Family,
    devices: tuple[DeviceSteering, ...],
    figures: Callable[[DeviceSteering], Mapping[int, Value] | Mapping[str, Value]],
) -> Block:
    rows: list[tuple[str, ...]] = []
    values: list[Value] = []
    for device in devices:
        for queue, value in figures(device).items():
            rows.append((device.link.name, str(queue)))
            values.append(+value if isinstance(value, int) else value)
    return Block((family,), tuple(rows), tuple(values))


def _of_devices(
    family: Family,
    devices: tuple[DeviceSteering, ...],
    fact: Callable[[DeviceSteering], bool | None],
) -> Block:
    known = [(device.link.name, said) for device in devices if (said := fact(device)) is not None]
    return Block((family,), tuple([(name,) for name, _ in known]), tuple([+s for _, s in known]))


def _napis(topology: Topology, napis: Mapping[int, Napi]) -> Iterator[Block]:
    for family, setting in _NAPI:
        rows: list[tuple[str, ...]] = []
        values: list[Value] = []
        for device in topology.devices:
            for queue in device.receive:
                napi = napis.get(queue.napi) if queue.napi is not None else None
                value = setting(napi) if napi is not None else None
                if value is not None:
                    rows.append((device.link.name, str(queue.queue)))
                    values.append(value)
        if rows:
            yield Block((family,), tuple(rows), values)
