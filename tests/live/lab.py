"""Network namespaces in which tests make traffic, and the exporter that watches them.

A namespace of the lab is quiet: neighbours are entered by hand, IPv6 neither looks for duplicates
nor for routers. What moves in it is what the test made, so the difference of two scrapes can be
compared with one dictionary, and whatever is not in that must not have moved.
"""

from __future__ import annotations

import ctypes
import http.client
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netperf_exporter.collectors import ip, tcp, udp
from netperf_exporter.metric import PREFIX, Family
from tests.live.packets import Version, ethernet

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds until what should happen on this machine, however busy, is given up."""

STILL_SECONDS = 5.0
"""What has not happened when nothing happened for so long will not: no timer here is longer."""

QUIET_SECONDS = 0.05
"""A namespace whose counters stand still for so long is taken to be quiet."""

FIELDS: dict[str, Family] = {**ip.FIELDS, **udp.FIELDS, **tcp.FIELDS}


def short(family: Family) -> str:
    """The name of a family without prefix and suffix, as the tests call it."""
    return family.base_name.removeprefix(PREFIX)


FAMILIES = {short(family): family for family in FIELDS.values()}

CONVERSATION = frozenset(
    {
        "ip_receive_packets",
        "ip_receive_bytes",
        "ip_delivered_packets",
        "ip_transmit_requests",
        "ip_transmit_bytes",
        "tcp_receive_segments",
        "tcp_transmit_segments",
        "tcp_original_data_segments",
    }
)
"""What any TCP connection moves while nothing is lost: that over which a scrape comes, too."""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""The value of each sample, by its name and its labels in the order of the alphabet."""


class CommandError(AssertionError):
    """A command failed; the message is what it said."""


def samples_of(text: str) -> Samples:
    """Read an exposition as Prometheus would. A sample that is there twice is an error."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in samples, f"{key} is there twice"
            samples[key] = sample.value
    return samples


def command(*words: str, stdin: str = "") -> str:
    """Run a command to its end and return what it wrote."""
    done = subprocess.run(words, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise CommandError(done.stderr.strip() or f"{' '.join(words)}: {done.returncode}")
    return done.stdout


def need(*programs: str) -> None:
    """Skip the test unless these programs are there."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no program {program}")


def wait_until(true: Callable[[], bool]) -> bool:
    """Ask until the answer is yes, or patience ends; return the last answer."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


class Namespace:
    """A network namespace, and how to act in it. Without a name, that of the tests."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.enter = ("ip", "netns", "exec", name) if name else ()

    def run(self, *words: str, stdin: str = "") -> str:
        """Run a command inside. In one with a name it sees a /sys of its own."""
        return command(*self.enter, *words, stdin=stdin)

    def ip(self, *words: str) -> str:
        """Run ip inside."""
        return command("ip", "-n", self.name, *words)

    def tc(self, *words: str) -> str:
        """Run tc inside."""
        need("tc")
        return command("tc", "-n", self.name, *words)

    def nft(self, rules: str) -> None:
        """Add firewall rules; skip if the kernel will not have them."""
        need("nft")
        try:
            self.run("nft", "-f", "-", stdin=rules)
        except CommandError as error:
            if "Could not process rule" not in str(error):
                raise
            pytest.skip(f"nft: {error}")

    def inside(self, call: Callable[[], T]) -> T:
        """Call something in a thread that is inside. Sockets that it makes belong here."""

        def enter() -> T:
            if self.name:
                libc = ctypes.CDLL(None, use_errno=True)
                with Path(f"/run/netns/{self.name}").open("rb") as namespace:
                    if libc.setns(namespace.fileno(), 0x40000000):  # CLONE_NEWNET
                        raise OSError(ctypes.get_errno(), "setns")
            return call()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter).result()

    def socket(self, family: int, type: int, protocol: int = 0) -> socket.socket:
        """A socket of this namespace."""
        return self.inside(lambda: socket.socket(family, type, protocol))

    def sysctl(self, **settings: int | str) -> None:
        """Set sysctls of this namespace: ``net__ipv4__ip_forward=1``. Skip if there is none."""

        def write() -> None:
            for name, value in settings.items():
                path = Path("/proc/sys", *name.split("__"))
                if not path.exists():
                    pytest.skip(f"no {path}")
                path.write_text(f"{value}\n")

        self.inside(write)

    def sysctl_if_there(self, **settings: int | str) -> None:
        """The same for settings that older kernels do without."""
        for name, value in settings.items():
            if self.inside(Path("/proc/sys", *name.split("__")).exists):
                self.sysctl(**{name: value})

    def nft_counters(self) -> dict[str, int]:
        """The packets of every named counter of the firewall."""
        listed = json.loads(self.run("nft", "-j", "list", "counters"))["nftables"]
        counters = [item["counter"] for item in listed if "counter" in item]
        return {counter["name"]: counter["packets"] for counter in counters}

    def nstat(self) -> dict[str, int]:
        """What nstat says of every counter, without touching its history file."""
        found: dict[str, int] = json.loads(self.run("nstat", "-a", "-s", "-z", "-j"))["kernel"]
        return found


@dataclass(frozen=True)
class End:
    """One end of a cable between two namespaces."""

    namespace: Namespace
    device: str
    mac: bytes
    v4: str
    v6: str

    def address(self, family: int) -> str:
        """Its address in a family."""
        return self.v4 if family == socket.AF_INET else self.v6

    def wire(self, there: End) -> Wire:
        """This end, for frames as a test wrote them, to the other end."""
        made = self.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        made.settimeout(PATIENCE)
        made.bind((self.device, 0x0800))  # ETH_P_IP
        return Wire(made, self.mac, there.mac)

    def shape(self, parameters: str) -> None:
        """Put a token bucket filter in front of the cable; skip if the kernel has none."""
        words = ("dev", self.device, "root", "tbf", *parameters.split())
        try:
            self.namespace.tc("qdisc", "add", *words)
        except CommandError as error:
            if "qdisc kind is unknown" not in str(error):
                raise
            pytest.skip(f"no tbf: {error}")

    def qdisc(self) -> dict[str, int]:
        """What tc counted at the root qdisc, and what waits in it."""
        said = self.namespace.tc("-s", "-j", "qdisc", "show", "dev", self.device, "root")
        return {name: json.loads(said)[0][name] for name in ("packets", "drops", "qlen")}


def reader_of(end: End, ip: Version) -> socket.socket:
    """A UDP socket bound to an address of its own."""
    made = end.namespace.socket(ip.family, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    made.bind((end.address(ip.family), 0))
    return made


class Wire:
    """The near end of a cable. The counters of the sending host do not see what it sends."""

    def __init__(self, made: socket.socket, near: bytes, far: bytes) -> None:
        self._socket, self._near, self._far = made, near, far

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, packet: bytes) -> None:
        """Put an IP packet on the cable."""
        self._socket.send(ethernet(self._near, self._far, packet))

    def receive(self) -> bytes:
        """The next IPv4 packet that came over the cable since this was made."""
        return self._socket.recv(65536)[14:]


class Daemon:
    """A netperf-exporter that runs.

    where: the namespace whose loopback device it listens on.
    """

    def __init__(self, where: Namespace, *flags: str) -> None:
        daemon = (sys.executable, "-m", "netperf_exporter", "--web.listen-address=127.0.0.1:0")
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed when the process ended)
        try:
            self._process = subprocess.Popen((*where.enter, *daemon, *flags), stderr=self._log)
        except OSError:
            self._log.close()
            raise
        try:
            port = self._port()

            def connect() -> socket.socket:
                return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

            # One connection for all scrapes: a new one would be counted each time.
            self._client = http.client.HTTPConnection("127.0.0.1", port)
            self._client.sock = where.inside(connect)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()
        self._end()

    @property
    def pid(self) -> int:
        """Of its process. In front of it are only programs that became it."""
        return self._process.pid

    def log(self) -> str:
        """What it said so far."""
        self._log.seek(0)
        return self._log.read()

    def exposition(self) -> str:
        """Everything it exports now, as it writes it."""
        self._client.request("GET", "/metrics")
        response = self._client.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return text

    def scrape(self) -> Samples:
        """Everything it exports now."""
        return samples_of(self.exposition())

    def _port(self) -> int:
        def says() -> re.Match[str] | None:
            self._log.seek(0)
            return re.search(r"metrics at http://127\.0\.0\.1:(\d+)/", self._log.read())

        wait_until(lambda: says() is not None or self._process.poll() is not None)
        said = says()
        if said is None:
            self._log.seek(0)
            raise AssertionError(f"the exporter does not serve; it said: {self._log.read()}")
        return int(said[1])

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def protocol_counters(samples: Samples) -> dict[str, float]:
    """The families of ip, udp and tcp, by short name."""
    names = {family.name: name for name, family in FAMILIES.items()}
    return {names[name]: value for (name, _), value in samples.items() if name in names}


def counters_of(namespace: Namespace) -> dict[str, int]:
    """The kernel's number behind each family that it has, as nstat says it: modulo 2**32.

    nstat leaves out CurrEstab, which is no counter; ss says that one.
    """
    said = namespace.nstat()
    states = ("state", "established", "state", "close-wait")
    said["TcpCurrEstab"] = len(namespace.run("ss", "-tanH", *states).splitlines())
    fields = {field.replace(".", ""): short(family) for field, family in FIELDS.items()}
    return {name: said[field] for field, name in fields.items() if field in said}


class Watch:
    """What an exporter says of one namespace, before and after.

    ignored: families that scraping moves.
    """

    def __init__(
        self, namespace: Namespace, daemon: Daemon, ignored: frozenset[str] = frozenset()
    ) -> None:
        self.namespace = namespace
        self.daemon = daemon
        self._ignored = ignored
        self._before: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Wait for quiet; what moves from now on is what moved."""
        wait_for_quiet(self.namespace)
        self._before = self.counters()

    def counters(self) -> dict[str, float]:
        """Every family of ip, udp and tcp now, by short name."""
        return protocol_counters(self.daemon.scrape())

    def moved(self) -> dict[str, float]:
        """By how much each family moved since the start; those that did not are not there."""
        now = self.counters()
        assert list(now) == list(self._before), "families came or went"
        steps = {name: now[name] - self._before[name] for name in now if name not in self._ignored}
        return {name: step for name, step in steps.items() if step}

    def wait_for(self, name: str, step: int) -> dict[str, float]:
        """Wait until a family moved so much or more, then tell what moved."""
        assert wait_until(lambda: self.moved().get(name, 0) >= step), f"{name}: {self.moved()}"
        return self.moved()

    def expect(self, moved: Mapping[str, float], *, besides: frozenset[str] = frozenset()) -> None:
        """These families moved by exactly so much, no other did, and nstat says the same.

        besides: families that may have moved, by whatever amount.
        """

        def seen() -> dict[str, float]:
            return {name: step for name, step in self.moved().items() if name not in besides}

        expected = {name: float(step) for name, step in moved.items()}
        since, last = time.monotonic(), seen()
        while last != expected and time.monotonic() - since < STILL_SECONDS:
            time.sleep(0.02)
            now = seen()
            since = since if now == last else time.monotonic()
            last = now
        wait_for_quiet(self.namespace)

        assert seen() == expected
        self.agree()

    def agree(self) -> None:
        """Each family is what nstat says; one that scraping moves is between two answers."""
        agree(self.namespace, self.daemon, self._ignored)


@dataclass(frozen=True)
class Pair:
    """Two namespaces with a cable between them, both watched from outside."""

    left: End
    right: End
    sending: Watch
    receiving: Watch

    def start(self) -> Pair:
        """Wait for quiet; what moves from now on is what moved."""
        self.sending.start()
        self.receiving.start()
        return self


def agree(
    namespace: Namespace, daemon: Daemon, moving: frozenset[str] = frozenset(FAMILIES)
) -> None:
    """Each family is what nstat says, or between two answers of nstat.

    moving: families that may change from one moment to the next, without being wrong.
    """
    for _ in range(10):
        before = counters_of(namespace)
        exported = protocol_counters(daemon.scrape())
        after = counters_of(namespace)
        assert exported.keys() == before.keys() == after.keys()
        wrong = {
            name: (before[name], value, after[name])
            for name, value in exported.items()
            if not _between(FAMILIES[name], before[name], value, after[name])
            or (before[name] != after[name] and name not in moving)
        }
        if not wrong:
            break

    assert wrong == {}


def _between(family: Family, before: int, exported: float, after: int) -> bool:
    value = round(exported * 10.0**-family.scale)
    if family.type == "gauge":
        return before <= value <= after
    return bool((value - before) % 2**32 <= (after - before) % 2**32)


def wait_for_quiet(namespace: Namespace) -> None:
    """Wait until no counter of a namespace moves."""

    def read() -> list[bytes]:
        # Not /proc/net: that one follows the first thread, not the one that went inside.
        folder = Path("/proc/thread-self/net")
        return [(folder / name).read_bytes() for name in ("snmp", "netstat", "snmp6")]

    deadline = time.monotonic() + PATIENCE
    last: list[bytes] = []
    now = namespace.inside(read)
    while now != last:
        assert time.monotonic() < deadline, f"{namespace.name} does not come to rest"
        time.sleep(QUIET_SECONDS)
        last, now = now, namespace.inside(read)


_NUMBERS = itertools.count(1)


class Lab:
    """Makes namespaces, cables and exporters, and takes all of it away again."""

    def __init__(self) -> None:
        if os.geteuid():
            pytest.skip("network namespaces need root")
        need("ip", "nstat", "ss")
        self._stack = ExitStack()
        self._cables = 0

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def namespace(self) -> Namespace:
        """A new namespace, or a skip with the reason why there can be none."""
        made = Namespace(f"netperf{os.getpid()}-{next(_NUMBERS)}")
        try:
            command("ip", "netns", "add", made.name)
        except CommandError as error:
            if "File exists" in str(error):
                raise
            pytest.skip(f"no network namespace: {error}")
        self._stack.callback(command, "ip", "netns", "del", made.name)
        made.sysctl(
            net__ipv4__icmp_ratemask=0,
            net__ipv6__icmp__ratemask="",
            net__ipv6__conf__default__addr_gen_mode=1,
        )
        made.ip("link", "set", "lo", "up")
        return made

    def cable(self, left: Namespace, right: Namespace) -> tuple[End, End]:
        """A pair of veth devices with addresses, who know each other's MAC address."""
        self._cables += 1
        number = self._cables
        ends = tuple(
            End(
                namespace,
                f"veth{number}{side}",
                bytes((2, 0, 0, 0, number, host)),
                f"10.19.{number}.{host}",
                f"fd19:{number}::{host}",
            )
            for host, (namespace, side) in enumerate(((left, "l"), (right, "r")), 1)
        )
        near, far = ends
        command(
            *("ip", "link", "add", "name", near.device, "netns", left.name),
            *("address", near.mac.hex(":"), "type", "veth"),
            *("peer", "name", far.device, "netns", right.name, "address", far.mac.hex(":")),
        )
        for here, there in ((near, far), (far, near)):
            device = ("dev", here.device)
            here.namespace.ip("link", "set", *device, "multicast", "off", "arp", "off", "up")
            here.namespace.ip("address", "add", f"{here.v4}/24", *device)
            here.namespace.ip("address", "add", f"{here.v6}/64", *device, "nodad")
            for address in (there.v4, there.v6):
                lladdr = ("lladdr", there.mac.hex(":"), "nud", "permanent")
                here.namespace.ip("neighbour", "replace", address, *lladdr, *device)
        return near, far

    def pair(self) -> tuple[End, End]:
        """Two new namespaces with a cable between them."""
        return self.cable(self.namespace(), self.namespace())

    def watched_pair(self) -> Pair:
        """The same, with an exporter for each."""
        left, right = self.pair()
        return Pair(left, right, self.watch(left.namespace), self.watch(right.namespace))

    def watch(self, namespace: Namespace, *flags: str) -> Watch:
        """An exporter outside that reads a namespace's counters, so that scraping moves none.

        It is given another /proc, as in a container that is to observe its host.
        """
        holder = subprocess.Popen((*namespace.enter, "sleep", "infinity"))
        self._stack.callback(holder.wait)
        self._stack.callback(holder.terminate)
        where = Path(f"/run/netns/{namespace.name}").stat().st_ino
        assert wait_until(lambda: Path(f"/proc/{holder.pid}/ns/net").stat().st_ino == where)
        procfs = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        (procfs / "net").symlink_to(f"/proc/{holder.pid}/net")
        for name in ("softirqs", "stat"):
            (procfs / name).symlink_to(f"/proc/{name}")
        return Watch(namespace, self.daemon(Namespace(), f"--path.procfs={procfs}", *flags))

    def watch_inside(self, namespace: Namespace) -> Watch:
        """An exporter in the namespace. Scraping it moves what any conversation moves."""
        return Watch(namespace, self.daemon(namespace), CONVERSATION)

    def daemon(self, where: Namespace, *flags: str) -> Daemon:
        """An exporter that runs in a namespace."""
        return self._stack.enter_context(Daemon(where, *flags))
