"""Rsyncs that stand by: there before the names are known, used once, replaced. With real rsyncs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daughter.pusher.standby import GOODBYE, READY, WAITING, Rsync, Standbys
from daughter.pusher.trouble import RoadError
from tests.peers import require, wait_until


class Copier:
    """Standbys that copy from one directory to another, on this machine."""

    def __init__(self, workdir: Path) -> None:
        require("rsync", "rsync")
        self.source, self.target = workdir / "source", workdir / "target"
        self.source.mkdir()
        self.target.mkdir()
        self.started: list[bool] = []
        self.refuses = False
        self.delay_s = 0.0
        self.standbys = Standbys(self.command, compress=False)

    def command(self, compress: bool) -> list[str]:
        self.started.append(compress)
        if self.refuses:
            return ["sh", "-c", "echo the low-space watermark >&2; exit 75"]
        delay = ["sh", "-c", f'sleep {self.delay_s}; exec "$@"', "sh"] if self.delay_s else []
        return [
            *delay, "rsync", "--files-from=-", "--from0", READY[0], GOODBYE[0], "--timeout=30",
            f"{self.source}/", f"{self.target}/",
        ]  # fmt: skip

    def push(self, *names: str, compress: bool = False, urgent: bool = False) -> bool:
        return self.standbys.push(
            lambda: b"".join(name.encode() + b"\0" for name in names),
            compress=compress,
            urgent=urgent,
        )

    @property
    def waiting(self) -> list[Rsync]:
        return list(self.standbys._waiting)


@pytest.fixture
def copier(tmp_path: Path) -> Iterator[Copier]:
    made = Copier(tmp_path)
    for name in ("a", "b", "c"):
        (made.source / name).write_text(name)
    yield made
    made.standbys.close()


def test_what_is_named_is_there_when_a_push_returns(copier: Copier) -> None:
    copier.standbys.refill()
    assert len(copier.started) == WAITING
    copier.push("a", "c")
    assert sorted(path.name for path in copier.target.iterdir()) == ["a", "c"]
    assert len(copier.waiting) == WAITING - 1
    copier.standbys.refill()
    assert len(copier.waiting) == WAITING


def test_names_are_asked_for_when_it_is_ready(copier: Copier) -> None:
    asked = []

    def names() -> bytes:
        asked.append(not list(copier.target.iterdir()))
        (copier.source / "late").write_text("late")
        return b"late\0"

    copier.standbys.push(names, compress=False, urgent=False)
    assert asked == [True]
    assert (copier.target / "late").read_text() == "late"


def test_the_last_one_is_kept_for_an_urgent_push_while_another_is_under_way(copier: Copier) -> None:
    copier.standbys.refill()

    def others() -> bytes:
        for _ in range(WAITING + 1):
            copier.push("a")
        assert len(copier.waiting) == 1
        copier.push("b", urgent=True)
        assert copier.waiting == []
        return b"c\0"

    copier.standbys.push(others, compress=False, urgent=False)
    assert sorted(path.name for path in copier.target.iterdir()) == ["a", "b", "c"]


def test_the_one_that_is_kept_is_ready(copier: Copier) -> None:
    copier.standbys.refill()
    wait_until(lambda: all(rsync.is_ready for rsync in copier.waiting), "all are ready")
    for _ in range(WAITING - 2):
        copier.push("a")
    kept = copier.waiting[-1]

    def others() -> bytes:
        copier.delay_s = 0.5
        copier.standbys.refill()
        copier.push("a")
        assert kept in copier.waiting
        copier.push("b", urgent=True)
        assert kept not in copier.waiting
        return b"c\0"

    copier.standbys.push(others, compress=False, urgent=False)


def test_an_urgent_push_takes_what_is_ready_whichever_way_it_wants(copier: Copier) -> None:
    copier.standbys.refill()

    def others() -> bytes:
        assert not copier.push("b", compress=True, urgent=True)
        return b"c\0"

    copier.standbys.push(others, compress=False, urgent=False)
    assert copier.started == [False] * WAITING
    assert copier.push("a", compress=True, urgent=True)


def test_with_nothing_else_under_way_the_last_one_is_used_too(copier: Copier) -> None:
    copier.standbys.refill()
    for _ in range(WAITING):
        copier.push("a")
    assert copier.waiting == []
    assert len(copier.started) == WAITING


def test_those_of_the_other_kind_are_replaced(copier: Copier) -> None:
    copier.standbys.refill()
    copier.push("a", compress=True)
    assert copier.started == [False] * WAITING + [True]
    copier.standbys.refill()
    assert [rsync.compress for rsync in copier.waiting] == [True] * WAITING


def test_one_that_dies_is_not_started_again_at_once_and_a_push_goes_on(copier: Copier) -> None:
    copier.refuses = True
    copier.standbys.refill()
    wait_until(lambda: not any(rsync.is_alive for rsync in copier.waiting), "they are refused")
    for _ in range(5):
        copier.standbys.refill()
    assert len(copier.started) == WAITING
    with pytest.raises(RoadError, match="its disk is full"):
        copier.push("a")
    copier.refuses = False
    copier.push("a")
    assert (copier.target / "a").exists()


def test_a_file_that_vanished_is_no_failure_of_the_road(copier: Copier) -> None:
    copier.push("a", "not-there")
    assert [path.name for path in copier.target.iterdir()] == ["a"]


def test_closed_it_leaves_nobody_behind_and_starts_none(copier: Copier) -> None:
    copier.standbys.refill()
    waiting = copier.waiting
    copier.standbys.close()
    assert not any(rsync.is_alive for rsync in waiting)
    copier.standbys.refill()
    assert copier.waiting == []
    assert not list(copier.target.iterdir())
