"""Label rows that collectors share. The same CPUs give the same tuple object."""

from __future__ import annotations

from functools import lru_cache

from netperf_exporter.metric import Rows


@lru_cache(maxsize=64)
def of_cpus(cpus: tuple[int, ...]) -> Rows:
    """One row for each CPU."""
    return tuple([(str(cpu),) for cpu in cpus])


@lru_cache(maxsize=64)
def of_cpus_and(cpus: tuple[int, ...], words: tuple[str, ...]) -> Rows:
    """One row for each CPU and word: all CPUs with the first word, then with the second."""
    return tuple([(str(cpu), word) for word in words for cpu in cpus])
