"""How far the journal is behind, in its pending files and on servers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mysql_utilities import lag
from mysql_utilities.drain import pending_dir, sqlite_path
from mysql_utilities.events import Event, Kind
from mysql_utilities.lag import Lag, Pending, ServerLag
from mysql_utilities.mysql_store import MysqlAddress
from mysql_utilities.recorder import Recorder
from mysql_utilities.shipper import Shipper
from mysql_utilities.sqlite_store import SqliteStore

START = datetime(2026, 3, 1, tzinfo=UTC)
ADDRESS = MysqlAddress("127.0.0.1", 3306, "tackybox", "w0rd", "journal")


def make(count: int, start: datetime = START) -> list[Event]:
    return [
        Event(kind=Kind.RECEIVED, box="north", at=start + timedelta(seconds=number))
        for number in range(count)
    ]


def write_pending(journal_dir: Path, name: str, events: list[Event]) -> int:
    pending_dir(journal_dir).mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{event.to_json()}\n" for event in events)
    (pending_dir(journal_dir) / f"{name}.jsonl").write_text(lines)
    return len(lines)


def test_no_journal_at_all(tmp_path: Path) -> None:
    assert lag.read(tmp_path) == Lag(Pending())


def test_what_waits_is_counted_once_and_what_was_moved_is_not(tmp_path: Path) -> None:
    events = make(100)
    with SqliteStore(sqlite_path(tmp_path)) as store:
        store.insert_events(events[:70])
    write_pending(tmp_path, "a", events[:80])
    write_pending(tmp_path, "b", events[80:])
    size_bytes = sum(len(event.to_json()) + 1 for event in events[70:])
    found = lag.read(tmp_path)
    assert found == Lag(Pending(30, size_bytes, 0, events[70].at), events[69].at)


def test_without_a_database_all_wait(tmp_path: Path) -> None:
    size_bytes = write_pending(tmp_path, "a", make(5))
    assert lag.read(tmp_path) == Lag(Pending(5, size_bytes, 0, START))
    sqlite_path(tmp_path).write_bytes(b"this is no database" * 1000)
    assert lag.read(tmp_path) == Lag(Pending(5, size_bytes, 0, START))


def test_a_huge_backlog_is_not_all_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "MAX_LINES", 64)
    size_bytes = write_pending(tmp_path, "a", make(1000))
    size_bytes += write_pending(tmp_path, "b", make(1000))
    found = lag.read(tmp_path).pending
    assert found.events == 64
    assert found.size_bytes + found.uncounted_bytes == size_bytes


def test_junk_and_a_line_being_written_are_no_events(tmp_path: Path) -> None:
    write_pending(tmp_path, "a", make(2))
    with (pending_dir(tmp_path) / "a.jsonl").open("ab") as file:
        file.write(b"\xff\x00\n" + make(1)[0].to_json().encode()[:50])
    assert lag.read(tmp_path).pending.events == 2


def test_a_locked_database_makes_events_wait_and_then_they_do_not(tmp_path: Path) -> None:
    with Recorder(tmp_path, "north") as recorder:
        recorder.record(Kind.RECEIVED, at=START)
        assert recorder.flush(30)
        other = sqlite3.connect(sqlite_path(tmp_path), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for event in make(10, START + timedelta(hours=1)):
            recorder.record(Kind.STORED, at=event.at)
        found = lag.read(tmp_path)
        assert (found.pending.events, found.last_at) == (10, START)
        assert found.pending.oldest_at == START + timedelta(hours=1)
        other.execute("ROLLBACK")
        other.close()
        assert recorder.flush(30)
        found = lag.read(tmp_path)
        assert (found.pending.events, found.pending.oldest_at) == (0, None)
        assert found.last_at == START + timedelta(hours=1, seconds=9)


def test_a_server_that_never_had_anything_lacks_all(tmp_path: Path) -> None:
    with SqliteStore(sqlite_path(tmp_path)) as store:
        store.insert_events(make(7))
        store.forget_before(3)
    assert lag.read(tmp_path).servers == []
    assert lag.read(tmp_path, ADDRESS).servers == [
        ServerLag("tackybox@127.0.0.1:3306/journal", 5, START + timedelta(seconds=2))
    ]


def test_a_server_lacks_what_came_since(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]]
) -> None:
    address = server.database()
    with SqliteStore(sqlite_path(tmp_path)) as store:
        store.insert_events(journey(3))
        shipper = Shipper(tmp_path, address)
        shipper.ship_once()
        assert lag.read(tmp_path, address).servers == [ServerLag(str(address), 0, None)]
        store.insert_events(make(4))
        assert lag.read(tmp_path, address).servers == [ServerLag(str(address), 4, START)]
        shipper.ship_once()
        shipper.close()
    assert lag.read(tmp_path).servers == [ServerLag(str(address), 0, None)]
