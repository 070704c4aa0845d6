"""A directory that was large is made anew when it is empty, and nothing gets lost by it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tackybox.spool import Lane, Outlet, Spool, State, renewal
from tackybox.spool.renewal import adopt, link, move, renew


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(renewal, "LARGE_BYTES", 1)
    lane = tmp_path / "low"
    lane.mkdir(mode=0o750)
    return lane


def test_an_empty_directory_is_made_anew_with_the_same_permissions(lane: Path) -> None:
    before = lane.stat()
    assert renew(lane)
    assert lane.stat().st_ino != before.st_ino
    assert lane.stat().st_mode == before.st_mode
    assert [path.name for path in lane.parent.iterdir()] == ["low"]


def test_one_that_holds_something_or_is_small_stays(
    lane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lane / "item").touch()
    assert not renew(lane)
    assert [path.name for path in lane.iterdir()] == ["item"]
    (lane / "item").unlink()
    monkeypatch.setattr(renewal, "LARGE_BYTES", 1 << 20)
    assert not renew(lane)
    assert [path.name for path in lane.parent.iterdir()] == ["low"]


def test_what_a_power_cut_left_under_the_new_directory_s_first_name_is_adopted(lane: Path) -> None:
    fresh = lane.parent / ".low.0123"
    fresh.mkdir()
    (fresh / "item").touch()
    adopt(lane)
    assert [path.name for path in lane.iterdir()] == ["item"]
    assert not fresh.exists()


def test_a_worker_adopts_when_it_starts(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool")
    fresh = Outlet(spool.root, "one").directory(State.NEW, Lane.LOW).with_name(".low.0123")
    fresh.mkdir()
    (fresh / f"20260101T000000.000000Z_north_{'0' * 64}_1.2").touch()
    with spool.work_outlet("one") as outlet:
        assert len(outlet.claim(5)) == 1


@pytest.mark.parametrize("helps", [False, True])
def test_who_only_helps_makes_no_directory_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helps: bool
) -> None:
    monkeypatch.setattr(renewal, "LARGE_BYTES", 1)
    outlet = Outlet(Spool.open(tmp_path / "spool").root, "one", helps=helps)
    waiting = outlet.directory(State.NEW, Lane.LOW)
    before = waiting.stat().st_ino
    assert outlet.claim(1) == []
    assert (waiting.stat().st_ino == before) == helps


def test_nothing_is_lost_while_others_move_items_in(lane: Path) -> None:
    """A directory renewed as often as it is empty, while files come by rename and by link."""
    source = lane.parent / "source"
    source.mkdir()
    count, done = 400, threading.Event()
    for number in range(count):
        (source / f"{number}").touch()

    def come() -> None:
        for number in range(count):
            (move if number % 2 else link)(source / f"{number}", lane / f"{number}")
        done.set()

    thread = threading.Thread(target=come)
    thread.start()
    found, renewed = set(), 0
    while not done.is_set() or any(lane.iterdir()):
        for path in list(lane.iterdir()):
            path.unlink()
            found.add(path.name)
        renewed += renew(lane)
    thread.join()
    assert found == {f"{number}" for number in range(count)}
    assert renewed
