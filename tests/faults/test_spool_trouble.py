"""A spool that can't be used: no daemon starts, and one line says why and what to do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK, free_port, python
from tackybox.spool import Spool
from tests.faults import disks
from tests.faults.conftest import Counts

_EX_IOERR = 74
_NOBODY = 65534
_BOXES = {
    "daughter.receiver": {"destinations": f"relay@{LOOPBACK}:9"},
    "daughter.pusher": {"destinations": f"relay@{LOOPBACK}:9"},
    "mother.inbox": {"archives": f"PACS@{LOOPBACK}:9"},
    "mother.forwarder": {"archives": f"PACS@{LOOPBACK}:9"},
}
_WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
_OUTLET = "out/some where_1/new"

pytestmark = pytest.mark.fault("spool_trouble")


def missing(spool: Path, ending: ExitStack) -> str:
    spool.rmdir()
    return f"the spool at {spool} is not there; make the directory, or mount a volume there"


def without_a_parent(spool: Path, ending: ExitStack) -> str:
    spool.rmdir()
    spool.parent.rmdir()
    return f"the spool at {spool} is not there"


def a_file(spool: Path, ending: ExitStack) -> str:
    spool.rmdir()
    spool.touch()
    return f"the spool at {spool} can't be used: File exists; it must be a directory"


def read_only(spool: Path, ending: ExitStack) -> str:
    _on_a_mount(spool, ending)
    disks.remount(spool, "ro")
    return f"the spool at {spool} can't be used: Read-only file system"


def used_and_read_only(spool: Path, ending: ExitStack) -> str:
    _on_a_mount(spool, ending)
    Spool.open(spool)
    disks.remount(spool, "ro")
    return f"the spool at {spool} can't be used: Read-only file system"


def of_another_user(spool: Path, ending: ExitStack) -> str:
    """Who may do nothing there, as root may not who has no capabilities."""
    Spool.open(spool)
    for directory, _, files in os.walk(spool):
        for path in (directory, *(f"{directory}/{name}" for name in files)):
            os.chown(path, _NOBODY, _NOBODY)
    return f"the spool at {spool} can't be used: Permission denied; it must be a directory that"


def on_two_file_systems(spool: Path, ending: ExitStack) -> str:
    Spool.open(spool)
    ending.enter_context(disks.memory(spool / "new", "size=1m"))
    return f"the spool at {spool} can't be used: Invalid cross-device link"


def with_a_mount_deep_inside(spool: Path, ending: ExitStack) -> str:
    """Of the same file system, too: neither rename nor link crosses it."""
    Spool.open(spool)
    (spool / _OUTLET / "high").mkdir(parents=True)
    elsewhere = spool.parent / "elsewhere"
    (elsewhere / "high").mkdir(parents=True)
    ending.enter_context(disks.bound(elsewhere, spool / _OUTLET))
    return f"the spool at {spool} is on several file systems: {spool / _OUTLET} is a mount of its"


def with_a_damaged_identity(spool: Path, ending: ExitStack) -> str:
    Spool.open(spool)
    (spool / "identity").write_bytes(bytes(33))
    return f"{spool / 'identity'} is damaged; put it back from a backup, or remove it"


def of_the_other_box(spool: Path, ending: ExitStack) -> str:
    return f"the spool at {spool} is a "


def _on_a_mount(spool: Path, ending: ExitStack) -> None:
    spool.rmdir()
    ending.enter_context(disks.memory(spool, "size=4m"))


_TROUBLES = (
    missing, without_a_parent, a_file, read_only, used_and_read_only, of_another_user,
    on_two_file_systems, with_a_mount_deep_inside, with_a_damaged_identity, of_the_other_box,
)  # fmt: skip


def _cases() -> list[object]:
    """Every trouble with every daemon; the short selection has each of both once or more."""
    return [
        pytest.param(
            trouble, module, id=f"{trouble.__name__}-{module}",
            marks=() if number % len(_BOXES) == place else pytest.mark.long_fault,
        )
        for number, trouble in enumerate(_TROUBLES)
        for place, module in enumerate(_BOXES)
    ]  # fmt: skip


@pytest.mark.parametrize(("trouble", "module"), _cases())
def test_it_is_not_started_and_says_why_in_one_line(
    tmp_path: Path, trouble: Callable[[Path, ExitStack], str], module: str, counts: Counts
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounts, and another user, are needed: run as root")
    spool = tmp_path / "volume" / "spool"
    spool.mkdir(parents=True)
    with ExitStack() as ending:
        expected = trouble(spool, ending)
        if trouble is of_the_other_box:
            Spool.open(spool, "mother" if module.startswith("daughter") else "daughter")
        settings = {
            "name": "box", "aet": "BOX", "spool": spool, **_BOXES[module],
            ("port" if module.startswith("daughter") else "ssh_port"): free_port(),
        }  # fmt: skip
        without = _WITHOUT_CAPABILITIES if trouble is of_another_user else ()
        done = subprocess.run(
            [*without, *python(module)], env=child_environment(settings), capture_output=True,
            text=True, check=False, timeout=60,
        )  # fmt: skip
    counts.faults += 1
    assert done.returncode == _EX_IOERR, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tackybox: {expected}"), line


def test_a_spool_whose_identity_is_gone_is_a_new_one(tmp_path: Path, counts: Counts) -> None:
    """The safe side: whoever is told another identity sends again."""
    before = Spool.open(tmp_path).identity
    (tmp_path / "identity").unlink()
    counts.faults += 1
    assert Spool.open(tmp_path).identity != before
