"""The embedded journal: one SQLite file that several processes and containers write to.

Contract: `insert_events` is one transaction and idempotent by event_id; `read_after` gives events
in the order of their commit, and no event ever appears later with a lower number. Each journal
file has an identity of its own (`journal_id`).

Not promised: that the last moments before a power cut are there (WAL, synchronous=NORMAL: a
killed process loses nothing, a dead machine may); that the file is still at its path (ask
`is_in_place`). Network filesystems are not supported by SQLite's WAL.
"""

from __future__ import annotations

import random
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mysql_utilities.errors import JournalCorruptError, JournalError
from mysql_utilities.events import Event
from mysql_utilities.statements import script, statements

_SQL = statements("sqlite.sql")
_SCHEMA_VERSION = 3
_CHECKPOINT_PAGES = 4000  # of 4 KiB: when so much has been written, it goes into the main file
_CORRUPT_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_KEPT_ASIDE = 3  # damaged files, for whoever wants to look into them; older ones go


@contextmanager
def _translated() -> Iterator[None]:
    """Turns sqlite3's errors into the journal's own."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # All statements are fixed: a table that is not there was there.
        if code in _CORRUPT_CODES or "no such table" in str(error):
            raise JournalCorruptError(f"the embedded journal is damaged: {error}") from error
        raise JournalError(f"the embedded journal can't be used now: {error}") from error


class SqliteStore:
    """One open connection to the embedded journal; for one thread and one process.

    Raises JournalCorruptError if the file is no database, JournalError for anything that may
    pass (locked, disk full, unreadable). With `create=False` a missing file is a JournalError; one
    that another process is just making is waited for, `busy_timeout_s` long.
    `began_anew` says that this very opening gave the journal its identity; `began_at` is when
    it was given one.
    """

    def __init__(self, path: Path, *, create: bool = True, busy_timeout_s: float = 5.0) -> None:
        self.path = path
        mode = "rwc" if create else "rw"
        with _translated():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=busy_timeout_s,
                isolation_level=None,
            )
        try:
            with _translated():
                self._configure(busy_timeout_s)
                if not create:
                    self._await_schema(busy_timeout_s)
                self.journal_id, self.began_at, self.began_anew = self._identify(create)
            self.inode = path.stat().st_ino
        except OSError as error:
            self.close()
            raise JournalError(f"the embedded journal vanished: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def _configure(self, busy_timeout_s: float) -> None:
        deadline = time.monotonic() + busy_timeout_s
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:
                # The change to WAL does not honour the busy time-out when two begin at once.
                if time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - spreads contenders
        self._connection.execute("PRAGMA synchronous = NORMAL")
        # A checkpoint fsyncs two files; the images on the same disk have better use for that.
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")

    def _await_schema(self, timeout_s: float) -> None:
        """Another process may just be making the journal: an empty file is not a damaged one."""
        deadline = time.monotonic() + timeout_s
        while not self._version():
            if time.monotonic() > deadline:
                raise JournalError("the embedded journal is still empty")
            time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - spreads contenders

    def _identify(self, create: bool) -> tuple[str, datetime, bool]:
        began_anew = False
        if create and not self._has_schema():
            self._connection.executescript(f"BEGIN IMMEDIATE;\n{script('sqlite_schema.sql')}")
            fresh = {"journal_id": uuid.uuid4().hex, "began_at": datetime.now(UTC).isoformat()}
            cursor = self._connection.execute(_SQL["name_journal"], fresh)
            began_anew = cursor.rowcount == 1
            self._connection.execute("COMMIT")
        row = self._connection.execute(_SQL["journal_id"]).fetchone()
        if row is None:
            raise JournalError("the embedded journal is just being made")
        return str(row[0]), datetime.fromisoformat(row[1]), began_anew

    def _has_schema(self) -> bool:
        return self._version() >= _SCHEMA_VERSION

    def _version(self) -> int:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    def is_in_place(self) -> bool:
        """Whether the open file is still the one at the path (not deleted, not set aside)."""
        try:
            return self.path.stat().st_ino == self.inode
        except OSError:
            return False

    def check(self) -> None:
        """Reads the whole file through; raises JournalCorruptError if it is damaged anywhere."""
        (found,) = self.rows("PRAGMA quick_check(1)", {})
        if found[0] != "ok":
            raise JournalCorruptError("the embedded journal is damaged: its pages are not in order")

    def insert_events(self, events: Iterable[Event]) -> int:
        """Inserts all or nothing; returns how many were new."""
        return self.insert_rows(event.to_row() for event in events)

    def insert_rows(self, rows: Iterable[Sequence[Any]]) -> int:
        """The same with rows as `Event.to_row` makes them."""
        with _translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                cursor = self._connection.executemany(_SQL["insert_event"], rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        return max(cursor.rowcount, 0)

    def read_after(self, seq: int, max_rows: int = 500) -> list[tuple[int, Event]]:
        """Up to `max_rows` (sequence number, event) in the order of their commit."""
        return [(row[0], Event.from_row(row[1:])) for row in self.rows_after(seq, max_rows)]

    def rows_after(self, seq: int, max_rows: int) -> list[tuple[Any, ...]]:
        """The same as rows: the sequence number, then the values in the order of FIELDS."""
        return self.rows(_SQL["read_after"], {"seq": seq, "max_rows": max_rows})

    def event_id_at(self, seq: int) -> str | None:
        """The event_id that bears this sequence number, None if no event does."""
        rows = self.rows(_SQL["event_id_at"], {"seq": seq})
        return str(rows[0][0]) if rows else None

    def last_seq(self) -> int:
        """The highest sequence number, 0 in an empty journal."""
        return int(self.rows(_SQL["last_seq"], {})[0][0])

    def note_shipped(self, server: str, seq: int) -> None:
        """Notes up to which sequence number `server` says it has this journal."""
        with _translated():
            self._connection.execute(_SQL["note_shipped"], {"server": server, "last_seq": seq})

    def shipped_through(self, server: str) -> int:
        """What was noted last for `server`; 0 if nothing was."""
        rows = self.rows(_SQL["shipped_through"], {"server": server})
        return int(rows[0][0]) if rows else 0

    def first_since(self, since: datetime, until: datetime) -> int | None:
        """The lowest sequence number of an event between these (aware) times; None if there is
        none. Reads all before it."""
        bounds = {"since": since, "until": until}
        texts = {name: f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}" for name, at in bounds.items()}
        rows = self.rows(_SQL["first_since"], texts)
        return int(rows[0][0]) if rows else None

    def forget_before(self, seq: int, max_rows: int = 500) -> int:
        """Deletes up to `max_rows` of the oldest events below `seq`; returns how many. The file
        keeps its size: what is free in it is used again."""
        with _translated():
            bounds = {"seq": seq, "max_rows": max_rows}
            return self._connection.execute(_SQL["forget_before"], bounds).rowcount

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of one statement with `:name` parameters."""
        with _translated():
            return self._connection.execute(statement, dict(parameters)).fetchall()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def set_aside(path: Path) -> Path:
    """Renames a damaged journal and its WAL out of the way; returns the new path. Of those that
    were set aside before, all but the last few are removed.

    Raises OSError. The caller holds the lock that keeps two processes from doing this at once.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in ("-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    for old in sorted(path.parent.glob(f"{path.name}.damaged-*Z"))[:-_KEPT_ASIDE]:
        for suffix in ("", "-wal", "-shm"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    return aside
