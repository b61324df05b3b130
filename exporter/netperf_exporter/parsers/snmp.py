"""/proc/net/snmp and /proc/net/netstat: pairs of lines, names above values.

Written by snmp_seq_show() and netstat_seq_show() in net/ipv4/proc.c. Kernels add fields in
the middle and drop others, so nothing is read by position.
"""

from __future__ import annotations

from functools import lru_cache

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.text import shown

Counters = dict[str, int]
"""A value by ``<protocol>.<field>``, in the kernel's words: ``TcpExt.ListenDrops``."""


def parse(text: bytes, problems: list[str]) -> Counters:
    """Read the pairs.

    A pair whose lines do not belong together, or whose values are not numbers, is left out and
    said. Raises Malformed if no pair is left.
    """
    counters: Counters = {}
    lines = text.splitlines(keepends=True)
    position = 0
    while position < len(lines):
        names, values = lines[position], lines[position + 1] if position + 1 < len(lines) else b""
        try:
            keys = _keys(names)
            protocol, *numbers = values.split()
            if protocol != names.partition(b" ")[0] or not values.endswith(b"\n"):
                raise ValueError
            counters |= dict(zip(keys, map(_number, numbers), strict=True))
            position += 2
        except ValueError:
            # Only one line is passed over: the next one may be the names of a good pair.
            problems.append(f"line {position + 1} is {shown(names)} above {shown(values)}")
            position += 1
    if not counters:
        raise Malformed("no line of names above a line of values")
    return counters


@lru_cache(maxsize=64)
def _keys(line: bytes) -> tuple[str, ...]:
    protocol, colon, fields = line.partition(b":")
    words = fields.decode("ascii").split()
    name = protocol.decode("ascii")
    if not colon or not name.isalnum() or not words or not all(w.isidentifier() for w in words):
        raise ValueError
    return tuple([f"{name}.{word}" for word in words])


def _number(cell: bytes) -> int:
    # Only Tcp MaxConn is signed. int() also takes blanks, signs and underscores: not here.
    if not (cell.isdigit() or (cell[:1] == b"-" and cell[1:].isdigit())) or len(cell) > 20:
        raise ValueError
    return int(cell)
