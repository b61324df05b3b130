from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netperf_exporter
from netperf_exporter.http.connection import Connection
from netperf_exporter.http.server import (
    ListenError,
    Policy,
    Request,
    Response,
    Server,
    listen,
)
from tests.http.client import GET, PATIENCE, Client, Serving, hello, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def server_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "http"]


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = descriptors()
    yield
    until(lambda: not server_threads())
    until(lambda: len(descriptors()) <= len(before))


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Whatever clients do is a debug message at most; tests that expect more clear the log."""
    caplog.set_level(logging.DEBUG, "netperf_exporter.http")
    yield caplog
    said = caplog.get_records("call")
    assert [r.getMessage() for r in said if r.levelno > logging.DEBUG] == []


class Recorder:
    """A handler that remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(200, request.path.encode())

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


class Gate:
    """A handler that answers / at once, and anything else when it is let."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, request: Request) -> Response:
        if request.path != "/":
            self.inside.release()
            assert self.opened.wait(PATIENCE)
        return Response(200, request.path.encode())

    def wait_for_someone(self) -> None:
        assert self.inside.acquire(timeout=PATIENCE)


# What a handler is given, and what becomes of its answer.


def test_a_handler_is_given_the_request_in_parts() -> None:
    handler = Recorder()
    with serving(handler) as server, server.client() as client:
        client.send(
            b"GET /a%20b%2Fc?collect[]=softnet&x=%41 HTTP/1.1\r\nHost: x\r\n"
            b"ACCEPT: text/plain\r\nX-Twice: 1\r\nx-twice: 2\r\nUser-Agent: \xe4\r\n\r\n"
        )
        client.answer()

    assert handler.requests == [
        Request(
            "GET",
            "/a b/c",
            "collect[]=softnet&x=%41",
            {"host": "x", "accept": "text/plain", "x-twice": "1, 2", "user-agent": "ä"},
        )
    ]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://host:1/metrics?a=b", "/metrics", "a=b"),
        ("HTTPS://host", "/", ""),
        ("http://host?a=/b", "/", "a=/b"),
        ("/http://host/x", "/http://host/x", ""),
    ],
)
def test_a_target_may_be_a_whole_url(target: str, path: str, query: str) -> None:
    handler = Recorder()
    with serving(handler) as server:
        assert server.get(target).status == 200

    assert [(r.path, r.query) for r in handler.requests] == [(path, query)]


def test_an_answer_has_length_type_and_date_and_names_no_server() -> None:
    def handler(_: Request) -> Response:
        return Response(418, b"short and stout\n", "text/x-teapot", (("X-Spout", "yes"),))

    with serving(handler) as server:
        status, headers, body = server.get()

    assert (status, body) == (418, b"short and stout\n")
    assert abs(parsedate_to_datetime(headers.pop("date")).timestamp() - time.time()) < 3
    assert headers == {
        "content-length": "16",
        "content-type": "text/x-teapot",
        "x-spout": "yes",
    }


def test_a_connection_is_reused() -> None:
    threads = set()

    def handler(_: Request) -> Response:
        threads.add(threading.get_ident())
        return Response(200, b"")

    with serving(handler) as server, server.client() as client:
        for _ in range(3):
            answer = client.get()

            assert "connection" not in answer.headers
    assert len(threads) == 1


def test_a_request_that_is_repeated_is_answered_the_same_way() -> None:
    """The second and third do not go through h11; a different one between them does."""
    asked: list[Request] = []

    def handler(request: Request) -> Response:
        asked.append(request)
        return Response(200, b"x" * 5, "text/x", (("X-Own", "1"),))

    scrape = b"GET /a%20b?c=%20 HTTP/1.1\r\nHost: x\r\nAccept: a\r\nAccept: b\r\n\r\n"
    other = scrape.replace(b"/a", b"/b")
    with serving(handler) as server, server.client() as client:
        answers = []
        for head in (scrape, scrape, scrape, other, scrape, scrape):
            client.send(head)
            answers.append(client.answer())

    assert asked[0] == asked[1] == asked[2] == asked[4] == asked[5] != asked[3]
    without_date = [
        (a.status, {k: v for k, v in a.headers.items() if k != "date"}, a.body) for a in answers
    ]
    assert all(answer == without_date[0] for answer in without_date)
    assert all("date" in answer.headers for answer in answers)


@pytest.mark.parametrize("status", [204, 304, 200])
def test_a_repeated_answer_is_the_same_bytes_as_the_first(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever h11 makes of a status."""
    monkeypatch.setattr("netperf_exporter.http.connection._http_date", lambda second: "now")
    response = Response(status, b"body", "text/x", (("X-Own", "1"),))
    with serving(lambda request: response) as server, server.client() as client:
        received = []
        for _ in range(2):
            client.send(GET)
            received.append(client.until(b"body" if status == 200 else b"\r\n\r\n"))

    assert received[0] == received[1]


def test_a_repeated_request_in_pieces_or_with_more_behind_it() -> None:
    """What is not exactly the known head goes to h11, and is answered as ever."""
    with serving() as server, server.client() as client:
        for _ in range(2):
            client.send(GET)
            client.answer()
        client.send(GET[:10])
        time.sleep(0.05)
        client.send(GET[10:])
        client.answer()
        client.send(GET + GET)
        client.answer()
        client.answer()
        client.send(GET)
        client.answer()


def test_a_repeated_request_may_fail(log: pytest.LogCaptureFixture) -> None:
    """A handler's exception is a 500 there too, and the connection goes on."""
    times = iter(range(10))

    def handler(request: Request) -> Response:
        if next(times) == 2:
            raise RuntimeError("third time")
        return Response(200, b"")

    with serving(handler) as server, server.client() as client:
        states = []
        for _ in range(4):
            client.send(GET)
            states.append(client.answer().status)

    assert states == [200, 200, 500, 200]
    assert [r.getMessage() for r in log.records if r.levelno > logging.DEBUG] == [
        "'/' '' failed: RuntimeError('third time')"
    ]
    log.clear()


def test_a_client_that_wants_to_close_is_closed() -> None:
    with serving() as server, server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        assert client.answer().headers["connection"] == "close"
        assert client.rest() == b""


def test_http_1_0_is_answered_and_closed() -> None:
    with serving() as server, server.client() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        answer = client.answer()

        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.headers["connection"] == "close"
        assert client.rest() == b""


def test_head_is_answered_without_the_body_but_with_its_length() -> None:
    with serving() as server, server.client() as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.answer(to_head=True)

        assert (answer.status, answer.headers["content-length"]) == (200, "5")
        assert client.get().body == b"hello"


def test_pipelined_requests_are_answered_in_order() -> None:
    handler = Recorder()
    paths = [f"/{number}" for number in range(50)]
    with serving(handler) as server, server.client() as client:
        client.send(b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths))

        assert [client.answer().body.decode() for _ in paths] == paths
        assert client.get("/last").body == b"/last"
    assert handler.paths == [*paths, "/last"]


def test_a_request_may_come_in_pieces_and_end_in_the_next_one() -> None:
    handler = Recorder()
    with serving(handler) as server, server.client() as client:
        for byte in b"GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /t":
            client.send(bytes([byte]))

        assert client.answer().body == b"/one"
        client.send(b"wo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer().body == b"/two"
    assert handler.paths == ["/one", "/two"]


def test_a_large_answer_arrives_whole_whatever_the_buffers() -> None:
    body = bytes(range(256)) * 40_000
    with (
        serving(lambda _: Response(200, body)) as server,
        server.client(receive_buffer=4096) as client,
    ):
        assert client.get().body == body
        assert client.get().body == body


# What is turned down.


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "CONNECT", "get", "X"])
def test_other_methods_are_not_allowed(method: str) -> None:
    handler = Recorder()
    with serving(handler) as server, server.client() as client:
        client.send(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = client.answer()

        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
        assert client.get().status == 200
    assert handler.paths == ["/"]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET / HTTP/1.1", 413), (b"HEAD / HTTP/1.1", 413), (b"POST / HTTP/1.1", 405)],
)
@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("expectation", [b"", b"Expect: 100-continue\r\n"])
def test_a_body_is_refused_before_it_is_read(
    request_line: bytes, status: int, framing: bytes, expectation: bytes
) -> None:
    handler = Recorder()
    with serving(handler) as server, server.client() as client:
        client.send(request_line + b"\r\nHost: x\r\n" + framing + b"\r\n" + expectation + b"\r\n")
        answer = client.answer(to_head=request_line.startswith(b"HEAD"))

        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert client.rest() == b""
    assert handler.requests == []


def test_a_client_that_sends_its_body_all_the_same_reads_why_it_is_refused() -> None:
    with serving() as server, server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000))

        assert client.answer().status == 413
        assert client.rest() == b""


def test_an_endless_body_is_cut_off() -> None:
    with serving() as server, server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            client.send(bytes(500_000_000))


def test_expectations_and_upgrades_are_ignored() -> None:
    with serving() as server, server.client() as client:
        for header in (
            b"Expect: 100-continue",
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        ):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")

            assert client.answer().status == 200


def test_a_head_may_be_as_long_as_the_policy_says_and_no_longer() -> None:
    start, end = b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"\r\n\r\n"
    handler = Recorder()
    with serving(handler, Policy(max_head_bytes=5000)) as server:
        with server.client() as client:
            for _ in range(2):
                client.send(start + b"x" * (5000 - len(start + end)) + end)

                assert client.answer().status == 200
        with server.client() as client:
            client.send(start + b"x" * (5001 - len(start + end)) + end)
            answer = client.answer()

            assert (answer.status, answer.headers["connection"]) == (431, "close")
            assert client.rest() == b""
    assert len(handler.requests) == 2


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # a TLS client
        (b"\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ftp://x/y HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ],
)
def test_what_is_no_request_is_turned_down_at_once(sent: bytes, status: int) -> None:
    handler = Recorder()
    with serving(handler) as server, server.client() as client:
        client.send(sent)

        assert client.answer().status == status
    assert handler.requests == []


pieces = st.one_of(
    st.sampled_from(
        [
            *(b"GET ", b"HEAD ", b"/", b" HTTP/1.1", b"\r\n", b"\n", b"Host: x", b"\r\n\r\n", GET),
            *(b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Connection: close", b":"),
        ]
    ),
    st.binary(max_size=8),
)


def test_any_bytes_end_the_connection_or_are_answered() -> None:
    handler = Recorder()

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.one_of(st.binary(max_size=300), st.lists(pieces, max_size=20).map(b"".join)))
    def check(sent: bytes) -> None:
        handler.requests.clear()
        with server.client() as client:
            with contextlib.suppress(ConnectionError):
                client.send(sent)
                client.finish()
            try:
                received = client.rest()
            except ConnectionResetError:
                received = b""
        complete = re.findall(rb"(?:GET|HEAD) [\x21-\x7e]+ HTTP/1\.[0-9]\r?\n", sent)

        assert not received or received.startswith(b"HTTP/1.1 ")
        assert len(handler.requests) <= len(complete)
        assert {request.method for request in handler.requests} <= {"GET", "HEAD"}
        assert server.get("/alive").body == b"/alive"

    with serving(handler) as server:
        check()


def test_half_a_request_is_never_handled() -> None:
    handler = Recorder()
    with serving(handler) as server:
        for length in range(len(GET)):
            with server.client() as client:
                client.send(GET[:length])
                client.finish()

                assert client.rest() == b""
        with server.client() as client:
            client.send(GET + GET[:-1])
            client.finish()

            assert client.answer().status == 200
            assert client.rest() == b""
        with server.client() as client:
            client.send(GET)
            client.finish()

            assert client.answer().status == 200
    assert handler.paths == ["/", "/"]


# Patience.


def test_a_dripping_head_has_one_deadline_in_all() -> None:
    with serving(policy=Policy(head_seconds=0.5)) as server, server.client() as client:
        answered = select.poll()
        answered.register(client.socket, select.POLLIN)
        started = time.monotonic()
        for byte in GET:
            client.send(bytes([byte]))
            if answered.poll(100):
                break
        took = time.monotonic() - started

        assert client.answer().status == 408
        assert 0.4 < took < 1.5


def test_the_next_head_of_a_connection_has_the_same_deadline() -> None:
    with serving(policy=Policy(head_seconds=0.3)) as server:
        for leftover in (b"", b"GET"):
            with server.client() as client:
                client.send(GET + leftover)
                client.answer()
                if not leftover:
                    time.sleep(0.5)  # idle: another deadline
                    client.send(b"GET")
                started = time.monotonic()

                assert client.answer().status == 408
                assert 0.2 < time.monotonic() - started < 1.5


def test_a_silent_connection_is_closed_without_a_word() -> None:
    with serving(policy=Policy(head_seconds=0.2)) as server, server.client() as client:
        assert client.rest() == b""


def test_an_idle_connection_is_closed_without_a_word() -> None:
    policy = Policy(head_seconds=PATIENCE, idle_seconds=0.2)
    with serving(policy=policy) as server, server.client() as client:
        client.get()

        assert client.rest() == b""


@pytest.mark.parametrize("bytes_at_a_time", [0, 65536])
def test_a_slow_reader_is_dropped(bytes_at_a_time: int) -> None:
    body = bytes(50_000_000)
    with (
        serving(lambda _: Response(200, body), Policy(send_seconds=0.4)) as server,
        server.client(receive_buffer=65536) as client,
    ):
        client.send(GET)
        until(server_threads)
        received = 0
        while server_threads():
            time.sleep(0.005)
            if bytes_at_a_time:
                with contextlib.suppress(ConnectionResetError):
                    received += len(client.socket.recv(bytes_at_a_time))

        assert received < len(body)
        with pytest.raises(ConnectionResetError):
            client.rest()


@pytest.fixture
def deadly_sigpipe() -> Iterator[None]:
    """Python ignores SIGPIPE; with the default action, one would end this process."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGPIPE, before)


@pytest.mark.usefixtures("deadly_sigpipe")
def test_a_client_that_is_gone_when_its_answer_is_ready_does_no_harm() -> None:
    gate = Gate()
    with serving(gate) as server:
        with server.client() as client:
            client.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            gate.wait_for_someone()
            reset = struct.pack("ii", 1, 0)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        gate.opened.set()
        until(lambda: not server_threads())

        assert server.get().status == 200


# Room.


def test_the_oldest_that_never_asked_makes_room_then_the_longest_idle() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(policy=Policy(max_connections=3)))

        def connect(*, ask: bool) -> Client:
            client = stack.enter_context(server.client())
            if ask:
                assert get(client) == 200
            return client

        def get(client: Client) -> int:
            status = client.get().status
            until(server.is_idle)  # the answer is here before its thread waits again
            return status

        first, second = connect(ask=True), connect(ask=True)
        assert get(first) == 200  # now idle for less long than the second
        silent = connect(ask=False)

        third = connect(ask=True)
        assert silent.rest() == b""
        assert all(client.is_open() for client in (first, second, third))

        dripping = connect(ask=False)
        assert second.rest() == b""
        dripping.send(b"GET")
        newer = connect(ask=True)
        assert dripping.rest() == b""
        connect(ask=True)
        assert first.rest() == b""
        assert third.get().status == 200
        assert newer.get().status == 200


def test_when_everyone_is_being_answered_a_newcomer_is_told_so() -> None:
    gate = Gate()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(gate, Policy(max_connections=3)))
        busy = [stack.enter_context(server.client()) for _ in range(3)]
        for number, client in enumerate(busy):
            client.send(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            gate.wait_for_someone()

        started = time.monotonic()
        for _ in range(10):
            with server.client() as client:
                answer = client.answer()

                assert (answer.status, answer.headers["connection"]) == (503, "close")
                assert client.rest() == b""
        assert time.monotonic() - started < 1

        with server.client() as client:
            client.answer()
            held = len(descriptors())
            until(lambda: len(descriptors()) < held)  # even if the client stays
        gate.opened.set()
        assert [client.answer().body for client in busy] == [b"/0", b"/1", b"/2"]
        assert server.get().status == 200


def test_slow_loris_does_not_keep_a_scrape_waiting() -> None:
    """300 clients drip a byte a second each, and come back whenever they are dropped."""
    policy = Policy(head_seconds=1.5)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(policy=policy))
        lorises = [stack.enter_context(server.client()) for _ in range(100)]
        server.get()  # the kernel's queue of connections is empty again
        lorises += [stack.enter_context(server.client()) for _ in range(100)]
        server.get()
        lorises += [stack.enter_context(server.client()) for _ in range(100)]
        finished = threading.Event()
        drops = 0

        def drip() -> None:
            nonlocal drops
            while not finished.is_set():
                for number, loris in enumerate(lorises):
                    if finished.wait(1 / len(lorises)):
                        return
                    try:
                        loris.send(b"G")
                        dropped = not loris.is_open()
                    except ConnectionError:
                        dropped = True
                    if dropped:
                        drops += 1
                        loris.close()
                        lorises[number] = stack.enter_context(server.client())

        dripping = threading.Thread(target=drip)
        dripping.start()
        kept = stack.enter_context(server.client())
        slowest = 0.0
        most_threads = 0
        try:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                for get in (server.get, kept.get):
                    started = time.monotonic()
                    assert get().status == 200
                    slowest = max(slowest, time.monotonic() - started)
                most_threads = max(most_threads, len(server_threads()))
                time.sleep(0.02)
        finally:
            finished.set()
            dripping.join()

        assert drops > 300
        assert slowest < 1
        assert most_threads <= 2 * policy.max_connections
        # Nobody leaves, but nobody new comes: patience ends.
        until(lambda: len(server_threads()) <= 1, policy.head_seconds + 3)
        assert kept.get().status == 200


def test_a_thousand_idle_connections_do_not_keep_a_scrape_waiting() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
    try:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(serving())
            kept = stack.enter_context(server.client())
            slowest = 0.0
            for _ in range(20):
                for _ in range(50):
                    stack.enter_context(server.client())
                for get in (server.get, kept.get):
                    started = time.monotonic()
                    assert get().status == 200
                    slowest = max(slowest, time.monotonic() - started)

            assert slowest < 1
            assert len(server_threads()) <= 2 * Policy().max_connections
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_waiting_clients_make_room_and_nothing_spins() -> None:
    source = Path(__file__).parent
    package = Path(netperf_exporter.__file__).parent.parent
    with (
        subprocess.Popen(
            [sys.executable, source / "few_descriptors.py", "8"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(package)},
        ) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        where = ("127.0.0.1", int(process.stdout.readline()))
        for _ in range(40):
            stack.enter_context(Client(where))
        started = time.monotonic()
        with Client(where) as client:
            assert client.get().status == 200
        assert time.monotonic() - started < 3

        slow = []
        for _ in range(12):
            slow.append(stack.enter_context(Client(where)))
            slow[-1].send(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        before = cpu_seconds(process.pid)
        time.sleep(0.5)
        assert cpu_seconds(process.pid) - before < 0.25
        assert [client.answer().status for client in slow] == [200] * len(slow)

        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert errors.splitlines() == [
        "WARNING cannot accept connections: OSError(24, 'Too many open files')"
    ]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_threads_the_server_lives_on(
    monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start
    failures = iter([True, True])

    def fail_twice(self: threading.Thread) -> None:
        if self.name == "http" and next(failures, False):
            raise RuntimeError("can't start new thread")
        start(self)

    with serving() as server:
        monkeypatch.setattr(threading.Thread, "start", fail_twice)
        for _ in range(2):
            with server.client() as client:
                assert client.rest() == b""
        assert server.get().status == 200

    assert warnings(log) == ['cannot accept connections: RuntimeError("can\'t start new thread")']
    log.clear()


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in log.records if r.levelno > logging.DEBUG]


class Failing(socket.socket):
    """A listening socket whose accept() fails before it works."""

    failures: tuple[OSError, ...] = ()
    calls = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.calls += 1
        if self.failures:
            failure, *rest = self.failures
            self.failures = tuple(rest)
            raise failure
        return super().accept()


def test_a_connection_that_is_aborted_before_it_is_accepted_is_nobodys_fault() -> None:
    listener = Failing(fileno=listen("127.0.0.1:0").detach())
    listener.failures = (ConnectionAbortedError(errno.ECONNABORTED, "aborted"),) * 3
    with serving(listener=listener) as server:
        assert server.get().status == 200


def test_other_failures_to_accept_are_said_once_and_do_not_spin(
    log: pytest.LogCaptureFixture,
) -> None:
    listener = Failing(fileno=listen("127.0.0.1:0").detach())
    listener.failures = (OSError(errno.ENOMEM, "no memory"),) * 3
    with serving(listener=listener) as server:
        started = time.monotonic()
        assert server.get().status == 200
        assert time.monotonic() - started > 0.2

    assert warnings(log) == ["cannot accept connections: OSError(12, 'no memory')"]
    assert listener.calls < 10
    log.clear()


# Handlers that fail.


def test_a_handler_that_raises_is_a_500_and_one_line_in_the_log(
    log: pytest.LogCaptureFixture,
) -> None:
    def handler(request: Request) -> Response:
        if request.path != "/":
            raise ValueError(f"what is {request.path}")
        return hello(request)

    with serving(handler) as server, server.client() as client:
        answer = client.get("/a%0aERROR%20forged?%0a")

        assert (answer.status, answer.body) == (500, b"internal error\n")
        assert client.get().status == 200

    assert warnings(log) == [
        "b'GET' b'/a%0aERROR%20forged?%0a' failed: ValueError('what is /a\\nERROR forged')"
    ]
    assert "\nERROR" not in log.text
    assert "in handler" in log.text  # where, at debug
    log.clear()


@pytest.mark.parametrize(
    "response",
    [
        Response(200, b"", headers=(("X", "a\r\nSet-Cookie: b"),)),
        Response(200, b"", "text/plain\n"),
        Response(99, b""),
        None,
    ],
)
def test_an_impossible_answer_is_a_500(response: Response, log: pytest.LogCaptureFixture) -> None:
    with serving(lambda _: response) as server, server.client() as client:
        for _ in range(2):
            answer = client.get()

            assert (answer.status, answer.body) == (500, b"internal error\n")
    assert len(warnings(log)) == 2
    log.clear()


@pytest.mark.parametrize("status", [204, 304])
def test_answers_that_cannot_have_a_body_do_not_confuse_the_connection(status: int) -> None:
    with serving(lambda _: Response(status, b"ignored")) as server, server.client() as client:
        for _ in range(2):
            client.send(GET)

            assert client.answer(to_head=True).status == status


# The end.


def test_an_answer_under_way_is_finished_while_idle_connections_are_closed() -> None:
    gate = Gate()
    with serving(gate) as server, server.client() as idle, server.client() as busy:
        idle.get()
        busy.send(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
        gate.wait_for_someone()
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            server.client()
        drained: list[bool] = []
        draining = threading.Thread(target=lambda: drained.append(server.server.drain(PATIENCE)))
        draining.start()

        assert idle.rest() == b""
        assert drained == []
        gate.opened.set()
        answer = busy.answer()
        draining.join()

        assert (answer.body, answer.headers["connection"]) == (b"/busy", "close")
        assert busy.rest() == b""
        assert drained == [True]


def test_an_answer_being_sent_is_finished_and_its_connection_closed() -> None:
    body = bytes(50_000_000)
    sending = threading.Event()

    def handler(_: Request) -> Response:
        sending.set()
        return Response(200, body)

    with serving(handler) as server, server.client(receive_buffer=65536) as client:
        client.send(GET)
        assert sending.wait(PATIENCE)
        client.socket.recv(1, socket.MSG_PEEK)
        server.stop()
        drained: list[bool] = []
        draining = threading.Thread(target=lambda: drained.append(server.server.drain(PATIENCE)))
        draining.start()
        until(lambda: all(known.leaving for known in list(server.server._connections)))

        assert client.answer().body == body
        assert client.rest() == b""
        draining.join()
        assert drained == [True]


def test_a_connection_that_was_sent_away_is_not_answered_any_more() -> None:
    handler = Recorder()
    lock = threading.Lock()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(GET)
        connection = Connection(ours, "peer", handler, Policy(), logging.getLogger(), lock)
        with lock:
            connection.send_away()
        connection.run()

        assert theirs.recv(100) == b""
    assert handler.requests == []


@pytest.mark.usefixtures("deadly_sigpipe")
def test_an_answer_that_takes_too_long_is_cut_off() -> None:
    gate = Gate()
    with serving(gate) as server, server.client() as busy:
        busy.send(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
        gate.wait_for_someone()
        server.stop()
        started = time.monotonic()

        assert server.server.drain(0.2) is False
        assert 0.1 < time.monotonic() - started < 1
        assert busy.rest() == b""
        gate.opened.set()


def test_stop_works_from_a_signal_handler() -> None:
    server = Server([listen("127.0.0.1:0")], hello)
    before = signal.signal(signal.SIGUSR1, lambda *_: server.stop())
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        server.serve()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)

    assert server.drain(0)


def test_stop_before_serve_and_after_drain_are_harmless() -> None:
    server = Server([listen("127.0.0.1:0")], hello)
    server.stop()
    server.serve()

    assert server.drain(0)
    server.stop()


def test_ticks_come_at_their_interval_whatever_they_do(log: pytest.LogCaptureFixture) -> None:
    server = Server([listen("127.0.0.1:0")], hello)
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 4:
            server.stop()
        raise OSError("nobody listens")

    ticks.append(time.monotonic())
    server.serve(tick, 0.1)
    server.drain(0)

    assert all(0.09 < later - earlier < 0.5 for earlier, later in pairwise(ticks))
    assert len(ticks) == 4
    assert warnings(log) == ["tick failed"] * 3
    log.clear()


# Listening.


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (":http", "a port is a number from 0 to 65535"),
        (":99999", "a port is a number from 0 to 65535"),
        (":-1", "a port is a number from 0 to 65535"),
        (":", "a port is a number from 0 to 65535"),
        (":٣", "a port is a number from 0 to 65535"),
        ("1.2.3.4", "an address is :port, host:port or [IPv6 address]:port"),
        ("::1:19100", "an address is :port, host:port or [IPv6 address]:port"),
        ("[]:19100", "an address is :port, host:port or [IPv6 address]:port"),
        ("[::1:19100", "an address is :port, host:port or [IPv6 address]:port"),
        ("", "an address is :port, host:port or [IPv6 address]:port"),
        ("x" * 64 + ":1", "no such host name"),
        ("192.0.2.1:0", "Cannot assign requested address"),
    ],
)
def test_nonsense_is_no_address(address: str, reason: str) -> None:
    with pytest.raises(ListenError) as caught:
        listen(address)

    assert str(caught.value) == f"cannot listen on {address}: {reason}"


def test_an_error_is_one_line_whatever_the_address() -> None:
    with pytest.raises(ListenError, match=r"^cannot listen on 'a\\nb:x': a port .*\Z"):
        listen("a\nb:x")


@pytest.mark.parametrize("taken", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_said(taken: str) -> None:
    with listen(f"{taken}:0") as first:
        port = first.getsockname()[1]
        for address in (f":{port}", f"127.0.0.1:{port}"):
            with pytest.raises(ListenError) as caught:
                listen(address)

            assert str(caught.value) == f"cannot listen on {address}: Address already in use"


def test_a_port_alone_means_both_families() -> None:
    if not has_ipv6():
        pytest.skip("host without IPv6")
    for address in (":0", "[::]:0"):
        with serving(listener=listen(address)) as server:
            port = server.where[1]
            for host in ("127.0.0.1", "::1"):
                with socket.create_connection((host, port)) as client:
                    client.sendall(GET)

                    assert client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_port_alone_means_ipv4_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoIpv6(socket.socket):
        def __init__(self, family: int = -1, *rest: int, **more: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *rest, **more)

    monkeypatch.setattr(socket, "socket", NoIpv6)
    with listen(":0") as listener:
        assert listener.getsockname()[0] == "0.0.0.0"


def test_a_name_means_its_ipv4_address() -> None:
    with listen("localhost:0") as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_an_ipv6_address_goes_in_brackets() -> None:
    if not has_ipv6():
        pytest.skip("host without IPv6")
    with listen("[::1]:0") as listener:
        assert listener.getsockname()[0] == "::1"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_several_sockets_are_served_and_any_stream_will_do(tmp_path: Path) -> None:
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "socket"))
    local.listen()
    inet = listen("127.0.0.1:0")
    where = inet.getsockname()
    server = Server([local, inet], hello)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        assert Serving(server, where, thread).get().status == 200
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "socket"))
            client.sendall(GET)

            assert client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        server.stop()
        thread.join()
        server.drain(PATIENCE)
