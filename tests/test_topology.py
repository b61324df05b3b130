"""Topology: the kernel's word first, then the names of interrupts; never a wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.kernel.udev import UNKNOWN
from netperf_exporter.parsers import interrupts, links, netdev
from netperf_exporter.parsers.netdev import Napi
from netperf_exporter.parsers.nic import Channels, DriverInfo, Features
from netperf_exporter.sources import (
    AFFINITY,
    CHANNELS,
    CPUS,
    DRIVERS,
    FEATURES,
    INTERRUPTS,
    LINKS,
    NAPIS,
    QUEUE_NAPIS,
    QUEUE_STEERING,
    RFS_ENTRIES,
    RSS,
    VECTORS,
    Absent,
    Affinity,
    Cpus,
    Derived,
    Driver,
    Failed,
    NotRead,
    Options,
    Outcome,
    QueueSteering,
    Readings,
    Source,
    Value,
    Vectors,
)
from netperf_exporter.sources.files import _CpuTexts
from netperf_exporter.topology import TOPOLOGY, DeviceTopology, Topology, ranges
from tests import messages

ETH0, ETH1, ETH2 = 2, 3, 4
Counts = Mapping[int, Iterable[int]]


def interrupts_text(
    names: Mapping[int, str], *, cpus: Iterable[int] = range(4), counts: Counts | None = None,
    chips: Mapping[int, str] | None = None,
) -> bytes:  # fmt: skip
    """As show_interrupts() in kernel/irq/proc.c writes it."""
    cpus = list(cpus)
    lines = ["     " + "".join([f"CPU{cpu:<8}" for cpu in cpus])]
    for irq, name in names.items():
        cells = list((counts or {}).get(irq, [0] * len(cpus)))
        chip = (chips or {}).get(irq, "PCI-MSIX-0000:00:03.0")
        lines.append(f"{irq:>4}:" + "".join([f" {n:>10}" for n in cells]) + f"  {chip}  {name}")
    return ("\n".join(lines) + "\n").encode()


def cpus_of(nodes: Mapping[int, str], online: str) -> Cpus:
    """NUMA nodes as lists of CPUs."""
    texts = tuple([(node, text.encode()) for node, text in nodes.items()])
    return Cpus(_CpuTexts(online.encode(), texts))


def driver(name: str = "", numa_node: str = "") -> Driver:
    """What sysfs says of the one who serves a device."""
    return Driver(name, DriverInfo(name, "", "", ""), numa_node, UNKNOWN)


def queues(rx: Mapping[int, int | None], tx: Mapping[int, int | None]) -> netdev.Queues:
    """Queues and their NAPI instances."""
    return netdev.Queues(dict(rx), dict(tx))


def readings(
    *devices: bytes,
    text: bytes | None = None,
    queues: Mapping[int, netdev.Queues] | None = None,
    napis: Iterable[Napi] | None = None,
    vectors: Mapping[int, Vectors] | None = None,
    drivers: Mapping[int, Driver] | None = None,
    combined: Mapping[int, int] | None = None,
    steering: Mapping[int, QueueSteering] | None = None,
    affinity: Mapping[int, Affinity] | None = None,
    cpus: Cpus | None = None,
    rss: Mapping[int, tuple[int, ...]] | None = None,
    features: Mapping[int, Features] | None = None,
    rfs: int | None = None,
    hidden: str = "",
    options: Options | None = None,
    failed: Iterable[Source[Any]] = (),
) -> Readings:
    """What one scrape read. None is what the kernel does not have."""
    found: dict[Source[Any], Any] = {
        LINKS: links.parse(
            devices or (messages.link(ETH0, b"eth0"),), lambda name, _: name != hidden, []
        ),
        INTERRUPTS: None if text is None else interrupts.parse(text, []),
        QUEUE_NAPIS: queues,
        NAPIS: None if napis is None else {napi.id: napi for napi in napis},
        VECTORS: vectors,
        DRIVERS: drivers,
        CHANNELS: None
        if combined is None
        else {i: Channels(0, 0, 0, n, 0, 0, 0, n) for i, n in combined.items()},
        QUEUE_STEERING: steering,
        AFFINITY: affinity,
        CPUS: cpus,
        RSS: rss,
        FEATURES: features,
        RFS_ENTRIES: rfs,
    }
    outcomes: dict[Source[Any] | Derived[Any], Outcome] = {
        source: Absent("not here", 0.0) if value is None else Value(value, (), 0.0)
        for source, value in found.items()
    }
    outcomes |= {source: Failed("late", 0.0) for source in failed}
    return Readings(outcomes, options or Options())


def advanced(*history: Readings) -> Topology:
    """The topology after some readings."""
    state = TOPOLOGY.start
    for one in history:
        state = TOPOLOGY.advance(state, one)
    return state


def irqs(device: DeviceTopology) -> tuple[dict[int, int | None], dict[int, int | None]]:
    return {q.queue: q.irq for q in device.receive}, {q.queue: q.irq for q in device.transmit}


def only(found: Topology) -> DeviceTopology:
    (device,) = found.devices
    return device


PCI = ("0000:41:00.0",)


def named(
    names: Mapping[int, str], *, combined: int, hardware: tuple[str, ...] = PCI, **more: Any
) -> Readings:
    """A device whose hardware has these interrupts."""
    return readings(
        text=interrupts_text(names),
        vectors={ETH0: Vectors(tuple(names), hardware)},
        combined={ETH0: combined},
        **more,
    )


def test_the_kernel_says_which_interrupt_serves_a_queue() -> None:
    """Whatever the names would say."""
    one = readings(
        text=interrupts_text({40: "eth0-TxRx-1", 41: "eth0-TxRx-0", 42: "eth0"}),
        queues={ETH0: queues({0: 8193, 1: 8194}, {0: 8193, 1: 8194})},
        napis=[Napi(ETH0, 8193, irq=40), Napi(ETH0, 8194, irq=41)],
        vectors={ETH0: Vectors((40, 41, 42), PCI)},
        drivers={ETH0: driver("igb", "1")},
    )
    device = only(advanced(one))

    assert irqs(device) == ({0: 40, 1: 41}, {0: 40, 1: 41})
    assert [queue.napi for queue in device.receive] == [8193, 8194]
    assert device.numa_node == 1
    assert device.vectors == (40, 41, 42)


def test_names_serve_where_the_kernel_knows_no_interrupt() -> None:
    """virtio_net tells the NAPI instances of receive queues, and no interrupt."""
    names = {37: "virtio2-config", 38: "virtio2-input.0", 39: "virtio2-output.0"}
    one = readings(
        text=interrupts_text(names),
        queues={ETH0: queues({0: 257}, {0: None})},
        napis=[Napi(ETH0, 257)],
        vectors={ETH0: Vectors((37, 38, 39), ("virtio2", "0000:00:03.0"))},
    )
    device = only(advanced(one))

    assert irqs(device) == ({0: 38}, {0: 39})
    assert device.vectors == (37, 38, 39)
    assert advanced(one).label(device, 38) == advanced(one).label(device, 39) == "0"
    assert advanced(one).label(device, 37) == ""


def test_vectors_beyond_the_queues_belong_to_none() -> None:
    names = {50 + n: f"mlx5_comp{n}@pci:0000:41:00.0" for n in range(4)}
    names[54] = "mlx5_async0@pci:0000:41:00.0"
    device = only(advanced(named(names, combined=2)))

    assert irqs(device) == ({0: 50, 1: 51}, {0: 50, 1: 51})
    assert device.vectors == (50, 51, 52, 53, 54)


def test_fewer_vectors_than_queues_are_not_believed() -> None:
    """i40e's second vector then begins at a queue of another number."""
    names = {50 + n: f"i40e-eth0-TxRx-{n}" for n in range(2)}
    one = named(names, combined=4, drivers={ETH0: driver("i40e")})

    assert irqs(only(advanced(one)))[0] == dict.fromkeys(range(4))


def test_a_queue_that_two_vectors_claim_has_none() -> None:
    one = named({50: "eth0-TxRx-0", 51: "eth0-TxRx-0", 52: "eth0-TxRx-1"}, combined=2)

    assert irqs(only(advanced(one)))[0] == {0: None, 1: 52}


def test_a_name_of_other_hardware_is_not_believed() -> None:
    names = {38: "virtio3-input.0", 39: "virtio3-output.0"}

    assert irqs(only(advanced(named(names, combined=1, hardware=("virtio2",)))))[0] == {0: None}


def test_an_interrupt_for_everything_serves_every_queue() -> None:
    r8169 = named({30: "eth0"}, combined=1)
    virtio = named({30: "virtio2-config", 31: "virtio2-virtqueues"}, combined=2,
                   hardware=("virtio2",))  # fmt: skip

    assert irqs(only(advanced(r8169))) == ({0: 30}, {0: 30})
    assert irqs(only(advanced(virtio))) == ({0: 31, 1: 31}, {0: 31, 1: 31})
    assert advanced(virtio).label(only(advanced(virtio)), 31) == "0-1"


def test_what_is_left_of_a_device_that_is_down_serves_nobody() -> None:
    """mlx5 keeps those for its own affairs."""
    device = only(advanced(named({54: "mlx5_async0@pci:0000:41:00.0"}, combined=2)))

    assert irqs(device)[0] == {0: None, 1: None}
    assert device.vectors == (54,)


def test_a_controller_further_up_is_not_the_devices() -> None:
    device = only(advanced(named({30: "xhci_hcd"}, combined=1)))

    assert device.vectors == ()
    assert irqs(device)[0] == {0: None}


def test_names_are_kept_by_a_device_that_was_renamed() -> None:
    names = {50: "eth0-TxRx-0", 51: "eth0-TxRx-1", 52: "eth0"}
    one = readings(
        messages.link(ETH0, b"wan0"),
        text=interrupts_text(names),
        vectors={ETH0: Vectors((50, 51, 52), PCI)},
        combined={ETH0: 2},
    )

    assert irqs(only(advanced(one)))[0] == {0: 50, 1: 51}


def test_two_devices_that_swapped_names_have_the_interrupts_of_their_hardware() -> None:
    one = readings(
        messages.link(ETH0, b"eth1"),
        messages.link(ETH1, b"eth0"),
        text=interrupts_text({50: "eth0-TxRx-0", 60: "eth1-TxRx-0"}),
        vectors={ETH0: Vectors((50,), PCI), ETH1: Vectors((60,), ("0000:42:00.0",))},
        combined={ETH0: 1, ETH1: 1},
    )
    first, second = advanced(one).devices

    assert irqs(first)[0] == {0: 50}
    assert irqs(second)[0] == {0: 60}


@pytest.mark.parametrize("hidden", ["", "eth1"])
def test_ports_of_one_hardware_have_the_interrupts_with_their_name(hidden: str) -> None:
    """Even if the other port is not shown."""
    both = Vectors((50, 60, 61), PCI)
    one = readings(
        messages.link(ETH0, b"eth0"),
        messages.link(ETH1, b"eth1"),
        text=interrupts_text({50: "eth0-TxRx-0", 60: "eth1-TxRx-0", 61: "adapter-err"}),
        vectors={ETH0: both} if hidden else {ETH0: both, ETH1: both},
        combined={ETH0: 1, ETH1: 1},
        hidden=hidden,
    )
    first, *others = advanced(one).devices

    assert irqs(first)[0] == {0: 50}
    assert 60 not in first.vectors
    assert [irqs(other)[0] for other in others] == [{0: 60}][: 1 if not hidden else 0]


@pytest.mark.parametrize("other", [b"eth1", None])
def test_the_interrupts_of_a_hidden_port_are_not_those_of_one_that_is_down(
    other: bytes | None,
) -> None:
    """The other port may be hidden, or in another namespace, where nobody sees it."""
    seen = [messages.link(ETH1, other)] if other else []
    one = readings(
        messages.link(ETH0, b"eth0", flags=0),
        *seen,
        text=interrupts_text({60: "eth1-TxRx-0"}),
        vectors={ETH0: Vectors((60,), PCI)},
        combined={ETH0: 1},
        hidden="eth1",
    )

    assert irqs(only(advanced(one)))[0] == {0: None}
    assert only(advanced(one)).vectors == ()


def test_vectors_that_devices_share_belong_to_none_unless_the_kernel_says() -> None:
    """Representors have the vectors of the function they belong to."""
    names = {50 + n: f"mlx5_comp{n}@pci:0000:41:00.0" for n in range(2)}
    both = Vectors((50, 51), PCI)
    shared: dict[str, Any] = {
        "text": interrupts_text(names),
        "vectors": {ETH0: both, ETH1: both},
        "combined": {ETH0: 2, ETH1: 2},
    }
    devices = (messages.link(ETH0, b"eth0"), messages.link(ETH1, b"pf0vf0"))
    silent = advanced(readings(*devices, **shared))
    telling = advanced(
        readings(
            *devices,
            **shared,
            queues={ETH0: queues({0: 1, 1: 2}, {}), ETH1: queues({0: 3}, {})},
            napis=[Napi(ETH0, 1, irq=50), Napi(ETH0, 2, irq=51), Napi(ETH1, 3, irq=50)],
        )
    )

    assert [device.vectors for device in silent.devices] == [(), ()]
    assert [device.vectors for device in telling.devices] == [(50, 51), (50,)]
    assert [found.device.link.name for found in telling.queues_of_irq[50]] == ["eth0", "pf0vf0"]


def test_a_platform_device_is_known_by_its_name() -> None:
    names = {20: "eth0", 21: "mmc0", 50: "eth0-TxRx-0"}
    chips = {20: "GICv3 74 Level", 21: "GICv3 75 Level"}
    one = readings(text=interrupts_text(names, chips=chips), combined={ETH0: 1})

    assert irqs(only(advanced(one)))[0] == {0: 20}
    assert only(advanced(one)).vectors == (20,)


def test_a_name_is_not_enough_for_what_other_hardware_lists() -> None:
    """The device on the platform got the name that the other had when it came up."""
    one = readings(
        messages.link(ETH0, b"eth0"),
        messages.link(ETH1, b"wan0"),
        text=interrupts_text({50: "eth0-TxRx-0"}, chips={50: "GICv3 74 Level"}),
        vectors={ETH1: Vectors((50,), PCI)},
        combined={ETH0: 1, ETH1: 1},
    )
    platform, other = advanced(one).devices

    assert irqs(platform)[0] == {0: None}
    assert irqs(other)[0] == {0: None}, "whose former name is now that of a device without vectors"


def test_a_device_made_of_software_has_no_interrupt() -> None:
    one = readings(
        messages.link(ETH0, b"eth0", kind="bridge"),
        text=interrupts_text({20: "eth0"}, chips={20: "GICv3 74 Level"}),
        combined={ETH0: 1},
    )

    assert only(advanced(one)).vectors == ()


def test_xen_frontends_are_known_by_their_hardware() -> None:
    one = readings(
        messages.link(ETH0, b"enX0"),
        text=interrupts_text({80: "vif0-q0-tx", 81: "vif0-q0-rx", 82: "vif1-q0-rx"},
                             chips=dict.fromkeys((80, 81, 82), "xen-dyn    -event")),
        vectors={ETH0: Vectors((), ("vif-0",))},
        combined={ETH0: 1},
    )  # fmt: skip

    assert irqs(only(advanced(one))) == ({0: 81}, {0: 80})


def test_queues_come_from_sysfs_or_the_channels_where_the_kernel_does_not_list_them() -> None:
    text, vectors = interrupts_text({}), {ETH0: Vectors((), ())}
    sysfs = {ETH0: QueueSteering({0: (), 1: ()}, {}, {0: (), 1: (), 2: ()}, {})}
    listed = readings(text=text, vectors=vectors, steering=sysfs, combined={ETH0: 8})
    channels = readings(text=text, vectors=vectors, combined={ETH0: 4})

    assert [len(queues) for queues in irqs(only(advanced(listed)))] == [2, 3]
    assert [len(queues) for queues in irqs(only(advanced(channels)))] == [4, 4]
    assert irqs(only(advanced(readings()))) == ({}, {})


@pytest.mark.parametrize(
    "change",
    [
        {"combined": {ETH0: 1}},
        {"vectors": {ETH0: Vectors((50, 51, 52), PCI)}},
        {"text": interrupts_text({50: "eth0-TxRx-0", 51: "eth0-TxRx-1", 9: "acpi"})},
        {"queues": {ETH0: queues({0: 1}, {0: 1})}},
        {"drivers": {ETH0: driver("igb", "0")}},
    ],
)
def test_it_is_made_anew_when_something_came_or_went(change: dict[str, Any]) -> None:
    before: dict[str, Any] = {
        "text": interrupts_text({50: "eth0-TxRx-0", 51: "eth0-TxRx-1"}),
        "vectors": {ETH0: Vectors((50, 51), PCI)},
        "combined": {ETH0: 2},
    }
    settled = advanced(readings(**before), readings(**before))
    same = TOPOLOGY.advance(settled, readings(**before))
    other = TOPOLOGY.advance(settled, readings(**{**before, **change}))

    assert same is settled
    assert other is not settled
    assert other.devices == advanced(readings(**{**before, **change})).devices


def test_devices_are_the_same_object_while_they_are_the_same() -> None:
    """Another interrupt, of a disk, changes none of them."""
    names = {50: "eth0-TxRx-0"}
    before = advanced(named(names, combined=1))
    more = readings(
        text=interrupts_text({**names, 9: "nvme0q1"}),
        vectors={ETH0: Vectors((50,), PCI)},
        combined={ETH0: 1},
    )

    assert TOPOLOGY.advance(before, more).devices is before.devices


def test_interrupts_that_were_read_before_a_device_came_up_are_read_again() -> None:
    """Those with counts keep their line while nobody handles them."""
    down, up = interrupts_text({50: ""}), interrupts_text({50: "eth0-TxRx-0"})
    more: dict[str, Any] = {"vectors": {ETH0: Vectors((50,), PCI)}, "combined": {ETH0: 1}}
    early, late = readings(text=down, **more), readings(text=up, **more)

    assert irqs(only(advanced(early)))[0] == {0: None}
    assert irqs(only(advanced(early, late)))[0] == {0: 50}


def test_what_a_stuck_driver_does_not_tell_stays_as_it_was() -> None:
    steering = {ETH0: QueueSteering({0: ()}, {}, {0: ()}, {})}
    more: dict[str, Any] = {
        "text": interrupts_text({50: "eth0-TxRx-0"}),
        "vectors": {ETH0: Vectors((50,), PCI)},
        "drivers": {ETH0: driver("igb", "1")},
        "steering": steering,
    }
    before = advanced(readings(**more))
    stuck = readings(**more, failed=[DRIVERS, CHANNELS, QUEUE_STEERING])

    assert TOPOLOGY.advance(before, stuck).devices is before.devices


@pytest.mark.parametrize("source", [LINKS, INTERRUPTS, VECTORS, NAPIS, QUEUE_NAPIS])
def test_what_could_not_be_read_is_not_taken_for_nothing(source: Source[Any]) -> None:
    with pytest.raises(NotRead):
        advanced(readings(failed=[source]))


def test_transmit_queues_are_named_where_no_receive_queue_is_beside_them() -> None:
    one = readings(
        text=interrupts_text({50: "a", 51: "b", 52: "c"}),
        queues={ETH0: queues({0: 1, 1: 2}, {0: 1, 1: 2, 2: 1, 3: 2, 4: 3, 5: 3})},
        napis=[Napi(ETH0, 1, irq=50), Napi(ETH0, 2, irq=51), Napi(ETH0, 3, irq=52)],
    )
    found = advanced(one)

    assert [found.label(only(found), irq) for irq in (50, 51, 52)] == ["0", "1", "4-5"]


@given(st.sets(st.integers(0, 5000), max_size=40))
def test_ranges_are_lists_as_the_kernel_prints_them(numbers: set[int]) -> None:
    text = ranges(tuple(sorted(numbers)))
    read: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        read |= set(range(int(first), int(last or first) + 1))

    assert read == numbers
    assert len(text.split(",")) == max(1, sum(n - 1 not in numbers for n in numbers))


_NAMES = st.sampled_from(
    ["eth0-TxRx-0", "eth0-TxRx-1", "eth1-TxRx-0", "eth9-TxRx-0", "virtio2-input.0", "eth0", "eth1",
     "mlx5_comp0@pci:0000:41:00.0", "mlx5_comp1@pci:0000:41:00.0", "nvme0q1", "", "eth0-fp-1"]
)  # fmt: skip


@given(
    st.dictionaries(st.integers(1, 8), _NAMES),
    st.sets(st.integers(1, 8)),
    st.sets(st.integers(1, 8)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.lists(st.tuples(st.sampled_from([ETH0, ETH1]), st.integers(1, 8)), max_size=3),
)
def test_whatever_the_names_no_interrupt_is_anothers(
    names: dict[int, str],
    first: set[int],
    second: set[int],
    channels: tuple[int, int],
    told: list[tuple[int, int]],
) -> None:
    """Each is in the device's hardware or told by the kernel, and of one device unless told."""
    one = readings(
        messages.link(ETH0, b"eth0"),
        messages.link(ETH1, b"eth1"),
        text=interrupts_text(names),
        vectors={
            ETH0: Vectors(tuple(sorted(first)), PCI),
            ETH1: Vectors(tuple(sorted(second)), ("virtio2", "0000:42:00.0")),
        },
        combined={ETH0: channels[0], ETH1: channels[1]},
        napis=[Napi(ifindex, id, irq=irq) for id, (ifindex, irq) in enumerate(told)],
    )
    found = advanced(one)
    a, b = found.devices
    kernel = {irq for _, irq in told}

    assert not set(a.vectors) & set(b.vectors) - kernel
    for device, hardware in ((a, first), (b, second)):
        its = {irq for ifindex, irq in told if ifindex == device.link.ifindex}
        assert set(device.vectors) <= (hardware - kernel) | its
        for queue in (*device.receive, *device.transmit):
            assert queue.irq is None or queue.irq in device.vectors
