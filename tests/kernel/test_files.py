"""Kept descriptors: read to the end, given up when their file is gone."""

from __future__ import annotations

import gc
import os
import resource
import time
from pathlib import Path

import pytest

from netperf_exporter.kernel.files import Files


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def test_a_file_longer_than_one_read_is_whole() -> None:
    """seq_file gives about a page at a time: kallsyms is megabytes."""
    files = Files("/proc", "/proc")
    content = files.read("kallsyms")
    files.close()

    assert content == Path("/proc/kallsyms").read_bytes()
    assert len(content) > 100_000


def test_a_second_read_sees_what_is_there_now(tmp_path: Path) -> None:
    """Written in place, replaced, removed and made again."""
    file = tmp_path / "a"
    file.write_bytes(b"one")
    files = Files(str(tmp_path), "/known")
    assert files.read("a") == b"one"
    file.write_bytes(b"two, longer")
    assert files.read("a") == b"two, longer"
    (tmp_path / "b").write_bytes(b"three")
    (tmp_path / "b").rename(file)
    assert files.read("a") == b"three"
    file.unlink()
    with pytest.raises(FileNotFoundError, match="/known/a"):
        files.read("a")
    file.write_bytes(b"")
    assert files.read("a") == b""
    files.close()


def test_one_descriptor_a_file(tmp_path: Path) -> None:
    """However often it is read, and none after close."""
    before = descriptors()
    files = Files(str(tmp_path), "/known")
    (tmp_path / "a").write_bytes(b"1")
    for _ in range(5):
        files.read("a")
    assert descriptors() == before + 1
    with pytest.raises(IsADirectoryError):
        files.read(".")
    assert descriptors() == before + 1
    files.close()
    assert descriptors() == before


def test_a_live_file_moves_under_a_kept_descriptor() -> None:
    """The kernel renders the file anew at each read from its beginning."""
    files = Files("/proc", "/proc")
    first = float(files.read("uptime").split()[0])
    deadline = time.monotonic() + 5
    while float(files.read("uptime").split()[0]) == first:
        assert time.monotonic() < deadline
    files.close()


def test_many_small_files_at_once(tmp_path: Path) -> None:
    """In their order; None for one that is not there, also if it was before."""
    for name in "abc":
        (tmp_path / name).write_text(f"{name}1")
    files = Files(str(tmp_path), "/known")
    assert files.read_each(("c", "none", "a")) == [b"c1", None, b"a1"]
    (tmp_path / "a").write_text("a2, longer")
    assert files.read_each(("a", "b")) == [b"a2, longer", b"b1"]
    with pytest.raises(IsADirectoryError):
        files.read_each(("a", "."))
    files.close()


def test_only_a_share_of_the_descriptors_is_kept(tmp_path: Path) -> None:
    """And what is read without keeping it is as fresh."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # what tests before this one left open is closed now, and not meanwhile
    before = descriptors()
    allowed = 2 * (max(map(int, os.listdir("/proc/self/fd"))) + 100)
    share = allowed // 4
    names = [str(number) for number in range(share + 20)]
    for name in names:
        (tmp_path / name).write_text(name)
    files = Files(str(tmp_path), "/known")
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    try:
        for _ in range(2):
            assert files.read_each(names) == [name.encode() for name in names]
            assert [files.read(name) for name in names] == [name.encode() for name in names]
            assert descriptors() == before + share
        (tmp_path / names[-1]).write_text("new")
        assert files.read_each([names[-1]]) == [b"new"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    files.close()
    assert descriptors() == before


def test_a_folder_stays_the_same_one(tmp_path: Path) -> None:
    """It is moved, and another one takes its path."""
    files = Files(str(tmp_path), "/known")
    before = descriptors()
    (tmp_path / "eth0" / "queues").mkdir(parents=True)
    (tmp_path / "eth0" / "ifindex").write_text("2\n")
    (tmp_path / "eth0" / "queues" / "rx-0").write_text("")
    with files.folder("eth0") as folder:
        (tmp_path / "eth0").rename(tmp_path / "eth1")
        (tmp_path / "eth0").mkdir()
        (tmp_path / "eth0" / "ifindex").write_text("3\n")

        assert folder.read("ifindex") == b"2\n"
        assert folder.listdir("queues") == ["rx-0"]
        with pytest.raises(FileNotFoundError, match="/known/eth0/address"):
            folder.read("address")
    with pytest.raises(NotADirectoryError, match="/known/eth1/ifindex"):
        files.folder("eth1/ifindex")
    assert descriptors() == before
