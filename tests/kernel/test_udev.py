"""Vendor and model of a NIC come from udev's database, and are missing where there is none."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netperf_exporter.kernel import udev

pytest.importorskip("pyudev")

DATABASE = Path("/run/udev/data")


def device() -> tuple[str, int]:
    """Some device of this machine that /sys has, but the loopback one."""
    for index, name in socket.if_nameindex():
        ifindex = Path("/sys/class/net", name, "ifindex")
        if name != "lo" and ifindex.exists() and int(ifindex.read_text()) == index:
            return name, index
    pytest.skip("no device but lo")


@pytest.fixture
def database() -> Iterator[Path]:
    """A database of our own, on a machine where no udevd has one."""
    if os.geteuid():
        pytest.skip("only root may write below /run")
    if DATABASE.parent.exists():
        pytest.skip("udevd has a database here")
    DATABASE.mkdir(parents=True)
    try:
        yield DATABASE
    finally:
        shutil.rmtree(DATABASE.parent)


def write(database: Path, index: int, *properties: str) -> None:
    lines = ["I:1", *[f"E:{property}" for property in properties], "V:1"]
    (database / f"n{index}").write_text("\n".join(lines) + "\n")


def test_names_of_the_database(database: Path) -> None:
    name, index = device()
    write(
        database,
        index,
        "ID_VENDOR_FROM_DATABASE=Intel Corporation",
        "ID_MODEL_FROM_DATABASE=Ethernet Controller X710",
        "ID_VENDOR=0x8086",
    )

    assert udev.hardware(name, index) == ("Intel Corporation", "Ethernet Controller X710")


def test_numbers_where_the_database_has_no_name(database: Path) -> None:
    name, index = device()
    write(database, index, "ID_VENDOR=0x1af4")

    assert udev.hardware(name, index) == ("0x1af4", "")


def test_another_device_of_that_name(database: Path) -> None:
    """The index is the device's; the name may be another's by now."""
    name, index = device()
    write(database, index, "ID_MODEL_FROM_DATABASE=Ethernet Controller X710")

    assert udev.hardware(name, index + 1) == udev.UNKNOWN


def test_a_device_that_is_not_there(database: Path) -> None:
    assert udev.hardware("nosuchdevice0", 9999) == udev.UNKNOWN


def test_without_a_database_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udev, "_DATABASE", "/nowhere")

    assert udev.hardware(*device()) == udev.UNKNOWN
