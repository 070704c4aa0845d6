"""A spool is tried with a file that goes through all of it, and nothing stays behind."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tackybox.spool import Outlet, Spool
from tackybox.spool.trial import Step, try_out
from tests.peers import unprivileged


def everything(root: Path) -> set[Path]:
    return set(root.rglob("*"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    spool = Spool.open(tmp_path / "spool")
    Outlet(spool.root, "PACS_host_104")
    (spool.root / "arriving" / "north").mkdir()
    return spool.root


@pytest.fixture
def mounted(root: Path) -> Iterator[object]:
    """Mounts as told, and takes it away again."""
    if os.geteuid() != 0:
        pytest.skip("a mount needs root: run as root")
    places: list[Path] = []

    def mount(place: Path, *command: str) -> None:
        done = subprocess.run(["mount", *command, str(place)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("nothing can be mounted here: run with CAP_SYS_ADMIN")
        places.append(place)

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", str(place)], check=True)


def test_a_good_spool_and_one_that_no_daemon_has_opened(root: Path, tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    for one in (root, tmp_path / "fresh"):
        before = everything(one)
        assert try_out(one) is None
        assert everything(one) == before


@pytest.mark.parametrize(
    "inside", ["new/high", "out/PACS_host_104/new/low", "quarantine", "arriving/north", "landing"]
)
def test_a_bind_mount_of_the_same_file_system_inside(root: Path, mounted, inside: str) -> None:
    place = root / inside
    other = root.parent / "other"
    other.mkdir()
    mounted(place, "--bind", str(other))
    assert place.stat().st_dev == root.stat().st_dev
    trouble = try_out(root)
    assert trouble is not None
    assert (trouble.step, trouble.directory, trouble.error.errno) == (
        Step.LINK, place, errno.EXDEV,
    )  # fmt: skip
    assert not list(root.rglob(".probe*"))


def test_a_file_system_that_is_read_only(root: Path, mounted) -> None:
    mounted(root, "--bind", str(root))
    subprocess.run(["mount", "-o", "remount,bind,ro", str(root)], check=True)
    trouble = try_out(root)
    assert trouble is not None
    assert (trouble.step, trouble.error.errno) == (Step.WRITE, errno.EROFS)


def test_a_file_system_that_is_full(root: Path, mounted) -> None:
    small = root.parent / "small"
    small.mkdir()
    mounted(small, "-t", "tmpfs", "-o", "size=64k", "tmpfs")
    (small / "ballast").write_bytes(b"\0" * 65536)
    trouble = try_out(small)
    assert trouble is not None
    assert trouble.error.errno == errno.ENOSPC


def test_a_directory_that_this_user_may_not_write() -> None:
    with unprivileged() as directory:
        root = Spool.open(directory / "spool").root
        (root / "quarantine").chmod(0o500)
        trouble = try_out(root)
        assert trouble is not None
        assert (trouble.step, trouble.directory, trouble.error.errno) == (
            Step.LINK, root / "quarantine", errno.EACCES,
        )  # fmt: skip
        assert not list(root.rglob(".probe*"))
