"""Sources about the interrupts of network devices, and the NAPI instances that they schedule."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

from netperf_exporter.kernel.files import Folder
from netperf_exporter.kernel.host import Host
from netperf_exporter.kernel.netlink import requests
from netperf_exporter.parsers import Malformed, cpulist, interrupts, netdev
from netperf_exporter.parsers.links import Link
from netperf_exporter.sources.devices import (
    ByIndex,
    LinksAsked,
    ask_links,
    kept,
    unchanged,
    understood,
)
from netperf_exporter.sources.reading import ABSENT, Source
from netperf_exporter.sources.sysfs import CLASS_NET, attribute, device_folder

INTERRUPTS = Source[interrupts.Interrupts](
    "interrupts", lambda host: host.proc("interrupts"), interrupts.parse
)


# NAPI instances.

_napis = kept(netdev.napis)
# By host: the interrupts that NAPI instances named last.
_napi_irqs: WeakKeyDictionary[Host, frozenset[int]] = WeakKeyDictionary()


@lru_cache(maxsize=4)
def _irqs_in(dump: bytes) -> frozenset[int]:
    try:
        napis = _napis(dump, [])
    except Malformed:
        return frozenset()
    return frozenset([napi.irq for napi in napis.values() if napi.irq is not None])


def _read_napis(host: Host) -> bytes:
    dump = host.dump(requests.NAPIS)
    _napi_irqs[host] = _irqs_in(dump)
    return dump


NAPIS = Source[Mapping[int, netdev.Napi]]("napis", _read_napis, _napis)
"""By NAPI id, v6.8. The same object while nothing changed."""


# Vectors: what belongs to the hardware.

# Buses whose devices are a part of the one above them and are interrupted by its vectors. What
# hangs on another (usb, mmc, spi) has no interrupt of its own: that of its controller serves all.
_PARTS = {"virtio", "auxiliary", "vdpa"}


class Vectors(NamedTuple):
    """The interrupts of a device's hardware, ascending.

    irqs: of all the hardware, which may serve several network devices; each has them all.
    hardware: names by which handlers may call it (``virtio2``, ``0000:41:00.0``).
    """

    irqs: tuple[int, ...]
    hardware: tuple[str, ...]


class _Hardware(NamedTuple):
    """Where in /sys the vectors are listed; "" if there are none.

    irq: the one of hardware without message-signalled ones.
    """

    link: Link
    where: str
    irq: int
    names: tuple[str, ...]


_IFLA_PARENT_DEV_NAME = 56  # v5.14

# By host and index: what it was while the device was as it is.
_known_hardware: WeakKeyDictionary[Host, dict[int, _Hardware]] = WeakKeyDictionary()
# By host: those that were read in this scrape, until somebody took them.
_just_read: WeakKeyDictionary[Host, _VectorAnswers] = WeakKeyDictionary()


class _VectorAnswers(NamedTuple):
    vectors: tuple[tuple[int, Vectors], ...]
    problems: tuple[str, ...]


def _read_vectors(host: Host) -> _VectorAnswers:
    asked = ask_links(host)
    before = _known_hardware.get(host, {})
    known: dict[int, _Hardware] = {}
    new: dict[int, _Hardware] = {}
    problems: list[str] = []
    for link in understood(asked)[0].shown:
        found = before.get(link.ifindex)
        if found is not None and found.link == link:
            known[link.ifindex] = found
            continue
        try:
            new[link.ifindex] = _find_hardware(host, asked, link)
        except OSError as error:
            if error.errno not in ABSENT:
                problems.append(f"{link.name}: {error.strerror or error}")
    same = unchanged(host, asked) if new else set()
    known |= {index: found for index, found in new.items() if index in same}
    _known_hardware[host] = known
    vectors: list[tuple[int, Vectors]] = []
    for index, hardware in list(known.items()):
        try:
            vectors.append((index, _vectors(host, hardware)))
        except OSError as error:
            del known[index]  # its driver went; it may come back
            if error.errno not in ABSENT:
                problems.append(f"{hardware.link.name}: {error.strerror or error}")
    answers = _just_read[host] = _VectorAnswers(tuple(vectors), tuple(problems))
    return answers


def _find_hardware(host: Host, asked: LinksAsked, link: Link) -> _Hardware:
    """Raises OSError: ENODEV or ENOENT if /sys does not have the device."""
    with device_folder(host, asked, link) as folder:
        if not _has(folder, "device"):
            return _Hardware(link, "", 0, ())
        # A name may lead elsewhere by now; then the device has changed, and this does not count.
        where = host.sys_resolved(f"{CLASS_NET}/{link.kernel_name}/device")
    parent = attribute(asked, link.ifindex, _IFLA_PARENT_DEV_NAME).rstrip(b"\0")
    names = [os.fsdecode(parent)] if parent else []
    while True:
        if where.startswith("devices/") and (name := where.rpartition("/")[2]) not in names:
            names.append(name)
        if _numbers(host, f"{where}/msi_irqs"):
            return _Hardware(link, f"{where}/msi_irqs", 0, tuple(names))
        irq = _number(host, f"{where}/irq")
        if irq is not None:
            # Without vectors it is interrupted by its line, or, if that is 0, not at all. Not
            # by those of a bridge above it.
            return _Hardware(link, "", irq, tuple(names))
        if host.sys_resolved(f"{where}/subsystem").rpartition("/")[2] not in _PARTS:
            return _Hardware(link, "", 0, tuple(names))
        where = where.rpartition("/")[0]


def _has(folder: Folder, name: str) -> bool:
    try:
        return bool(folder.listdir(name))
    except OSError:
        return False


def _numbers(host: Host, folder: str) -> tuple[int, ...]:
    try:
        return tuple(sorted([int(name) for name in host.sys_names(folder) if name.isdecimal()]))
    except OSError:
        return ()


def _number(host: Host, file: str) -> int | None:
    try:
        return int(host.sys_once(file))
    except (OSError, ValueError):
        return None


def _vectors(host: Host, hardware: _Hardware) -> Vectors:
    if not hardware.where:
        return Vectors((hardware.irq,) if hardware.irq else (), hardware.names)
    names = host.sys_names(hardware.where)
    irqs = sorted([int(name) for name in names if name.isdecimal()])
    return Vectors(tuple(irqs), hardware.names)


@lru_cache(maxsize=2)
def _vectors_by_index(vectors: tuple[tuple[int, Vectors], ...]) -> ByIndex[Vectors]:
    return dict(vectors)


def _parse_vectors(asked: _VectorAnswers, problems: list[str]) -> ByIndex[Vectors]:
    problems += asked.problems
    return _vectors_by_index(asked.vectors)


VECTORS = Source[ByIndex[Vectors]]("vectors", _read_vectors, _parse_vectors)
"""msi_irqs of the hardware (msi_sysfs_populate_desc() in kernel/irq/msi.c), or its irq. The same
object while nothing changed; listed anew each time, since a driver may take vectors and give them
back without a word to anybody."""


# Affinity: where the interrupts fire.


class Affinity(NamedTuple):
    """CPUs of an interrupt.

    allowed: those that it may fire on, as somebody set it.
    effective: those that it does fire on; () where the kernel does not tell.
    """

    allowed: tuple[int, ...]
    effective: tuple[int, ...]


class _AffinityTexts(NamedTuple):
    """For each interrupt two texts: allowed, effective."""

    irqs: tuple[int, ...]
    texts: tuple[bytes | None, ...]


def _read_affinity(host: Host) -> _AffinityTexts:
    """In the same scrape after NAPIS and VECTORS: what these named."""
    vectors = (_just_read.pop(host, None) or _read_vectors(host)).vectors
    _just_read.pop(host, None)
    wanted = {irq for _, found in vectors for irq in found.irqs}
    irqs = tuple(sorted(wanted | _napi_irqs.get(host, frozenset())))
    return _AffinityTexts(irqs, tuple(host.proc_each(_affinity_files(irqs))))


@lru_cache(maxsize=4)
def _affinity_files(irqs: tuple[int, ...]) -> tuple[str, ...]:
    names = ("smp_affinity_list", "effective_affinity_list")
    return tuple([f"irq/{irq}/{name}" for irq in irqs for name in names])


@lru_cache(maxsize=2)
def _affinity_by_irq(asked: _AffinityTexts) -> tuple[dict[int, Affinity], tuple[str, ...]]:
    found: dict[int, Affinity] = {}
    problems: list[str] = []
    for irq, allowed, effective in zip(
        asked.irqs, asked.texts[::2], asked.texts[1::2], strict=True
    ):
        if allowed is None:
            continue
        try:
            found[irq] = _affinity(allowed, effective or b"")
        except Malformed as error:
            problems.append(f"interrupt {irq}: {error}")
    return found, tuple(problems)


@lru_cache(maxsize=4096)
def _affinity(allowed: bytes, effective: bytes) -> Affinity:
    return Affinity(cpulist.parse(allowed), cpulist.parse(effective))


def _parse_affinity(asked: _AffinityTexts, problems: list[str]) -> dict[int, Affinity]:
    found, said = _affinity_by_irq(asked)
    problems += said
    return found


AFFINITY = Source[Mapping[int, Affinity]]("irq_affinity", _read_affinity, _parse_affinity)
"""/proc/irq: irq_affinity_list_proc_show() and irq_effective_aff_list_proc_show() in
kernel/irq/proc.c. Read at every scrape, since nobody tells when irqbalance moves one. The same
object while nothing changed."""
