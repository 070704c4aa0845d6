"""The oldest entries of a directory, a window at a time, so that memory stays flat.

A directory of a million names is read in one pass that keeps the WINDOW_ENTRIES oldest; the next
pass is made when those are used up. Arrivals are younger than what is in the window, so order
holds without looking again.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import deque
from pathlib import Path

from tackybox.errors import DataError
from tackybox.spool.durable import names
from tackybox.spool.entry import Entry

WINDOW_ENTRIES = 4096


class Window:
    """The entries of `directory`, oldest name first. Files that are no items are passed over."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: deque[str] = deque()

    def take(self, limit: int) -> list[Entry]:
        """Up to `limit` of the oldest entries, each handed out once until the next pass.

        An entry may be gone by the time that it is used: the caller's rename tells.
        """
        if not self._names:
            candidates = (name for name in names(self._directory) if name[0].isdigit())
            self._names.extend(heapq.nsmallest(WINDOW_ENTRIES, candidates))
        taken: list[Entry] = []
        while self._names and len(taken) < limit:
            with contextlib.suppress(DataError):
                taken.append(Entry.at(self._directory / self._names.popleft()))
        return taken

    def forget(self) -> None:
        """Make a pass at the next `take`: something older than the window may have come back."""
        self._names.clear()
