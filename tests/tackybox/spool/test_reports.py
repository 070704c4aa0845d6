"""Reports are there until they were acted on, and never without end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tackybox.errors import DataError
from tackybox.spool import Reports, reports


def test_a_report_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    kept = Reports(tmp_path)
    kept.keep("1.2.3", b"{}")
    assert Reports(tmp_path).find("1.2.3") == b"{}"
    kept.forget("1.2.3")
    assert kept.find("1.2.3") is None
    kept.forget("1.2.3")


@pytest.mark.parametrize("uid", ["", "..", "../x", "1.2/3", "1" * 65])
def test_no_name_is_made_of_what_is_no_uid(tmp_path: Path, uid: str) -> None:
    with pytest.raises(DataError):
        Reports(tmp_path).keep(uid, b"{}")


def test_old_ones_and_too_many_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_REPORTS", 3)
    kept = Reports(tmp_path)
    now_s = time.time()
    for number, age_s in enumerate([200_000, 50, 40, 30, 20]):
        kept.keep(f"1.2.{number}", b"{}")
        os.utime(tmp_path / "reports" / f"1.2.{number}", (now_s - age_s, now_s - age_s))
    kept.sweep()
    left = [number for number in range(5) if kept.find(f"1.2.{number}")]
    assert left == [2, 3, 4]
