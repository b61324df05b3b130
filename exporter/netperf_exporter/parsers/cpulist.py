"""Lists of CPUs and nodes as sysfs writes them: ``0-3,8,10-11``.

Written by bitmap_print_to_pagebuf() in lib/bitmap-str.c (lib/bitmap.c before v6.6): for
example /sys/devices/system/cpu/online, /sys/devices/system/node/node*/cpulist.
"""

from __future__ import annotations

import re
from functools import lru_cache

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.text import shown

HIGHEST = 1 << 16
"""No kernel can be built for more CPUs (NR_CPUS is 8192 at the most today)."""

_RANGE = re.compile(rb"([0-9]{1,9})(?:-([0-9]{1,9}))?")


@lru_cache(maxsize=256)
def parse(text: bytes) -> tuple[int, ...]:
    """The numbers in a list, ascending. An empty list is a node without CPUs.

    Raises Malformed on anything but ascending ranges.
    """
    numbers: list[int] = []
    text = text.strip()
    for part in text.split(b",") if text else ():
        match = _RANGE.fullmatch(part)
        if match is None:
            raise Malformed(f"{shown(part)} is no range of CPUs")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if not (numbers[-1] if numbers else -1) < first <= last < HIGHEST:
            raise Malformed(f"{shown(part)} is out of order or out of range")
        numbers.extend(range(first, last + 1))
    return tuple(numbers)
