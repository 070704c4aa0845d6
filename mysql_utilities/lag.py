"""How far a journal is behind: events not yet in the embedded one, or not yet on a server.

Changes nothing and asks no server: what a server has is what it said when it was given events
last. Not promised: that all of a huge backlog is counted. It looks at MAX_LINES lines of the
pending files, the oldest files first; the rest counts in bytes alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from mysql_utilities.drain import pending_dir, sqlite_path
from mysql_utilities.errors import JournalError
from mysql_utilities.events import FIELDS, rows_of
from mysql_utilities.mysql_store import MysqlAddress
from mysql_utilities.pending import CHUNK_BYTES, pending_files
from mysql_utilities.sqlite_store import SqliteStore
from mysql_utilities.statements import statements

MAX_LINES = 20_000
_LINES_AT_ONCE = 64

_SQL = statements("box.sql")
_EVENT_ID = FIELDS.index("event_id")
_AT = FIELDS.index("at")


@dataclass(frozen=True, slots=True)
class ServerLag:
    """What a server lacks: events, when the first of them happened, and how long ago that is."""

    server: str
    events: int
    oldest_at: datetime | None
    behind_s: float = field(default=0.0, compare=False)


@dataclass(slots=True)
class Pending:
    """What stands in pending files and not in the embedded journal. `uncounted_bytes` were not
    looked at: some of them may be in the journal already."""

    events: int = 0
    size_bytes: int = 0
    uncounted_bytes: int = 0
    oldest_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Steps are missing in a journal: when that was found, and which and why in words."""

    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class Lag:
    """`last_at`: when the event that came last into the embedded journal happened; `gap`: the
    last one."""

    pending: Pending
    last_at: datetime | None = None
    servers: list[ServerLag] = field(default_factory=list)
    gap: Gap | None = None


def read(journal_dir: Path, server: MysqlAddress | None = None) -> Lag:
    """How far the journal under `journal_dir` is behind at this moment; `server` is the one that
    it should be shipped to, which is shown even if it has got nothing yet."""
    try:
        with SqliteStore(sqlite_path(journal_dir), create=False) as store:
            pending = _pending(journal_dir, store)
            last_at = _at(store, "last_at", {})
            return Lag(pending, last_at, _servers(store, server), _gap(store))
    except JournalError:  # it is not there, or can't be read: then all of them wait
        return Lag(_pending(journal_dir, None))


def _pending(journal_dir: Path, store: SqliteStore | None) -> Pending:
    found = Pending()
    lines_left = MAX_LINES
    for file in pending_files(pending_dir(journal_dir)):
        readline = partial(file.readline, CHUNK_BYTES)
        while lines_left > 0 and (lines := list(islice(iter(readline, b""), _LINES_AT_ONCE))):
            lines_left -= len(lines)
            for line, row in zip(lines, rows_of(lines), strict=True):
                if row is not None and not (store and _has(store, row[_EVENT_ID])):
                    found.events += 1
                    found.size_bytes += len(line)
                    at = datetime.fromisoformat(row[_AT]).replace(tzinfo=UTC)
                    found.oldest_at = min(found.oldest_at or at, at)
        found.uncounted_bytes += max(0, os.fstat(file.fileno()).st_size - file.tell())
    return found


def _has(store: SqliteStore, event_id: str) -> bool:
    return bool(store.rows(_SQL["has_event"], {"event_id": event_id}))


def _at(store: SqliteStore, statement: str, parameters: Mapping[str, Any]) -> datetime | None:
    rows = store.rows(_SQL[statement], parameters)
    return datetime.fromisoformat(rows[0][0]).replace(tzinfo=UTC) if rows else None


def _gap(store: SqliteStore) -> Gap | None:
    rows = store.rows(_SQL["last_gap"], {})
    return Gap(datetime.fromisoformat(rows[0][0]).replace(tzinfo=UTC), rows[0][1]) if rows else None


def _servers(store: SqliteStore, server: MysqlAddress | None) -> list[ServerLag]:
    shipped = {str(name): int(seq) for name, seq in store.rows(_SQL["servers"], {})}
    if server is not None:
        shipped.setdefault(str(server), 0)
    ((first_seq, last_seq),) = store.rows(_SQL["range"], {})
    found = []
    for name, seq in sorted(shipped.items()):
        # A journal that was itself restored may be shorter than what a server has of it.
        events = max(0, last_seq + 1 - max(seq + 1, first_seq))
        oldest_at = _at(store, "at_after", {"seq": seq})
        behind_s = (datetime.now(UTC) - oldest_at).total_seconds() if oldest_at else 0.0
        found.append(ServerLag(name, events, oldest_at, behind_s))
    return found
