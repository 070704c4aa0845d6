"""Takes events in; the one thing of the journal that daemons touch.

Contract: `record` never raises and never waits for a database. It appends one line to this
process's own pending file and returns; from then on SIGKILL can't take the event away. A
background thread moves the lines on into `<journal_dir>/events.sqlite`, however long SQLite is
locked, full, missing or damaged, and memory stays flat meanwhile. What other, dead processes
left behind is taken over at the start and every ADOPT_EVERY_S.

After fork() a child's Recorder begins a pending file and a thread of its own with its first
event; the parent's file is never touched by the child. Threads of one process may share one.

Not promised: that an event outlives a power cut that comes within seconds of it, or a disk that
is full (the loss is counted, logged, and becomes a GAP event as soon as there is room).
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mysql_utilities.drain import Drain, pending_dir
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event, Kind, line_and_row
from mysql_utilities.pending import PendingFile

ADOPT_EVERY_S = 30.0
# Lets a batch form, so that a burst is a few commits and not thousands: longer while much comes.
_GATHER_S = 0.02
_GATHER_BUSY_S = 0.4
_BUSY_BYTES = 16 * 1024  # in one pass: about thirty events
_COMPLAIN_EVERY_S = 60.0
_RETRY_MIN_S = 0.5
_RETRY_MAX_S = 5.0
_ROTATE_BYTES = 8 * 1024 * 1024

_log = logging.getLogger(__name__)
_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


class Recorder:
    """Records this process's events under `journal_dir`, as from `box`. Never raises OSError
    for a directory that can't be written: it complains to the log and counts what is lost."""

    def __init__(self, journal_dir: Path, box: str) -> None:
        self._dir = journal_dir
        self._box = box
        self._inherited: list[object] = []
        self._begin()
        _recorders.add(self)
        self._start_thread()

    def _begin(self) -> None:
        self._lock = threading.Lock()  # around appends, truncation and the exchange of the file
        self._file: PendingFile | None = None
        self._drained_bytes = 0
        self._lost = 0
        self._complained_at = float("-inf")
        self._closing = threading.Event()
        self._wake = threading.Event()  # there is something to move
        self._hurry = threading.Event()  # somebody waits for it: don't gather
        self._passes = threading.Condition()
        self._pass_wanted = 0
        self._pass_done = 0
        self._thread: threading.Thread | None = None

    def _after_fork_in_child(self) -> None:
        if self._file is not None:
            # Closing our copy of the descriptor leaves the parent's lock as it is.
            self._file.close()
        # Locks may be held by threads that do not exist here, SQLite must not be shared over a
        # fork, not even to close it: keep them from being finalised, and use new ones.
        self._inherited.append((self._thread, self._lock, self._passes))
        closing = self._closing.is_set()
        self._begin()
        if closing:
            self._closing.set()

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def record(self, kind: Kind, **event_fields: Any) -> None:
        """Notes one event; `event_fields` are those of Event except kind and (by default) box."""
        try:
            event_fields.setdefault("box", self._box)
            self._append(*line_and_row(kind, event_fields))
        except Exception as error:  # the promise is never to raise
            self._lost += 1
            self._complain("an event could not be noted", error)

    def _append(self, line: str, row: list[Any]) -> None:
        with self._lock:
            if self._closing.is_set():
                raise RuntimeError("the recorder is closed")
            if self._file is None:
                self._file = PendingFile.create(pending_dir(self._dir))
            self._file.append(line.encode("ascii"), row)
            if self._lost:
                loss = self._loss()
                self._file.append(loss.to_json().encode("ascii"), loss.to_row())
                self._lost = 0
            if self._thread is None:
                self._start_thread()
        if not self._wake.is_set():
            self._wake.set()

    def _loss(self) -> Event:
        detail = f"{self._lost} event(s) of this box could not be noted before this one"
        return Event(kind=Kind.GAP, box=self._box, detail=detail)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Waits until all that was recorded before this call is in the embedded journal;
        says whether it is."""
        with self._passes:
            self._pass_wanted += 1
            wanted = self._pass_wanted
            self._wake.set()
            self._hurry.set()
            return self._passes.wait_for(lambda: self._pass_done >= wanted, timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Flushes if that works in time, then lets go. What is left is adopted by the next
        process that records here."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        thread = self._thread
        if thread is not None:
            self._wake.set()
            self._hurry.set()
            thread.join(timeout_s)
        if thread is None or not thread.is_alive():
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            file, self._file = self._file, None
        if file is None:
            return
        try:
            if file.truncate(self._drained_bytes):
                file.remove()
            else:
                file.close()
        except OSError as error:
            self._complain("the pending file could not be put away", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        drain = Drain(self._dir, self._box)
        failures = 0
        adopt_at = 0.0
        closing = False
        while not closing:
            # Cleared before anything is read, so that what comes later is seen by the next pass.
            self._wake.clear()
            self._hurry.clear()
            closing = self._closing.is_set()  # one last pass comes after it was set
            wanted = self._pass_wanted
            try:
                moved_bytes = self._drain_own(drain)
                if time.monotonic() >= adopt_at:
                    drain.adopt()
                    adopt_at = time.monotonic() + ADOPT_EVERY_S
                failures = 0
                self._finish_pass(wanted)
                if not closing:
                    self._wake.wait(max(0.0, adopt_at - time.monotonic()))
                    busy = moved_bytes >= _BUSY_BYTES
                    self._hurry.wait(_GATHER_BUSY_S if busy else _GATHER_S)
            except Exception as error:  # the thread must outlive any failure
                failures += 1
                self._complain("events wait in pending files", error)
                self._closing.wait(_retry_delay_s(failures))
                self._wake.set()
        drain.close()

    def _finish_pass(self, wanted: int) -> None:
        with self._passes:
            self._pass_done = wanted
            self._passes.notify_all()

    def _drain_own(self, drain: Drain) -> int:
        """Moves what stands in our own file; how many bytes that was."""
        file = self._file
        if file is None:
            return 0
        before_bytes = self._drained_bytes
        with self._lock:
            rows, rows_end, end = file.take_rows(before_bytes)
        if rows:
            drain.insert(rows)
        self._drained_bytes = rows_end
        if rows_end < end:
            self._drained_bytes = drain.move_all(file, rows_end, end)
        moved_bytes = self._drained_bytes - before_bytes
        with self._lock:
            if file.truncate(self._drained_bytes):
                self._drained_bytes = 0
                return moved_bytes
            if self._drained_bytes < _ROTATE_BYTES:
                self._wake.set()
                return moved_bytes
            # Events come so fast that the file is never empty: go on in a new one.
            self._file = PendingFile.create(pending_dir(self._dir))
        drained_bytes, self._drained_bytes = self._drained_bytes, 0
        try:
            drain.move_all(file, drained_bytes)
        except (JournalError, OSError):
            file.close()  # an orphan now, to be adopted
            raise
        file.remove()
        return moved_bytes

    def _complain(self, what: str, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained_at < _COMPLAIN_EVERY_S:
            return
        self._complained_at = now
        _log.error("journal: %s: %s (%s)", what, type(error).__name__, _reason(error))


def _reason(error: Exception) -> str:
    # Only errors of our own and the system's are known to hold nothing of an event.
    if isinstance(error, OSError):
        return error.strerror or "no reason given"
    return str(error) if isinstance(error, (JournalError, RuntimeError)) else "see the source"


def _retry_delay_s(failures: int) -> float:
    """Doubles from _RETRY_MIN_S up to _RETRY_MAX_S, then between half and all of it."""
    ceiling_s = min(_RETRY_MAX_S, _RETRY_MIN_S * 2.0 ** min(failures, 16))
    return random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311 - jitter


def _reset_in_child() -> None:
    for recorder in list(_recorders):
        recorder._after_fork_in_child()


os.register_at_fork(after_in_child=_reset_in_child)
