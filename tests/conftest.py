"""Options of the whole suite: how much of tests/faults runs, and with which seeds."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "tests/faults, the fault matrix")
    group.addoption("--faults", choices=("short", "long"), default="short", help="how much of it")
    group.addoption("--seed", type=int, default=None, help="this seed instead of the usual ones")
    group.addoption(
        "--fault-results", type=Path, default=None, help="merge the counts into this directory"
    )
