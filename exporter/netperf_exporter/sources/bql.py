"""Source about byte queue limits: how much of a transmit ring the stack may fill."""

from __future__ import annotations

import re
from typing import NamedTuple

from netperf_exporter.kernel.files import Folder
from netperf_exporter.kernel.host import Host
from netperf_exporter.sources.devices import ByIndex, ask_links, unchanged, understood
from netperf_exporter.sources.reading import ABSENT, Source
from netperf_exporter.sources.sysfs import device_folder

_QUEUE = re.compile(r"tx-(0|[1-9][0-9]{0,8})")
_LIMITS = "byte_queue_limits"
_FILES = ("limit", "limit_max", "inflight", "stall_cnt")


class QueueLimits(NamedTuple):
    """struct dql of a transmit queue (include/linux/dynamic_queue_limits.h), in bytes.

    limit: how much may be given to the driver before the queue is stopped; it adapts.
    limit_max: the most it may become.
    inflight: given to the driver and not yet sent.
    stalls: times nothing was sent for longer than a threshold that is off by default. None before
        v6.9.
    """

    limit: int
    limit_max: int
    inflight: int
    stalls: int | None


class _Texts(NamedTuple):
    device: str
    ifindex: int
    queues: tuple[tuple[int, tuple[bytes | None, ...]], ...]


class _Answers(NamedTuple):
    devices: tuple[_Texts, ...]
    problems: tuple[str, ...]


def _read(host: Host) -> _Answers:
    asked = ask_links(host)
    found: list[_Texts] = []
    problems: list[str] = []
    for link in understood(asked)[0].shown:
        try:
            with device_folder(host, asked, link) as folder:
                found.append(_Texts(link.name, link.ifindex, tuple(_queues(folder))))
        except OSError as error:
            if error.errno not in ABSENT:
                problems.append(f"{link.name}: {error.strerror or error}")
    same = unchanged(host, asked)
    return _Answers(tuple([texts for texts in found if texts.ifindex in same]), tuple(problems))


def _queues(folder: Folder) -> list[tuple[int, tuple[bytes | None, ...]]]:
    matches = filter(None, map(_QUEUE.fullmatch, folder.listdir("queues")))
    numbers = sorted([int(match[1]) for match in matches])
    texts = [(n, tuple([_text(folder, n, name) for name in _FILES])) for n in numbers]
    # Devices without a queue of their own have no limits (netdev_uses_bql() in
    # net/core/net-sysfs.c).
    return [(number, said) for number, said in texts if said[0] is not None]


def _text(folder: Folder, queue: int, name: str) -> bytes | None:
    try:
        return folder.read(f"queues/tx-{queue}/{_LIMITS}/{name}")
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        return None


def _parse(answers: _Answers, problems: list[str]) -> ByIndex[dict[int, QueueLimits]]:
    problems += answers.problems
    found: dict[int, dict[int, QueueLimits]] = {}
    for device, ifindex, queues in answers.devices:
        limits: dict[int, QueueLimits] = {}
        for queue, texts in queues:
            figures = [_number(text) for text in texts]
            limit, most, inflight, stalls = figures
            if limit is None or most is None or inflight is None:
                problems.append(f"{device}, transmit queue {queue}: limits that are no numbers")
            else:
                limits[queue] = QueueLimits(limit, most, inflight, stalls)
        if limits:
            found[ifindex] = limits
    return found


def _number(text: bytes | None) -> int | None:
    stripped = text.strip() if text is not None else b""
    return int(stripped) if stripped.isdigit() else None


BYTE_QUEUE_LIMITS = Source[ByIndex[dict[int, QueueLimits]]]("byte_queue_limits", _read, _parse)
"""/sys/class/net/*/queues/tx-*/byte_queue_limits (bql_show() and others in net/core/net-sysfs.c),
by ifindex and transmit queue: four files a queue, 3 µs each."""
