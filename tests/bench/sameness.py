"""Which samples of node_exporter are which of ours, and whether they have equal values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from netperf_exporter.collectors import ip, tcp, udp
from tests.bench.bighost import SETTINGS

Key = tuple[str, frozenset[tuple[str, str]]]
Samples = dict[Key, float]

OURS = {
    "node_cpu_seconds_total": "netperf_cpu_seconds_total",
    "node_softnet_processed_total": "netperf_softnet_processed_total",
    "node_softnet_dropped_total": "netperf_softnet_dropped_total",
    "node_softnet_times_squeezed_total": "netperf_softnet_time_squeezed_total",
}
"""Our name for what both say with the same labels."""

OURS_OF_DEVICES = {
    "node_network_receive_packets_total": "netperf_interface_receive_packets_total",
    "node_network_receive_bytes_total": "netperf_interface_receive_bytes_total",
    "node_network_receive_errs_total": "netperf_interface_receive_errors_total",
    "node_network_receive_nohandler_total": "netperf_interface_receive_nohandler_total",
    "node_network_transmit_packets_total": "netperf_interface_transmit_packets_total",
    "node_network_transmit_bytes_total": "netperf_interface_transmit_bytes_total",
    "node_network_transmit_errs_total": "netperf_interface_transmit_errors_total",
    "node_network_transmit_drop_total": "netperf_interface_transmit_dropped_total",
    "node_network_carrier_changes_total": "netperf_interface_carrier_changes_total",
    "node_network_mtu_bytes": "netperf_interface_mtu_bytes",
    "node_network_speed_bytes": "netperf_interface_speed_bytes",
}
"""The same of network devices. What it calls drop of received packets is two counters of ours."""

_ETHTOOL = "node_ethtool_"
_ETHTOOL_QUEUE = re.compile(
    r"node_ethtool_(received|transmitted)_queue_([0-9]+)_(packets|bytes|drops)"
)

_NETSTAT = "node_netstat_"

_LEFT_OUT_MODES = ("user", "nice", "steal")

_MILLISECONDS = "TcpExt.TCPMemoryPressuresChrono"


_DIRECTIONS = {"received": "receive", "transmitted": "transmit"}
_RAW = "netperf_nic_statistic"


class Comparison(NamedTuple):
    """What node_exporter says of the sources of both.

    equal: how many of its samples we have with the same value.
    differing, missing: those we have with another one, and those we do not have, by our names.
    """

    equal: int
    differing: list[Key]
    missing: list[Key]


def key(name: str, /, **labels: str) -> Key:
    """A sample's identity."""
    return name, frozenset(labels.items())


def samples(content_type: str, body: bytes) -> Samples:
    """All samples of an exposition, read by prometheus_client."""
    families: Iterable[Metric]
    if content_type.startswith("application/openmetrics-text"):
        families = openmetrics(body.decode())  # type: ignore[no-untyped-call]
    else:
        families = text_format(body.decode())
    found = [sample for family in families for sample in family.samples]
    said = {key(sample.name, **sample.labels): float(sample.value) for sample in found}
    if len(said) != len(found):
        raise ValueError("a sample comes twice")
    return said


def protocol_sample(field: str, value: int | float) -> tuple[Key, float]:
    """Our sample of a field of snmp, netstat or snmp6 (``Udp.NoPorts``)."""
    for collector in (ip, udp, tcp):
        family = collector.FIELDS.get(field)
        if family is not None:
            in_seconds = field == _MILLISECONDS
            return key(family.name), value / 1000 if in_seconds else float(value)
    protocol, _, name = field.partition(".")
    return key("netperf_snmp_field_total", name=protocol, field=name), float(value)


def compare(node: Samples, ours: Samples) -> Comparison:
    """Look for each of its samples among ours, but for what we leave out on purpose."""
    equal = 0
    differing = []
    missing = []
    for (name, labels), value in node.items():
        if name.startswith(_NETSTAT):
            field = name.removeprefix(_NETSTAT).replace("_", ".", 1)
            if field in SETTINGS:
                continue
            wanted, value = protocol_sample(field, value)
        elif name in OURS and dict(labels).get("mode") not in _LEFT_OUT_MODES:
            wanted = OURS[name], labels
        else:
            continue
        if wanted not in ours:
            missing.append(wanted)
        elif ours[wanted] != value:
            differing.append(wanted)
        else:
            equal += 1
    return Comparison(equal, differing, missing)


def compare_devices(node: Samples, ours: Samples) -> Comparison:
    """Look for what it says of network devices among ours.

    That is what its collectors netdev and netclass say in common with ours, and every statistic
    of a driver that is of a queue; all the others, too, if ours has the collector nicstatistics.
    """
    raw = {
        (dict(labels)["device"], _as_node_calls(dict(labels)["name"])): (name, labels)
        for name, labels in ours
        if name == _RAW
    }
    equal = 0
    differing: list[Key] = []
    missing: list[Key] = []
    for (name, labels), value in node.items():
        for wanted in _of_device(name, labels, raw):
            if wanted not in ours:
                missing.append(wanted)
            elif ours[wanted] != value:
                differing.append(wanted)
            else:
                equal += 1
    return Comparison(equal, differing, missing)


def _of_device(
    name: str, labels: frozenset[tuple[str, str]], raw: Mapping[tuple[str, str], Key]
) -> Iterator[Key]:
    """Our samples that say what one of its samples says."""
    device = dict(labels).get("device", "")
    if name in OURS_OF_DEVICES and device != "lo":
        yield OURS_OF_DEVICES[name], labels
    elif name.startswith(_ETHTOOL) and len(labels) == 1:
        of_queue = _ETHTOOL_QUEUE.fullmatch(name)
        if of_queue is not None:
            yield _of_queue(device, *of_queue.groups())
        if raw:
            yield raw.get((device, name), key(_RAW, device=device, name=name))


def _of_queue(device: str, direction: str, queue: str, what: str) -> Key:
    family = f"netperf_queue_{_DIRECTIONS[direction]}_{what}_total"
    if what == "drops":
        return key(family, device=device, queue=queue, cause="mixed")
    return key(family, device=device, queue=queue)


def _as_node_calls(name: str) -> str:
    """Its name for a statistic of a driver (buildEthtoolFQName() of its collector ethtool)."""
    name = re.sub(r"(^|_)rx(?=_|$)", r"\1received", name)
    return _ETHTOOL + re.sub(r"(^|_)tx(?=_|$)", r"\1transmitted", name)
