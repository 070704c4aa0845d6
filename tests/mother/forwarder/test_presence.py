"""Presence: C-ECHO decides, seldom asked, and what the journal is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mother.forwarder.board import Board
from mother.forwarder.presence import HelpersPresence, Presence
from mysql_utilities.recorder import Recorder
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.config import MotherConfig
from tackybox.config.addresses import parse_archives
from tackybox.demo.stack import free_port
from tackybox.spool import Outlet

if TYPE_CHECKING:
    from tests.mother.forwarder.conftest import Scripted


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    (tmp_path / "journal").mkdir()
    with Recorder(tmp_path / "journal", "main") as recorder:
        yield recorder


def presence(recorder: Recorder, tmp_path: Path, archives: str) -> Presence:
    groups = parse_archives(archives)
    config = MotherConfig(name="main", aet="MOTHER", spool=tmp_path, archives=groups)
    return Presence(config, groups[0], recorder, Board(Outlet(tmp_path, "a"), 1, 1))


def told(recorder: Recorder, tmp_path: Path) -> list[str]:
    assert recorder.flush()
    with SqliteStore(tmp_path / "journal" / "events.sqlite") as store:
        return [str(event.kind) for _, event in store.read_after(0, 100)]


def test_one_echo_serves_many_checks(
    recorder: Recorder, tmp_path: Path, scripted: Scripted
) -> None:
    with scripted() as archive:
        watched = presence(recorder, tmp_path, archive.address)
        assert watched.current is None
        for _ in range(5):
            watched.check()
        assert str(watched.current) == archive.address
        assert len(archive.asked("echo")) == 1
        assert watched.due_in_s() > 50
    assert told(recorder, tmp_path) == ["OUTLET_UP"]


def test_a_lost_archive_is_asked_again_before_anything_else(
    recorder: Recorder, tmp_path: Path, scripted: Scripted
) -> None:
    with scripted() as archive:
        watched = presence(recorder, tmp_path, archive.address)
        watched.check()
        address = watched.current
        assert address is not None
        watched.failed(address, "the archive aborted the association", lost=True)
        assert watched.current is None
        assert watched.due_in_s() == 0
        watched.check()
        assert watched.current == address
        assert len(archive.asked("echo")) == 2
    assert told(recorder, tmp_path) == ["OUTLET_UP"]


def test_down_is_told_once_and_up_when_it_is(
    recorder: Recorder, tmp_path: Path, scripted: Scripted
) -> None:
    port = free_port()
    watched = presence(recorder, tmp_path, f"SCRIPTED@127.0.0.1:{port}")
    for _ in range(3):
        watched.check()
        watched._check_at_s = 0.0
    assert watched.current is None
    with scripted(port=port):
        watched.check()
    assert watched.current is not None
    assert told(recorder, tmp_path) == ["OUTLET_DOWN", "OUTLET_UP"]


def test_one_failure_after_another_pauses_all_and_one_success_ends_that(
    recorder: Recorder, tmp_path: Path, scripted: Scripted
) -> None:
    with scripted() as archive:
        watched = presence(recorder, tmp_path, archive.address)
        watched.check()
        address = watched.current
        assert address is not None
        for _ in range(10):
            watched.failed(address, "out of resources", lost=False)
        assert watched.current is None
        watched._check_at_s = 0.0
        watched.check()  # C-ECHO works, but that does not mean that it takes anything
        assert watched.current == address
        assert told(recorder, tmp_path) == ["OUTLET_UP", "OUTLET_DOWN"]
        watched.proved(address)
    assert told(recorder, tmp_path) == ["OUTLET_UP", "OUTLET_DOWN", "OUTLET_UP"]


def test_a_helper_sees_what_the_first_one_shows_and_keeps_out_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group,) = parse_archives("A@127.0.0.1:1|B@127.0.0.1:2")
    board = Board(Outlet(tmp_path, "a"), 4, 2)
    helps = HelpersPresence(group, board)
    assert helps.current is None
    board.show(1)
    assert helps.current == group.alternatives[1]
    monkeypatch.setattr("tackybox.service.Backoff.next", lambda self: 60.0)
    helps.failed(group.alternatives[1], "it is full", lost=False)
    assert helps.current is None


def test_what_takes_images_is_shown_to_helpers(
    recorder: Recorder, tmp_path: Path, scripted: Scripted
) -> None:
    with scripted() as archive:
        (group,) = parse_archives(f"A@127.0.0.1:{free_port()}|{archive.address}")
        config = MotherConfig(name="main", aet="MOTHER", spool=tmp_path, archives=(group,))
        board = Board(Outlet(tmp_path, "a"), 4, 2)
        watched = Presence(config, group, recorder, board)
        watched.check()
        assert board.shown == 1
        watched.failed(group.alternatives[1], "it aborts", lost=True)
        assert board.shown is None
