"""Kept descriptors: read to the end, given up when their file is gone."""

from __future__ import annotations

import os
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
