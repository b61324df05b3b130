"""What a renderer refuses: it would be broken text, or cost Prometheus the whole scrape."""

from __future__ import annotations

import pytest

from netperf_exporter.exposition.render import Format, Renderer
from netperf_exporter.metric import Block, Family, Rows, counter, gauge, info

BY_CPU = gauge("a", "A.", "cpu")


@pytest.mark.parametrize(
    ("rows", "values"),
    [
        ((("0",), ("1",)), [1]),
        ((("0",),), [1, 2]),
        ((("0",), ("0",)), [1, 2]),
        ((("0", "1"),), [1]),
    ],
)
def test_rows_and_values_that_do_not_fit(rows: Rows, values: list[int]) -> None:
    """Too few, too many, twice the same, too wide."""
    with pytest.raises(ValueError, match="netperf_a"):
        Renderer(Format.TEXT).render([Block((BY_CPU,), rows, values)])


def test_a_template_is_made_once_for_the_same_rows() -> None:
    """What makes rendering cheap: nothing but numbers is formatted again."""
    rows = (("0",), ("1",))
    renderer = Renderer(Format.TEXT)
    renderer.render([Block((BY_CPU,), rows, [1, 2])])
    made = renderer._templates[(BY_CPU,)]
    renderer.render([Block((BY_CPU,), rows, [3, 4])])
    assert renderer._templates[(BY_CPU,)] is made

    renderer.render([Block((BY_CPU,), (("0",),), [5])])
    assert renderer._templates[(BY_CPU,)] is not made


def test_families_of_one_block_have_the_same_labels() -> None:
    """They share its rows."""
    with pytest.raises(ValueError, match="netperf_b"):
        Renderer(Format.TEXT).render([Block((BY_CPU, gauge("b", "B.")), (("0",),), [1, 2])])


@pytest.mark.parametrize(
    ("name", "type", "labels", "unit"),
    [
        ("1a", "gauge", (), ""),
        ("a", "counter", (), ""),
        ("_total", "counter", (), ""),
        ("a_total", "info", (), ""),
        ("a_total", "counter", (), "seconds"),
        ("a", "gauge", ("b", "b"), ""),
        ("a", "gauge", ("__b",), ""),
        ("a", "gauge", ("b-c",), ""),
    ],
)
def test_families_that_cannot_be_declared(
    name: str, type: str, labels: tuple[str, ...], unit: str
) -> None:
    """A bad name fails at import, not in a scrape."""
    with pytest.raises(ValueError):
        Family(name, type, "", labels, unit)  # type: ignore[arg-type]


def test_the_three_words_for_families() -> None:
    """Each adds the prefix and the suffix of its type."""
    assert counter("a", "A.").name == "netperf_a_total"
    assert gauge("a", "A.").name == "netperf_a"
    assert info("a", "A.").name == "netperf_a_info"
