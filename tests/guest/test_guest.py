"""The guest itself, before anything is concluded from what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guest.guest import GuestError, missing, run
from tests.guest.kernels import KERNELS, REPOSITORY, Kernel, KernelUnavailableError, fetch

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    reason = missing()
    if reason:
        pytest.skip(reason)
    try:
        fetch(KERNELS["6.1"])
    except KernelUnavailableError as error:
        pytest.skip(str(error))
    return KERNELS["6.1"]


def test_a_guest_runs_another_kernel_on_this_machines_files(kernel: Kernel, tmp_path: Path) -> None:
    result = run(
        kernel,
        """
        set -e
        echo 0 >/sys/devices/system/cpu/cpu2/online
        cp /proc/version /proc/net/softnet_stat /sys/devices/system/cpu/online /out
        /usr/bin/python3 -c 'print("from", "python")' >/out/python
        ls /sys/bus/node/devices /sys/class/net >/out/devices
        touch pyproject.toml only-in-the-guest
        """,
        output=tmp_path,
        cpus=4,
        numa_nodes=2,
        modules=["dummy"],
        nics=["e1000e", "virtio-net-pci"],
    )

    assert result.status == 0, result.console
    assert (tmp_path / "version").read_text().startswith("Linux version 6.1.")
    assert (tmp_path / "online").read_text() == "0-1,3\n"
    rows = [line.split() for line in (tmp_path / "softnet_stat").read_text().splitlines()]
    assert [len(row) for row in rows] == [13, 13, 13]
    assert [int(row[12], 16) for row in rows] == [0, 1, 3]
    assert (tmp_path / "python").read_text() == "from python\n"
    devices = (tmp_path / "devices").read_text().split()
    assert {"node0", "node1", "dummy0", "eth0", "eth1", "lo"} <= set(devices)
    assert not (REPOSITORY / "only-in-the-guest").exists()


def test_status_and_words_of_a_failing_command_come_back(kernel: Kernel, tmp_path: Path) -> None:
    result = run(kernel, "echo it broke >&2; exit 7", output=tmp_path)

    assert result.status == 7
    assert "it broke\n" in result.console


def test_a_guest_that_dies_is_an_error_with_its_last_words(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"(?s)without a status.*sysrq: Trigger a crash|panic"):
        run(kernel, "echo c >/proc/sysrq-trigger", output=tmp_path)


def test_a_guest_that_hangs_is_ended_on_time(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"no status within 0\.5 s"):
        run(kernel, "sleep 600", output=tmp_path, timeout=0.5)


def test_a_module_the_kernel_lacks_is_an_error(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="cannot load module no_such_module"):
        run(kernel, "true", output=tmp_path, modules=["no_such_module"])


def test_a_suite_that_cannot_be_had_is_unavailable_in_apts_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.guest.kernels.CACHE", tmp_path)

    with pytest.raises(KernelUnavailableError, match="no-such-suite"):
        fetch(Kernel("6.1", "no-such-suite"))
