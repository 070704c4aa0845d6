"""A journal that was lost is made again from what stands in the spool, once, and says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mysql_utilities.events import Event, Kind
from mysql_utilities.recorder import Recorder
from mysql_utilities.sqlite_store import SqliteStore
from tackybox import rebuild
from tackybox.rebuild import MADE_AGAIN, Keeper
from tackybox.service import Stop
from tackybox.spool import Entry, Outlet, Spool, State
from tests.tackybox.spool.test_spool import accept

OUTLET = "relay"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_SETTLE_S", 0.0)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.open(tmp_path / "spool")


@pytest.fixture
def stop() -> Iterator[Stop]:
    stop = Stop()
    yield stop
    stop.close()


def look(spool: Spool, stop: Stop, box: str = "north") -> None:
    """What the daemon's thread does at its start."""
    with Recorder(spool.journal, box) as recorder:
        keeper = Keeper(spool, box, recorder, stop)
        keeper.look()
        keeper.close()
        assert recorder.flush(30)


def events(spool: Spool) -> list[Event]:
    with SqliteStore(spool.journal / "events.sqlite") as store:
        return [event for _, event in store.read_after(0, 1_000_000)]


def lose(spool: Spool) -> None:
    for suffix in ("", "-wal", "-shm"):
        (spool.journal / f"events.sqlite{suffix}").unlink(missing_ok=True)


def kinds(spool: Spool, entry: Entry) -> list[Kind]:
    found = [event for event in events(spool) if event.item == entry.item.id]
    return [event.kind for event in sorted(found, key=lambda event: event.at)]


def handed_over(spool: Spool, entry: Entry) -> tuple[Outlet, Entry]:
    """Fanned out, and in hand."""
    outlet = Outlet(spool.root, OUTLET)
    list(spool.fan_out([entry], [outlet]))
    (claimed,) = outlet.claim(1)
    return outlet, claimed


def as_waiting(outlet: Outlet, entry: Entry) -> None:
    outlet.put_back(entry)


def as_sent(outlet: Outlet, entry: Entry) -> None:
    outlet.sent(entry, "mother")


def as_lost(outlet: Outlet, entry: Entry) -> None:
    outlet.sent(entry, "mother")
    outlet.lose_sent("mother")


def as_deferred(outlet: Outlet, entry: Entry) -> None:
    outlet.defer(entry, time.time() + 60)


def as_quarantined(outlet: Outlet, entry: Entry) -> None:
    outlet.quarantine(entry, "refused")


def as_done(outlet: Outlet, entry: Entry) -> None:
    outlet.done(entry)


@pytest.mark.parametrize(
    ("put", "last"),
    [
        (as_waiting, []),
        (as_lost, []),
        (as_sent, [Kind.PUSHED]),
        (as_deferred, [Kind.DEFERRED]),
        (as_quarantined, [Kind.QUARANTINED]),
        (as_done, [Kind.STORED]),
    ],
)
@pytest.mark.parametrize(("box", "first"), [("north", Kind.RECEIVED), ("mother", Kind.LANDED)])
def test_what_a_place_proves_is_on_record_again(
    spool: Spool, stop: Stop, put: Callable[[Outlet, Entry], None], last: list[Kind],
    box: str, first: Kind,
) -> None:  # fmt: skip
    look(spool, stop, box)
    entry = accept(spool, 1)
    put(*handed_over(spool, entry))
    lose(spool)
    look(spool, stop, box)
    assert kinds(spool, entry) == [first, Kind.QUEUED, *last]
    made = [event for event in events(spool) if event.item]
    assert all(MADE_AGAIN in event.detail for event in made)
    assert all(event.at <= datetime.now(UTC) for event in made)
    assert all(event.sop_instance_uid == "1.2.3.1" for event in made)
    (gap,) = [event for event in events(spool) if event.kind is Kind.GAP]
    assert "steps between" in gap.detail


def test_nothing_is_made_twice_and_a_sound_journal_is_left_alone(spool: Spool, stop: Stop) -> None:
    look(spool, stop)
    entries = [accept(spool, number) for number in range(3)]
    lose(spool)
    look(spool, stop)
    once = events(spool)
    assert len(once) == 1 + len(entries)
    (spool.root / "journal-identity").unlink()  # as if it had been killed before the end
    look(spool, stop)
    look(spool, stop)
    assert events(spool) == once


def test_what_was_recorded_meanwhile_is_not_made_again(spool: Spool, stop: Stop) -> None:
    look(spool, stop)
    entry = accept(spool, 1)
    handed_over(spool, entry)
    lose(spool)
    with Recorder(spool.journal, "north") as recorder:
        fields = {"item": entry.item.id, "at": entry.item.arrived_at, "peer_address": "10.0.0.1"}
        recorder.record(Kind.RECEIVED, event_id=entry.item.reception_id, **fields)
        Keeper(spool, "north", recorder, stop).look()
    assert kinds(spool, entry) == [Kind.RECEIVED, Kind.QUEUED]
    (received,) = [event for event in events(spool) if event.kind is Kind.RECEIVED]
    assert received.peer_address == "10.0.0.1"


def test_what_moves_on_after_it_was_met_is_on_record(
    spool: Spool, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a road opens while the keeper waits for what is just being recorded."""
    look(spool, stop)
    entry = accept(spool, 1)
    outlet, claimed = handed_over(spool, entry)
    outlet.put_back(claimed)
    lose(spool)
    monkeypatch.setattr(stop, "wait", lambda _: any(map(outlet.release, outlet.claim(1))))
    look(spool, stop)
    assert not claimed.path.exists()
    assert kinds(spool, entry) == [Kind.RECEIVED, Kind.QUEUED]


def test_a_new_box_has_no_gap(spool: Spool, stop: Stop) -> None:
    with Recorder(spool.journal, "north") as recorder:
        recorder.record(Kind.OUTLET_DOWN, destination=OUTLET)
        assert recorder.flush(30)
        accept(spool, 1)
        Keeper(spool, "north", recorder, stop).look()
    assert [event.kind for event in events(spool)] == [Kind.OUTLET_DOWN]


def test_items_older_than_the_first_journal_that_is_known_are_a_gap(
    spool: Spool, stop: Stop
) -> None:
    entry = accept(spool, 1)
    look(spool, stop)
    assert kinds(spool, entry) == [Kind.RECEIVED]
    (gap,) = [event for event in events(spool) if event.kind is Kind.GAP]
    assert "steps before" in gap.detail


def test_a_page_that_no_insert_touches_is_found(spool: Spool, stop: Stop) -> None:
    look(spool, stop)
    entry = accept(spool, 1)
    with Recorder(spool.journal, "north") as recorder:
        for number in range(3000):
            recorder.record(Kind.OUTLET_DOWN, destination=f"outlet-{number}")
    path = spool.journal / "events.sqlite"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)
    look(spool, stop)
    assert kinds(spool, entry) == [Kind.RECEIVED]
    assert len(list(spool.journal.glob("events.sqlite.damaged-*Z"))) == 1


def test_of_damaged_files_a_few_are_kept(spool: Spool, stop: Stop) -> None:
    for _ in range(5):
        look(spool, stop)
        lose(spool)
        (spool.journal / "events.sqlite").write_bytes(b"this is no database" * 1000)
    look(spool, stop)
    assert len(list(spool.journal.glob("events.sqlite.damaged-*Z"))) == 3


def test_a_stop_leaves_the_rest_for_the_next_start(spool: Spool, stop: Stop) -> None:
    look(spool, stop)
    entry = accept(spool, 1)
    lose(spool)
    told = Stop()
    told.set()
    look(spool, told)
    told.close()
    assert kinds(spool, entry) == []
    look(spool, stop)
    assert kinds(spool, entry) == [Kind.RECEIVED]


def test_memory_is_a_batch_whatever_stands_there(
    spool: Spool, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(spool, stop)
    for number in range(25):
        handed_over(spool, accept(spool, number))
    lose(spool)
    monkeypatch.setattr(rebuild, "_AT_A_TIME", 10)
    asked: list[int] = []
    known = rebuild.steps_known
    monkeypatch.setattr(
        rebuild,
        "steps_known",
        lambda path, items: (asked.append(len(items)), known(path, items))[1],
    )
    look(spool, stop)
    assert max(asked) == 10 and sum(asked) == 3 * 25, "what is in hand is met three times"
    assert sum(event.kind is Kind.RECEIVED for event in events(spool)) == 25


def test_a_journal_that_can_t_be_opened_ends_nothing(spool: Spool, stop: Stop) -> None:
    (spool.journal / "events.sqlite").mkdir()
    with Recorder(spool.journal, "north") as recorder:
        keeper = Keeper(spool, "north", recorder, stop)
        with pytest.raises(Exception, match="unable to open"):
            keeper.look()
        (spool.journal / "events.sqlite").rmdir()
        keeper.look()


def test_standing_at(spool: Spool) -> None:
    """Every state of an outlet is either a last step of its own, or has none."""
    assert set(rebuild._LAST) | {State.NEW, State.ACTIVE} == set(State)
