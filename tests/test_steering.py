"""Steering: what is set, and what the kernel will make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter import steering
from netperf_exporter.collectors import steering as collector
from netperf_exporter.config import parse
from netperf_exporter.metric import Value
from netperf_exporter.parsers.netdev import Napi
from netperf_exporter.parsers.nic import Features
from netperf_exporter.sources import (
    AFFINITY,
    QUEUE_STEERING,
    RSS,
    Affinity,
    NotRead,
    Options,
    QueueSteering,
    Readings,
    Source,
    Vectors,
)
from netperf_exporter.sources import Value as Read
from netperf_exporter.steering import DeviceSteering, facts
from netperf_exporter.topology import TOPOLOGY
from tests import messages
from tests.test_topology import (
    ETH0,
    ETH1,
    advanced,
    cpus_of,
    driver,
    interrupts_text,
    queues,
    readings,
)

ALL = (0, 1, 2, 3)
NODES = cpus_of({0: "0-1", 1: "2-3"}, "0-3")
Masks = Mapping[int, tuple[int, ...]]


def masks(
    rps: Masks | None = None, xps: Masks | None = None, flows: Mapping[int, int] | None = None
) -> QueueSteering:
    """What is set on two queues."""
    return QueueSteering(
        {0: (), 1: (), **(rps or {})},
        {0: 0, 1: 0, **(flows or {})},
        {0: (), 1: (), **(xps or {})},
        {},
    )


def reading(
    set_up: QueueSteering | None = None, *, fires: Iterable[tuple[int, ...]] = ((0,), (1,)),
    **more: Any,
) -> Readings:  # fmt: skip
    """A device on node 0 with two queues, whose interrupts fire on some CPUs of four."""
    given: dict[str, Any] = {
        "text": interrupts_text({50: "eth0-TxRx-0", 51: "eth0-TxRx-1", 52: "eth0"}),
        "vectors": {ETH0: Vectors((50, 51, 52), ("0000:41:00.0",))},
        "combined": {ETH0: 2},
        "drivers": {ETH0: driver("igb", "0")},
        "steering": None if set_up is None else {ETH0: set_up},
        "affinity": {50 + n: Affinity(ALL, cpus) for n, cpus in enumerate(fires)},
        "cpus": NODES,
        "rss": {ETH0: (0, 1) * 64},
        "rfs": 0,
    }
    return readings(*more.pop("devices", ()), **{**given, **more})


def of(one: Readings) -> DeviceSteering:
    """The facts of the only device."""
    (device,) = facts(one, advanced(one)).devices
    return device


def samples(one: Readings) -> dict[str, dict[tuple[str, ...], Value]]:
    """What the collector says, by the names of its families without the prefix."""
    outcomes = {**one.outcomes, TOPOLOGY: Read(advanced(one), (), 0.0)}
    return {
        family.name.removeprefix("netperf_"): dict(zip(rows, values, strict=True))
        for (family,), rows, values in collector.collect(Readings(outcomes, one.options))
    }


def test_what_is_set_on_queues_has_rows_where_it_is_set() -> None:
    set_up = masks(rps={0: (0, 1, 2)}, xps={1: (3,)}, flows={1: 4096})
    found = samples(reading(set_up, rfs=32768))

    assert found["steering_rps_cpus"] == {("eth0", "0"): 3}
    assert found["steering_xps_cpus"] == {("eth0", "1"): 1}
    assert found["steering_rps_flows"] == {("eth0", "1"): 4096}
    assert found["steering_rfs_table_entries"] == {(): 32768}
    assert found["steering_rss_weight_ratio"] == {("eth0", "0"): 0.5, ("eth0", "1"): 0.5}


def test_cpus_that_are_offline_or_cannot_be_are_not_counted() -> None:
    """A mask keeps a CPU that went offline."""
    device = of(reading(masks(rps={0: (0, 3, 7, 4000), 1: (9,)}, xps={0: (4000,)})))

    assert device.rps_cpus == {0: 2, 1: 0}
    assert device.xps_cpus == {0: 0}


def test_a_table_that_names_one_queue_gives_the_others_nothing() -> None:
    """And one may name a queue that is not there, until the driver learns better."""
    assert of(reading(rss={ETH0: (1,) * 128})).rss_weights == {0: 0, 1: 1}
    assert of(reading(rss={ETH0: (0, 0, 1, 5)})).rss_weights == {0: 0.5, 1: 0.25, 5: 0.25}
    assert of(reading(rss=None)).rss_weights == {}


@pytest.mark.parametrize(
    ("fires", "remote"),
    [
        (((0,), (1,)), {"0": False, "1": False}),
        (((2,), (1,)), {"0": True, "1": False}),
        (((1, 2), (2, 3)), {"0": False, "1": True}),
        (((9,), (3,)), {"1": True}),
    ],
)
def test_an_interrupt_is_remote_if_none_of_its_cpus_is_near(
    fires: tuple[tuple[int, ...], ...], remote: dict[str, bool]
) -> None:
    """Interrupts that serve no queue are not judged, nor those of which no CPU is known."""
    assert of(reading(fires=(*fires, (3,)))).remote == remote


def test_the_allowed_cpus_decide_where_the_kernel_does_not_tell_the_effective_ones() -> None:
    affinity = {50: Affinity((2, 3), ()), 51: Affinity(ALL, ())}

    assert of(reading(affinity=affinity)).remote == {"0": True, "1": False}


@pytest.mark.parametrize("node", ["", "7"])
def test_a_device_on_no_node_or_one_without_cpus_is_not_judged(node: str) -> None:
    assert of(reading(fires=((2,), (3,)), drivers={ETH0: driver("igb", node)})).remote == {}


def test_two_interrupts_of_a_queue_are_remote_if_one_is() -> None:
    one = reading(
        text=interrupts_text({50: "virtio2-input.0", 51: "virtio2-output.0"}),
        vectors={ETH0: Vectors((50, 51), ("virtio2",))},
        combined={ETH0: 1},
        fires=((2,), (0,)),
    )

    assert of(one).remote == {"0": True}


@pytest.mark.parametrize(
    ("rps", "covers"),
    [({}, False), ({0: (0, 1, 2)}, False), ({1: ALL}, True), ({1: (*ALL, 5)}, True),
     ({0: (0, 1), 1: (2, 3)}, False)],
)  # fmt: skip
def test_rps_covers_all_cpus_if_one_queue_is_spread_over_them(rps: Masks, covers: bool) -> None:
    assert of(reading(masks(rps=rps))).rps_covers_all_cpus is covers


@pytest.mark.parametrize(
    ("rps", "more", "redundant"),
    [
        ({0: (0, 1)}, {}, True),
        ({0: (0, 1, 9)}, {}, True),
        ({0: (0,), 1: (1,)}, {}, True),
        ({}, {}, False),
        ({0: ALL}, {}, False),
        ({0: (9,)}, {}, False),
        # Each mask is as small as RSS is wide, but together they are not.
        ({0: (0, 1), 1: (2, 3)}, {}, False),
        # RSS gives all to one queue, or all queues interrupt one CPU.
        ({0: (0, 1)}, {"rss": {ETH0: (1, 1)}}, False),
        ({0: (1,)}, {"rss": {ETH0: (1, 1)}}, False),
        ({0: (0, 1)}, {"fires": ((0,), (0,))}, False),
        # Without a table, queues that have interrupts; without known CPUs, queues.
        ({0: (0, 1)}, {"rss": None}, True),
        ({0: (0, 1)}, {"rss": None, "text": interrupts_text({})}, False),
        ({0: (0, 1)}, {"affinity": None}, True),
    ],
)
def test_rps_is_redundant_if_rss_is_as_wide(
    rps: Masks, more: dict[str, Any], redundant: bool
) -> None:
    assert of(reading(masks(rps=rps), **more)).rps_redundant is redundant


@pytest.mark.parametrize(
    ("flows", "entries", "ineffective"),
    [({}, 0, False), ({0: 512}, 0, True), ({0: 512}, 32768, False), ({}, 32768, True),
     ({0: 512}, None, None)],
)  # fmt: skip
def test_rfs_needs_both_tables(
    flows: dict[int, int], entries: int | None, ineffective: bool | None
) -> None:
    """And no mask of RPS."""
    assert of(reading(masks(flows=flows), rfs=entries)).rfs_ineffective is ineffective


def test_a_device_that_rfs_is_not_meant_for_is_no_fault() -> None:
    one = reading(
        devices=(messages.link(ETH0, b"eth0"), messages.link(ETH1, b"eth1")),
        steering={ETH0: masks(), ETH1: masks(flows={0: 512})},
        rfs=32768,
    )

    assert [d.rfs_ineffective for d in facts(one, advanced(one)).devices] == [False, False]


@pytest.mark.parametrize(
    ("xps", "gap"),
    [({}, False), ({0: (0, 1), 1: (2, 3)}, False), ({0: (0, 1)}, True), ({0: (9,)}, True),
     ({0: (0, 1), 1: (1, 2)}, True), ({0: (*ALL, 4000)}, False),
     ({0: (0,), 1: (2,)}, False)],  # as drivers do that have fewer queues than there are CPUs
)  # fmt: skip
def test_an_online_cpu_without_a_transmit_queue_is_a_gap(xps: Masks, gap: bool) -> None:
    assert of(reading(masks(xps=xps))).xps_gap is gap


def test_a_gap_that_an_unknown_mask_may_fill_is_not_judged() -> None:
    partly = QueueSteering({0: (), 1: ()}, {}, {0: (0, 1)}, {})
    whole = QueueSteering({0: (), 1: ()}, {}, {0: ALL}, {})
    sent: dict[str, Any] = {"queues": {ETH0: queues({0: 1, 1: 2}, {0: 1, 1: 2})}, "napis": []}

    assert of(reading(partly, **sent)).xps_gap is None
    assert of(reading(whole, **sent)).xps_gap is False


def test_a_single_queue_has_no_masks_and_no_gap() -> None:
    device = of(reading(QueueSteering({0: ()}, {0: 0}, {}, {}), combined={ETH0: 1}))

    assert device.xps_gap is False
    assert device.rps_redundant is False


def test_what_nobody_tells_is_not_judged() -> None:
    """A kernel without CONFIG_RPS, a /sys of another namespace, a container without /sys."""
    found = samples(reading(None, cpus=None, rss=None, rfs=None))

    assert found == {}


NTUPLE = frozenset({"rx-ntuple-filter"})


@pytest.mark.parametrize(
    ("active", "flows", "entries", "enabled"),
    [(NTUPLE, {0: 512}, 32768, True), (NTUPLE, {}, 32768, False), (NTUPLE, {0: 512}, 0, False),
     (frozenset(), {0: 512}, 32768, False), (NTUPLE, {0: 512}, None, None)],
)  # fmt: skip
def test_arfs_takes_ntuple_filters_and_both_tables_of_rfs(
    active: frozenset[str], flows: dict[int, int], entries: int | None, enabled: bool | None
) -> None:
    features = {ETH0: Features(NTUPLE, active, active, frozenset())}

    assert of(reading(masks(flows=flows), rfs=entries, features=features)).arfs is enabled


def test_verdicts_are_zero_or_one() -> None:
    found = samples(reading(masks(rps={0: ALL}, xps={0: (0, 1)}, flows={0: 1}), fires=((2,), (0,))))

    assert {name: rows for name, rows in found.items() if ("eth0",) in rows} == {
        "steering_rps_covers_all_cpus": {("eth0",): 1},
        "steering_rps_redundant": {("eth0",): 0},
        "steering_rfs_ineffective": {("eth0",): 1},
        "steering_xps_gap": {("eth0",): 1},
    }
    assert found["steering_irq_remote_node"] == {("eth0", "0"): 1, ("eth0", "1"): 0}


def test_settings_of_napi_instances_are_shown_on_request() -> None:
    instance = Napi(ETH0, 8193, 50, None, 2, 200_000, 0, 1)
    more: dict[str, Any] = {
        "queues": {ETH0: queues({0: 8193, 1: 8194}, {0: 8193})},
        "napis": [instance, Napi(ETH0, 8194, 51)],
    }
    found = samples(reading(**more, options=Options(napi_settings=True)))

    assert {name: rows for name, rows in found.items() if name.startswith("napi_")} == {
        "napi_threaded": {("eth0", "0"): 1},
        "napi_defer_hard_irqs": {("eth0", "0"): 2},
        "napi_gro_flush_timeout_seconds": {("eth0", "0"): 200_000},
    }
    assert not [name for name in samples(reading(**more)) if name.startswith("napi_")]
    assert parse(["--collector.steering.napi"]).options.napi_settings
    assert not parse([]).options.napi_settings


def test_facts_are_the_same_object_while_nothing_changed() -> None:
    topology = advanced(reading(masks()), reading(masks()))
    before = facts(reading(masks()), topology).devices
    same = facts(reading(masks()), topology).devices
    other = facts(reading(masks(rps={0: (1,)})), topology).devices

    assert same[0] is before[0]
    assert other[0].rps_cpus == {0: 1}


@pytest.mark.parametrize(
    "change",
    [
        {"rss": {ETH0: (0,)}},
        {"rfs": 1},
        {"fires": ((3,), (3,))},
        {"cpus": cpus_of({0: "0-1"}, "0-1")},
        {"features": {ETH0: Features(NTUPLE, NTUPLE, NTUPLE, frozenset())}},
    ],
)
def test_facts_follow_whatever_they_are_made_of(change: dict[str, Any]) -> None:
    set_up = masks(rps={0: (0, 1)}, flows={0: 8})
    topology = advanced(reading(set_up), reading(set_up))
    before, after = [
        vars(facts(reading(set_up, **more), topology).devices[0]) for more in ({}, change)
    ]

    assert before != after


@pytest.mark.parametrize("source", [QUEUE_STEERING, RSS, AFFINITY])
def test_what_could_not_be_read_is_not_taken_for_nothing(source: Source[Any]) -> None:
    with pytest.raises(NotRead):
        facts(reading(failed=[source]), advanced(reading()))


_CPUS = st.sets(st.integers(0, 12), max_size=8).map(lambda cpus: tuple(sorted(cpus)))
_MASKS = st.dictionaries(st.integers(0, 4), _CPUS, max_size=5)
_FLOWS = st.dictionaries(st.integers(0, 4), st.integers(0, 3), max_size=5)


@given(st.lists(st.integers(0, 20), min_size=1), st.sets(st.integers(0, 20)))
def test_weights_are_a_whole(table: list[int], there: set[int]) -> None:
    weights = steering.rss_weights(table, there)

    assert sum(weights.values()) == pytest.approx(1)
    assert weights.keys() == there | set(table)
    assert all((weights[queue] > 0) == (queue in table) for queue in weights)


@given(_MASKS, _CPUS.filter(bool))
def test_any_masks_give_verdicts_that_agree_with_counting(
    rps: Masks, cpus: tuple[int, ...]
) -> None:
    online = frozenset(cpus)
    covers = steering.rps_covers_all_cpus(rps, online)
    gap = steering.xps_gap(rps, online, ())
    union = {cpu for mask in rps.values() for cpu in mask}

    assert covers is (any(online <= set(mask) for mask in rps.values()) if rps else None)
    own = all(len(online & set(mask)) == 1 for mask in rps.values())
    few = own and len(rps) < len(online)
    assert gap is (bool(union) and bool(online - union) and not few)
    for serving in range(6):
        spread = 0 < len(union & online) <= serving and serving > 1
        assert steering.rps_redundant(rps, online, serving) is (spread if rps else None)


@given(_MASKS, _MASKS, _FLOWS, _CPUS, st.sampled_from([None, 0, 512]))
def test_no_name_changes_a_verdict(
    rps: Masks, xps: Masks, flows: dict[int, int], online: tuple[int, ...], entries: int | None
) -> None:
    def verdicts(name: bytes) -> dict[str, Any]:
        text = interrupts_text({50: "eth0-TxRx-0", 51: "eth0-TxRx-1", 52: "eth0"})
        listed = ",".join(map(str, online))
        one = reading(
            QueueSteering(dict(rps), flows, dict(xps), {}),
            devices=(messages.link(ETH0, name),),
            text=text,
            cpus=cpus_of({0: listed}, listed),
            rfs=entries,
        )
        return {key: fact for key, fact in vars(of(one)).items() if key != "link"}

    assert verdicts(b"eth0") == verdicts(b"wan7")
