"""Where facts come from: each source says how it is read, how it is parsed, and in which lane.

One scrape reads each source it needs once; what came of that is a Readings, which never
changes afterwards and is all that collectors, steering and ledger get to see.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from netperf_exporter.kernel.host import Host
from netperf_exporter.parsers import Malformed, cpulist, snmp, snmp6, softirqs, softnet_stat, stat

FILES = "files"
"""The lane of sources that never wait for rtnl: they are read one after the other."""

T = TypeVar("T")

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.EOPNOTSUPP}


@dataclass(frozen=True, eq=False)
class Source(Generic[T]):
    """One thing to read.

    name: the label ``source`` of netperf_parse_errors_total.
    read: asks the host, and does nothing with the answer.
    parse: makes values of the answer; pure. Lines it leaves out it appends to the list.
    lane: sources of one lane are read one after the other, in the order of SOURCES.
    """

    name: str
    read: Callable[[Host], Any]
    parse: Callable[[Any, list[str]], T]
    lane: str = FILES


class Value(NamedTuple):
    """A source gave this. problems: one sentence for each line that was left out."""

    value: Any
    problems: tuple[str, ...]
    seconds: float


class Absent(NamedTuple):
    """The kernel does not have what the source would read. That is no failure."""

    reason: str
    seconds: float


class Failed(NamedTuple):
    """The source could not be read, or, if malformed, not understood."""

    reason: str
    seconds: float
    malformed: bool = False


Outcome = Value | Absent | Failed


class NotThere(LookupError):
    """Raised to a collector that asks for what its kernel does not have."""


class NotRead(LookupError):
    """Raised to a collector that asks for what could not be read this time."""


@dataclass(frozen=True)
class Options:
    """What the operator wants in the output beyond the choice of collectors.

    snmp_include: fields of snmp, snmp6 and netstat (``TcpExt.TCPPureAcks``) that collector
        snmp passes through.
    """

    snmp_include: re.Pattern[str] = re.compile(r".*")


@dataclass(frozen=True)
class Readings:
    """What one scrape read."""

    outcomes: Mapping[Source[Any], Outcome]
    options: Options = field(default_factory=Options)

    def __getitem__(self, source: Source[T]) -> T:
        """The value of a source. Raises NotThere or NotRead, which say why there is none."""
        outcome = self.outcomes[source]
        if isinstance(outcome, Value):
            value: T = outcome.value
            return value
        if isinstance(outcome, Absent):
            raise NotThere(outcome.reason)
        raise NotRead(f"{source.name}: {outcome.reason}")

    def get(self, source: Source[T]) -> T | None:
        """The value of a source, or None where the kernel does not have it."""
        try:
            return self[source]
        except NotThere:
            return None


class Answer(NamedTuple):
    """What the host said to a source, not parsed yet."""

    answer: Any
    seconds: float


def ask(source: Source[Any], host: Host) -> Answer | Absent | Failed:
    """Read one source. Never raises: whatever happens is an outcome. May take for ever."""
    started = time.perf_counter()
    try:
        answer = source.read(host)
    except OSError as error:
        said = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        seconds = time.perf_counter() - started
        return (Absent if error.errno in _ABSENT else Failed)(said, seconds)
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}", time.perf_counter() - started)
    return Answer(answer, time.perf_counter() - started)


def understand(source: Source[Any], asked: Answer | Absent | Failed) -> Outcome:
    """Parse what a source was answered. Never raises."""
    if not isinstance(asked, Answer):
        return asked
    started = time.perf_counter() - asked.seconds
    problems: list[str] = []
    try:
        value = source.parse(asked.answer, problems)
    except Malformed as error:
        return Failed(f"malformed: {error}", time.perf_counter() - started, malformed=True)
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}", time.perf_counter() - started)
    return Value(value, tuple(problems), time.perf_counter() - started)


def read(source: Source[Any], host: Host) -> Outcome:
    """Ask, and understand."""
    return understand(source, ask(source, host))


_ONLINE = "devices/system/cpu/online"
_NODES = "devices/system/node"

SOFTIRQ_VECTORS = (b"NET_TX", b"NET_RX")
CPU_MODES = ("idle", "iowait", "irq", "softirq", "system")


class _SoftnetText(NamedTuple):
    text: bytes
    online: bytes  # what was online before and after the text was read; empty if that changed


def _read_softnet(host: Host) -> _SoftnetText:
    text = host.net("softnet_stat")
    if softnet_stat.has_cpu_numbers(text):
        return _SoftnetText(text, b"")
    before = _online_text(host)
    text = host.net("softnet_stat")
    return _SoftnetText(text, before if before == _online_text(host) else b"")


def _online_text(host: Host) -> bytes:
    try:
        return host.sys(_ONLINE)
    except OSError:  # a container may see no /sys
        return b""


def _parse_softnet(read: _SoftnetText, problems: list[str]) -> softnet_stat.SoftnetStat:
    online = cpulist.parse(read.online) if read.online else None
    return softnet_stat.parse(read.text, online, problems)


NodeTexts = tuple[tuple[int, bytes], ...]


class _CpuTexts(NamedTuple):
    online: bytes
    nodes: NodeTexts


# By host: what it said last.
_cpu_texts: WeakKeyDictionary[Host, _CpuTexts] = WeakKeyDictionary()


def _read_cpus(host: Host) -> _CpuTexts:
    """Which CPUs are online, and each node's list: that only changes when one comes or goes."""
    online = host.sys(_ONLINE)
    before = _cpu_texts.get(host)
    if before is None or before.online != online:
        before = _cpu_texts[host] = _CpuTexts(online, _read_node_texts(host))
    return before


def _read_node_texts(host: Host) -> NodeTexts:
    try:
        names = host.sys_names(_NODES)
    except OSError:  # a kernel without CONFIG_NUMA
        return ()
    nodes = [name.removeprefix("node") for name in names if re.fullmatch(r"node[0-9]{1,6}", name)]
    return tuple([(int(node), host.sys(f"{_NODES}/node{node}/cpulist")) for node in nodes])


class Cpus:
    """The CPUs that are online, ascending; the same object while the kernel says the same.

    node_of: the NUMA node of each; empty on a kernel without NUMA.
    """

    def __init__(self, texts: _CpuTexts) -> None:
        self.online = cpulist.parse(texts.online)
        self.node_of = {cpu: node for node, text in texts.nodes for cpu in cpulist.parse(text)}


_parse_cpus = lru_cache(maxsize=8)(Cpus)

CPUS = Source[Cpus]("cpu_online", _read_cpus, lambda texts, _: _parse_cpus(texts))
"""drivers/base/cpu.c, and node_read_cpulist() in drivers/base/node.c."""

SOFTNET_STAT = Source[softnet_stat.SoftnetStat]("softnet_stat", _read_softnet, _parse_softnet)

SOFTIRQS = Source[softirqs.Softirqs](
    "softirqs",
    lambda host: host.proc("softirqs"),
    lambda text, problems: softirqs.parse(text, SOFTIRQ_VECTORS, problems),
)

CPU_TIMES = Source[stat.CpuTimes](
    "stat",
    lambda host: host.proc("stat"),
    lambda text, problems: stat.parse(text, CPU_MODES, problems),
)

SNMP = Source[snmp.Counters]("snmp", lambda host: host.net("snmp"), snmp.parse)

NETSTAT = Source[snmp.Counters]("netstat", lambda host: host.net("netstat"), snmp.parse)

SNMP6 = Source[snmp.Counters]("snmp6", lambda host: host.net("snmp6"), snmp6.parse)

SOURCES: tuple[Source[Any], ...] = (
    SOFTNET_STAT,
    SOFTIRQS,
    CPU_TIMES,
    CPUS,
    SNMP,
    NETSTAT,
    SNMP6,
)
"""Every source, in the order in which a lane reads them."""
