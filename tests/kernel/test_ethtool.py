"""The ethtool ioctl, against a kernel of the test that copies as the real one does."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.ethtool import reader as module
from netperf_exporter.kernel.ethtool.desk import tells_of_leaving
from netperf_exporter.kernel.ethtool.guarded import GuardedRoom
from netperf_exporter.kernel.ethtool.ioctl import device_name

IFINDEX = 2**31 - 1  # no device of the machine that runs the test
GSTRINGS, GSTATS, GSSET_INFO, GLINKSETTINGS = 0x1B, 0x1D, 0x37, 0x4C
LIBC = ctypes.CDLL(None, use_errno=True)


def copy_to_user(address: int, content: bytes) -> int:
    """Have the kernel write content over memory of this process; how much of it it could."""
    file = os.memfd_create("copy_to_user")
    try:
        os.write(file, content)
        where = ctypes.c_void_p(address)
        return int(LIBC.pread(file, where, ctypes.c_size_t(len(content)), ctypes.c_long(0)))
    finally:
        os.close(file)


@dataclass(frozen=True)
class Setup:
    """What a driver has at one time: a name and a value for each statistic, and its channels."""

    count: int
    tag: int = 0
    channels: bytes | None = bytes(36)

    @property
    def strings(self) -> bytes:
        names = (b"%d.%d" % (self.tag, n) for n in range(self.count))
        return b"".join(name.ljust(32, b"\0") for name in names)

    @property
    def values(self) -> bytes:
        return struct.pack(f"={self.count}Q", *(self.tag << 32 | n for n in range(self.count)))

    @property
    def statistics(self) -> ethtool.Statistics:
        return ethtool.Statistics(self.strings, self.values)


@dataclass
class Kernel:
    """dev_ethtool() for one driver.

    fixed: it compares the count it is told with what the driver has (since 2025).
    before: called with the number of each command before it is answered.
    """

    setup: Setup | None
    fixed: bool = True
    ifindex: int = IFINDEX
    before: Callable[[int], None] = lambda number: None
    asked: list[int] = field(default_factory=list)
    addresses: set[int] = field(default_factory=set)

    def ioctl(self, handle: object, number: int, request: bytes) -> bytes:
        name, address = struct.unpack("16sP16x", request)
        if number == 0x8933:  # SIOCGIFINDEX
            return struct.pack("=16si20x", name, self.ifindex)
        assert number == 0x8946
        (command,) = struct.unpack("=I", ctypes.string_at(address, 4))
        self.asked.append(command)
        self.addresses.add(address)
        self.before(command)
        answer = self.answer(command, ctypes.string_at(address, 20))
        if copy_to_user(address, answer) != len(answer):
            raise OSError(errno.EFAULT, "Bad address")
        return request

    def answer(self, command: int, asked: bytes) -> bytes:
        setup = self.setup
        if command == GSSET_INFO:
            assert struct.unpack_from("=Q", asked, 8)[0] == 1 << 1
            there = setup is not None
            return struct.pack("=I4xQ", command, 2 if there else 0) + (
                struct.pack("=I", setup.count) if setup else b""
            )
        assert setup is not None
        if command == ethtool.GCHANNELS.number:
            if setup.channels is None:
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            return setup.channels
        if command == GSTRINGS:
            header, data, given = struct.pack("=II", command, 1), setup.strings, asked[8:12]
        else:
            assert command == GSTATS
            header, data, given = struct.pack("=I", command), setup.values, asked[4:8]
        (wanted,) = struct.unpack("=I", given)
        assert wanted, "asked for any number"
        assert setup.count, "a warning in the kernel's log"
        if self.fixed and wanted != setup.count:
            return header + bytes(4)
        return header + struct.pack("=I", setup.count) + data


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel], Kernel]:
    """Puts a kernel of the test in the place of the real one."""

    def run(kernel: Kernel) -> Kernel:
        monkeypatch.setattr(fcntl, "ioctl", kernel.ioctl)
        return kernel

    return run


@pytest.fixture
def reader() -> Iterator[ethtool.StatisticsReader]:
    """A reader that is closed afterwards."""
    with closing(ethtool.StatisticsReader()) as made:
        yield made


Running = Callable[[Kernel], Kernel]


def test_names_are_read_once(running: Running, reader: ethtool.StatisticsReader) -> None:
    """The second time they are the same object, and the values are new."""
    kernel = running(Kernel(Setup(20)))
    first = reader.read("eth0", IFINDEX)
    kernel.asked.clear()
    second = reader.read("eth0", IFINDEX)

    assert first == second == Setup(20).statistics
    assert first.strings is second.strings
    assert kernel.asked == [GSSET_INFO, GSTATS, ethtool.GCHANNELS.number]


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("when", [GSTRINGS, GSTATS, ethtool.GCHANNELS.number])
@pytest.mark.parametrize("then", [1, 19, 21, 500, 20_000, 1_000_000])
def test_a_count_that_changes_between_the_calls(
    running: Running, reader: ethtool.StatisticsReader, fixed: bool, when: int, then: int
) -> None:
    """Also by more than there was room for: nothing else is overwritten, and it is read again."""
    kernel = running(Kernel(Setup(20, 1), fixed))
    names = reader.read("eth0", IFINDEX)
    changed = Setup(then, 2, b"\1" * 36)

    def change(command: int) -> None:
        if command == when:
            kernel.setup = changed

    kernel.before = change
    reader.forget("eth0")

    assert names == Setup(20, 1).statistics
    assert reader.read("eth0", IFINDEX) == changed.statistics


@pytest.mark.parametrize("fixed", [True, False])
def test_one_that_never_comes_to_rest_is_given_up(
    running: Running, reader: ethtool.StatisticsReader, fixed: bool
) -> None:
    """A clear error after a few attempts, and the next read is as good as ever."""
    kernel = running(Kernel(Setup(20), fixed))

    def change(command: int) -> None:
        assert kernel.setup
        if command == GSTATS:
            kernel.setup = Setup(kernel.setup.count * 2 % 977)

    kernel.before = change
    with pytest.raises(ethtool.Unsettled, match="changed at each of 5 attempts") as raised:
        reader.read("eth0", IFINDEX)
    kernel.before = lambda command: None

    assert raised.value.filename == "eth0"
    assert kernel.asked.count(GSTATS) == 5
    assert kernel.setup
    assert reader.read("eth0", IFINDEX) == kernel.setup.statistics


def test_queues_that_were_exchanged(running: Running, reader: ethtool.StatisticsReader) -> None:
    """As many statistics as before, but for four transmit queues instead of four receive ones."""
    kernel = running(Kernel(Setup(20, 1, b"R" * 36)))
    reader.read("eth0", IFINDEX)
    kernel.setup = Setup(20, 2, b"T" * 36)

    assert reader.read("eth0", IFINDEX) == kernel.setup.statistics


def test_names_that_changed_unseen_until_they_are_forgotten(
    running: Running, reader: ethtool.StatisticsReader
) -> None:
    """A driver without channels and with as many statistics as before: the caller must know."""
    kernel = running(Kernel(Setup(20, 1, None)))
    reader.read("eth0", IFINDEX)
    kernel.setup = Setup(20, 2, None)

    assert reader.read("eth0", IFINDEX).strings == Setup(20, 1).strings
    reader.forget("eth0")
    assert reader.read("eth0", IFINDEX) == kernel.setup.statistics


def test_another_device_under_the_same_name(
    running: Running, reader: ethtool.StatisticsReader
) -> None:
    """It is not the one asked for; when it is, its names are its own."""
    kernel = running(Kernel(Setup(20, 1)))
    reader.read("eth0", IFINDEX)
    kernel.setup, kernel.ifindex = Setup(20, 2), IFINDEX - 1

    with pytest.raises(OSError, match="index") as raised:
        reader.read("eth0", IFINDEX)
    assert raised.value.errno == errno.ENODEV
    assert reader.read("eth0", IFINDEX - 1) == kernel.setup.statistics


def test_a_driver_without_statistics(running: Running, reader: ethtool.StatisticsReader) -> None:
    """None at all, or a set that is empty: that one the kernel must not be asked for."""
    kernel = running(Kernel(None))
    with pytest.raises(OSError, match="not supported") as raised:
        reader.read("eth0", IFINDEX)
    assert raised.value.errno == errno.EOPNOTSUPP

    kernel.setup = Setup(0)
    assert reader.read("eth0", IFINDEX) == (b"", b"")
    assert set(kernel.asked) == {GSSET_INFO}


def test_a_read_beside_one_that_is_stuck(
    running: Running, reader: ethtool.StatisticsReader
) -> None:
    """Neither sees what the kernel writes for the other; both are right."""
    kernel = running(Kernel(Setup(20, 1)))
    reached, go_on = threading.Event(), threading.Event()
    found: list[ethtool.Statistics] = []

    def stick(command: int) -> None:
        if command == GSTATS and threading.current_thread() is thread:
            reached.set()
            assert go_on.wait(30)

    kernel.before = stick
    thread = threading.Thread(target=lambda: found.append(reader.read("eth0", IFINDEX)))
    thread.start()
    assert reached.wait(30)
    stuck = set(kernel.addresses)
    kernel.addresses.clear()
    beside = reader.read("eth0", IFINDEX)
    go_on.set()
    thread.join()

    assert stuck
    assert kernel.addresses - stuck, "the same room"
    assert [beside] == found == [Setup(20, 1).statistics]


def test_what_a_stuck_read_knew_is_not_kept_after_forgetting(
    running: Running, reader: ethtool.StatisticsReader
) -> None:
    """It began before, and ends after the names were declared wrong."""
    kernel = running(Kernel(Setup(20, 1, None)))

    def forget(command: int) -> None:
        if command == GSTATS and kernel.setup == Setup(20, 1, None):
            reader.forget("eth0")
            kernel.setup = Setup(20, 2, None)

    kernel.before = forget
    reader.read("eth0", IFINDEX)

    assert reader.read("eth0", IFINDEX) == Setup(20, 2).statistics


def test_devices_that_come_and_go_cost_no_more_memory(
    running: Running, reader: ethtool.StatisticsReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of those that were read last are kept; nothing stays open."""
    monkeypatch.setattr(module, "_KEPT", 3)
    kernel = running(Kernel(Setup(20)))
    reader.read("eth0", IFINDEX)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        reader.read(f"veth{number}", IFINDEX)
        reader.read("eth0", IFINDEX)
    kernel.asked.clear()
    for device in ("eth0", "veth99", "veth98"):
        reader.read(device, IFINDEX)

    assert GSTRINGS not in kernel.asked
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_reader_that_is_dropped_leaves_nothing_open(running: Running) -> None:
    """Nor does it warn of a socket that nobody closed."""
    running(Kernel(Setup(20)))
    before = len(os.listdir("/proc/self/fd"))
    ethtool.StatisticsReader().read("eth0", IFINDEX)
    gc.collect()

    assert len(os.listdir("/proc/self/fd")) == before


@given(st.data(), st.booleans())
def test_names_and_values_always_belong_together(data: st.DataObject, fixed: bool) -> None:
    """Whatever a driver becomes, and whenever, as long as it is not what it was before."""
    tags = iter(range(1, 1_000_000))

    def change(command: int) -> None:
        if data.draw(st.integers(0, 3)) == 0:
            tag = next(tags)
            channels = struct.pack("=9I", *[tag] * 9)
            kernel.setup = Setup(data.draw(st.sampled_from([0, 1, 7, 7, 7, 900])), tag, channels)

    kernel = Kernel(Setup(7, 1_000_001), fixed, before=change)
    with pytest.MonkeyPatch.context() as patch, closing(ethtool.StatisticsReader()) as reader:
        patch.setattr(fcntl, "ioctl", kernel.ioctl)
        for _ in range(3):
            try:
                found = reader.read("eth0", IFINDEX)
            except ethtool.Unsettled:
                continue
            except AssertionError as error:
                # The set became empty after it was counted: nobody can know.
                assert "warning" in str(error)
                continue
            assert len(found.strings) == 4 * len(found.values)
            for position, (value,) in enumerate(struct.iter_unpack("=Q", found.values)):
                name = found.strings[32 * position : 32 * position + 32].rstrip(b"\0")
                assert name == b"%d.%d" % (value >> 32, value & 2**32 - 1)


def test_the_kernel_stops_at_the_end_of_the_room() -> None:
    """It writes what fits and says how much that was, or that the address is bad."""
    room = GuardedRoom(5000)
    content = os.urandom(room.size + 100_000)

    assert room.size == -(-5000 // os.sysconf("SC_PAGESIZE")) * os.sysconf("SC_PAGESIZE")
    assert copy_to_user(room.address, content) == room.size
    assert bytes(room.view) == content[: room.size]
    assert copy_to_user(room.address + room.size, b"x") == -1
    assert ctypes.get_errno() == errno.EFAULT


def test_link_settings_are_asked_for_with_the_width_the_kernel_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ethtool_get_link_ksettings(): first the width, negative, then all of it."""
    widths: list[int] = []

    def ioctl(handle: object, number: int, request: bytes) -> bytes:
        _, address = struct.unpack("16sP16x", request)
        command, words = struct.unpack("=I11xb", ctypes.string_at(address, 16))
        assert command == GLINKSETTINGS
        widths.append(words)
        if words == 4:
            content = struct.pack("=II7xb32x", command, 25_000, 4) + b"\xaa" * 48
        else:
            content = struct.pack("=II7xb32x", command, 0, -4)
        assert copy_to_user(address, content) == len(content)
        return request

    monkeypatch.setattr(fcntl, "ioctl", ioctl)

    settings = ethtool.link_settings("eth0")
    assert widths == [0, 4]
    assert settings == struct.pack("=II7xb32x", GLINKSETTINGS, 25_000, 4) + b"\xaa" * 48


@pytest.mark.parametrize("name", ["", "eth0:1", "eth0\0x", "a-name-of-sixteen"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    """The kernel would answer eth0:1 for eth0."""
    with pytest.raises(ValueError, match="device name"):
        ethtool.call(name, ethtool.GDRVINFO)


@given(st.binary(min_size=1, max_size=15).filter(lambda name: not set(name) & set(b":\0")))
def test_any_other_bytes_are_a_name(name: bytes) -> None:
    """As the file system hands them to Python."""
    assert device_name(os.fsdecode(name)) == name


def link(kind: int, ifindex: int, *attributes: bytes) -> bytes:
    """A message of rtnetlink about a device."""
    body = struct.pack("=BxHiII", 0, 1, ifindex, 0, 0) + b"".join(
        part.ljust(len(part) + 3 & ~3, b"\0") for part in attributes
    )
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def attribute(number: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), number) + content


@pytest.mark.parametrize(
    ("message", "left"),
    [
        (link(16, 7, attribute(4, bytes(5)), attribute(3, b"eth0\0")), False),
        (link(16, 7, attribute(3, b"eth1\0"), attribute(4, bytes(4))), True),
        (link(16, 7, attribute(3, b"eth\0")), True),
        (link(16, 8, attribute(3, b"eth1\0")), False),
        (link(17, 7, attribute(3, b"eth0\0")), True),
        (link(17, 8, attribute(3, b"eth0\0")), False),
        (link(28, 7), False),
        (link(16, 7), True),
        (link(16, 7, struct.pack("=HH", 0, 9)), True),
        (b"", True),
    ],
)
def test_which_message_means_that_a_device_left_its_name(message: bytes, left: bool) -> None:
    """Another name or RTM_DELLINK, for that device; in doubt, yes."""
    assert tells_of_leaving(message, b"eth0", 7) is left


@given(st.binary(max_size=200) | st.binary(max_size=90).map(lambda b: link(16, 7) + b))
def test_any_message_gives_an_answer(message: bytes) -> None:
    """No message makes the reader fail or hang."""
    assert tells_of_leaving(message, b"eth0", 7) in (True, False)
