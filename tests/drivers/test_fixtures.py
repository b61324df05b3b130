"""What every driver prints is understood as its source says.

Each folder has what ``ethtool -S`` prints for one driver, made from the format strings of its
source or captured from a real one, and what a reader of that source expects of it. Both were
written without the table of drivers that is tested here. Values in a text are all different, so
that a figure taken from a wrong row is seen.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netperf_exporter.drivers import by_name, load
from netperf_exporter.parsers import ethtool_statistics
from netperf_exporter.parsers.ethtool_statistics import Layout

FOLDERS = sorted(path.parent for path in Path(__file__).parent.glob("*/expected.toml"))

OF_QUEUES = ("packets", "bytes", "stops", "wakes", "timeouts")
"""Measures that are exported; a driver may have others, of XDP."""

NO_FRAMES = re.compile(r"duration|_time|_us\b|1us|transition|storm|entered|xon_2_xoff")
"""In names of flow control: how long, or how often a state changed."""

ByQueue = Mapping[int, tuple[int, ...]]


class Fixture(NamedTuple):
    """A folder. unsure: names whose meaning its author could not tell from the source."""

    expected: dict[str, Any]
    names: tuple[str, ...]
    values: tuple[int, ...]
    layout: Layout
    unsure: frozenset[str]

    @property
    def derived(self) -> bool:
        """Made from the source, not captured."""
        return str(self.expected["about"]).startswith("derived")


@cache
def read(folder: Path) -> Fixture:
    expected = tomllib.loads((folder / "expected.toml").read_text())
    names, values = ethtool_statistics.text((folder / "ethtool-S.txt").read_text())
    driver = by_name(expected["driver"])
    assert driver is not None, f"the table has no {expected['driver']}"
    layout = ethtool_statistics.layout(driver, names, values)
    unsure = frozenset(name.strip() for name in expected.get("unsure", ()))
    return Fixture(expected, names, values, layout, unsure)


@pytest.fixture(params=FOLDERS, ids=lambda path: path.name)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return read(request.param)


def figures(fixture: Fixture, by_queue: ByQueue) -> dict[int, int]:
    """The sum of each queue."""
    return {
        queue: sum(fixture.values[position] for position in positions)
        for queue, positions in by_queue.items()
    }


def numbered(table: Mapping[str, int]) -> dict[int, int]:
    """TOML has only strings for keys."""
    return {int(queue): value for queue, value in table.items()}


@pytest.mark.parametrize("direction", ["receive", "transmit"])
def test_measures_of_queues(fixture: Fixture, direction: str) -> None:
    """Exactly the queues and figures that the source says, and no others."""
    layout: Mapping[str, ByQueue] = getattr(fixture.layout, direction)
    found = {m: figures(fixture, by_queue) for m, by_queue in layout.items() if m in OF_QUEUES}
    expected = {
        measure: numbered(table)
        for measure, table in fixture.expected.get(direction, {}).items()
        if measure in OF_QUEUES
    }

    assert {m: by_queue for m, by_queue in found.items() if by_queue} == expected


@pytest.mark.parametrize("direction", ["receive", "transmit"])
def test_drops_of_queues(fixture: Fixture, direction: str) -> None:
    """By cause, and each lost packet once."""
    layout: Mapping[str, ByQueue] = getattr(fixture.layout, f"{direction}_drops")
    found = {cause: figures(fixture, by_queue) for cause, by_queue in layout.items()}
    tables = fixture.expected.get(f"{direction}_drops", {})
    expected = {cause: numbered(table) for cause, table in tables.items()}

    assert {cause: by_queue for cause, by_queue in found.items() if by_queue} == expected


@pytest.mark.parametrize("direction", ["receive", "transmit"])
def test_losses_of_the_device(fixture: Fixture, direction: str) -> None:
    """The names that count lost packets for sure, by cause."""
    layout: Mapping[str, tuple[int, ...]] = getattr(fixture.layout, f"{direction}_losses")
    found = {
        (cause, fixture.names[position].strip())
        for cause, positions in layout.items()
        for position in positions
    }
    expected = {
        (cause, name.strip())
        for cause, names in fixture.expected.get("lost", {}).get(direction, {}).items()
        for name in names
    }

    assert found == expected


def test_sums_are_not_added_to_their_parts(fixture: Fixture) -> None:
    """Names that repeat what others count are neither losses nor drops of a queue."""
    counted = {fixture.names[p].strip() for p in lost_positions(fixture.layout)}

    assert not counted & {name.strip() for name in fixture.expected.get("sums", ())}


def test_what_may_be_a_loss_is_not_counted(fixture: Fixture) -> None:
    """Where the source does not settle it, too few is better than twice."""
    counted = {fixture.names[p].strip() for p in lost_positions(fixture.layout)}

    assert not counted & fixture.unsure


def test_what_looks_like_a_queue_and_is_none(fixture: Fixture) -> None:
    """Histograms, priorities, rings of XDP, rows of a switch."""
    lookalikes = {name.strip() for name in fixture.expected["not_queues"]}
    taken = {fixture.names[position].strip() for position in queue_positions(fixture.layout)}

    if fixture.derived:  # What is captured may have none.
        assert lookalikes
    assert lookalikes <= {name.strip() for name in fixture.names}
    assert not lookalikes & taken


def test_flow_control_is_counted_in_frames(fixture: Fixture) -> None:
    """Microseconds and changes of a state would not add up with them."""
    for events in (fixture.layout.receive_events, fixture.layout.transmit_events):
        for position in events.get("pause", ()):
            name = fixture.names[position]

            assert not NO_FRAMES.search(name), name


def test_a_stop_and_its_wake_are_one_event(fixture: Fixture) -> None:
    """The wakes count only where the driver counts no stops."""
    names = [fixture.names[p] for p in fixture.layout.transmit_events.get("tx_full", ())]
    stops = [name for name in names if "stop" in name]
    wakes = [name for name in names if "wake" in name or "restart" in name]

    assert not (stops and wakes)


def test_every_name_of_the_driver_is_understood(fixture: Fixture) -> None:
    """What a driver of the table has is not reported as new, but for rows of others in the text."""
    lookalikes = {name.strip() for name in fixture.expected["not_queues"]}
    unknown = {fixture.names[position].strip() for position in fixture.layout.unknown}

    assert not unknown - lookalikes


def test_a_fixture_says_where_it_comes_from(fixture: Fixture) -> None:
    about = fixture.expected["about"]

    assert re.match(r"captured: Linux \S+|derived: drivers/net/\S+: \w+", about), about


def test_every_driver_of_the_table_has_a_fixture() -> None:
    tried = {
        driver.name for folder in FOLDERS if (driver := by_name(read(folder).expected["driver"]))
    }

    assert {driver.name for driver in load().drivers} == tried


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_values_of_a_derived_text_are_all_different(folder: Path) -> None:
    """Else a figure from a wrong row could be taken for the right one."""
    fixture = read(folder)
    # Of vmxnet3 the numbers of queues are values too.
    numbers = {position for position, _ in fixture.layout.checks}
    values = [value for p, value in enumerate(fixture.values) if p not in numbers]
    if fixture.derived:
        assert len(set(values)) == len(values)


def queue_positions(layout: Layout) -> Iterator[int]:
    for mapping in (
        layout.receive,
        layout.transmit,
        layout.receive_drops,
        layout.transmit_drops,
    ):
        for by_queue in mapping.values():
            for positions in by_queue.values():
                yield from positions


def lost_positions(layout: Layout) -> Iterator[int]:
    for drops in (layout.receive_drops, layout.transmit_drops):
        for by_queue in drops.values():
            for positions in by_queue.values():
                yield from positions
    for losses in (layout.receive_losses, layout.transmit_losses):
        for positions in losses.values():
            yield from positions
