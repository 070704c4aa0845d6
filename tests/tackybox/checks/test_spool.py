"""Each thing that can be wrong with a spool has its own sentence and its own advice."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tackybox.checks import spool as checks
from tackybox.checks.finding import Finding, Level
from tackybox.config import load_mother
from tackybox.spool import Spool
from tackybox.spool.trial import Step, Trouble
from tests.faults import disks
from tests.peers import unprivileged


@dataclass
class Box:
    """A mother with a spool at `root`."""

    root: Path

    def findings(self, **more: object) -> list[Finding]:
        settings = {"name": "m", "aet": "M", "archives": "P@h:1", "spool": self.root, **more}
        environ = {f"TACKYBOX_{key.upper()}": str(value) for key, value in settings.items()}
        return list(checks.spool(load_mother({"TACKYBOX_MIN_FREE_MIB": "1"} | environ)))


def failed(found: list[Finding]) -> list[str]:
    return [f"{one.seen}; {one.remedy}" for one in found if one.level is Level.FAIL]


def test_a_good_one_used_or_not(tmp_path: Path) -> None:
    found = Box(tmp_path).findings()
    assert failed(found) == []
    assert found[0].seen.endswith("one file system, not used yet")
    Spool.open(tmp_path)
    assert Box(tmp_path).findings()[0].seen.endswith("one file system")


def test_one_that_is_not_there(tmp_path: Path) -> None:
    (line,) = failed(Box(tmp_path / "none").findings())
    assert line.startswith("is not there; make the directory")
    assert line.endswith(f"give it to the user with number {os.geteuid()}")


def test_one_that_belongs_to_another_user() -> None:
    with unprivileged() as directory:
        root = directory / "spool"
        root.mkdir(mode=0o500)
        (line,) = failed(Box(root).findings())
        number = os.geteuid()
        root.chmod(0o700)
    assert line == f"can't be written at {root}; give it to the user with number {number}"


def test_one_that_can_not_even_be_looked_at() -> None:
    with unprivileged() as directory:
        (directory / "private" / "spool").mkdir(parents=True)
        (directory / "private").chmod(0)
        (line,) = failed(Box(directory / "private" / "spool").findings())
        (directory / "private").chmod(0o700)
    assert line.startswith("can't be looked at: Permission denied; give it to the user")


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user's: run as root")
def test_root_is_told_that_it_is_not_the_daemons_user(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    first = Box(tmp_path).findings()[0]
    assert first.level is Level.WARNING
    assert first.seen == "is of the user with number 65534, this is number 0"
    assert first.remedy.startswith("check again as the user of the daemons")


@pytest.mark.parametrize(
    ("step", "code", "sentence"),
    [
        (Step.LINK, errno.EXDEV, "is on several file systems: /s/new/high is a mount of its own"),
        (Step.WRITE, errno.EROFS, "is mounted read-only at /s/new/high"),
        (Step.WRITE, errno.ENOSPC, "is full"),
        (Step.LINK, errno.EPERM, "has no hard links"),
        (Step.MOVE, errno.EIO, "can't be used: to move a file at /s/new/high fails: Input/output"),
    ],
)
def test_each_trouble_has_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Step, code: int, sentence: str
) -> None:
    """The troubles themselves are met for real in tests/tackybox/spool/test_trial.py."""
    trouble = Trouble(step, Path("/s/new/high"), OSError(code, os.strerror(code)))
    monkeypatch.setattr(checks, "try_out", lambda root: trouble)
    (line,) = failed(Box(tmp_path).findings())
    assert line.startswith(sentence)
    assert "; " in line and not line.endswith("; ")


def test_too_little_room(tmp_path: Path) -> None:
    (line,) = failed(Box(tmp_path).findings(min_free_mib=1 << 29))
    assert "MiB and" in line and "make room" in line


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (["mkfs.ext4"], "", ""),
        (["mkfs.ext4", "-O", "^has_journal"], "", "is on ext4 without a journal"),
        (["mkfs.ext2"], "", "is on ext2 without a journal"),
        (["mkfs.ext4"], "nobarrier", "is mounted with nobarrier"),
    ],
)
def test_a_file_system_that_forgets_when_the_power_goes(
    tmp_path: Path, make: list[str], options: str, sentence: str
) -> None:
    with disks.Disk(tmp_path / "disk", make=make).mounted(options) as directory:
        found = Box(directory).findings()
    warned = [one.seen for one in found if one.level is Level.WARNING]
    assert warned == ([sentence] if sentence else [])
