"""A sound copy that lands takes the place of those that have gone bad, and of no others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tackybox.item import Item
from tackybox.reasons import Reason
from tackybox.spool import Landing, Lane, Outlet, Spool, State

ITEM = Item(datetime(2026, 1, 1, tzinfo=UTC), "north", "0" * 64, "1.2.3")


def damaged_in_two_queues(root: Path) -> tuple[Path, Path]:
    """One bad file, found so for archive `one` and deferred for archive `two`: both its paths."""
    spool, outlets = Spool.open(root), [Outlet(root, "one"), Outlet(root, "two")]
    (root / "new" / "low" / ITEM.name).write_bytes(b"bad")
    list(spool.fan_out(spool.arrivals(1), outlets))
    first, second = (outlet.claim(1)[0] for outlet in outlets)
    later = outlets[1].defer(second, 4_000_000_000)
    return outlets[0].quarantine(first, Reason.DIGEST_DIFFERS).path, later.path


def land(root: Path, item: Item) -> list[Path]:
    """A sound copy of `item` lands; what stood there for `one` and `two` beside it."""
    landing = Landing(root, "north")
    (root / "arriving" / "north" / item.name).write_bytes(b"good")
    entry = landing.take(item, Lane.LOW)
    assert entry is not None
    bad = landing.gone_bad([entry])
    admitted = landing.admit(entry, bad.get(item.name, ()))
    assert admitted.path.read_bytes() == b"good"
    return bad.get(item.name, [])


def test_a_bad_file_that_waits_for_another_archive_gives_way_too(tmp_path: Path) -> None:
    quarantined, deferred = damaged_in_two_queues(tmp_path)
    assert quarantined.samefile(deferred)
    assert set(land(tmp_path, ITEM)) == {quarantined, deferred}
    assert not quarantined.exists() and not deferred.exists()
    outlets = [Outlet(tmp_path, "one"), Outlet(tmp_path, "two")]
    spool = Spool.open(tmp_path)
    list(spool.fan_out(spool.arrivals(1), outlets))
    for outlet in outlets:
        assert outlet.tally(State.NEW, Lane.LOW).count == 1


def test_another_file_that_waits_under_its_name_stays(tmp_path: Path) -> None:
    """Nobody has found that one bad."""
    quarantined, deferred = damaged_in_two_queues(tmp_path)
    deferred.unlink()
    deferred.write_bytes(b"sound, for all that is known")
    assert land(tmp_path, ITEM) == [quarantined]
    assert deferred.exists()


def test_other_items_stay_where_they_are(tmp_path: Path) -> None:
    quarantined, deferred = damaged_in_two_queues(tmp_path)
    other = Item(ITEM.arrived_at, "north", "1" * 64, "1.2.4")
    assert land(tmp_path, other) == []
    assert quarantined.exists() and deferred.exists()
