"""The same answers from embedded journals, from pending files and from a server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mysql_utilities import reports
from mysql_utilities.drain import pending_dir, sqlite_path
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event, Kind
from mysql_utilities.mysql_store import MysqlStore
from mysql_utilities.reports import PendingSource, State, StoreSource
from mysql_utilities.sqlite_store import SqliteStore

KEYS = ["1.2.840.1", "ACC1.2.840.1", "PÄT 🩻", "1.2.840.1.9"]  # the study's, each way to name it


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with SqliteStore(sqlite_path(tmp_path)) as opened:
        yield opened


def write_pending(journal_dir: Path, events: list[Event]) -> None:
    pending_dir(journal_dir).mkdir(parents=True)
    lines = "".join(f"{event.to_json()}\n" for event in events)
    (pending_dir(journal_dir) / "one.jsonl").write_text(lines)


@pytest.mark.parametrize("key", KEYS)
def test_a_study_is_found_by_each_of_its_keys(
    store: SqliteStore, journey: Callable[[int], list[Event]], key: str
) -> None:
    store.insert_events(journey(5))
    found = reports.find([StoreSource(store)], key)
    assert len(found) == 5
    assert sum(len(history.events) for history in found) == len(journey(5))
    assert [len(reports.find([StoreSource(store)], uid)) for uid in ("1.2.840.1.3", "1")] == [1, 0]


def test_a_server_and_pending_files_answer_alike(
    server: Any, tmp_path: Path, store: SqliteStore, journey: Callable[[int], list[Event]]
) -> None:
    events = journey(5)
    store.insert_events(reversed(events))
    write_pending(tmp_path, events)
    with MysqlStore(server.database()) as remote:
        remote.insert_events(events)
        for key in [*KEYS, "1.2.840.1.3", events[0].item, "nothing"]:
            embedded = reports.find([StoreSource(store)], key)
            assert reports.find([StoreSource(remote)], key) == embedded
            assert reports.find([PendingSource(tmp_path)], key) == embedded
            assert reports.find([PendingSource(tmp_path), StoreSource(store)], key) == embedded
        day = events[0].at.date()
        for source in (StoreSource(store), StoreSource(remote), PendingSource(tmp_path)):
            assert reports.studies_of_day([source], day) == ["1.2.840.1"]
            assert reports.studies_of_day([source], day - timedelta(days=1)) == []
            assert reports.studies_of_day([source], day + timedelta(days=1)) == []


def test_boxes_are_merged_though_one_does_not_know_the_key(
    tmp_path: Path, journey: Callable[[int], list[Event]]
) -> None:
    """A mother that only landed an item has never seen its header."""
    events = [event for event in journey(1) if event.box == "north" or event.kind is Kind.LANDED]
    for box in ("north", "mother"):
        (tmp_path / box).mkdir()
        with SqliteStore(sqlite_path(tmp_path / box)) as one:
            one.insert_events(event for event in events if event.box == box)
    with (
        SqliteStore(sqlite_path(tmp_path / "north")) as north,
        SqliteStore(sqlite_path(tmp_path / "mother")) as mother,
    ):
        (history,) = reports.find([StoreSource(mother), StoreSource(north)], "ACC1.2.840.1")
    assert list(history.events) == events


def test_states_and_waits(store: SqliteStore, journey: Callable[[int], list[Event]]) -> None:
    store.insert_events(journey(5))
    found = reports.find([StoreSource(store)], "1.2.840.1")
    assert reports.states(found) == {
        ("north", "mother", State.RELEASED): 3,
        ("north", "mother", State.AT_MOTHER): 2,
        ("mother", "PACS", State.STORED): 3,
        ("mother", "PACS", State.WAITING): 1,
        ("mother", "PACS", State.QUARANTINED): 1,
    }
    waits = {(w.began, w.done): (w.count, w.median_s, w.longest_s) for w in reports.waits(found)}
    assert waits == {
        (Kind.RECEIVED, Kind.PUSHED): (5, 2.5, 2.5),
        (Kind.RECEIVED, Kind.LANDED): (5, 2.0, 2.0),
        (Kind.LANDED, Kind.STORED): (3, 3.0, 3.0),
        (Kind.RECEIVED, Kind.STORED): (3, 5.0, 5.0),
        (Kind.RECEIVED, Kind.RELEASED): (3, 6.0, 6.0),
    }


def test_a_refusal_is_found_by_its_sop_instance(store: SqliteStore) -> None:
    refused = Event(kind=Kind.REFUSED, box="north", sop_instance_uid="9.9", status_code=0xA700)
    store.insert_events([refused, Event(kind=Kind.OUTLET_DOWN, box="north", destination="m")])
    (history,) = reports.find([StoreSource(store)], "9.9")
    assert history.events == (refused,)
    assert set(history.states.values()) == {State.REFUSED}
    assert reports.find([StoreSource(store)], "") == []


def test_too_wide_a_question_is_said(
    store: SqliteStore, journey: Callable[[int], list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.insert_events(journey(5))
    monkeypatch.setattr(reports, "MAX_EVENTS", 10)
    with pytest.raises(JournalError, match="ask for a study or a series"):
        reports.find([StoreSource(store)], "1.2.840.1")
