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
from typing import Any, Generic, NamedTuple, TypeVar

from netperf_exporter.kernel.host import Host
from netperf_exporter.parsers import Malformed

KERNEL = "kernel"
"""The lane of sources that the kernel answers by itself: files first, then what waits for rtnl.
Together, because a hand-over between threads costs as much as a dump."""

DRIVERS = "drivers"
"""The lane of sources that ask drivers, which may ask their firmware."""

T = TypeVar("T")

ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.EOPNOTSUPP}


@dataclass(frozen=True, eq=False)
class Source(Generic[T]):
    """One thing to read.

    name: the label ``source`` of netperf_parse_errors_total.
    read: asks the host, and does nothing with the answer.
    parse: makes values of the answer; pure. Lines it leaves out it appends to the list.
    lane: sources of one lane are read one after the other, in the order of SOURCES.
    overlapping: whether it may be read again while an earlier read has not returned. Such a
        source asks several devices, and passes over the one that the earlier read waits for.
    """

    name: str
    read: Callable[[Host], Any]
    parse: Callable[[Any, list[str]], T]
    lane: str = KERNEL
    overlapping: bool = False


@dataclass(frozen=True, eq=False)
class Derived(Generic[T]):
    """What is made of several sources and of what it was before: sums that never fall.

    needs: what it is made of. It advances when all of that was read, and else stays.
    start: what it is before anything was read.
    advance: pure; gives the next state of the last one.
    """

    name: str
    needs: tuple[Source[Any], ...]
    start: T
    advance: Callable[[T, Readings], T]


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


DEFAULT_OFFLOADS = re.compile(
    "rx-checksum|tx-checksum-(ip-generic|ipv4|ipv6)|tx-scatter-gather|tx-tcp6?-segmentation|"
    "tx-generic-segmentation|tx-udp-segmentation|rx-gro|rx-gro-hw|rx-lro|rx-hashing|"
    "rx-ntuple-filter|hw-tc-offload"
)
"""Those that decide how much work the CPUs have, in the words of netdev_features_strings
(net/ethtool/common.c)."""


@dataclass(frozen=True)
class Options:
    """What the operator wants in the output beyond the choice of collectors.

    snmp_include: fields of snmp, snmp6 and netstat (``TcpExt.TCPPureAcks``) that collector
        snmp passes through.
    transmit_queue_details: stops, wakes, timeouts and drops of each transmit queue, not only
        their sums.
    offload_include: features (``rx-gro``) that collector nic exports.
    napi_settings: what each NAPI instance of a receive queue is set to.
    """

    snmp_include: re.Pattern[str] = re.compile(r".*")
    transmit_queue_details: bool = False
    offload_include: re.Pattern[str] = DEFAULT_OFFLOADS
    napi_settings: bool = False


@dataclass(frozen=True)
class Readings:
    """What one scrape read."""

    outcomes: Mapping[Source[Any] | Derived[Any], Outcome]
    options: Options = field(default_factory=Options)

    def __getitem__(self, source: Source[T] | Derived[T]) -> T:
        """The value of a source, or of what is derived from some.

        Raises NotThere or NotRead, which say why there is none.
        """
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

    def spare(self, source: Source[T]) -> T | None:
        """The same, and None as well if it could not be read: for what makes but a label."""
        try:
            return self[source]
        except (NotThere, NotRead):
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
        return (Absent if error.errno in ABSENT else Failed)(said, seconds)
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
