"""Masks of CPUs as sysfs and procfs write them: ``ff``, ``00000001,00000000``.

Written by the ``%*pb`` of bitmap_string() in lib/vsprintf.c, for example for show_rps_map() and
xps_queue_show() in net/core/net-sysfs.c: hexadecimal groups of 32 bits, the most significant first.
Each group has all its 8 digits but the first, which has as many as the possible CPUs need.
"""

from __future__ import annotations

import re
from functools import lru_cache

from netperf_exporter.parsers import Malformed, cpulist
from netperf_exporter.parsers.text import shown

_MASK = re.compile(rb"[0-9a-f]{1,8}(?:,[0-9a-f]{8})*")
_DIGITS = cpulist.HIGHEST // 4


@lru_cache(maxsize=1024)
def parse(text: bytes) -> tuple[int, ...]:
    """The numbers whose bits are set, ascending.

    Raises Malformed on anything but groups of 32 bits.
    """
    text = text.strip()
    digits = text.replace(b",", b"")
    if not _MASK.fullmatch(text) or len(digits) > _DIGITS:
        raise Malformed(f"{shown(text)} is no mask of CPUs")
    bits = f"{int(digits, 16):b}"
    return tuple([number for number, bit in enumerate(reversed(bits)) if bit == "1"])
