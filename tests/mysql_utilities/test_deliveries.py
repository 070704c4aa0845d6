"""Each step of an instance is found, wherever in the journal it stands just now."""

from __future__ import annotations

from pathlib import Path

import pytest

from mysql_utilities import deliveries
from mysql_utilities.deliveries import steps_of
from mysql_utilities.drain import pending_dir, sqlite_path
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event, Kind
from mysql_utilities.pending import PendingFile
from mysql_utilities.sqlite_store import SqliteStore


def step(kind: Kind, uid: str, item: str = "a", **fields: str) -> Event:
    return Event(kind=kind, box="north", item=item, sop_instance_uid=uid, digest="d", **fields)


def insert(directory: Path, *events: Event) -> None:
    sqlite_path(directory).parent.mkdir(parents=True, exist_ok=True)
    with SqliteStore(sqlite_path(directory)) as store:
        store.insert_events(events)


def pend(directory: Path, *events: Event) -> None:
    file = PendingFile.create(pending_dir(directory))
    for event in events:
        file.append(event.to_json().encode(), event.to_row())
    file.close()


def test_steps_come_in_order_from_the_database_and_from_pending_files(tmp_path: Path) -> None:
    received, queued = step(Kind.RECEIVED, "1.2.3"), step(Kind.QUEUED, "1.2.3", destination="m")
    released = step(Kind.RELEASED, "1.2.3", destination="m", detail="stored by PACS")
    insert(tmp_path, received, step(Kind.RECEIVED, "1.2.33"), queued)
    pend(tmp_path, queued, released, step(Kind.RECEIVED, "1.2"))
    found = steps_of(tmp_path, ["1.2.3", "1.2.5"])
    assert found["1.2.5"] == []
    assert [(one.kind, one.destination, one.detail) for one in found["1.2.3"]] == [
        ("RECEIVED", "", ""), ("QUEUED", "m", ""), ("RELEASED", "m", "stored by PACS"),
    ]  # fmt: skip
    assert {one.digest for one in found["1.2.3"]} == {"d"}


@pytest.mark.parametrize("is_pending", [True, False])
def test_an_instance_with_too_many_steps_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_pending: bool
) -> None:
    monkeypatch.setattr(deliveries, "MOST_STEPS", 2)
    many = [step(Kind.RECEIVED, "1.2.3", str(number)) for number in range(4)]
    insert(tmp_path, *([] if is_pending else many), step(Kind.RECEIVED, "1.2.4"))
    pend(tmp_path, *(many if is_pending else []))
    found = steps_of(tmp_path, ["1.2.3", "1.2.4"])
    assert found["1.2.3"] == []
    assert len(found["1.2.4"]) == 1


def test_a_journal_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(JournalError):
        steps_of(tmp_path, ["1.2.3"])
    sqlite_path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
    sqlite_path(tmp_path).write_bytes(b"no database" * 1000)
    with pytest.raises(JournalError):
        steps_of(tmp_path, ["1.2.3"])
