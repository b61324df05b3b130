"""Counting network namespaces by the processes in them, on a /proc made of files.

As in the kernel's, processes of one namespace see one file: hard links have one inode number.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.kernel.netns import REMEMBERED_SECONDS, Walk

KTHREADD = 2


class Procfs:
    """A folder that looks like a /proc, in which processes come, go and move."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._spaces = root / "spaces"
        self._spaces.mkdir()
        (root / "self" / "net").mkdir(parents=True)
        (root / "net").symlink_to("self/net")
        self._link(self._space("host"), root / "self")
        self.put(KTHREADD, "host")
        self.name(KTHREADD, b"kthreadd\n")

    def put(self, process: int, namespace: str) -> None:
        """Start a process, or move it."""
        folder = self.root / str(process)
        (folder / "net").mkdir(parents=True, exist_ok=True)
        self._link(self._space(namespace), folder)

    def end(self, process: int) -> None:
        shutil.rmtree(self.root / str(process))

    def name(self, process: int, comm: bytes) -> None:
        (self.root / str(process) / "comm").write_bytes(comm)

    def inode(self, namespace: str) -> int:
        return (self._spaces / namespace).stat().st_ino

    def _space(self, namespace: str) -> Path:
        file = self._spaces / namespace
        file.touch()
        return file

    @staticmethod
    def _link(space: Path, folder: Path) -> None:
        (folder / "net" / "dev").unlink(missing_ok=True)
        (folder / "net" / "dev").hardlink_to(space)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def procfs(tmp_path: Path) -> Procfs:
    return Procfs(tmp_path)


def others(procfs: Procfs, net: str = "net") -> frozenset[int]:
    return Walk(str(procfs.root), net).namespaces().others


def refused(walk: Walk) -> OSError:
    with pytest.raises(OSError) as raised:
        walk.namespaces()
    return raised.value


@given(st.dictionaries(st.integers(3, 2**22), st.sampled_from(["host", "a", "b", "c"])))
def test_each_namespace_that_has_a_process_counts_once(where: Mapping[int, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        procfs = Procfs(Path(folder))
        for process, namespace in where.items():
            procfs.put(process, namespace)
        found = Walk(folder, "net").namespaces()

        assert found.observed == procfs.inode("host")
        assert found.others == {procfs.inode(name) for name in set(where.values()) - {"host"}}


def test_what_is_no_process_is_passed_over(procfs: Procfs) -> None:
    procfs.put(3, "a")
    (procfs.root / "3a").mkdir()
    (procfs.root / "sys" / "net").mkdir(parents=True)
    (procfs.root / "sys" / "net" / "dev").touch()

    assert others(procfs) == {procfs.inode("a")}


def test_a_process_that_ends_during_the_walk_is_left_out(
    procfs: Procfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for process, namespace in ((3, "a"), (4, "b"), (5, "c")):
        procfs.put(process, namespace)
    listed = os.listdir(procfs.root)

    def listdir(_: str) -> list[str]:
        procfs.end(4)
        return listed

    monkeypatch.setattr(os, "listdir", listdir)

    assert others(procfs) == {procfs.inode("a"), procfs.inode("c")}


def test_a_zombie_has_no_namespace(procfs: Procfs) -> None:
    """Its folder is there, with nothing in net."""
    procfs.put(3, "a")
    procfs.put(4, "b")
    (procfs.root / "3" / "net" / "dev").unlink()

    assert others(procfs) == {procfs.inode("b")}


def test_below_another_procfs_the_namespace_of_process_1_is_observed(procfs: Procfs) -> None:
    procfs.put(1, "first")
    procfs.put(3, "a")
    found = Walk(str(procfs.root), "1/net").namespaces()

    assert found.observed == procfs.inode("first")
    assert found.others == {procfs.inode("host"), procfs.inode("a")}


def test_an_answer_is_kept_for_a_minute_and_not_longer(procfs: Procfs) -> None:
    clock = Clock()
    walk = Walk(str(procfs.root), "net", clock)
    assert walk.namespaces().others == frozenset()
    procfs.put(3, "a")

    clock.now += REMEMBERED_SECONDS - 0.001
    assert walk.namespaces().others == frozenset()
    clock.now += 0.001
    assert walk.namespaces().others == {procfs.inode("a")}
    procfs.end(3)
    clock.now += REMEMBERED_SECONDS - 0.001
    assert walk.namespaces().others == {procfs.inode("a")}
    clock.now += 0.001
    assert walk.namespaces().others == frozenset()


def test_a_walk_that_failed_is_not_covered_by_the_one_before(procfs: Procfs) -> None:
    clock = Clock()
    walk = Walk(str(procfs.root), "net", clock)
    walk.namespaces()
    procfs.end(KTHREADD)
    clock.now += REMEMBERED_SECONDS

    assert refused(walk).errno == errno.ENOENT
    assert refused(walk).errno == errno.ENOENT
    procfs.put(KTHREADD, "host")
    procfs.name(KTHREADD, b"kthreadd\n")
    assert walk.namespaces().others == frozenset()


HIDDEN = "processes of the host are hidden"


def test_a_folder_without_processes_is_not_a_host_without_namespaces(tmp_path: Path) -> None:
    """Of a captured host there is /proc/net, but no process."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "dev").touch()
    error = refused(Walk(str(tmp_path), "net"))

    assert (error.errno, error.strerror, error.filename) == (errno.ENOENT, HIDDEN, "/proc")


@pytest.mark.parametrize("comm", [b"", b"sh\n", b"kthread\n", b"kthreadd", b"\xff\n"])
def test_in_another_pid_namespace_process_2_is_somebody_else(procfs: Procfs, comm: bytes) -> None:
    procfs.put(3, "a")
    procfs.name(KTHREADD, comm)

    assert refused(Walk(str(procfs.root), "net")).strerror == HIDDEN


@contextmanager
def unprivileged() -> Iterator[None]:
    """Nobody, if the test runs as root, whom no mode binds."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("closed", ["2", "3"])
def test_processes_that_may_not_be_looked_at_may_be_anywhere(closed: str) -> None:
    """hidepid=noaccess lists them, and gives EPERM; a security module may as well."""
    with tempfile.TemporaryDirectory() as folder:
        procfs = Procfs(Path(folder))
        procfs.put(3, "a")
        for path in (procfs.root, *procfs.root.rglob("*")):
            path.chmod(0o755)
        with unprivileged():
            assert others(procfs) == {procfs.inode("a")}
        (procfs.root / closed).chmod(0)
        with unprivileged():
            error = refused(Walk(folder, "net"))
        (procfs.root / closed).chmod(0o755)

    assert (error.errno, error.strerror) == (errno.ENOENT, HIDDEN)


def test_an_observed_namespace_without_files_is_named_as_the_kernel_does(procfs: Procfs) -> None:
    """ProcSubset=pid: processes are there, /proc/net is not."""
    (procfs.root / "net").unlink()
    error = refused(Walk(str(procfs.root), "net"))

    assert (error.errno, error.filename) == (errno.ENOENT, "/proc/net/dev")


def test_a_procfs_that_fails_otherwise_is_a_failure(
    procfs: Procfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not ENOENT, which would say that this host can never tell."""

    def listdir(_: str) -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "listdir", listdir)

    assert refused(Walk(str(procfs.root), "net")).errno == errno.EMFILE
