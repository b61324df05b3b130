"""Options and helpers for all tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that rewrites expected outputs."""
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the expected outputs of hosts"
    )
