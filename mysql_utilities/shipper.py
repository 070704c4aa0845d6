"""Carries the embedded journal on to a MySQL or MariaDB server.

Contract: each event is on the server once, however often the server, the network or this process
fails in between. How far the server has the journal is noted on the server, in one transaction
with the events themselves: a server that was wiped or restored from an older backup is thereby
given again what it lacks. A journal that was itself restored is noticed by the event_id at the
noted place, and given again from its beginning. Waits for the server have limits; after a failure
it waits longer and longer, up to RETRY_MAX_S.

Not promised: that rows which someone deletes on the server come back (that is how to thin it
out), unless its `shipment` row is deleted with them; any order among several boxes' events.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from pathlib import Path
from typing import Protocol

from mysql_utilities.drain import sqlite_path
from mysql_utilities.errors import JournalError
from mysql_utilities.events import clean_row
from mysql_utilities.mysql_store import MysqlAddress, MysqlStore
from mysql_utilities.sqlite_store import SqliteStore

BATCH_EVENTS = 2000
"""What goes in one transaction; less after a failure, so that a slow server is not asked for what
it can't do in time."""
POLL_S = 0.5
ASK_EVERY_S = 10.0
"""How often a server is asked how far it is when there is nothing to ship."""
RETRY_MIN_S = 1.0
RETRY_MAX_S = 60.0
_LEAST_EVENTS = 50
_COMPLAIN_EVERY_S = 60.0

_log = logging.getLogger(__name__)


class Stop(Protocol):
    """What `run` needs of a threading.Event or of anything like it."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None, /) -> bool: ...


class Shipper:
    """Ships one embedded journal to one server; for one thread and one process. Several shippers
    of one journal do no harm: they take turns."""

    def __init__(
        self, journal_dir: Path, address: MysqlAddress, *, timeout_s: float = 10.0
    ) -> None:
        self._path = sqlite_path(journal_dir)
        self._address = address
        self._timeout_s = timeout_s
        self._journal: SqliteStore | None = None
        self._server: MysqlStore | None = None
        self._batch_events = BATCH_EVENTS
        self._asked_at = float("-inf")
        self._noted = (0, "")
        self._complaint = ""
        self._complained_at = float("-inf")

    def ship_once(self) -> int:
        """Ships one batch; returns its size, 0 if the server has everything. Raises JournalError
        (JournalSchemaError if tackybox.sql must be loaded)."""
        if not self._path.exists():
            return 0
        try:
            return self._ship(self._opened())
        except BaseException:
            self.close()
            raise

    def _opened(self) -> SqliteStore:
        if self._journal is not None and not self._journal.is_in_place():
            self._journal.close()
            self._journal = None
        if self._journal is None:
            self._journal = SqliteStore(self._path, create=False)
        return self._journal

    def _ship(self, journal: SqliteStore) -> int:
        if self._server is None:
            self._server = MysqlStore(self._address, timeout_s=self._timeout_s)
        with self._server.transaction():
            seq, event_id = self._server.shipped_through(journal.journal_id)
            if seq and journal.event_id_at(seq) != event_id:
                _log.warning("journal: it is not the one shipped before; shipping all of it again")
                seq = 0
            found = journal.rows_after(seq, self._batch_events)
            if found:
                seq = found[-1][0]
                rows = [clean_row(row[1:]) for row in found]
                self._server.take_shipment(journal.journal_id, seq, rows)
        self._note(journal, seq)
        self._asked_at = time.monotonic()
        return len(found)

    def _note(self, journal: SqliteStore, seq: int) -> None:
        if self._noted != (seq, journal.journal_id):
            # It only says what may be forgotten here: shipping does not depend on it.
            with contextlib.suppress(JournalError):
                journal.note_shipped(str(self._address), seq)
                self._noted = (seq, journal.journal_id)

    def _is_due(self) -> bool:
        """Whether there is something to ship, or the server may have lost something. Asks the
        server nothing."""
        if time.monotonic() >= self._asked_at + ASK_EVERY_S or not self._path.exists():
            return True
        journal = self._opened()
        return self._noted != (journal.last_seq(), journal.journal_id)

    def run(self, stop: Stop) -> None:
        """Ships until told to stop; never raises for what may pass."""
        failures = 0
        while not stop.is_set():
            try:
                shipped = self.ship_once() if self._is_due() else 0
                if failures:
                    _log.info("journal: shipping to %s goes on", self._address)
                failures = 0
                if shipped < self._batch_events:
                    stop.wait(POLL_S)
                else:
                    # A tenth more, so that what was too much is not tried again at once.
                    self._batch_events = min(BATCH_EVENTS, shipped + 1 + shipped // 10)
            except Exception as error:  # evidence must never end a box's process
                failures += 1
                self.close()
                self._batch_events = max(_LEAST_EVENTS, self._batch_events // 2)
                self._complain(error)
                stop.wait(retry_delay_s(failures))
        self.close()

    def close(self) -> None:
        """Lets go of the server and of the journal."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _complain(self, error: Exception) -> None:
        what = str(error) if isinstance(error, JournalError) else type(error).__name__
        now = time.monotonic()
        if what == self._complaint and now - self._complained_at < _COMPLAIN_EVERY_S:
            return
        self._complaint, self._complained_at = what, now
        _log.error("journal: not shipped for now, nothing is lost: %s", what)


def retry_delay_s(failures: int) -> float:
    """Seconds to wait: half to all of what doubles from RETRY_MIN_S up to RETRY_MAX_S."""
    ceiling_s = min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(failures - 1, 16))
    return random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311 - jitter
