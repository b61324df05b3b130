"""Sums never fall, and never jump, whatever comes, goes or is set back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter import sums
from netperf_exporter.sums import Figures, Sum

Members = Mapping[Hashable, Figures]

figures = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 20))
readings = st.lists(st.dictionaries(st.integers(0, 4), figures, max_size=5), max_size=8)
"""What the members of one group had at one reading after the other."""


def run(history: Sequence[Members]) -> list[Sum]:
    """The sum of one group after each reading."""
    state: dict[str, Sum] = {}
    found = []
    for members in history:
        state = sums.advance(state, {"group": members})
        found.append(state["group"])
    return found


def growing(start: Members, steps: Sequence[Mapping[Hashable, Figures]]) -> list[Members]:
    """Readings of members that stay and whose counters only grow."""
    history = [dict(start)]
    for step in steps:
        last = history[-1]
        history.append(
            {
                m: (a + step.get(m, (0, 0))[0], b + step.get(m, (0, 0))[1])
                for m, (a, b) in last.items()
            }
        )
    return list(history)


members_that_stay = st.dictionaries(st.integers(0, 4), figures, min_size=1, max_size=5)
steps = st.lists(st.dictionaries(st.integers(0, 4), figures, max_size=5), max_size=6)


def test_what_was_counted_before_anybody_looked_is_not_in_it() -> None:
    assert run([{"a": (7, 9), "b": (100, 1)}])[-1].total == (0, 0)


def test_growth_of_all_members_is_added() -> None:
    last = run([{"a": (7,), "b": (100,)}, {"a": (9,), "b": (105,)}])[-1]

    assert last.total == (7,)
    assert last.worst == (5,)


def test_the_worst_is_added_up_reading_by_reading() -> None:
    """Whichever member it was: twice 5, once by the one, once by the other."""
    last = run([{"a": (0,), "b": (0,)}, {"a": (5,), "b": (2,)}, {"a": (6,), "b": (7,)}])[-1]

    assert last.total == (13,)
    assert last.worst == (10,)


def test_what_went_keeps_what_it_had_added() -> None:
    history: list[Members] = [{"a": (0,), "b": (0,)}, {"a": (5,), "b": (3,)}, {"a": (5,)}, {}]

    assert [each.total for each in run(history)] == [(0,), (8,), (8,), (8,)]


def test_what_comes_or_returns_adds_nothing_by_coming() -> None:
    history: list[Members] = [{"a": (5,)}, {"a": (6,), "b": (999,)}, {"b": (1000,)}, {"a": (77,)}]

    assert [each.total for each in run(history)] == [(0,), (1,), (2,), (2,)]


def test_a_counter_that_was_set_back_adds_what_it_shows() -> None:
    assert run([{"a": (1000,)}, {"a": (3,)}])[-1].total == (3,)


def test_a_group_that_is_not_read_catches_up_later() -> None:
    state = sums.advance({}, {"g": {"a": (1,)}})
    state = sums.advance(state, {"other": {"x": (4,)}})
    state = sums.advance(state, {"g": {"a": (12,)}})

    assert state["g"].total == (11,)
    assert state["other"].total == (0,)


def test_a_group_without_members_waits_for_the_first() -> None:
    assert [each.total for each in run([{}, {"a": (9,)}, {"a": (10,)}])] == [(), (0,), (1,)]


@given(readings)
def test_no_figure_ever_falls_and_the_worst_is_part_of_the_total(history: list[Members]) -> None:
    found = [each for each in run(history) if each.total]
    for before, after in pairwise(found):
        for figure in ("total", "worst"):
            pairs = zip(getattr(before, figure), getattr(after, figure), strict=True)
            assert all(a <= b for a, b in pairs)
    for each in found:
        assert all(worst <= total for worst, total in zip(each.worst, each.total, strict=True))
        assert len(each.total) == len(each.worst) == 2


@given(readings)
def test_the_total_is_the_growth_of_each_member_by_itself(history: list[Members]) -> None:
    """Members do not influence one another."""
    found = run(history)
    names = {name for members in history for name in members}
    alone = [
        run([{m: f for m, f in one.items() if m == name} for one in history]) for name in names
    ]
    if found and found[-1].total:
        columns = zip(*[each[-1].total or (0, 0) for each in alone], strict=True)

        assert found[-1].total == tuple(sum(column) for column in columns)


@given(readings, st.randoms())
def test_the_order_of_members_does_not_matter(history: list[Members], random: object) -> None:
    shuffled = []
    for members in history:
        items = list(members.items())
        getattr(random, "shuffle")(items)  # noqa: B009  (of any kind of random)
        shuffled.append(dict(items))

    assert [each[:2] for each in run(history)] == [each[:2] for each in run(shuffled)]


@given(members_that_stay, steps)
def test_how_often_one_looks_does_not_matter(
    start: Members, steps: list[Mapping[Hashable, Figures]]
) -> None:
    """For the total; what is worst at each reading depends on the readings."""
    history = growing(start, steps)

    assert run(history)[-1].total == run([history[0], history[-1]])[-1].total


@given(members_that_stay, steps)
def test_the_total_is_what_was_counted_since_the_first_look(
    start: Members, steps: list[Mapping[Hashable, Figures]]
) -> None:
    history = growing(start, steps)
    grown = [
        sum(history[-1][m][column] - history[0][m][column] for m in start) for column in (0, 1)
    ]

    assert list(run(history)[-1].total) == grown


@given(readings, readings)
def test_groups_do_not_influence_one_another(one: list[Members], other: list[Members]) -> None:
    state: dict[str, Sum] = {}
    for at in range(max(len(one), len(other))):
        groups = {"one": one, "other": other}
        state = sums.advance(
            state, {name: history[at] for name, history in groups.items() if at < len(history)}
        )
    for name, history in {"one": one, "other": other}.items():
        if history:
            assert state[name] == run(history)[-1]
