"""The next entries of a directory, a window at a time, so that memory and time stay flat.

A directory of a million names is read in one pass that keeps the WINDOW_ENTRIES first; the next
pass begins when most of those are used up, and none while the directory has not changed. A pass is
made in slices, one with each `take`, so that nobody waits for a directory of whatever size on a
disk of whatever speed; until the first one is through, what it has seen is handed out, which is in
order but for what it has not seen. What this process moves in itself it tells by `put`, which costs
no pass. What others move in is found when the window is used up; if it belongs before what is in
the window, when the next pass is made for safety: after RESCAN_S, or a hundred times what the last
one took.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tackybox.errors import DataError
from tackybox.spool.durable import names
from tackybox.spool.entry import Entry
from tackybox.spool.renewal import renew

WINDOW_ENTRIES = 16_384
_REFILL_SHARE = 8
RESCAN_S = 10.0
_RESCAN_SHARE = 100
# A change within a clock tick of the last one may leave the directory's time as it was.
_SETTLED_NS = 100_000_000
_SLICE_S = 0.05
_SLICE_NAMES = 1024  # read between two looks at the clock
_EARLY_ENTRIES = 256  # are handed out before a first pass is through
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


class _Pass:
    """One reading of `directory`, in slices."""

    def __init__(self, directory: Path, key_of: Callable[[str], str]) -> None:
        self.mark = mark_of(directory)
        self.keys: list[str] = []  # the first of what was read, unsorted
        self.beyond = _END  # from this key on what was read is not in `keys`
        self.took_s = 0.0
        self._keys_read = map(key_of, names(directory))

    def read_on(self) -> bool:
        """Read a slice; whether that was the end."""
        began_s, slice_s, at_end = time.monotonic(), 0.0, False
        while not at_end and slice_s < _SLICE_S:
            read = list(itertools.islice(self._keys_read, _SLICE_NAMES))
            self.add(read)
            at_end = len(read) < _SLICE_NAMES
            slice_s = time.monotonic() - began_s
        self.took_s += slice_s
        return at_end

    def add(self, keys: Iterable[str]) -> None:
        """Count `keys` among those that were read."""
        self.keys += [key for key in keys if "0" <= key < self.beyond]
        if len(self.keys) > WINDOW_ENTRIES + WINDOW_ENTRIES // 4:
            self.keys.sort()
            self.beyond = self.keys[WINDOW_ENTRIES]
            del self.keys[WINDOW_ENTRIES:]

    def early(self) -> list[str]:
        """Some of the first keys so far, in order; they are no longer the pass's."""
        self.keys.sort()
        some = self.keys[:_EARLY_ENTRIES]
        del self.keys[:_EARLY_ENTRIES]
        return some


class Window:
    """The entries of `directory`, oldest name first; with `by_due`, those that are due, in order.

    Files that are no items are passed over. What is due later than in `longest_wait_s` is due now:
    the clock went back since it was put there. With `renewable` the directory is replaced by a new
    one where it is empty and still large: only for the one process that works it. Threads may share
    it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        by_due: bool = False,
        renewable: bool = False,
        longest_wait_s: float = math.inf,
    ) -> None:
        self.passes = 0
        self._longest_wait_s = longest_wait_s
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
        self._pass: _Pass | None = None

    @property
    def is_reading(self) -> bool:
        """Whether a pass is under way: a `take` that gave nothing may give something next time."""
        return self._pass is not None

    def take(self, limit: int) -> list[Entry]:
        """Up to `limit` of the next entries, each handed out once until the next pass.

        An entry may be gone by the time that it is used: the caller's rename tells.
        """
        taken: list[Entry] = []
        now_s = time.time()
        with self._lock:
            if limit > 0:
                self._look(now_s)
            while len(taken) < limit and self._at < len(self._keys):
                key = self._keys[self._at]
                if now_s < self._due_s(key) <= now_s + self._longest_wait_s:
                    break
                self._at += 1
                with contextlib.suppress(DataError):
                    taken.append(Entry.named(self._directory, key.rpartition("\0")[2]))
        return taken

    def put(self, entry: Entry) -> None:
        """`entry` was moved into the directory by this process, under its file name."""
        key = self._key(entry.path.name)
        with self._lock:
            if self._pass is not None:
                self._pass.add((key,))
            if "0" <= key < self._beyond:
                if self._at > WINDOW_ENTRIES:  # handed out, and no pass has come to forget them
                    del self._keys[: self._at]
                    self._at = 0
                bisect.insort(self._keys, key, self._at)
                if len(self._keys) - self._at > WINDOW_ENTRIES + WINDOW_ENTRIES // 4:
                    self._hold(self._keys[self._at :], self._beyond)

    def _look(self, now_s: float) -> None:
        """Read a slice of the directory, if it must be read."""
        if self._pass is None and self._must_look(now_s):
            self._pass = _Pass(self._directory, self._key)
            self.passes += 1
        if self._pass is None:
            return
        reading, self._pass = self._pass, None  # an error ends it
        del self._keys[: self._at]
        self._at = 0
        if not reading.read_on():
            if not self._keys:
                self._keys, self._beyond = reading.early(), ""
            self._pass = reading
            return
        self._mark = reading.mark
        self._look_again_at_s = time.monotonic() + max(RESCAN_S, reading.took_s * _RESCAN_SHARE)
        # Keys that were made before a clock went back are there anew, as due.
        latest_s = now_s + self._longest_wait_s
        reading.add(key for key in self._keys if self._due_s(key) <= latest_s)
        self._hold(reading.keys, reading.beyond)
        if not self._keys and self._renewable:
            renew(self._directory)

    def _must_look(self, now_s: float) -> bool:
        if time.monotonic() >= self._look_again_at_s:
            return True
        left = len(self._keys) - self._at
        if self._beyond == _END:
            return not left and (self._mark is None or self._mark != mark_of(self._directory))
        return left <= WINDOW_ENTRIES // _REFILL_SHARE and self._due_s(self._beyond) <= now_s

    def _hold(self, keys: list[str], beyond: str) -> None:
        """Have `keys` for a window, each once, which ends before `beyond` or earlier."""
        keys.sort()
        held = [key for key, _ in itertools.groupby(keys)]
        if len(held) > WINDOW_ENTRIES:
            beyond = held[WINDOW_ENTRIES]
            del held[WINDOW_ENTRIES:]
        self._keys, self._at, self._beyond = held, 0, beyond

    def _key(self, name: str) -> str:
        """What the entry called `name` is sorted by; _END if it can be none."""
        if not self._by_due:
            return name
        due_s = name.rpartition("~")[2] if "~" in name else "0"
        if not due_s.isdecimal() or len(due_s) > _DUE_DIGITS:
            return _END
        if int(due_s) > time.time() + self._longest_wait_s:
            due_s = "0"
        return f"{due_s.zfill(_DUE_DIGITS)}\0{name}"

    def _due_s(self, key: str) -> float:
        return float(key[:_DUE_DIGITS]) if self._by_due and key else 0.0
