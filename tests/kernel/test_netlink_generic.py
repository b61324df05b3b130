"""Generic netlink: families by name, under a kernel that loads and unloads their modules."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.kernel.netlink import codec, generic
from netperf_exporter.kernel.netlink import socket as netlink
from netperf_exporter.kernel.netlink.generic import Family, Request

DO, DUMP = 0x02, 0x04  # GENL_CMD_CAP_…
ROWS = Request("rows", "table", 5, codec.u32(1, 7))


def described(family: Family, other: frozenset[int] = frozenset()) -> bytes:
    """A family as the controller describes it; the other commands are no dumps."""
    flags = dict.fromkeys(other, DO) | dict.fromkeys(family.dumps, DO | DUMP)
    body = (
        generic.HEADER.pack(1, 2)
        + codec.string(2, "table")
        + codec.attribute(1, struct.pack("=H", family.id))
        + codec.u32(3, family.version)
        + codec.nested(
            6,
            *[
                codec.nested(at, codec.u32(1, command), codec.u32(2, flag))
                for at, (command, flag) in enumerate(flags.items(), 1)
            ],
        )
        + codec.nested(
            7,
            *[
                codec.nested(at, codec.string(1, name), codec.u32(2, number))
                for at, (name, number) in enumerate(family.groups.items(), 1)
            ],
        )
    )
    return codec.HEADER.pack(16 + len(body), 16, 0, 1, 0) + body


class Kernel:
    """Knows one family at most, and what it was asked."""

    def __init__(self) -> None:
        self.table: Family | None = Family(30, 3, frozenset({5}), {})
        self.lookups = 0
        self.sent: list[netlink.Request] = []

    def ask(self, request: netlink.Request) -> bytes:
        if request.type != 16:  # GENL_ID_CTRL
            return self.dump(request)
        self.lookups += 1
        assert request.body == generic.HEADER.pack(3, 1) + codec.string(2, "table")
        if self.table is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), request.name)
        return described(self.table, frozenset({6}))

    def dump(self, request: netlink.Request) -> bytes:
        self.sent.append(request)
        if self.table is None or request.type != self.table.id:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), request.name)
        return b"rows of %d" % request.type


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Booted a moment ago: nothing is known of its families."""
    made = Kernel()
    monkeypatch.setattr(netlink, "ask", made.ask)
    monkeypatch.setattr(netlink, "dump", made.dump)
    monkeypatch.setattr(generic, "_families", {})
    return made


def test_a_family_is_looked_up_once(kernel: Kernel) -> None:
    """Its number and version are the kernel's, the rest of the request is ours."""
    assert generic.dump(ROWS) == generic.dump(ROWS) == b"rows of 30"

    assert kernel.lookups == 1
    body = generic.HEADER.pack(5, 3) + codec.u32(1, 7)
    assert kernel.sent == [netlink.Request("rows", 16, 30, body)] * 2


def test_what_is_no_dump_is_asked_for_the_same_way(kernel: Kernel) -> None:
    assert generic.ask(ROWS._replace(command=6)) == b"rows of 30"
    assert kernel.sent[0].body[:4] == generic.HEADER.pack(6, 3)


def test_a_family_that_is_not_there_is_no_such_file(kernel: Kernel) -> None:
    """Asked for again each time: its module may be loaded any time."""
    kernel.table = None
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="family table"):
            generic.dump(ROWS)
    kernel.table = Family(31, 3, frozenset({5}), {})

    assert generic.dump(ROWS) == b"rows of 31"
    assert kernel.lookups == 3


@pytest.mark.parametrize("command", [4, 6])
def test_a_command_that_the_family_cannot_dump_is_not_supported(
    kernel: Kernel, command: int
) -> None:
    """It is not sent at all: one that is no dump may do something."""
    with pytest.raises(OSError, match=f"no command {command} in the netlink family table") as it:
        generic.dump(ROWS._replace(command=command))

    assert it.value.errno == errno.EOPNOTSUPP
    assert it.value.filename == "rows"
    assert kernel.sent == []


@pytest.mark.parametrize("send", [generic.dump, generic.ask])
def test_a_family_that_came_back_with_another_number_is_looked_up_again(
    kernel: Kernel, send: Callable[[Request], bytes]
) -> None:
    """Its module was unloaded and loaded."""
    generic.dump(ROWS)
    kernel.table = Family(31, 3, frozenset({5}), {})

    assert send(ROWS) == b"rows of 31"
    assert kernel.lookups == 2
    assert [sent.type for sent in kernel.sent] == [30, 30, 31]


def test_a_family_that_went_away_is_no_such_file(kernel: Kernel) -> None:
    generic.dump(ROWS)
    kernel.table = None
    with pytest.raises(FileNotFoundError, match="family table"):
        generic.dump(ROWS)

    assert kernel.lookups == 2


def test_other_errors_are_not_asked_again(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(request: netlink.Request) -> bytes:
        asked.append(request)
        raise PermissionError(errno.EPERM, "not you", request.name)

    generic.dump(ROWS)
    monkeypatch.setattr(netlink, "dump", refuse)
    with pytest.raises(PermissionError, match="not you"):
        generic.dump(ROWS)

    assert len(asked) == 1


def incomplete(code: int) -> netlink.Incomplete:
    made = netlink.Incomplete(code, os.strerror(code), "rows")
    made.messages = b"some"
    return made


def test_a_dump_whose_last_device_lacks_the_operation_is_whole(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """v5.10 says EOPNOTSUPP at the end of what other kernels just end."""

    def end_with(code: int) -> None:
        def dump(request: netlink.Request) -> bytes:
            raise incomplete(code)

        monkeypatch.setattr(netlink, "dump", dump)

    end_with(errno.EOPNOTSUPP)
    assert generic.dump(ROWS) == b"some"
    end_with(errno.ENODEV)
    with pytest.raises(netlink.Incomplete) as raised:
        generic.dump(ROWS)
    assert raised.value.messages == b"some"


@given(
    st.integers(1, 0xFFFF),
    st.integers(0, 0xFF),
    st.frozensets(st.integers(1, 0xFF)),
    st.frozensets(st.integers(1, 0xFF)),
    st.dictionaries(st.text("abc-", min_size=1, max_size=15), st.integers(0, 2**32 - 1)),
)
def test_a_family_is_what_the_controller_described(
    id: int, version: int, dumps: frozenset[int], other: frozenset[int], groups: dict[str, int]
) -> None:
    """Only commands that can be asked for as dumps count as such."""
    family = Family(id, version, dumps, groups)

    assert generic.parse_family(described(family, other)) == family


@given(st.binary(max_size=80), st.lists(st.binary(max_size=30)))
def test_any_answer_is_a_family_or_a_clear_error(noise: bytes, attributes: list[bytes]) -> None:
    body = bytes(4) + b"".join(codec.attribute(at, each) for at, each in enumerate(attributes, 1))
    for answer in (noise, codec.HEADER.pack(16 + len(body), 16, 0, 1, 0) + body):
        try:
            family = generic.parse_family(answer)
        except ValueError as error:
            assert str(error).isprintable()
        else:
            assert family.id
