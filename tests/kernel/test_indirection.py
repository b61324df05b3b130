"""The indirection table by the ioctl, against a kernel of the test."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct
from collections.abc import Callable

import pytest

from netperf_exporter.kernel import ethtool


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], list[int]]:
    """ethtool_get_rxfh_indir() for a driver whose table has another size at each call.

    Returns the sizes that are asked for.
    """

    def run(sizes: list[int]) -> list[int]:
        asked: list[int] = []
        has = iter(sizes)

        def ioctl(handle: object, number: int, request: bytes) -> bytes:
            assert number == 0x8946
            name, address = struct.unpack("16sP16x", request)
            assert name.rstrip(b"\0") == b"eth0"
            command, size = struct.unpack("=II", ctypes.string_at(address, 8))
            assert command == 0x38
            asked.append(size)
            entries = next(has)
            answer = struct.pack("=II", command, entries)
            if size and size < entries:
                raise OSError(errno.EINVAL, "Invalid argument")
            if size:
                answer += struct.pack(f"={entries}I", *range(entries))
            ctypes.memmove(address, answer, len(answer))
            return request

        monkeypatch.setattr(fcntl, "ioctl", ioctl)
        return asked

    return run


def table(answer: bytes) -> tuple[int, ...]:
    (size,) = struct.unpack_from("=4xI", answer)
    return struct.unpack_from(f"={size}I", answer, 8)


def test_the_size_is_asked_first(driver: Callable[[list[int]], list[int]]) -> None:
    asked = driver([128, 128])

    assert table(ethtool.indirection("eth0")) == tuple(range(128))
    assert asked == [0, 128]


def test_a_table_that_grows_or_shrinks_between_the_calls(
    driver: Callable[[list[int]], list[int]],
) -> None:
    """One that grew is refused and asked for again, one that shrank is shorter than its room."""
    asked = driver([2, 4, 4, 3])

    assert table(ethtool.indirection("eth0")) == (0, 1, 2)
    assert asked == [0, 2, 0, 4]


def test_one_that_always_grows_is_given_up(driver: Callable[[list[int]], list[int]]) -> None:
    asked = driver(list(range(1, 100)))
    with pytest.raises(OSError, match="at each of 5 attempts"):
        ethtool.indirection("eth0")

    assert len(asked) == 10
