"""/proc/net/snmp and /proc/net/netstat: pairs of lines, names above values.

Written by snmp_seq_show() and netstat_seq_show() in net/ipv4/proc.c. Kernels add fields in
the middle and drop others, so nothing is read by position.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.text import shown


class Counters(NamedTuple):
    """Values and their names, ``<protocol>.<field>`` in the kernel's words: ``TcpExt.ListenDrops``.

    names is the same object for as long as the kernel writes the same names.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]


def parse(text: bytes, problems: list[str]) -> Counters:
    """Read the pairs.

    A pair whose lines do not belong together, or whose values are not numbers, is left out and
    said. Raises Malformed if no pair is left.
    """
    lines = text.splitlines(keepends=True)
    return _all(lines) or _pair_by_pair(lines, problems)


def _all(lines: list[bytes]) -> Counters | None:
    """All pairs at once, if nothing is wrong with any of them."""
    layout = _layout(tuple(lines[::2]))
    if layout is None or len(lines) % 2 or not lines[-1].endswith(b"\n"):
        return None
    names, heads = layout
    numbers: list[bytes] = []
    for (protocol, count), line in zip(heads, lines[1::2], strict=True):
        cells = line.split()
        if len(cells) != count + 1 or cells[0] != protocol:
            return None
        numbers += cells[1:]
    if b"".join(numbers).translate(None, _SIGNED_DIGITS):
        return None
    try:
        return Counters(names, tuple(map(int, numbers)))
    except ValueError:  # a sign in the wrong place, or thousands of digits
        return None


_SIGNED_DIGITS = b"-0123456789"  # only Tcp MaxConn has a sign
_Layout = tuple[tuple[str, ...], tuple[tuple[bytes, int], ...]]


@lru_cache(maxsize=16)
def _layout(headers: tuple[bytes, ...]) -> _Layout | None:
    """All names, and for each line how the one below it begins and how many values it has."""
    names: list[str] = []
    heads: list[tuple[bytes, int]] = []
    for header in headers:
        try:
            keys = _keys(header)
        except ValueError:
            return None
        names += keys
        heads.append((header.partition(b" ")[0], len(keys)))
    return (tuple(names), tuple(heads)) if len(set(names)) == len(names) > 0 else None


def _pair_by_pair(lines: list[bytes], problems: list[str]) -> Counters:
    counters: dict[str, int] = {}
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
    return Counters(tuple(counters), tuple(counters.values()))


@lru_cache(maxsize=64)
def _keys(line: bytes) -> tuple[str, ...]:
    protocol, colon, fields = line.partition(b":")
    words = fields.decode("ascii").split()
    name = protocol.decode("ascii")
    if not colon or not name.isalnum() or not words or not all(w.isidentifier() for w in words):
        raise ValueError
    return tuple([f"{name}.{word}" for word in words])


def _number(cell: bytes) -> int:
    # int() also takes blanks, plus signs and underscores: not here.
    if not (cell.isdigit() or (cell[:1] == b"-" and cell[1:].isdigit())) or len(cell) > 20:
        raise ValueError
    return int(cell)
