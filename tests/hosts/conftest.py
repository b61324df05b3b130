"""Captured hosts as test parameters, and the switch that rewrites what is expected of them."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that asks for a captured host every one of them."""
    if "captured" in metafunc.fixturenames:
        hosts = sorted(path.parent for path in HERE.glob("*/ABOUT.md"))
        metafunc.parametrize("captured", hosts, ids=[host.name for host in hosts])
