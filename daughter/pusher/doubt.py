"""Items in doubt: commit was asked for and no answer came, so a mother may have them or not.

They stay in hand on disk; in memory only the names are kept, at most what the carriers held. An
item is out of doubt when a receipt names it, or when the receipts of every mother that might have
it were read to the end without naming it: then it waits again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence

from tackybox.spool import Entry, Outlet


class Doubts:
    """The doubtful entries of `outlet`; `entries`, in hand at start, may be at any of `peers`."""

    def __init__(self, outlet: Outlet, peers: Sequence[str], entries: Iterable[Entry]) -> None:
        self._outlet = outlet
        self._lock = threading.Lock()
        self._doubts = {entry.item.name: (entry, set(peers)) for entry in entries}

    def add(self, entries: Iterable[Entry], peer: str) -> None:
        """`peer` may have `entries`."""
        with self._lock:
            self._doubts.update({entry.item.name: (entry, {peer}) for entry in entries})

    def concern(self, peer: str) -> bool:
        """Whether `peer` may have any."""
        return bool(self.of(peer))

    def of(self, peer: str) -> frozenset[str]:
        """Names of the items that `peer` may have."""
        with self._lock:
            return frozenset(name for name, (_, peers) in self._doubts.items() if peer in peers)

    def take(self, item_name: str) -> Entry | None:
        """The doubtful entry under `item_name`, no longer in doubt; None if there is none."""
        with self._lock:
            entry, _ = self._doubts.pop(item_name, (None, set()))
            return entry

    def has(self, item_name: str) -> bool:
        """Whether the item is in doubt."""
        with self._lock:
            return item_name in self._doubts

    def clear(self, peer: str, item_names: Iterable[str]) -> None:
        """The receipts of `peer` don't name `item_names`: she does not have them."""
        with self._lock:
            for name in item_names:
                if name in self._doubts:
                    self._doubts[name][1].discard(peer)

    def put_back_cleared(self) -> int:
        """Let those wait again that nobody can have any more; returns how many."""
        with self._lock:
            cleared = [entry for entry, peers in self._doubts.values() if not peers]
            for entry in cleared:
                del self._doubts[entry.item.name]
                with contextlib.suppress(FileNotFoundError):
                    self._outlet.put_back(entry)
        return len(cleared)
