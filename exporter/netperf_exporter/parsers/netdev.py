"""The generic netlink family ``netdev``: queues, their NAPI instances, and what each counted.

Written by net/core/netdev-genl.c as Documentation/netlink/specs/netdev.yaml describes it;
attributes in include/uapi/linux/netdev.h. Names are the specification's.

A host may have a thousand queues and is asked for all of them in every scrape. Messages repeat a
few layouts: the same attributes of the same lengths, in the same order. Each layout is worked
out once and afterwards taken apart by one struct. What has no such layout is walked through.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.parsers import Malformed

_U32 = struct.Struct("=I")
_HEADERS = 20  # struct nlmsghdr and struct genlmsghdr
_INTEGERS = {4: "I", 8: "Q"}  # a uint has as many bytes as its value needs: nla_put_uint()
_LAYOUTS_OF_ONE_LENGTH = 16  # counters grow beyond 4 bytes one after the other

_RX, _TX = 0, 1  # NETDEV_QUEUE_TYPE_…

_QSTATS_IFINDEX, _QSTATS_QUEUE_TYPE, _QSTATS_QUEUE_ID = 1, 2, 3
MEASURES = {
    8: "rx-packets",
    9: "rx-bytes",
    10: "tx-packets",
    11: "tx-bytes",
    12: "rx-alloc-fail",
    13: "rx-hw-drops",
    14: "rx-hw-drop-overruns",
    15: "rx-csum-complete",
    16: "rx-csum-unnecessary",
    17: "rx-csum-none",
    18: "rx-csum-bad",
    19: "rx-hw-gro-packets",
    20: "rx-hw-gro-bytes",
    21: "rx-hw-gro-wire-packets",
    22: "rx-hw-gro-wire-bytes",
    23: "rx-hw-drop-ratelimits",
    24: "tx-hw-drops",
    25: "tx-hw-drop-errors",
    26: "tx-csum-none",
    27: "tx-needs-csum",
    28: "tx-hw-gso-packets",
    29: "tx-hw-gso-bytes",
    30: "tx-hw-gso-wire-packets",
    31: "tx-hw-gso-wire-bytes",
    32: "tx-hw-drop-ratelimits",
    33: "tx-stop",
    34: "tx-wake",
}
"""NETDEV_A_QSTATS_…: what a driver may count for a queue (net/netdev_queues.h)."""

_NAPI_FIELDS = {
    1: "ifindex",
    2: "id",
    3: "irq",
    4: "pid",
    5: "defer_hard_irqs",
    6: "gro_flush_timeout",
    7: "irq_suspend_timeout",
    8: "threaded",
}
_WHICH_NAPI = (1, 2)
_WHICH_QUEUE = (2, 3, 1)  # NETDEV_A_QUEUE_IFINDEX, …_TYPE, …_ID
_QUEUE_NAPI_ID = 4

Row = tuple[int, ...]
Measures = dict[str, dict[int, int]]
"""By measure, then by queue, ascending. What the driver does not count is not there."""


class QueueStatistics(NamedTuple):
    """By ifindex. Devices that are down or whose driver does not count by queue are not there."""

    receive: dict[int, Measures]
    transmit: dict[int, Measures]


class Queues(NamedTuple):
    """The queues of a device, by number: the id of the NAPI instance that serves it, or None."""

    rx: dict[int, int | None]
    tx: dict[int, int | None]


class Napi(NamedTuple):
    """A NAPI instance. None for what this kernel or driver does not tell.

    irq: of the interrupt that schedules it.
    pid: of its thread, as the reader's PID namespace has it. None unless it has one.
    defer_hard_irqs, gro_flush_timeout, irq_suspend_timeout: settings (v6.13); the last two in ns.
    threaded: enum netdev_napi_threaded: 0 no, 1 yes, 2 a thread that polls busily.
    """

    ifindex: int
    id: int
    irq: int | None = None
    pid: int | None = None
    defer_hard_irqs: int | None = None
    gro_flush_timeout: int | None = None
    irq_suspend_timeout: int | None = None
    threaded: int | None = None


def queue_statistics(dump: bytes, problems: list[str]) -> QueueStatistics:
    """Answers to qstats-get with the scope queue.

    A message that cannot be understood is left out and said. Raises Malformed if none can be.
    """
    found = QueueStatistics({}, {})
    for types, rows in _tables(dump, MEASURES, problems).items():
        try:
            device = itemgetter(types.index(_QSTATS_IFINDEX), types.index(_QSTATS_QUEUE_TYPE))
            queue = types.index(_QSTATS_QUEUE_ID)
        except ValueError:
            problems.append("queue statistics that do not say of which queue")
            continue
        named = [(at, MEASURES[type]) for at, type in enumerate(types) if type in MEASURES]
        for (ifindex, type), run in groupby(rows, device):
            if type not in (_RX, _TX):
                problems.append(f"device {ifindex} has statistics of queues of type {type}")
                continue
            columns = list(zip(*run, strict=True))
            measures = found[type].setdefault(ifindex, {})
            for at, measure in named:
                _add(measures.setdefault(measure, {}), columns[queue], columns[at])
    _need(bool(found.receive or found.transmit), problems)
    return found


def queues(dump: bytes, problems: list[str]) -> dict[int, Queues]:
    """Answers to queue-get, by ifindex. Devices that are down are not there.

    A message that cannot be understood is left out and said. Raises Malformed if none can be.
    """
    found: dict[int, Queues] = {}
    for types, rows in _tables(dump, (*_WHICH_QUEUE, _QUEUE_NAPI_ID), problems).items():
        if not set(_WHICH_QUEUE) <= set(types):
            problems.append("a queue that does not say which it is")
            continue
        at_ifindex, at_type, at_id = [types.index(type) for type in _WHICH_QUEUE]
        at_napi = types.index(_QUEUE_NAPI_ID) if _QUEUE_NAPI_ID in types else None
        for row in rows:
            ifindex, type = row[at_ifindex], row[at_type]
            if type not in (_RX, _TX):
                problems.append(f"device {ifindex} has a queue of type {type}")
                continue
            device = found.get(ifindex)
            if device is None:
                device = found[ifindex] = Queues({}, {})
            device[type][row[at_id]] = None if at_napi is None else row[at_napi]
    _need(bool(found), problems)
    return found


def napis(dump: bytes, problems: list[str]) -> dict[int, Napi]:
    """Answers to napi-get, by NAPI id. Those of devices that are down are not there.

    A message that cannot be understood is left out and said. Raises Malformed if none can be.
    """
    found: dict[int, Napi] = {}
    for types, rows in _tables(dump, _NAPI_FIELDS, problems).items():
        if not set(_WHICH_NAPI) <= set(types):
            problems.append("a NAPI instance that does not say which it is")
            continue
        named = [(at, _NAPI_FIELDS[type]) for at, type in enumerate(types) if type in _NAPI_FIELDS]
        for row in rows:
            napi = Napi(**{field: row[at] for at, field in named})
            found[napi.id] = napi
    _need(bool(found), problems)
    return found


def _need(something: bool, problems: list[str]) -> None:
    if problems and not something:
        raise Malformed(problems[0])


def _add(counted: dict[int, int], queues: Row, column: Row) -> None:
    """Enter a column and keep the queues in order.

    The kernel writes the queues of a device in order, but those that count something that others
    do not are in another table.
    """
    ascending = not counted or next(reversed(counted)) < queues[0]
    counted.update(zip(queues, column, strict=True))
    if not ascending:
        in_order = sorted(counted.items())
        counted.clear()
        counted.update(in_order)


class _Layout(NamedTuple):
    """Messages that differ in nothing but their values.

    headers: those of the attributes, each as the 32-bit integer that it also is.
    types: of the attributes.
    unpack: takes a message apart into headers and values, by turns.
    """

    headers: Row
    types: Row
    unpack: Callable[[bytes, int], Row]


_layouts: dict[int, tuple[_Layout, ...]] = {}  # by the length of the message, the latest first


def _tables(dump: bytes, wanted: Container[int], problems: list[str]) -> dict[Row, list[Row]]:
    """The integers of all messages: for every list of attributes the rows of their values.

    wanted: attributes that it is a problem if they have a length that no integer has.
    """
    tables: dict[Row, list[Row]] = {}
    offset, size = 0, len(dump)
    while offset + _HEADERS <= size:
        (length,) = _U32.unpack_from(dump, offset)
        if length < _HEADERS or offset + length > size:
            break
        for layout in _layouts.get(length, ()):
            fields = layout.unpack(dump, offset)
            if fields[::2] == layout.headers:
                types, row = layout.types, fields[1::2]
                break
        else:
            types, row = _walk(dump, offset, length, wanted, problems)
        rows = tables.get(types)
        if rows is None:
            rows = tables[types] = []
        rows.append(row)
        offset += length + 3 & ~3
    if offset < size:
        problems.append(f"the last {size - offset} of {size} bytes are no message")
    return tables


def _walk(
    dump: bytes, offset: int, length: int, wanted: Container[int], problems: list[str]
) -> tuple[Row, Row]:
    """The attributes of one message that are integers, and their values."""
    values: dict[int, int] = {}
    headers: list[int] = []
    format, covered = f"={_HEADERS}x", _HEADERS
    for span in codec.attributes(dump, offset + _HEADERS, offset + length):
        code = _INTEGERS.get(span.end - span.start)
        if code is not None:
            values[span.type] = codec.integer(dump, span)
            headers += _U32.unpack_from(dump, span.start - 4)
            format += f"I{code}"
            covered += 4 + span.end - span.start
        elif span.type in wanted:
            problems.append(f"attribute {span.type} has {span.end - span.start} bytes")
    types = tuple(values)
    # Integers and nothing else, none of them twice: another message may well look like it.
    if covered == length and len(headers) == len(types):
        latest = _Layout(tuple(headers), types, struct.Struct(format).unpack_from)
        others = _layouts.get(length, ())
        _layouts[length] = (latest, *others[: _LAYOUTS_OF_ONE_LENGTH - 1])
    return types, tuple(values.values())
