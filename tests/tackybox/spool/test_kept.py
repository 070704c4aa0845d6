"""Released copies that a daughter keeps for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daughter.pusher import keeping
from tackybox.spool import Entry, Kept, Lane, Outlet, Spool, State
from tests.tackybox.commands.conftest import Filled

NOW = datetime.now(UTC)


@pytest.fixture
def box(tmp_path: Path) -> Filled:
    return Filled(tmp_path / "spool")


def kept_names(spool: Spool) -> list[str]:
    return sorted(path.name for path in (spool.root / "kept").glob("*/*"))


def released(box: Filled, number: int, *outlets: str) -> Entry:
    """An item that every outlet has released, and its entry as it was."""
    entry = box.accept(number)
    box.hand_out(entry, *outlets)
    for outlet in outlets:
        _, (claimed,) = box.claim(outlet)
        Kept(box.root).add(claimed)
        assert not claimed.path.exists()
    return entry


def test_one_copy_is_kept_however_many_outlets_released_it(box: Filled) -> None:
    entry = released(box, 1, "a", "b", "c")
    (path,) = (box.root / "kept").glob("*/*")
    assert path.name == entry.item.name
    assert path.stat().st_nlink == 1
    assert box.spool.count_links() == 0


def test_what_is_kept_is_queued_again_and_stays(box: Filled) -> None:
    entry = released(box, 1, "a", "b")
    content = next((box.root / "kept").glob("*/*")).read_bytes()
    for name in ("a", "b", "b"):
        outlet = Outlet(box.root, name)
        again = Kept(box.root).hand_to(outlet, entry.item.name)
        assert again is not None and again.path.read_bytes() == content
        assert outlet.tally(State.NEW, Lane.MEDIUM).count == 1
    assert kept_names(box.spool) == [entry.item.name]
    _, (claimed,) = box.claim("a")
    Kept(box.root).add(claimed)
    assert box.spool.count_links() == 1


def test_what_is_not_kept_is_not_found(box: Filled) -> None:
    assert Kept(box.root).hand_to(Outlet(box.root, "a"), box.accept(1).item.name) is None


def test_old_copies_go_and_only_those(box: Filled) -> None:
    entries = [released(box, number, "a") for number in (1, 2)]
    kept = Kept(box.root)
    assert kept.forget_before(entries[1].item.arrived_at) == 1
    assert kept_names(box.spool) == [entries[1].item.name]
    assert keeping.forget(box.spool, keep_days=1) == 0
    assert kept.forget_before(NOW + timedelta(days=1)) == 1
    assert kept_names(box.spool) == []


def test_with_no_days_nothing_stays_kept(box: Filled) -> None:
    released(box, 1, "a")
    assert keeping.forget(box.spool, keep_days=0) == 1


def test_when_space_is_low_the_oldest_goes_first_and_nothing_else(box: Filled) -> None:
    waiting = box.accept(9)
    entries = [released(box, number, "a") for number in (1, 2, 3)]
    kept = Kept(box.root)
    free_bytes = box.spool.space().free_bytes
    assert keeping.make_room(box.spool, kept, free_bytes // 2) == 0
    assert kept.free(1) == 1
    assert kept_names(box.spool) == sorted(entry.item.name for entry in entries[1:])
    assert keeping.make_room(box.spool, kept, 1 << 60) == 2
    assert waiting.path.exists()
