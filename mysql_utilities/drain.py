"""Moves events from pending files into the embedded journal.

Contract: a line leaves its pending file only after it is committed in the SQLite file that is
at the path now; a second time changes nothing (event_id). A damaged SQLite file is set aside
and a fresh one begun, with a GAP event that says so; a line that can't be read becomes a GAP
event too. Memory is one chunk of lines, whatever the backlog.
"""

from __future__ import annotations

import fcntl
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from mysql_utilities.errors import JournalCorruptError, JournalError
from mysql_utilities.events import Event, Kind, rows_of
from mysql_utilities.pending import PendingFile, orphans
from mysql_utilities.sqlite_store import SqliteStore, set_aside

_log = logging.getLogger(__name__)
_GAP_NAMESPACE = uuid.UUID("5f0e0c4e-1d5f-4f5a-9a8e-6d1f3a0b7c21")


def sqlite_path(journal_dir: Path) -> Path:
    """Where the embedded journal of a journal directory is."""
    return journal_dir / "events.sqlite"


def pending_dir(journal_dir: Path) -> Path:
    """Where events stand until they are in it."""
    return journal_dir / "pending"


class Drain:
    """The writing end of one embedded journal; for one thread and one process.

    Keeps the SQLite file open between calls and opens it again when it was replaced.
    """

    def __init__(self, journal_dir: Path, box: str) -> None:
        self._dir = journal_dir
        self._path = sqlite_path(journal_dir)
        self._box = box
        self._store: SqliteStore | None = None
        self._had_store = False

    def move_all(
        self,
        file: PendingFile,
        offset: int = 0,
        end: int | None = None,
        *,
        to_the_end: bool = False,
    ) -> int:
        """Inserts all lines from `offset` on, up to `end`; returns the offset up to which it did.
        Raises JournalError or OSError; what was inserted by then stays so."""
        while True:
            lines, next_offset = file.read_lines(offset, end, to_the_end=to_the_end)
            if next_offset == offset:
                return offset
            self._insert(partial(self._rows, lines, f"{file.path.name}:{offset}"))
            offset = next_offset

    def insert(self, rows: Sequence[Sequence[Any]]) -> None:
        """Inserts rows, which stand in a pending file, too. Raises JournalError or OSError."""
        self._insert(lambda: rows)

    def check(self) -> tuple[str, datetime]:
        """Reads the whole embedded journal through; one that is damaged is set aside and a fresh
        one begun. Returns the identity of the one there is now, and when it began. Raises
        JournalError or OSError."""
        self._soundly(lambda: self._opened().check())
        return self.identity()

    def identity(self) -> tuple[str, datetime]:
        """The identity of the embedded journal, which is made if it is not there, and when it
        began. Raises JournalError or OSError."""
        self._soundly(self._opened)
        store = self._opened()
        return store.journal_id, store.began_at

    def adopt(self) -> int:
        """Takes over what dead processes left; returns the number of files.
        Raises JournalError or OSError."""
        adopted = 0
        for orphan in orphans(pending_dir(self._dir)):
            try:
                self.move_all(orphan, to_the_end=True)
                orphan.path.unlink(missing_ok=True)
            finally:
                orphan.close()
            adopted += 1
        return adopted

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _rows(self, lines: list[bytes], where: str) -> Iterator[tuple[Any, ...]]:
        unreadable = 0
        for row in rows_of(lines):
            if row is None:
                unreadable += 1
            else:
                yield row
        if unreadable:
            _log.error("journal: %d unreadable line(s) in pending file %s", unreadable, where)
            gap = Event(
                kind=Kind.GAP,
                box=self._box,
                # The same each time that the same lines are read again.
                event_id=uuid.uuid5(_GAP_NAMESPACE, where).hex,
                detail=f"{unreadable} event(s) were unreadable in the pending file {where}",
            )
            yield gap.to_row()

    def _insert(self, rows: Callable[[], Iterable[Sequence[Any]]]) -> None:
        self._soundly(partial(self._insert_in_place, rows))

    def _soundly(self, work: Callable[[], object]) -> None:
        """Does `work`; once more with a fresh file if the one there is damaged."""
        try:
            work()
        except JournalCorruptError as error:
            _log.error("journal: %s", error)
            damaged_inode = self._store.inode if self._store is not None else None
            self.close()
            self._begin_anew(damaged_inode)
            work()
        except JournalError:
            self.close()
            raise

    def _insert_in_place(self, rows: Callable[[], Iterable[Sequence[Any]]]) -> None:
        for _ in range(3):
            store = self._opened()
            store.insert_rows(rows())
            # What went into a file that was moved or deleted meanwhile goes into the new one.
            if store.is_in_place():
                return
            self.close()
        raise JournalError("the embedded journal is replaced faster than it can be written")

    def _opened(self) -> SqliteStore:
        if self._store is not None and not self._store.is_in_place():
            self.close()
        if self._store is None:
            self._dir.mkdir(parents=True, exist_ok=True)
            self._store = SqliteStore(self._path)
            if self._store.began_anew and self._had_store:
                self._note_gap("the embedded journal had vanished; a new one was begun")
            self._had_store = True
        return self._store

    def _note_gap(self, detail: str) -> None:
        _log.error("journal: %s", detail)
        if self._store is not None:
            self._store.insert_events([Event(kind=Kind.GAP, box=self._box, detail=detail)])

    def _begin_anew(self, damaged_inode: int | None) -> None:
        """Sets the damaged file aside, unless another process has done so by now.
        `damaged_inode` is None where the file could not even be opened."""
        with _directory_lock(self._dir):
            try:
                store = SqliteStore(self._path)
                is_replaced = damaged_inode is None or store.inode != damaged_inode
                store.close()
                if is_replaced:
                    return
            except JournalCorruptError:
                pass
            aside = set_aside(self._path)
            self._had_store = False
            self._opened()
            self._note_gap(
                "the embedded journal was damaged; a new one was begun,"
                f" the old one is kept as {aside.name}"
            )


@contextmanager
def _directory_lock(directory: Path) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
