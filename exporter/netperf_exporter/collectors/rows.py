"""Label rows that collectors share. The same CPUs or devices give the same tuple object."""

from __future__ import annotations

from functools import lru_cache

from netperf_exporter.metric import Rows
from netperf_exporter.parsers.links import Link


@lru_cache(maxsize=64)
def of_cpus(cpus: tuple[int, ...]) -> Rows:
    """One row for each CPU."""
    return tuple([(str(cpu),) for cpu in cpus])


@lru_cache(maxsize=64)
def of_cpus_and(cpus: tuple[int, ...], words: tuple[str, ...]) -> Rows:
    """One row for each CPU and word: all CPUs with the first word, then with the second."""
    return tuple([(str(cpu), word) for word in words for cpu in cpus])


@lru_cache(maxsize=64)
def of_words(words: tuple[str, ...]) -> Rows:
    """One row for each word."""
    return tuple([(word,) for word in words])


def of_links(links: tuple[Link, ...]) -> Rows:
    """One row for each device."""
    return of_words(tuple([link.name for link in links]))


@lru_cache(maxsize=64)
def of_queues(queues: tuple[tuple[str, tuple[int, ...]], ...]) -> Rows:
    """One row for each queue of each device."""
    return tuple([(device, str(queue)) for device, of_it in queues for queue in of_it])


@lru_cache(maxsize=64)
def of_causes(queues: tuple[tuple[str, str, tuple[int, ...]], ...]) -> Rows:
    """One row for each queue of each device and cause."""
    return tuple(
        [(device, str(queue), cause) for device, cause, of_it in queues for queue in of_it]
    )
