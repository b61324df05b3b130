"""Our families about the process are prometheus_client's: names, types, help and values."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector

from netperf_exporter.exposition.client import metrics_of
from netperf_exporter.exposition.process import OwnProcess

# How far apart two readings in a row may be.
TOLERANCE = {
    "process_virtual_memory_bytes": 64 << 20,
    "process_resident_memory_bytes": 8 << 20,
    "process_cpu_seconds": 0.05,
    "python_gc_objects_collected": 10_000,
    "python_gc_collections": 10,
    "process_open_fds": 1,  # theirs counts the one it lists the folder with
}


@pytest.fixture
def own() -> Iterator[OwnProcess]:
    """Ours."""
    process = OwnProcess()
    yield process
    process.close()


def theirs() -> list[Metric]:
    """prometheus_client's."""
    collectors = (ProcessCollector(registry=None), GCCollector(registry=CollectorRegistry()))
    return [metric for collector in collectors for metric in collector.collect()]


def test_families_and_values_are_prometheus_clients(own: OwnProcess) -> None:
    """Read one after the other."""
    ours = {metric.name: metric for metric in metrics_of(own.blocks())}
    expected = {metric.name: metric for metric in theirs()}

    assert list(ours) == list(expected)
    for name, metric in expected.items():
        assert (ours[name].type, ours[name].documentation) == (metric.type, metric.documentation)
        for our_sample, sample in zip(ours[name].samples, metric.samples, strict=True):
            assert (our_sample.name, our_sample.labels) == (sample.name, sample.labels)
            difference = abs(our_sample.value - sample.value)
            assert difference <= TOLERANCE.get(name, 0.01), sample


def test_descriptors_are_counted_on_every_kernel(
    own: OwnProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before v6.2 the folder says nothing of its size."""
    real = os.stat

    def without_size(path: str) -> object:
        return type("", (), {"st_size": 0})() if path == "/proc/self/fd" else real(path)

    def count() -> object:
        return next(iter(own.blocks())).values[4]

    now = count()
    monkeypatch.setattr(os, "stat", without_size)

    assert count() == now


def test_cpu_time_moves(own: OwnProcess) -> None:
    """In microseconds, so that a scrape's own cost can be seen."""
    before = next(iter(own.blocks())).values[3]
    until = time.process_time() + 0.01
    while time.process_time() < until:
        pass
    after = next(iter(own.blocks())).values[3]

    assert 10_000 <= float(after) - float(before) < 1_000_000
