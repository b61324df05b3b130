"""/proc/softirqs: how often each softirq ran on each possible CPU.

Written by show_softirqs() in fs/proc/softirqs.c: a header of CPU numbers, then a row per
vector of softirq_to_name[] (kernel/softirq.c). The counts are u32.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.text import shown

_WIDEST = 24  # bytes for a count and the blanks before it: the kernel prints " %10u"
_CPU = re.compile(rb"CPU([0-9]{1,5})")


class Softirqs(NamedTuple):
    """``rows`` maps the kernel's name of a vector to its counts, in the order of ``cpus``."""

    cpus: tuple[int, ...]
    rows: dict[str, tuple[int, ...]]


def parse(text: bytes, vectors: tuple[bytes, ...], problems: list[str]) -> Softirqs:
    """Read the rows of the vectors asked for (``NET_RX``).

    A row that does not have a number for each CPU of the header is left out and said.
    Raises Malformed without a header or without any of the rows.
    """
    header, _, body = text.partition(b"\n")
    cpus = _cpus(header)
    rows: dict[str, tuple[int, ...]] = {}
    for line in body.splitlines():
        name, colon, counts = line.partition(b":")
        name = name.strip()
        if name not in vectors:
            continue
        cells = counts.split()
        good = colon and len(cells) == len(cpus) and b"".join(cells).isdigit()
        if not good or len(counts) > _WIDEST * len(cells):
            problems.append(f"the row of {name.decode()} is {shown(counts)}")
            continue
        rows[name.decode()] = tuple(map(int, cells))
    if not rows:
        raise Malformed(f"no row of {b', '.join(vectors).decode()}")
    return Softirqs(cpus, rows)


@lru_cache(maxsize=4)
def _cpus(header: bytes) -> tuple[int, ...]:
    matches = [_CPU.fullmatch(word) for word in header.split()]
    cpus = tuple(int(match[1]) for match in matches if match)
    if not cpus or len(cpus) != len(matches) or len(set(cpus)) != len(cpus):
        raise Malformed(f"the header is {shown(header)}")
    return cpus
