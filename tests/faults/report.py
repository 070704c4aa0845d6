"""The table of docs/RELIABILITY.md, made from the counts of the newest run of each test.

    python -m tests.faults.report

`make faults` runs it after the tests. A row's counts are the sums over its tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.faults.matrix import ROWS, Row
from tests.tree import ROOT

RESULTS = ROOT / "tests" / "faults" / "results"
PAGE = ROOT / "docs" / "RELIABILITY.md"
_BEGIN, _END = "<!-- table: make faults -->", "<!-- end of table -->"
_COUNTS = ("faults", "answered", "lost", "altered", "duplicated")
_HEAD = (
    "| row | fault | expected | result | faults injected | data sets answered | lost | altered "
    "| duplicated | how it was seen to fail |\n|---|---|---|---|---:|---:|---:|---:|---:|---|\n"
)


def table(results: Path = RESULTS) -> str:
    """The table in Markdown: a line for each row of the matrix, one that never ran too."""
    return _HEAD + "".join(_line(row, _lines(results / f"{row.id}.jsonl")) for row in ROWS)


def put_into(page: str, table: str) -> str:
    """`page` with `table` between its marks; raises ValueError if they are not there."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name} lacks the marks {_BEGIN} and {_END}")
    return f"{before}{_BEGIN}\n\n{table}\n{_END}{after}"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _line(row: Row, tests: list[dict[str, Any]]) -> str:
    red = sum(not test["passed"] for test in tests)
    result = f"{len(tests)} tests green" if tests and not red else f"{red} of {len(tests)} red"
    counts = [f"{sum(test[name] for test in tests):,}" for name in _COUNTS]
    cells = [row.id, row.fault, row.expected, result if tests else "not run", *counts]
    return "| " + " | ".join([*cells, row.broken_by or "not yet"]) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(put_into(PAGE.read_text(), table()))
