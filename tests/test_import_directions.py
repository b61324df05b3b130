"""Arrows point one way: which room may import which, as docs/ARCHITECTURE.md has it."""

from __future__ import annotations

import ast
import re
import sys
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "exporter" / "netperf_exporter"
_ROW = re.compile(r"\| `(\w+)` \|([^|]*)\|([^|]*)\|")


def table() -> dict[str, tuple[set[str], set[str]]]:
    """What each room may import: of ours, and of the packages."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    lines = page.partition("| room | of ours | of the packages |")[2].splitlines()[2:]
    found: dict[str, tuple[set[str], set[str]]] = {"__init__": (set(), set())}
    for line in takewhile(bool, lines):
        match = _ROW.fullmatch(line)
        assert match, line
        found[match[1]] = (set(re.findall(r"\w+", match[2])), set(re.findall(r"\w+", match[3])))
    return found | {"__main__": ({"cli"}, set())}


TABLE = table()
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
    """Every import is of the standard library or in the table."""
    room = room_of(module)
    for name in imports(module):
        first, _, rest = name.partition(".")
        if first == "netperf_exporter":
            target = rest.partition(".")[0]
            assert target in {room, "__version__", *TABLE[room][0]}, (
                f"{room} must not import {name}"
            )
        elif first not in sys.stdlib_module_names:
            assert first in TABLE[room][1], f"{room} must not import {name}"


def test_the_table_names_every_room() -> None:
    """A new room gets a line in the table."""
    assert set(TABLE) == {room_of(module) for module in MODULES}


def test_the_arrows_make_no_circle() -> None:
    """Rooms can be put in an order in which each imports only earlier ones."""
    left = {room: ours for room, (ours, _) in TABLE.items()}
    while left:
        free = [room for room, needs in left.items() if not needs & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for room in free:
            del left[room]
