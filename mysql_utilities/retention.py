"""Forgets what the embedded journal has kept long enough.

Contract: only events older than asked for go, the oldest first, in small transactions that let
others write in between; none that the server, where one is configured, has not said it has; and
never the last one. A wrong clock forgets nothing early: an event goes only after all before it,
save those that claim to be from the future.

Never touches the server: how long it keeps events is its owner's to say. Not promised: that the
file shrinks (what is free in it is used again); the history of an image that stands in
quarantine for longer than events are kept.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mysql_utilities.drain import sqlite_path
from mysql_utilities.errors import JournalError
from mysql_utilities.mysql_store import MysqlAddress
from mysql_utilities.shipper import Stop
from mysql_utilities.sqlite_store import SqliteStore

EVERY_S = 3600.0
_PAUSE_S = 0.1  # between two transactions
_CLOCK_ERROR = timedelta(days=1)

_log = logging.getLogger(__name__)


def start(journal_dir: Path, keep_days: int, server: MysqlAddress | None, stop: Stop) -> None:
    """Forget now and every EVERY_S, in a thread of this process, until `stop` or the process's
    end; for one process of a box. With `keep_days` 0 nothing is ever forgotten."""
    if keep_days:
        arguments = (journal_dir, timedelta(days=keep_days), server, stop)
        threading.Thread(target=_run, args=arguments, name="retention", daemon=True).start()


def forget(journal_dir: Path, keep: timedelta, server: MysqlAddress | None, stop: Stop) -> int:
    """Forgets all that is older than `keep` and may go; returns how many events went. `server` is
    the one that must have them before. Raises JournalError."""
    forgotten = 0
    if not sqlite_path(journal_dir).exists():
        return forgotten
    with SqliteStore(sqlite_path(journal_dir), create=False) as journal:
        now = datetime.now(UTC)
        seq = journal.first_since(now - keep, now + _CLOCK_ERROR) or journal.last_seq()
        if server is not None:
            # The event at the noted place stays: by it the shipper knows the journal again.
            seq = min(seq, journal.shipped_through(str(server)))
        while not stop.is_set() and (count := journal.forget_before(seq)):
            forgotten += count
            stop.wait(_PAUSE_S)
    return forgotten


def _run(journal_dir: Path, keep: timedelta, server: MysqlAddress | None, stop: Stop) -> None:
    while not stop.is_set():
        try:
            if forgotten := forget(journal_dir, keep, server, stop):
                _log.info("journal: %d event(s) older than %d days went", forgotten, keep.days)
        except (JournalError, OSError) as error:
            _log.warning("journal: nothing is forgotten for now: %s", error)
        stop.wait(EVERY_S)
