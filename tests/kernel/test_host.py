"""Live and replayed hosts answer the same way."""

from __future__ import annotations

import errno
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.host import Host, LiveHost, ReplayedHost
from netperf_exporter.kernel.netlink.requests import LINKS, QDISCS
from netperf_exporter.kernel.netlink.socket import Request, dump
from tests.hosts.capture import capture


def messages(content: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each netlink message."""
    found, offset = [], 0
    while offset < len(content):
        length, kind = struct.unpack_from("=IH", content, offset)
        found.append((kind, content[offset + 16 : offset + length]))
        offset += length + 3 & ~3
    return found


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This host, captured now."""
    folder = tmp_path_factory.mktemp("captured") / "host"
    capture(folder, "A test.")
    return folder


@pytest.mark.skipif(shutil.which("ip") is None, reason="no ip: apt-get install iproute2")
@pytest.mark.parametrize("kind", ["live", "replayed"])
def test_a_dump_has_every_link(captured: Path, kind: str) -> None:
    """As many messages as ip lists devices, with their indexes."""
    host: Host = LiveHost() if kind == "live" else ReplayedHost(captured)
    listed = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    links = messages(host.dump(LINKS))

    assert {kind for kind, _ in links} == {16}  # RTM_NEWLINK
    assert sorted(struct.unpack_from("=i", body, 4)[0] for _, body in links) == sorted(
        int(line.split(":")[0]) for line in listed.splitlines()
    )


def test_a_dump_the_kernel_refuses_says_why() -> None:
    """A message type that rtnetlink does not know."""
    with pytest.raises(OSError, match="nonsense") as raised:
        dump(Request("nonsense", socket.NETLINK_ROUTE, 255, b""))
    assert raised.value.errno == errno.EOPNOTSUPP


def test_the_driver_of_a_device(captured: Path) -> None:
    """struct ethtool_drvinfo: cmd, driver[32], version[32], …; the same live and replayed."""
    devices = [path.name.split(".")[0] for path in captured.glob("ioctl/*.gdrvinfo.bin")]
    if not devices:
        pytest.skip("no device of this host has a driver that answers")
    for device in devices:
        live = LiveHost().ethtool(device, ethtool.GDRVINFO)
        assert live == ReplayedHost(captured).ethtool(device, ethtool.GDRVINFO)
        assert struct.unpack_from("=I", live)[0] == ethtool.GDRVINFO.number
        assert live[4:36].rstrip(b"\0").decode().isprintable()


def test_a_device_that_is_not_there() -> None:
    """ENODEV from the kernel; a name that cannot be is refused before."""
    with pytest.raises(OSError, match="No such device") as raised:
        LiveHost().ethtool("nosuchdevice", ethtool.GDRVINFO)
    assert raised.value.errno == errno.ENODEV
    with pytest.raises(ValueError, match="longer"):
        LiveHost().ethtool("a-name-of-sixteen", ethtool.GDRVINFO)


def test_what_was_not_captured_is_not_there(captured: Path) -> None:
    """As on a kernel without it."""
    host = ReplayedHost(captured)
    with pytest.raises(FileNotFoundError):
        host.dump(Request("never-asked", socket.NETLINK_ROUTE, 18, b""))
    with pytest.raises(FileNotFoundError):
        host.net("never-captured")


def test_a_capture_holds_what_the_kernel_says(captured: Path) -> None:
    """Files byte by byte where nothing moves; both dumps; and how it came about."""
    online = "devices/system/cpu/online"
    assert ReplayedHost(captured).sys(online) == LiveHost().sys(online)
    assert ReplayedHost(captured).sys_names("devices/system/cpu") == ["online", "possible"]
    assert messages(ReplayedHost(captured).dump(QDISCS))
    assert (captured / "ABOUT.md").read_text().startswith("captured: Linux ")


def test_below_another_procfs_the_namespace_of_process_1_is_read(tmp_path: Path) -> None:
    """In a container net would be the container's own."""
    for folder, content in (("net", b"own"), ("1/net", b"host")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "snmp").write_bytes(content)

    assert LiveHost(procfs=str(tmp_path)).net("snmp") == b"host"
    shutil.rmtree(tmp_path / "1")
    assert LiveHost(procfs=str(tmp_path)).net("snmp") == b"own"
