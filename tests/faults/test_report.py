"""The page's table is what the results say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import report
from tests.faults.matrix import ROWS


def test_a_row_sums_its_tests_and_one_that_is_red_shows(tmp_path: Path) -> None:
    line = {"passed": True, "faults": 600, "answered": 5, "lost": 0, "altered": 0, "duplicated": 1}
    lines = [{"test": "a", **line}, {"test": "b", **line}]
    (tmp_path / "kill.jsonl").write_text("\n".join(map(json.dumps, lines)))
    lines[1]["passed"] = False
    (tmp_path / "random.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = {one.split(" | ")[0]: one for one in report.table(tmp_path).splitlines()}
    assert "| 2 tests green | 1,200 | 10 | 0 | 0 | 2 |" in rows["| kill"]
    assert "| 1 of 2 red |" in rows["| random"]
    assert "| not run |" in rows["| clock"]


def test_the_page_has_each_row() -> None:
    page = report.PAGE.read_text()
    for row in ROWS:
        assert f"\n| {row.id} | {row.fault} |" in page, f"make faults, or: {report.__doc__}"
    assert report.put_into(page, "x").count("x\n<!-- end") == 1


def test_a_page_without_marks_is_said() -> None:
    with pytest.raises(ValueError, match="marks"):
        report.put_into("nothing", "x")
