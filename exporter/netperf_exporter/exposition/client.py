"""prometheus_client on both sides: its collectors in our output, our blocks in its registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from prometheus_client import GCCollector, Metric, ProcessCollector
from prometheus_client.core import CollectorRegistry
from prometheus_client.registry import Collector

from netperf_exporter.metric import Block, Family, Type

_SUFFIX = {"counter": "_total", "info": "_info"}


class OwnProcess:
    """What prometheus_client says of this process: CPU, memory, descriptors, collections."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._collectors: tuple[Collector, ...] = (
            ProcessCollector(registry=None),
            GCCollector(registry=registry),
        )

    def blocks(self) -> list[Block]:
        """The families of both collectors."""
        return [block for collector in self._collectors for block in blocks_of(collector.collect())]


def blocks_of(metrics: Iterable[Metric]) -> Iterator[Block]:
    """The samples of prometheus_client's counters, gauges or infos."""
    for metric in metrics:
        samples = metric.samples
        labels = tuple(samples[0].labels) if samples else ()
        family = _family(metric.name, metric.type, metric.documentation, labels, metric.unit)
        rows = tuple([tuple(sample.labels.values()) for sample in samples])
        yield Block((family,), rows, [sample.value for sample in samples])


def metrics_of(blocks: Iterable[Block]) -> Iterator[Metric]:
    """Blocks as prometheus_client's families, so that its renderers can write them."""
    for families, rows, values in blocks:
        for position, family in enumerate(families):
            metric = Metric(family.base_name, family.help, family.type, family.unit)
            own = values[position * len(rows) : (position + 1) * len(rows)]
            for row, value in zip(rows, own, strict=True):
                labels = dict(zip(family.labels, row, strict=True))
                scaled = value / 10**-family.scale if family.scale else value
                metric.add_sample(family.name, labels, scaled)
            yield metric


@lru_cache(maxsize=64)
def _family(name: str, kind: str, help: str, labels: tuple[str, ...], unit: str) -> Family:
    types: dict[str, Type] = {"counter": "counter", "gauge": "gauge", "info": "info"}
    return Family(name + _SUFFIX.get(kind, ""), types[kind], help, labels, unit)
