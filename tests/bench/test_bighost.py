"""Every sample that comes from the files of a big host is the number that was written."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from netperf_exporter import __version__
from netperf_exporter.collectors import COLLECTORS, ip, tcp, udp
from netperf_exporter.exposition.render import Format
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel.host import ReplayedHost
from tests.bench.bighost import SETTINGS, BigHost
from tests.bench.sameness import Key, Samples, key, protocol_sample, samples

# About the process and the moment, not about the host.
VOLATILE = re.compile(r"process_|python_gc_|netperf_scrape_collector_duration_seconds")

OF_FILES = ("softirqs", "cpu", "softnet", "ip", "udp", "tcp", "snmp")
"""The collectors that read nothing else."""

SOFTNET = {
    "netperf_softnet_processed_total": "processed",
    "netperf_softnet_dropped_total": "dropped",
    "netperf_softnet_time_squeezed_total": "time_squeeze",
    "netperf_softnet_received_rps_total": "received_rps",
    "netperf_softnet_flow_limited_total": "flow_limit_count",
    "netperf_softnet_input_queue_length": "input_qlen",
    "netperf_softnet_process_queue_length": "process_qlen",
}
MODES = ("idle", "iowait", "irq", "softirq", "system")
SOURCES = (
    "softnet_stat",
    "softirqs",
    "stat",
    "cpu_online",
    "snmp",
    "netstat",
    "snmp6",
)


def test_every_sample_is_what_was_written(tmp_path: Path) -> None:
    host = BigHost(tmp_path, cpus=256, offline=(5, 77, 255))
    exporter = Exporter(ReplayedHost(tmp_path), {name: COLLECTORS[name] for name in OF_FILES})

    first = said(exporter)
    assert first == expected(host)

    host.advance()
    second = said(exporter)
    assert second == expected(host)

    counters = {name for name in first if name[0].endswith("_total")}
    still = {name for name in counters if first[name] == second[name]}
    assert {name for name, _ in still} == {"netperf_parse_errors_total"}
    host.close()


def said(exporter: Exporter) -> Samples:
    """What the exporter says, but for what is volatile."""
    everything = samples(Format.TEXT.value, exporter.scrape())
    return {sample: v for sample, v in everything.items() if not VOLATILE.match(sample[0])}


def expected(host: BigHost) -> Samples:
    """What is to be said of a host, from its model alone."""
    by_collector: dict[str, Samples] = {
        "softirqs": dict(_of_softirqs(host)),
        "cpu": dict(_of_cpu(host)),
        "softnet": dict(_of_softnet(host)),
    }
    fields: dict[str, Mapping[str, object]] = {
        "ip": ip.FIELDS,
        "udp": udp.FIELDS,
        "tcp": tcp.FIELDS,
    }
    left = {field: v for field, v in host.protocols.items() if field not in SETTINGS}
    for name, curated in fields.items():
        taken = {field: left.pop(field) for field in curated if field in left}
        by_collector[name] = dict(protocol_sample(*item) for item in taken.items())
    by_collector["snmp"] = dict(protocol_sample(*item) for item in left.items())

    everything = dict(_of_exporter({name: len(found) for name, found in by_collector.items()}))
    for found in by_collector.values():
        everything |= found
    return everything


def _of_softirqs(host: BigHost) -> Iterator[tuple[Key, float]]:
    for cpu in host.online:
        for vector in ("NET_RX", "NET_TX"):
            row = key("netperf_softirqs_total", cpu=str(cpu), type=vector.lower())
            yield row, host.softirqs[vector][cpu]


def _of_cpu(host: BigHost) -> Iterator[tuple[Key, float]]:
    for cpu in host.online:
        for mode in MODES:
            row = key("netperf_cpu_seconds_total", cpu=str(cpu), mode=mode)
            yield row, host.ticks[mode][cpu] / 100
        yield key("netperf_cpu_info", cpu=str(cpu), numa_node=str(host.node_of[cpu])), 1


def _of_softnet(host: BigHost) -> Iterator[tuple[Key, float]]:
    for name, column in SOFTNET.items():
        for cpu in host.online:
            yield key(name, cpu=str(cpu)), host.softnet[column][cpu]


def _of_exporter(series: Mapping[str, int]) -> Iterator[tuple[Key, float]]:
    version = {"version": __version__, "python": platform.python_version()}
    yield key("netperf_exporter_build_info", **version), 1
    for collector, count in series.items():
        yield key("netperf_scrape_collector_success", collector=collector), 1
        yield key("netperf_collector_available", collector=collector, reason=""), 1
        yield key("netperf_series", collector=collector), count
        yield key("netperf_series_omitted", collector=collector), 0
    for source in SOURCES:
        yield key("netperf_parse_errors_total", source=source), 0
