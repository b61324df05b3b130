"""Interrupts: where they go to, and the cells of the table that moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.collectors import irq
from netperf_exporter.collectors.irq import INTERRUPT_COUNTS, IRQ, SEEN, Seen
from netperf_exporter.metric import Family, Value
from netperf_exporter.parsers.netdev import Napi
from netperf_exporter.sources import (
    AFFINITY,
    INTERRUPTS,
    Affinity,
    NotRead,
    NotThere,
    Readings,
    Source,
    Vectors,
)
from netperf_exporter.sources import Value as Read
from tests import messages
from tests.test_topology import ETH0, ETH1, cpus_of, interrupts_text, queues, readings

NAMES = {50: "eth0-TxRx-0", 51: "eth0-TxRx-1", 52: "eth0"}
AFFINITIES = {50: Affinity((0, 1), (0,)), 51: Affinity((0, 1, 2, 3), (3,)), 52: Affinity((1,), ())}
NODES = cpus_of({0: "0-1", 1: "2-3"}, "0-3")


def reading(
    counts: Mapping[int, Iterable[int]] | None = None,
    *,
    names: Mapping[int, str] = NAMES,
    online: Iterable[int] = range(4),
    **more: Any,
) -> Readings:
    """A device with two queues on four CPUs."""
    given: dict[str, Any] = {
        "vectors": {ETH0: Vectors(tuple(NAMES), ("0000:41:00.0",))},
        "combined": {ETH0: 2},
        "affinity": AFFINITIES,
        "cpus": NODES,
    }
    text = interrupts_text(names, cpus=online, counts=counts)
    return readings(*more.pop("devices", ()), text=text, **{**given, **more})


def advanced(*history: Readings) -> Seen:
    state = SEEN.start
    for one in history:
        state = SEEN.advance(state, one)
    return state


def samples(*history: Readings) -> dict[Family, dict[tuple[str, ...], Value]]:
    """What the collector says at the last reading."""
    last = history[-1]
    seen = advanced(*history)
    blocks = irq.collect(Readings({**last.outcomes, SEEN: Read(seen, (), 0.0)}))
    return {family: dict(zip(rows, values, strict=True)) for (family,), rows, values in blocks}


def cells(*history: Readings) -> dict[tuple[str, ...], Value]:
    """By queue, irq and cpu: the counts at the last reading."""
    return {row[1:]: value for row, value in samples(*history)[INTERRUPT_COUNTS].items()}


def test_where_an_interrupt_goes_to() -> None:
    """The allowed CPUs where the kernel does not tell the effective ones."""
    rows = samples(reading())[IRQ]

    assert list(rows) == [
        ("eth0", "0", "50", "0", "0"),
        ("eth0", "1", "51", "3", "1"),
        ("eth0", "", "52", "1", "0"),
    ]
    assert set(rows.values()) == {1}


def test_lists_of_cpus_are_as_the_kernel_prints_them() -> None:
    many = {**AFFINITIES, 50: Affinity((0, 1, 3), (0, 1, 3)), 51: Affinity((), ())}
    rows = list(samples(reading(affinity=many, cpus=None))[IRQ])

    assert [row[3:] for row in rows] == [("0-1,3", ""), ("", ""), ("1", "")]


def test_cells_are_those_of_the_effective_cpu_at_first() -> None:
    """Others may have counted long ago."""
    counts = {50: (7, 8, 9, 10), 51: (0, 0, 0, 5), 52: (3, 3, 3, 3)}

    assert cells(reading(counts)) == {("0", "50", "0"): 7, ("1", "51", "3"): 5}


def test_a_cell_that_moved_is_shown_and_stays() -> None:
    first = reading({50: (7, 8, 9, 10), 52: (0, 3, 0, 0)})
    second = reading({50: (7, 8, 11, 10), 52: (0, 4, 0, 0)})
    third = reading({50: (9, 8, 11, 10), 52: (0, 4, 0, 0)})

    expected = {("0", "50", "0"): 7, ("0", "50", "2"): 11, ("1", "51", "3"): 0, ("", "52", "1"): 4}
    assert cells(first, second) == expected
    assert cells(first, second, third) == {**expected, ("0", "50", "0"): 9}


def test_rows_are_the_same_object_while_only_numbers_move() -> None:
    states = [SEEN.start]
    for count in range(4):
        states.append(SEEN.advance(states[-1], reading({50: (count, 0, 0, 0)})))

    assert len({id(state.rows) for state in states[1:]}) == 1
    assert len({id(state.infos) for state in states[1:]}) == 1
    assert [state.values[0] for state in states[1:]] == [0, 1, 2, 3]


def test_an_interrupt_that_is_sent_elsewhere_has_a_cell_there_before_it_counts() -> None:
    moved = {**AFFINITIES, 50: Affinity((0, 1), (1,))}

    assert cells(reading(), reading(affinity=moved)) == {
        ("0", "50", "0"): 0,
        ("0", "50", "1"): 0,
        ("1", "51", "3"): 0,
    }


def test_a_cpu_that_went_offline_has_no_cell_until_it_is_back() -> None:
    with_all = reading({50: (1, 0, 0, 0), 51: (0, 0, 0, 5)})
    without = reading({50: (1, 0, 0), 51: (0, 0, 0)}, online=(0, 1, 2))

    assert cells(with_all, without) == {("0", "50", "0"): 1}
    assert cells(with_all, without, with_all) == cells(with_all)


def test_what_a_cpu_counted_before_it_was_offline_did_not_move_when_it_is_back() -> None:
    without = reading({50: (1, 0, 0)}, online=(0, 1, 2))
    back = reading({50: (1, 0, 0, 90)})

    assert cells(without, back) == {("0", "50", "0"): 1, ("1", "51", "3"): 0}


def test_a_line_that_could_not_be_read_once_has_not_moved_everywhere_when_it_is_back() -> None:
    counts = {50: (1, 2, 3, 4)}
    without = reading(counts, names={51: "eth0-TxRx-1", 52: "eth0"})

    assert cells(reading(counts), without, reading(counts)) == cells(reading(counts))


def test_interrupts_of_other_devices_are_not_shown() -> None:
    first = reading({9: (0, 0, 0, 0)}, names={**NAMES, 9: "nvme0q1"})
    second = reading({9: (1, 1, 1, 1)}, names={**NAMES, 9: "nvme0q1"})

    assert {row[1] for row in cells(first, second)} == {"50", "51"}


def test_an_interrupt_that_serves_two_devices_is_in_the_rows_of_both() -> None:
    one = reading(
        {50: (5, 0, 0, 0)},
        devices=(messages.link(ETH0, b"eth0"), messages.link(ETH1, b"pf0vf0")),
        queues={ETH0: queues({0: 1}, {}), ETH1: queues({7: 2}, {})},
        napis=[Napi(ETH0, 1, irq=50), Napi(ETH1, 2, irq=50)],
    )
    found = samples(one)[INTERRUPT_COUNTS]

    assert found["eth0", "0", "50", "0"] == found["pf0vf0", "7", "50", "0"] == 5


def test_without_affinity_the_cells_that_move_are_shown() -> None:
    first, second = reading(affinity=None), reading({50: (0, 2, 0, 0)}, affinity=None)

    assert samples(first).keys() == {IRQ}
    assert cells(first, second) == {("0", "50", "1"): 2}


def test_nothing_is_said_where_no_device_has_interrupts() -> None:
    assert samples(readings(text=interrupts_text({1: "i8042"}))) == {}


@pytest.mark.parametrize("source", [INTERRUPTS, AFFINITY])
def test_what_could_not_be_read_is_not_taken_for_nothing(source: Source[Any]) -> None:
    with pytest.raises(NotRead):
        advanced(reading(failed=[source]))


def test_a_host_that_hides_its_interrupts_has_none() -> None:
    with pytest.raises(NotThere):
        advanced(readings())


_COUNTS = st.fixed_dictionaries({number: st.tuples(*[st.integers(0, 2)] * 4) for number in NAMES})
_TARGETS = st.fixed_dictionaries(
    {number: st.builds(lambda cpu: Affinity((cpu,), (cpu,)), st.integers(0, 3)) for number in NAMES}
)


@given(st.lists(st.tuples(_COUNTS, _TARGETS, st.sampled_from([4, 3])), min_size=1, max_size=6))
def test_every_cell_has_the_kernels_count_and_none_that_moved_is_missing(
    history: list[tuple[dict[int, tuple[int, ...]], dict[int, Affinity], int]],
) -> None:
    state = SEEN.start
    expected: set[tuple[int, int]] = set()
    before: tuple[dict[int, tuple[int, ...]], int] | None = None
    for counts, affinity, online in history:
        cut = {number: of_irq[:online] for number, of_irq in counts.items()}
        state = SEEN.advance(state, reading(cut, online=range(online), affinity=affinity))
        expected |= {(number, of_irq.effective[0]) for number, of_irq in affinity.items()}
        if before is not None:
            expected |= {
                (number, cpu)
                for number in NAMES
                for cpu in range(min(online, before[1]))
                if cut[number][cpu] != before[0][number][cpu]
            }
        before = cut, online
        found = {
            (int(row[2]), int(row[3])): n for row, n in zip(state.rows, state.values, strict=True)
        }

        assert found == {(i, cpu): cut[i][cpu] for i, cpu in expected if cpu < online}


def test_the_node_is_the_cpus_present_one() -> None:
    other = reading(cpus=cpus_of({0: "0", 2: "1-3"}, "0-3"))

    assert [row[4] for row in advanced(reading(), other).infos] == ["0", "2", "2"]
