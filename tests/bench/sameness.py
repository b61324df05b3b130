"""Which samples of node_exporter are which of ours, and whether they have equal values."""

from __future__ import annotations

from collections.abc import Iterable
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

_NETSTAT = "node_netstat_"

_LEFT_OUT_MODES = ("user", "nice", "steal")

_MILLISECONDS = "TcpExt.TCPMemoryPressuresChrono"


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
