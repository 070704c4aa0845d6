"""Pending files: where events stand until they are in the embedded journal.

Contract: a process appends to a file of its own, `<uuid>.jsonl`, each line with one write() to
a descriptor opened with O_APPEND; a line whose write returned outlives the process, SIGKILL
included. An exclusive flock says that the owner lives; who gets the lock of a file owns what a
dead process left in it.

What was appended of late is also kept in memory, as rows for the database: up to KEPT_ROWS, so
that the owner need not read and decode what it has just written. The file is what counts.

Not promised: durability over a power cut (no fsync: no image waits for the journal).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from mysql_utilities.events import Event

_SUFFIX = ".jsonl"
CHUNK_BYTES = 512 * 1024
"""How much is read at once; far longer than the longest line."""
KEPT_ROWS = 2000
"""Some 2 MB. What comes beyond is read from the file."""


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Another one may have emptied and unlinked it between our open and our lock.
    return os.fstat(fd).st_nlink > 0


class PendingFile:
    """One pending file, locked by this process. Not thread-safe for appends and truncation:
    the caller holds one lock around both; reading lines needs none."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.size_bytes = os.fstat(fd).st_size
        self._keep_from_here()

    def _keep_from_here(self) -> None:
        self._rows: list[Sequence[Any]] = []  # of the lines from _rows_from to _rows_to
        self._rows_from = self._rows_to = self.size_bytes

    @classmethod
    def create(cls, pending_dir: Path) -> Self:
        """A new, empty file, ours alone. Raises OSError."""
        pending_dir.mkdir(parents=True, exist_ok=True)
        while True:
            path = pending_dir / f"{uuid.uuid4().hex}{_SUFFIX}"
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
            fd = os.open(path, flags, 0o640)
            if _try_lock(fd):
                return cls(path, fd)
            os.close(fd)

    def append(self, line: bytes, row: Sequence[Any]) -> None:
        """Appends one line, which is `row`. Raises OSError; then the file is as it was before."""
        data = line + b"\n"
        written = os.write(self._fd, data)
        if written != len(data):
            os.ftruncate(self._fd, self.size_bytes)
            raise OSError(errno.ENOSPC, "the disk took only a part of the line")
        if self._rows_to == self.size_bytes and len(self._rows) < KEPT_ROWS:
            self._rows.append(row)
            self._rows_to += written
        self.size_bytes += written

    def take_rows(self, offset: int) -> tuple[list[Sequence[Any]], int, int]:
        """The rows of the lines from `offset` on, as far as they are kept; the offset behind them;
        and that behind what must be read. What is appended from now on is kept again. The caller
        holds the lock."""
        rows, start, end = self._rows, self._rows_from, self._rows_to
        self._keep_from_here()
        return (rows, end, self.size_bytes) if start == offset else ([], offset, self.size_bytes)

    def read_lines(
        self, offset: int, end: int | None, *, to_the_end: bool
    ) -> tuple[list[bytes], int]:
        """Whole lines from `offset` on (up to `end`, which must be a line's), about CHUNK_BYTES of
        them, and the next offset.

        With `to_the_end` (the owner is dead) a last line without its end counts as a line too.
        Raises OSError.
        """
        wanted = CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - offset)
        data = os.pread(self._fd, wanted, offset)
        whole = data.rfind(b"\n") + 1
        if whole == 0 and (to_the_end or len(data) == CHUNK_BYTES):
            whole = len(data)
        return data[:whole].splitlines(), offset + whole

    def truncate(self, drained_bytes: int) -> bool:
        """Empties the file if no more is in it than was drained; says whether it is empty.
        Raises OSError."""
        if drained_bytes != self.size_bytes:
            return False
        if drained_bytes:
            os.ftruncate(self._fd, 0)
            self.size_bytes = 0
            self._keep_from_here()
        return True

    def remove(self) -> None:
        """Unlinks and lets go. Raises OSError."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Lets go of the file; what is in it belongs to whoever locks it next."""
        os.close(self._fd)


def orphans(pending_dir: Path) -> Iterator[PendingFile]:
    """Files whose owner is dead, each locked for us; the caller removes or closes each.
    A file that can't be opened (another user's) is passed over. Raises OSError."""
    if not pending_dir.is_dir():
        return
    for path in pending_dir.glob(f"*{_SUFFIX}"):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        if _try_lock(fd):
            yield PendingFile(path, fd)
        else:
            os.close(fd)


def pending_files(pending_dir: Path) -> Iterator[BinaryIO]:
    """All pending files, open for a reader who takes nothing away, those written to last coming
    last; what can't be opened is passed over."""

    def written_at(path: Path) -> float:
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
        return 0.0

    for path in sorted(pending_dir.glob(f"*{_SUFFIX}"), key=written_at):
        try:
            file = path.open("rb")
        except OSError:
            continue  # unlinked meanwhile, or another user's
        with file:
            yield file


def read_events(pending_dir: Path) -> Iterator[Event]:
    """What stands in all pending files now, for a reader that takes nothing away; lines that
    can't be read, a line still being written among them, are passed over."""
    for file in pending_files(pending_dir):
        while line := file.readline(CHUNK_BYTES):
            with contextlib.suppress(ValueError):
                yield Event.from_json(line)
