"""The embedded journal while another process is just making it."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from mysql_utilities import sqlite_store
from mysql_utilities.errors import JournalCorruptError, JournalError
from mysql_utilities.sqlite_store import SqliteStore
from mysql_utilities.statements import script


def test_an_empty_file_is_waited_for_until_it_is_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.sqlite"
    path.touch()
    made: list[str] = []

    def meanwhile(_: float) -> None:
        with SqliteStore(path) as maker:
            made.append(maker.journal_id)

    monkeypatch.setattr(sqlite_store.time, "sleep", meanwhile)
    with SqliteStore(path, create=False) as store:
        assert made == [store.journal_id]


def test_a_schema_that_is_not_committed_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.sqlite"
    maker = sqlite3.connect(path, isolation_level=None)
    maker.execute("PRAGMA journal_mode = WAL")
    maker.executescript(f"BEGIN IMMEDIATE;\n{script('sqlite_schema.sql')}")
    maker.execute("INSERT INTO journal VALUES ('made', '2026-01-01T00:00:00+00:00')")
    monkeypatch.setattr(sqlite_store.time, "sleep", lambda _: maker.execute("COMMIT"))
    with SqliteStore(path, create=False) as store:
        assert store.journal_id == "made"
    maker.close()


def test_what_nobody_makes_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    path.touch()
    with pytest.raises(JournalError, match="still empty") as raised:
        SqliteStore(path, create=False, busy_timeout_s=0.01)
    assert not isinstance(raised.value, JournalCorruptError)


def _read(path: str, found: multiprocessing.Queue[str]) -> None:
    while not Path(path).exists():
        pass
    try:
        with SqliteStore(Path(path), create=False, busy_timeout_s=60.0) as store:
            found.put(store.journal_id)
    except JournalError as error:
        found.put(repr(error))


def test_processes_that_open_it_while_it_is_made_find_one_journal(tmp_path: Path) -> None:
    spawning = multiprocessing.get_context("fork")
    for number in range(10):
        path, found = tmp_path / f"{number}.sqlite", spawning.Queue()
        readers = [spawning.Process(target=_read, args=(str(path), found)) for _ in range(3)]
        for reader in readers:
            reader.start()
        with SqliteStore(path, busy_timeout_s=60.0) as maker:
            seen = [found.get(timeout=120) for _ in readers]
        for reader in readers:
            reader.join(60)
        assert set(seen) == {maker.journal_id}
