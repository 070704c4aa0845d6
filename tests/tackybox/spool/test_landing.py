"""What cut pushes leave in a mother's spool goes when room is short, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tackybox.spool import Landing, Spool
from tackybox.spool import landing as module
from tests.mother.inbox.conftest import write_item

_STAYS = """
import os, pathlib, sys
from tackybox.spool import Landing
Landing(pathlib.Path(sys.argv[1]), "north").stay()
os.execvp("sh", ["sh", "-c", "echo here; read line"])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Spool.open(tmp_path / "spool").root


def leave(root: Path, daughter: str = "north") -> list[Path]:
    """A whole item, one that rsync was writing, and one that it keeps for the next time."""
    arriving = Landing(root, daughter).arriving
    whole, writing, half = (
        write_item(arriving, number, origin=daughter)["name"] for number in range(3)
    )
    (arriving / ".partial").mkdir()
    return [
        arriving / whole,
        (arriving / writing).rename(arriving / f".{writing}.Xy12Zw"),
        (arriving / half).rename(arriving / ".partial" / half),
    ]


def test_halves_go_and_a_whole_one_may_still_be_committed(root: Path) -> None:
    whole, *halves = leave(root)
    assert Landing(root, "north").clear() == 2
    assert whole.exists()
    assert not any(path.exists() for path in halves)


def test_a_whole_one_that_no_commit_comes_for_goes_too(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leave(root)
    monkeypatch.setattr(module, "_COMMIT_S", 0.0)
    assert Landing(root, "north").clear() == 3
    assert not any(path.exists() for path in left)


def test_nothing_goes_while_a_process_stays_or_what_it_has_become(root: Path) -> None:
    left = leave(root)
    process = subprocess.Popen(
        [sys.executable, "-c", _STAYS, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    assert Landing(root, "north").clear() == 0
    assert all(path.exists() for path in left)
    process.communicate(timeout=30)
    assert Landing(root, "north").clear() == 2


def test_all_daughters_are_cleared_and_nothing_that_is_signed_for(root: Path) -> None:
    for daughter in ("north", "south"):
        leave(root, daughter)
    landed = root / "new" / "high"
    write_item(landed, 9)
    write_item(root / "landing" / "north" / "high", 10)
    assert module.clear_all(root) == 4
    assert len(list(landed.iterdir())) == 1
    assert len(list((root / "landing" / "north" / "high").iterdir())) == 1


def test_a_daughter_cannot_have_another_directory_cleared(root: Path, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "kept").touch()
    (Landing(root, "north").arriving / ".partial").symlink_to(tmp_path / "else")
    Landing(root, "north").clear()
    assert (tmp_path / "else" / "kept").exists()


def test_a_sweep_takes_halves_of_days_ago(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, half = leave(root)
    Landing(root, "north").sweep()
    assert half.exists()
    monkeypatch.setattr(module, "_STALE_S", -60)
    Landing(root, "north").sweep()
    assert not half.exists()
