"""Netlink sockets under a kernel that answers as a test wrote it."""

from __future__ import annotations

import errno
import gc
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.kernel.netlink import socket as netlink
from netperf_exporter.kernel.netlink.socket import Incomplete, Interrupted, Request

ERROR, DONE, ROW = 2, 3, 99
INTERRUPTED, CAPPED, TLVS = 0x10, 0x100, 0x200  # NLM_F_…
REQUEST = Request("rows", 30, 98, b"\1\2\3\4")

Datagram = bytes | OSError
Answer = Callable[[bytes], list[Datagram]]
"""What the kernel sends for a request: datagrams, and errors that recv() raises in their place."""


def message(sequence: int, type: int = ROW, body: bytes = b"", flags: int = 2) -> bytes:
    return codec.HEADER.pack(16 + len(body), type, flags, sequence, 7) + body


def sequence_of(request: bytes) -> int:
    return int(codec.HEADER.unpack_from(request)[3])


def done(sequence: int, code: int = 0, flags: int = 2, explained: bytes = b"") -> bytes:
    return message(sequence, DONE, struct.pack("=i", code) + explained, flags)


def error(sequence: int, code: int, rest: bytes, flags: int = 0) -> bytes:
    return message(sequence, ERROR, struct.pack("=i", code) + rest, flags)


def rows(*bodies: bytes) -> Answer:
    """A good dump, in as many datagrams as rows, and one more."""
    return lambda request: [
        *[message(sequence_of(request), ROW, body) for body in bodies],
        done(sequence_of(request)),
    ]


def listed(answer: bytes) -> list[bytes]:
    """The bodies of the rows; there is nothing else."""
    spans = list(codec.messages(answer))
    assert {span.type for span in spans} <= {ROW}
    return [answer[span.start : span.end] for span in spans]


class Kernel:
    """Answers each request as the next of the answers says, and the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.opened: list[Socket] = []
        self.requests: list[bytes] = []

    def socket(self, family: int, kind: int, protocol: int) -> Socket:
        """In place of socket.socket()."""
        self.opened.append(Socket(self, protocol))
        return self.opened[-1]

    def answer(self, request: bytes) -> list[Datagram]:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request)


class Socket:
    """What a netlink.dump() uses of a socket."""

    def __init__(self, kernel: Kernel, protocol: int) -> None:
        self.kernel = kernel
        self.protocol = protocol
        self.options: dict[int, int] = {}
        self.users: set[int] = set()
        self.closed = False
        self._datagrams: list[Datagram] = []

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options[option] = value

    def send(self, request: bytes) -> int:
        assert not self.closed
        self.users.add(threading.get_ident())
        self._datagrams = self.kernel.answer(request)
        return len(request)

    def recv_into(self, buffer: bytearray, size: int, flags: int) -> int:
        """One datagram; its whole length even if it was cut, as MSG_TRUNC wants it."""
        assert not self.closed
        self.users.add(threading.get_ident())
        assert self._datagrams, "a read that would wait for ever"
        datagram = self._datagrams.pop(0)
        if isinstance(datagram, OSError):
            raise datagram
        kept = datagram[: len(buffer)]
        buffer[: len(kept)] = kept
        return len(datagram)

    def close(self) -> None:
        self.closed = True


@contextmanager
def booted(*answers: Answer) -> Iterator[Kernel]:
    """A kernel, and no socket kept from before."""
    kernel = Kernel(*answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", kernel.socket)
        patch.setattr(netlink, "_kept", netlink._Kept())
        yield kernel


def test_a_dump_is_all_messages_without_the_closing_one() -> None:
    """However the kernel divides them into datagrams."""

    def answer(request: bytes) -> list[Datagram]:
        number = sequence_of(request)
        return [
            message(number, ROW, b"abcd") + message(number, ROW, b"12345678"),
            message(number, ROW, b"efgh") + done(number),
        ]

    with booted(answer) as kernel:
        assert listed(netlink.dump(REQUEST)) == [b"abcd", b"12345678", b"efgh"]

    assert kernel.requests == [codec.HEADER.pack(20, 98, 0x301, 1, 0) + b"\1\2\3\4"]
    assert kernel.opened[0].protocol == 30
    assert kernel.opened[0].options == {10: 1, 11: 1, 12: 1}


def test_an_empty_dump_is_no_failure() -> None:
    with booted(rows()):
        assert netlink.dump(REQUEST) == b""


def test_an_answer_ends_with_the_acknowledgement() -> None:
    """A request that is no dump asks for one, so that its answer has an end."""

    def answer(request: bytes) -> list[Datagram]:
        number = sequence_of(request)
        return [message(number, ROW, b"only", 0), error(number, 0, request[:16], CAPPED)]

    with booted(answer) as kernel:
        assert listed(netlink.ask(REQUEST)) == [b"only"]

    assert codec.HEADER.unpack_from(kernel.requests[0])[2] == 0x5  # NLM_F_REQUEST | NLM_F_ACK


@pytest.mark.parametrize("where", ["row", "end"])
def test_an_interrupted_dump_is_asked_for_again(where: str) -> None:
    """Whichever message bears the flag; nothing of the first attempt is in the answer."""

    def interrupted(request: bytes) -> list[Datagram]:
        number = sequence_of(request)
        flags = {where: 2 | INTERRUPTED}
        return [
            message(number, ROW, b"old.", flags.get("row", 2)),
            done(number, 0, flags.get("end", 2)),
        ]

    with booted(interrupted, interrupted, rows(b"new.")) as kernel:
        assert listed(netlink.dump(REQUEST)) == [b"new."]
        assert [opened.closed for opened in kernel.opened] == [True, True, False]

    assert len(kernel.requests) == 3


def test_a_dump_that_is_always_interrupted_is_given_up() -> None:
    with (
        booted(lambda request: [done(sequence_of(request), 0, 2 | INTERRUPTED)]) as kernel,
        pytest.raises(Interrupted, match="interrupted 10 times: 'rows'") as raised,
    ):
        netlink.dump(REQUEST)

    assert raised.value.errno == errno.EAGAIN
    assert len(kernel.requests) == len(kernel.opened) == 10
    assert all(opened.closed for opened in kernel.opened)


def test_an_overflow_is_asked_for_again_with_a_fresh_socket() -> None:
    """ENOBUFS: what the kernel could not deliver is gone."""

    def overflown(request: bytes) -> list[Datagram]:
        return [message(sequence_of(request), ROW, b"old."), OSError(errno.ENOBUFS, "overflow")]

    with booted(overflown, rows(b"new.")) as kernel:
        assert listed(netlink.dump(REQUEST)) == [b"new."]
        assert [opened.closed for opened in kernel.opened] == [True, False]


@pytest.mark.parametrize("flags", [TLVS, TLVS | CAPPED])
def test_an_error_says_what_the_kernel_explains(flags: int) -> None:
    """The explanation stands behind the request, or behind its header if that is all of it."""

    def answer(request: bytes) -> list[Datagram]:
        said = codec.attribute(1, b"no such row\0") + codec.u32(2, 20)
        echoed = request[:16] if flags & CAPPED else request
        return [error(sequence_of(request), -errno.EINVAL, echoed + said, flags)]

    with booted(answer), pytest.raises(OSError, match="rows") as raised:
        netlink.dump(REQUEST)

    assert raised.value.errno == errno.EINVAL
    assert raised.value.strerror == f"{os.strerror(errno.EINVAL)}: no such row"
    assert raised.value.filename == "rows"


def test_an_error_without_explanation_is_the_usual_text() -> None:
    """The type and errno of Python's own errors: ENOENT is FileNotFoundError."""
    refused: Answer = lambda request: [error(sequence_of(request), -errno.ENOENT, request)]  # noqa: E731
    with booted(refused), pytest.raises(FileNotFoundError) as raised:
        netlink.dump(REQUEST)

    assert raised.value.strerror == os.strerror(errno.ENOENT)


def test_a_request_that_looks_like_an_explanation_is_none() -> None:
    """Without the flag there are no attributes behind the request."""

    def answer(request: bytes) -> list[Datagram]:
        said = codec.attribute(1, b"not meant\0")
        return [error(sequence_of(request), -errno.EPERM, request + said)]

    with booted(answer), pytest.raises(PermissionError) as raised:
        netlink.dump(REQUEST)

    assert raised.value.strerror == os.strerror(errno.EPERM)


def test_a_dump_may_end_with_an_error() -> None:
    """NLMSG_DONE carries it and, with the flag, its explanation; what came before is kept."""

    def answer(request: bytes) -> list[Datagram]:
        number = sequence_of(request)
        said = codec.attribute(1, b"a device is gone\0")
        return [message(number, ROW, b"good"), done(number, -errno.ENODEV, 2 | TLVS, said)]

    with booted(answer) as kernel, pytest.raises(Incomplete, match="a device is gone") as raised:
        netlink.dump(REQUEST)

    assert raised.value.errno == errno.ENODEV
    assert listed(raised.value.messages) == [b"good"]
    assert kernel.opened[0].closed


def test_a_dump_that_ends_with_an_error_at_once_is_refused() -> None:
    refused: Answer = lambda request: [done(sequence_of(request), -errno.EOPNOTSUPP)]  # noqa: E731
    with booted(refused), pytest.raises(OSError) as raised:
        netlink.dump(REQUEST)

    assert raised.value.errno == errno.EOPNOTSUPP
    assert not isinstance(raised.value, Incomplete)


@pytest.mark.parametrize("type", [ERROR, DONE])
def test_a_closing_message_without_a_code_is_refused(type: int) -> None:
    short: Answer = lambda request: [message(sequence_of(request), type, b"\0\0")]  # noqa: E731
    with booted(short), pytest.raises(OSError, match="without a code") as raised:
        netlink.dump(REQUEST)

    assert raised.value.errno == errno.EBADMSG


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda number: message(number + 1, ROW, b"late"), id="of another request"),
        pytest.param(lambda number: message(number, ROW, b"whole")[:-1], id="cut short"),
        pytest.param(lambda number: struct.pack("=IHHII", 15, ROW, 2, number, 7), id="too short"),
    ],
)
def test_a_message_that_cannot_be_of_the_answer_is_refused(wrong: Callable[[int], bytes]) -> None:
    """And the socket is not trusted any more."""
    with booted(lambda request: [wrong(sequence_of(request))], rows(b"new.")) as kernel:
        with pytest.raises(OSError, match="not what was asked: 'rows'") as raised:
            netlink.dump(REQUEST)
        assert kernel.opened[0].closed
        assert listed(netlink.dump(REQUEST)) == [b"new."]

    assert raised.value.errno == errno.EBADMSG


def test_a_datagram_larger_than_the_buffer_is_refused() -> None:
    """MSG_TRUNC tells its length; what was cut off is lost."""
    large = message(1, ROW, bytes(2**17))
    with (
        booted(lambda request: [large]) as kernel,
        pytest.raises(OSError, match=f"{len(large)} bytes: 'rows'") as raised,
    ):
        netlink.dump(REQUEST)

    assert raised.value.errno == errno.EMSGSIZE
    assert kernel.opened[0].closed


def test_a_socket_is_kept_for_the_next_dump() -> None:
    """Each protocol has its own. Requests are all alike, so that answers that are equal look so."""
    with booted(rows(b"row.")) as kernel:
        for _ in range(3):
            netlink.dump(REQUEST)
        netlink.dump(REQUEST._replace(protocol=31))
        netlink.ask(REQUEST)

    assert [opened.protocol for opened in kernel.opened] == [30, 31]
    assert [sequence_of(request) for request in kernel.requests] == [1, 1, 1, 1, 1]


def test_a_socket_is_closed_after_an_error() -> None:
    """Whatever was still to come on it would be taken for the next answer."""
    with booted(lambda request: [OSError(errno.ENOMEM, "no memory")], rows(b"row.")) as kernel:
        with pytest.raises(OSError, match="no memory"):
            netlink.dump(REQUEST)
        assert [opened.closed for opened in kernel.opened] == [True]
        assert listed(netlink.dump(REQUEST)) == [b"row."]
        assert [opened.closed for opened in kernel.opened] == [True, False]


def test_threads_never_share_a_socket() -> None:
    """Two that ask again and again at the same time have one each."""
    together = threading.Barrier(2, timeout=30)

    def answer(request: bytes) -> list[Datagram]:
        together.wait()
        return rows(b"row.")(request)

    def ask() -> None:
        for _ in range(20):
            netlink.dump(REQUEST)
            together.wait()  # so that either could take what the other has put away

    with booted(answer) as kernel:
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert len(kernel.requests) == 40
        assert len(kernel.opened) == 2
        assert all(len(opened.users) == 1 for opened in kernel.opened)


def test_the_socket_of_a_thread_that_ended_is_closed() -> None:
    with booted(rows(b"row.")) as kernel:
        thread = threading.Thread(target=netlink.dump, args=(REQUEST,))
        thread.start()
        thread.join(30)
        del thread
        gc.collect()

        assert [opened.closed for opened in kernel.opened] == [True]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=120), max_size=3), st.data())
def test_any_datagrams_give_an_answer_or_an_error(noise: list[bytes], data: st.DataObject) -> None:
    """Nothing but OSError is raised, and what was answered are whole messages."""

    def answer(request: bytes) -> list[Datagram]:
        number = sequence_of(request)
        datagrams: list[Datagram] = []
        for body in noise:
            type = data.draw(st.sampled_from([ERROR, DONE, ROW]))
            flags = data.draw(st.sampled_from([0, 2, TLVS, TLVS | CAPPED]))
            good = message(number, type, body, flags)
            datagrams.append(data.draw(st.sampled_from([good, body, good + body])))
        return [*datagrams, done(number)]

    with booted(answer) as kernel:
        try:
            answered = netlink.dump(REQUEST)
        except OSError as raised:
            assert raised.strerror
            assert kernel.opened[-1].closed
        else:
            assert sum(16 + (len(body) + 3 & ~3) for body in listed(answered)) == len(answered)
