"""How many network namespaces have processes: root's look at every /proc/PID/ns/net is the witness.

Others on this machine may make namespaces at any time, so an answer counts if the witness said the
same before and after it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netperf_exporter.kernel.host import LiveHost
from netperf_exporter.metric import PREFIX
from netperf_exporter.sources import NETWORK_NAMESPACES, Value, read
from tests.live.lab import Daemon, Lab, Namespace, command, need, wait_until

PROGRAM = """
import sys
from netperf_exporter.kernel.host import LiveHost
from netperf_exporter.sources import NETWORK_NAMESPACES, Value, read

outcome = read(NETWORK_NAMESPACES, LiveHost(*sys.argv[1:]))
known = isinstance(outcome, Value)
print(1 + len(outcome.value.others) if known else type(outcome).__name__ + ": " + outcome.reason)
"""
COUNT = (sys.executable, "-c", PROGRAM)
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
HIDDEN = "Absent: processes of the host are hidden: /proc"


def witness() -> set[int]:
    """The namespaces of all processes. Only root may ask like this.

    What even root may not ask, because the process has a capability more, is taken to be where
    others are: it is as a rule the first process.
    """
    found = set()
    for process in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            found.add(os.stat(f"/proc/{process}/ns/net").st_ino)
    return found


def number_of(namespace: Namespace) -> int:
    return Path(f"/run/netns/{namespace.name}").stat().st_ino


def counted() -> int:
    """What a source of this process says that has never been asked before."""
    outcome = read(NETWORK_NAMESPACES, LiveHost())
    assert isinstance(outcome, Value), outcome
    return 1 + len(outcome.value.others)


def run(*words: str) -> str:
    need(*{"setpriv", "unshare"} & {*words})
    return command(*words).strip()


def witnessed(ask: Callable[[], int]) -> tuple[int, set[int]]:
    """An answer, and what the witness said before and after it."""
    for _ in range(20):
        before, said, after = witness(), ask(), witness()
        if before == after:
            return said, before
    pytest.skip("namespaces come and go on this machine all the time")


@contextmanager
def process_in(namespace: Namespace) -> Iterator[None]:
    with subprocess.Popen((*namespace.enter, "sleep", "infinity")) as process:
        try:
            there = Path(f"/proc/{process.pid}/ns/net")
            assert wait_until(lambda: there.stat().st_ino == number_of(namespace))
            yield
        finally:
            process.terminate()


def test_namespaces_count_while_there_are_processes_in_them(lab: Lab) -> None:
    made = [lab.namespace() for _ in range(5)]
    numbers = {number_of(namespace) for namespace in made}
    with process_in(made[0]), process_in(made[1]):
        with process_in(made[2]), process_in(made[3]), process_in(made[4]), process_in(made[4]):
            most, all_of_them = witnessed(counted)
        fewer, without_three = witnessed(counted)
    least, without_five = witnessed(counted)

    assert len(all_of_them & numbers) == 5
    assert most == len(all_of_them - numbers) + 5
    assert fewer == len(without_three - numbers) + 2
    assert least == len(without_five - numbers)


def test_nobody_counts_what_root_counts(lab: Lab) -> None:
    """He may not look at /proc/PID/ns/net, which is why it is not what is looked at."""
    made = [lab.namespace() for _ in range(3)]
    with process_in(made[0]), process_in(made[1]), process_in(made[2]):
        closed = f"readlink /proc/{os.getpid()}/ns/net || echo closed"
        assert run(*NOBODY, "sh", "-c", closed) == "closed"
        said, there = witnessed(lambda: int(run(*NOBODY, *COUNT)))

    assert {number_of(namespace) for namespace in made} <= there
    assert said == len(there)


def test_an_exporter_observes_the_namespace_it_is_in(lab: Lab) -> None:
    inside, elsewhere = lab.namespace(), lab.namespace()
    samples = {}

    def scrape() -> int:
        # A new exporter each time: one that has looked does not look again for a minute.
        with Daemon(inside) as daemon:
            for (name, labels), value in daemon.scrape().items():
                if name == f"{PREFIX}network_namespaces":
                    samples[dict(labels)["observed"]] = value
        return 1

    with process_in(elsewhere), process_in(inside):
        _, there = witnessed(scrape)

    assert {number_of(inside), number_of(elsewhere)} <= there
    assert samples == {"true": 1, "false": len(there) - 1}


def test_a_namespace_without_a_process_of_its_own_does_not_count(lab: Lab) -> None:
    """Neither if it has but a name, nor if a thread of a process elsewhere is in it."""
    named, entered = lab.namespace(), lab.namespace()
    inside, done = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        done.wait()

    thread = threading.Thread(target=lambda: entered.inside(stay))
    thread.start()
    try:
        assert inside.wait(30)
        said, there = witnessed(counted)
    finally:
        done.set()
        thread.join()

    assert not {number_of(named), number_of(entered)} & there
    assert said == len(there)


def test_a_container_that_sees_the_procfs_of_its_host_counts_all_of_the_host(
    lab: Lab, tmp_path: Path
) -> None:
    """It has a namespace of its own, in which no process is left afterwards."""
    made = lab.namespace()
    mounted = 'mount --rbind /proc "$0" && exec "$@"'
    host = "unshare", "--mount", "sh", "-c", mounted, f"{tmp_path}"
    container = "unshare", "--net", "--pid", "--fork", "--mount-proc", *COUNT, f"{tmp_path}"
    with process_in(made):
        said, there = witnessed(lambda: int(run(*host, *container)))

    assert number_of(made) in there
    assert said == len(there) + 1


@pytest.mark.usefixtures("lab")  # which skips without root
def test_where_processes_are_hidden_nothing_is_said() -> None:
    container = "unshare", "--pid", "--fork", "--mount-proc"
    assert run(*container, *COUNT) == HIDDEN

    # By these names only since v5.8, where the option is of the mount; before, of the host.
    for option in ("invisible", "noaccess"):
        hiding = f'mount -t proc -o hidepid={option} proc /proc && exec "$@"'
        hidden = "unshare", "--mount", "sh", "-c", hiding, "sh"
        assert run(*hidden, *NOBODY, *COUNT) == HIDDEN
        assert run(*hidden, *COUNT).isdecimal()  # root is hidden from nothing
