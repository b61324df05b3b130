"""softirqs: how often each CPU ran the softirqs of the network."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from netperf_exporter.collectors import rows
from netperf_exporter.metric import Block, counter
from netperf_exporter.sources import CPUS, SOFTIRQS, Readings

NEEDS = (SOFTIRQS, CPUS)

SOFTIRQS_RUN = counter(
    "softirqs",
    "Times this CPU ran the handler of a softirq: net_rx for received packets, net_tx for "
    "transmissions put off and buffers to free. Says which CPUs do network work; one run may "
    "serve one packet or hundreds. (/proc/softirqs; handle_softirqs() in kernel/softirq.c)",
    "cpu",
    "type",
)

FAMILIES = (SOFTIRQS_RUN,)


def collect(readings: Readings) -> Iterator[Block]:
    """A row per online CPU and type; the file lists every possible CPU."""
    softirqs = readings[SOFTIRQS]
    cpus = readings.get(CPUS)
    listed = softirqs.cpus
    kept = listed if cpus is None else tuple(sorted(set(listed) & set(cpus.online)))
    if kept == listed:
        columns = list(softirqs.rows.values())
    else:
        positions = [listed.index(cpu) for cpu in kept]
        columns = [tuple([row[i] for i in positions]) for row in softirqs.rows.values()]
    types = tuple([name.lower() for name in softirqs.rows])
    yield Block((SOFTIRQS_RUN,), rows.of_cpus_and(kept, types), tuple(chain.from_iterable(columns)))
