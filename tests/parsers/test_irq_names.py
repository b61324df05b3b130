"""Names of interrupts: what each driver's say, and that no name says too much.

``tests/interrupts/*/vectors`` has the driver of each row, and by its source what the row serves.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.parsers import interrupts
from netperf_exporter.parsers.irq_names import Vector, read

HERE = Path(__file__).parents[1]
HOSTS = sorted(path.parent for path in HERE.glob("interrupts/*/vectors"))
DRIVERS = ("", "ixgbe", "igb", "bnxt_en", "tg3", "vmxnet3", "qede", "bnx2x", "nfp", "i40e", "enic")


def rows(host: Path) -> list[tuple[int, str, Vector | None]]:
    """Number, driver and meaning of each row."""
    found: list[tuple[int, str, Vector | None]] = []
    for line in (host / "vectors").read_text().splitlines():
        if line.startswith("#"):
            continue
        irq, *words = line.split()
        driver, device, hardware, *queues, serves = ("" if word == "-" else word for word in words)
        receive, transmit = (int(queue) if queue else None for queue in queues)
        told = Vector(device, hardware, receive, transmit, serves == "other")
        assert (serves == "queue") == (told[2:4] != (None, None))
        found.append((int(irq), driver, None if serves == "unknown" else told))
    return found


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_each_vector_is_what_its_driver_made_it(host: Path) -> None:
    """Queues by number, and those that serve none."""
    problems: list[str] = []
    reading = interrupts.parse((host / "interrupts").read_bytes(), problems)
    expected = {irq: vector for irq, _, vector in rows(host)}

    assert problems == []
    assert {
        irq: read(action, driver)
        for irq, driver, _ in rows(host)
        for action in reading.actions(irq) or [""]
    } == expected


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_without_the_driver_a_name_says_less_but_nothing_else(host: Path) -> None:
    """A queue that is told all the same is the right one."""
    reading = interrupts.parse((host / "interrupts").read_bytes(), [])
    for irq, driver, vector in rows(host):
        for action in reading.actions(irq):
            alone = read(action)
            if driver in ("fbnic", "tsnep") or alone is None or vector is None:
                continue  # fbnic counts otherwise, but its netlink says which queue it is
            assert alone.receive in (None, vector.receive), action
            assert alone.transmit in (None, vector.transmit), action
            assert (alone.device, alone.hardware) == (vector.device, vector.hardware), action


def test_captured_virtio_has_a_vector_for_each_direction_of_each_queue() -> None:
    """Linux 6.1, four queues."""
    text = (HERE / "hosts/linux-6.1-offline-cpu/proc/interrupts").read_bytes()
    reading = interrupts.parse(text, [])
    vectors = [read(action) for irq in range(33, 42) for action in reading.actions(irq)]
    directions = [(queue, None) for queue in range(4)], [(None, queue) for queue in range(4)]
    pairs = [pair for both in zip(*directions, strict=True) for pair in both]

    assert vectors == [
        Vector("", "virtio2", None, None, True),
        *(Vector("", "virtio2", receive, transmit, False) for receive, transmit in pairs),
    ]


def test_captured_vmxnet3_and_e1000e() -> None:
    """Linux 6.12: both directions in a vector, and a vector for each."""
    text = (HERE / "hosts/linux-6.12-two-nodes/proc/interrupts").read_bytes()
    reading = interrupts.parse(text, [])
    driver = {irq: "vmxnet3" if irq < 36 else "e1000e" for irq in range(31, 39)}
    found = {irq: read(action, driver[irq]) for irq in driver for action in reading.actions(irq)}

    assert found == {
        **{31 + queue: Vector("eth0", "", queue, queue, False) for queue in range(4)},
        35: Vector("eth0", "", None, None, True),
        36: Vector("eth1", "", 0, None, False),
        37: Vector("eth1", "", None, 0, False),
        38: None,
    }


@pytest.mark.parametrize(
    "action",
    [
        "",
        "timer",
        "eth0",
        "eth0-3",
        "PCIe PME",
        "aerdrv",
        "acpi",
        "i8042",
        "ahci[0000:00:17.0]",
        "nvme0q3",
        "xhci_hcd",
        "dmar0",
        "hv_vmbus",
        "ens5-TxRx",
        "eth0-TxRx-",
        "eth0-TxRx-a",
        "eth0-TxRx-01",
        "a/b-TxRx-1",
        "a b-TxRx-1",
        "mlx5_comp1@pci:0000:41:00",
        "-TxRx-1",
    ],
)
def test_what_is_no_name_of_a_vector(action: str) -> None:
    """Other devices' interrupts, a device's only one, and names that were cut off."""
    assert read(action) is None


def test_a_device_may_be_called_like_a_driver() -> None:
    """The driver decides: only i40e writes its name before the device's."""
    assert read("i40e-eth0-TxRx-1", "i40e") == Vector("eth0", "", 1, 1, False)
    assert read("i40e-eth0-TxRx-1", "ixgbe") == Vector("i40e-eth0", "", 1, 1, False)


@pytest.mark.parametrize("driver", ["bnxt_en", ""])
def test_a_number_that_may_have_lost_a_digit_is_no_queue(driver: str) -> None:
    """17 characters were all that bnxt_en could write; other drivers have room for more."""
    assert read("enp65s0f0n-TxRx-1", driver) == Vector("enp65s0f0n", "", None, None, False)
    assert read("enp65s0f0n-TxRx-1", "ixgbe") == Vector("enp65s0f0n", "", 1, 1, False)


_NAMES = st.from_regex(r"[!-.0-9;-~]{1,15}", fullmatch=True)


@given(_NAMES, st.integers(0, 1023))
def test_any_device_name_is_found_whole(device: str, queue: int) -> None:
    """Whatever it looks like itself: i40e-, -rx-1, virtio2."""
    assert read(f"{device}-TxRx-{queue}", "ixgbe") == Vector(device, "", queue, queue, False)
    assert read(f"i40e-{device}-TxRx-{queue}", "i40e") == Vector(device, "", queue, queue, False)


@given(
    _NAMES | st.sampled_from(["eth0", "virtio2", "mlx5_comp", "0000:41:00.0", "vif0"]),
    st.sampled_from(["-TxRx-", "-rx-", "-tx-", "-input.", "-fp-", "-q", ":rx-", "@pci:", "-txrx-"]),
    st.integers(0, 99999),
    st.sampled_from(DRIVERS),
)
def test_a_queue_is_never_beyond_the_number_in_the_name(
    device: str, middle: str, number: int, driver: str
) -> None:
    """Some drivers count from another start, none from a later one."""
    vector = read(f"{device}{middle}{number}", driver)
    if vector is not None:
        assert {vector.receive, vector.transmit} <= {None, number, number - 1}
        assert not (vector.other and (vector.receive, vector.transmit) != (None, None))


@given(st.text(), st.sampled_from(DRIVERS))
def test_any_name_is_read(action: str, driver: str) -> None:
    """Nothing is raised, and what is said is in the name."""
    vector = read(action, driver)
    if vector is not None:
        assert vector.device in action
        assert not set(vector.device) & set(" \n/:")
