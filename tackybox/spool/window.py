"""The next entries of a directory, a window at a time, so that memory and time stay flat.

A directory of a million names is read in one pass that keeps the WINDOW_ENTRIES first; the next
pass is made when those are used up, or not at all while the directory has not changed. What this
process moves in itself it tells by `put`, which costs no pass. What others move in is found when
the window is used up; if it belongs before what is in the window, when the next pass is made for
safety: after RESCAN_S, or a hundred times what the last one took.
"""

from __future__ import annotations

import bisect
import contextlib
import threading
import time
from pathlib import Path

from tackybox.errors import DataError
from tackybox.spool.durable import names
from tackybox.spool.entry import Entry
from tackybox.spool.renewal import renew

WINDOW_ENTRIES = 8192
RESCAN_S = 10.0
_RESCAN_SHARE = 100
# A change within a clock tick of the last one may leave the directory's time as it was.
_SETTLED_NS = 100_000_000
_DUE_DIGITS = 20
_END = ":"  # sorts behind every key: keys begin with a digit


def mark_of(directory: Path) -> int | None:
    """A number that differs after any change to the entries of `directory`.

    None if it might not, because the last change was a moment ago. The mark of none is 0.
    """
    try:
        changed_ns = directory.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
    return changed_ns if abs(time.time_ns() - changed_ns) > _SETTLED_NS else None


class Window:
    """The entries of `directory`, oldest name first; with `by_due`, those that are due, in order.

    Files that are no items are passed over. With `renewable` the directory is replaced by a new one
    where it is empty and still large: only for the one process that works it. Threads may share it.
    """

    def __init__(self, directory: Path, *, by_due: bool = False, renewable: bool = False) -> None:
        self.passes = 0
        self._directory = directory
        self._by_due = by_due
        self._renewable = renewable
        self._lock = threading.Lock()
        self._keys: list[str] = []  # in order; those before _at were handed out
        self._at = 0
        # From this key on the directory may hold what the window does not; _END: it holds all.
        self._beyond = ""
        self._mark: int | None = None
        self._look_again_at_s = 0.0

    def take(self, limit: int) -> list[Entry]:
        """Up to `limit` of the next entries, each handed out once until the next pass.

        An entry may be gone by the time that it is used: the caller's rename tells.
        """
        taken: list[Entry] = []
        now_s = time.time()
        with self._lock:
            if limit > 0 and self._must_look(now_s):
                self._look()
            while len(taken) < limit and self._at < len(self._keys):
                key = self._keys[self._at]
                if self._due_s(key) > now_s:
                    break
                self._at += 1
                with contextlib.suppress(DataError):
                    taken.append(Entry.named(self._directory, key.rpartition("\0")[2]))
        return taken

    def put(self, entry: Entry) -> None:
        """`entry` was moved into the directory by this process, under its file name."""
        key = self._key(entry.path.name)
        with self._lock:
            if not "0" <= key < self._beyond:
                return
            place = bisect.bisect_left(self._keys, key, self._at)
            if self._keys[place : place + 1] != [key]:
                self._keys.insert(place, key)
            if len(self._keys) - self._at > 2 * WINDOW_ENTRIES:
                del self._keys[: self._at]
                self._at = 0
                self._beyond = _cut(self._keys) or self._beyond

    def next_due_s(self) -> float | None:
        """When there may be something to take (Unix time; 0: now), or None if there is nothing."""
        with self._lock:
            if self._must_look(time.time()):
                self._look()
            key = self._keys[self._at] if self._at < len(self._keys) else self._beyond
            return None if key == _END else self._due_s(key)

    def _must_look(self, now_s: float) -> bool:
        if time.monotonic() >= self._look_again_at_s:
            return True
        if self._at < len(self._keys):
            return False
        if self._beyond == _END:
            return self._mark is None or self._mark != mark_of(self._directory)
        return self._due_s(self._beyond) <= now_s

    def _look(self) -> None:
        """Read the directory once, and keep the first of its keys."""
        self.passes += 1
        began_s = time.monotonic()
        self._mark = mark_of(self._directory)
        self._keys, self._at, self._beyond = [], 0, ""
        keys: list[str] = []
        beyond = _END
        for name in names(self._directory):
            key = self._key(name) if self._by_due else name
            if "0" <= key < beyond:
                keys.append(key)
                if len(keys) >= 2 * WINDOW_ENTRIES:
                    beyond = _cut(keys) or beyond
        beyond = _cut(keys) or beyond
        self._keys, self._beyond = keys, beyond
        if not self._keys and self._renewable:
            renew(self._directory)
        took_s = time.monotonic() - began_s
        self._look_again_at_s = time.monotonic() + max(RESCAN_S, took_s * _RESCAN_SHARE)

    def _key(self, name: str) -> str:
        """What the entry called `name` is sorted by; _END if it can be none."""
        if not self._by_due:
            return name
        due_s = name.rpartition("~")[2] if "~" in name else "0"
        if not due_s.isdecimal() or len(due_s) > _DUE_DIGITS:
            return _END
        return f"{due_s.zfill(_DUE_DIGITS)}\0{name}"

    def _due_s(self, key: str) -> float:
        return float(key[:_DUE_DIGITS]) if self._by_due and key else 0.0


def _cut(keys: list[str]) -> str:
    """Sort `keys` and keep the first of them; the first that was cut off, or ""."""
    keys.sort()
    beyond = keys[WINDOW_ENTRIES] if len(keys) > WINDOW_ENTRIES else ""
    del keys[WINDOW_ENTRIES:]
    return beyond
