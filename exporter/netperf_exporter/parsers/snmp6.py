"""/proc/net/snmp6: one name and one value a line.

Written by snmp6_seq_show() in net/ipv6/proc.c; absent where IPv6 is.
"""

from __future__ import annotations

import re
from functools import lru_cache

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.snmp import Counters
from netperf_exporter.parsers.text import shown

_NAME = re.compile(rb"(Ip6|Icmp6|Udp6|UdpLite6)([A-Z][A-Za-z0-9]*)")


def parse(text: bytes, problems: list[str]) -> Counters:
    """A value by ``<protocol>.<field>``: the kernel's ``Udp6NoPorts`` is ``Udp6.NoPorts``.

    A line of another form, or a name that comes again, is left out and said. Raises Malformed
    if no line is left.
    """
    return _all(text) or _line_by_line(text, problems)


def _all(text: bytes) -> Counters | None:
    """The whole text at once, if every line has a known name and a number."""
    words = text.split()
    keys = _keys(tuple(words[::2]))
    values = words[1::2]
    if keys is None or not text.endswith(b"\n") or text.count(b"\n") != len(keys):
        return None
    if len(values) != len(keys) or not b"".join(values).isdigit() or max(map(len, values)) > 20:
        return None
    return Counters(keys, tuple(map(int, values)))


@lru_cache(maxsize=4)
def _keys(names: tuple[bytes, ...]) -> tuple[str, ...] | None:
    keys = [_key(name) for name in names]
    found = [key for key in keys if key]
    return tuple(found) if found and len(set(found)) == len(keys) else None


def _key(name: bytes) -> str | None:
    match = _NAME.fullmatch(name)
    return f"{match[1].decode()}.{match[2].decode()}" if match else None


def _line_by_line(text: bytes, problems: list[str]) -> Counters:
    counters: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        name, *values = line.split() or [b""]
        key = _key(name)
        value = values[0] if len(values) == 1 else b""
        good = line.endswith(b"\n") and value.isdigit() and len(value) <= 20
        if key is None or key in counters or not good:
            problems.append(f"line {number} is {shown(line)}")
            continue
        counters[key] = int(value)
    if not counters:
        raise Malformed("no line with a name and a value")
    return Counters(tuple(counters), tuple(counters.values()))
