"""Arrows point one way: which room may import which, as docs/ARCHITECTURE.md has it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "exporter" / "netperf_exporter"

OURS: dict[str, set[str]] = {
    "metric": set(),
    "parsers": set(),
    "kernel": set(),
    "sources": {"kernel", "parsers"},
    "collectors": {"sources", "metric"},
    "exposition": {"sources", "collectors", "metric", "kernel"},
    "config": {"sources", "collectors", "exposition"},
    "logs": {"config"},
    "http": {"exposition", "config"},
    "daemon": {"http", "exposition", "config", "collectors", "kernel"},
    "generate": {"collectors", "exposition", "metric"},
    "cli": {"config", "daemon", "logs", "http"},
    "__main__": {"cli"},
    "__init__": set(),
}
"""Rooms each room may import, itself apart; every room may import the package for its version."""

PACKAGES: dict[str, set[str]] = {
    "exposition": {"prometheus_client", "isal"},
    "http": {"h11"},
    "logs": {"systemd"},
    "daemon": {"systemd"},
}
"""Packages from elsewhere that each room may import."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    """The first part of a module's path below the package."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(module: Path) -> set[str]:
    """Full names of everything a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "import_module"
        ):
            assert isinstance(node.args[0], ast.Constant), f"{module}: an import by variable"
            found.add(str(node.args[0].value))
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_imports_point_the_allowed_way(module: Path) -> None:
    """Every import is of the standard library or in one of the tables above."""
    room = room_of(module)
    for name in imports(module):
        first, _, rest = name.partition(".")
        if first == "netperf_exporter":
            target = rest.partition(".")[0]
            assert target in {room, "__version__", *OURS[room]}, f"{room} must not import {name}"
        elif first not in sys.stdlib_module_names:
            assert first in PACKAGES.get(room, set()), f"{room} must not import {name}"


def test_the_table_names_every_room() -> None:
    """A new room gets a line in the table."""
    assert set(OURS) == {room_of(module) for module in MODULES}


def test_the_arrows_make_no_circle() -> None:
    """Rooms can be put in an order in which each imports only earlier ones."""
    left = dict(OURS)
    while left:
        free = [room for room, needs in left.items() if not needs & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for room in free:
            del left[room]
