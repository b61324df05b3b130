"""The bridge to prometheus_client: our blocks as its families, for its registry and renderers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import Metric

from netperf_exporter.metric import Block


def metrics_of(blocks: Iterable[Block]) -> Iterator[Metric]:
    """Blocks as prometheus_client's families.

    A collector of its registry may return them, so that an application that has a registry
    already can serve ours in it.
    """
    for families, rows, values in blocks:
        for position, family in enumerate(families):
            metric = Metric(family.base_name, family.help, family.type, family.unit)
            own = values[position * len(rows) : (position + 1) * len(rows)]
            for row, value in zip(rows, own, strict=True):
                labels = dict(zip(family.labels, row, strict=True))
                number = int(value) if isinstance(value, bytes) else value
                scaled = number / 10**-family.scale if family.scale else number
                metric.add_sample(family.name, labels, scaled)
            yield metric
