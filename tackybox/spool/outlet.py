"""One outlet's queue: the directories under `out/<outlet>/` and the moves between them.

One process at a time works an outlet (`Spool.work_outlet` holds the lock); its threads may share
the object. Every move is one rename within the spool, so that a kill at any line leaves the item
in exactly one state; none of them needs an fsync, because the state it might fall back to after a
power cut is an earlier one, from which the item is delivered again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tackybox.errors import DataError
from tackybox.spool.bell import Bell
from tackybox.spool.durable import fsync_directory, make_directory, names, write_atomically
from tackybox.spool.entry import Entry, Lane, State
from tackybox.spool.window import Window


@dataclass(frozen=True, slots=True)
class Tally:
    """How many entries a directory holds, and the name of the oldest."""

    count: int
    oldest: Entry | None


class Outlet:
    """The queue named `name` under the spool at `root`; its directories are made if missing."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.root = root / "out" / name
        self._quarantine = root / "quarantine" / name
        for state in (State.NEW, State.ACTIVE, State.DEFERRED, State.DONE):
            for lane in Lane:
                make_directory(self.directory(state, lane))
        make_directory(self.root / State.SENT)
        self.bell = Bell(self.root / "bell")
        self._windows = {lane: Window(self.directory(State.NEW, lane)) for lane in Lane}
        self._claiming = threading.Lock()

    def directory(self, state: State, lane: Lane) -> Path:
        """Where entries of `lane` stand in `state` (not for SENT, which is per peer)."""
        return self.root / state / lane

    def claim(self, limit: int, lanes: Iterable[Lane] = tuple(Lane)) -> list[Entry]:
        """Move up to `limit` entries into hand: higher lanes first, in each the due ones first."""
        claimed: list[Entry] = []
        with self._claiming:
            for lane in lanes:
                for source in (self._due(lane, limit), self._windows[lane].take(limit)):
                    for entry in source[: limit - len(claimed)]:
                        with contextlib.suppress(FileNotFoundError):
                            claimed.append(self._move(entry, State.ACTIVE, entry.file_name))
                    if len(claimed) >= limit:
                        return claimed
        return claimed

    def put_back(self, entry: Entry) -> None:
        """From in hand back to waiting, without counting an attempt."""
        self._move(entry, State.NEW, entry.file_name)
        self._windows[entry.lane].forget()

    def defer(self, entry: Entry, due_s: float) -> Entry:
        """From in hand to the next attempt at `due_s` (Unix time); counts one attempt."""
        attempts = entry.attempts + 1
        return self._move(entry, State.DEFERRED, f"{entry.item.name}~{attempts}~{int(due_s)}")

    def quarantine(self, entry: Entry, reason: str) -> Entry:
        """Out of the queue, visibly, under `reason` (a word of `tackybox.reasons`)."""
        return _rename(entry, self._quarantine / reason / entry.lane)

    def sent(self, entry: Entry, peer: str) -> Entry:
        """From in hand to "signed for by `peer`"."""
        return _rename(entry, self.root / State.SENT / peer / entry.lane)

    def sent_entries(self, peer: str) -> Iterator[Entry]:
        """All entries that `peer` signed for and that are still here."""
        for lane in Lane:
            yield from _entries(self.root / State.SENT / peer / lane)

    def sync_sent(self, peer: str) -> None:
        """Make what was moved to "signed for by `peer`" durable there."""
        for lane in Lane:
            directory = self.root / State.SENT / peer / lane
            if directory.exists():
                fsync_directory(directory)

    def peers(self) -> list[str]:
        """The peers that ever signed for something."""
        return sorted(names(self.root / State.SENT))

    def bookmark(self, peer: str) -> tuple[str, int]:
        """Identity of the spool whose receipts we read at `peer`, and how far; ("", 0) if never."""
        try:
            identity, cursor = (self.root / f"receipts-{peer}").read_text().split()
            return identity, int(cursor)
        except (FileNotFoundError, ValueError):
            return "", 0

    def set_bookmark(self, peer: str, identity: str, cursor: int) -> None:
        """Remember, durably, that all receipts of `peer` before `cursor` were acted on."""
        write_atomically(self.root / f"receipts-{peer}", f"{identity} {cursor}\n".encode())

    def in_hand(self, item_name: str) -> bool:
        """Whether the item is in hand."""
        return any((self.directory(State.ACTIVE, lane) / item_name).exists() for lane in Lane)

    def find(self, item_name: str) -> Entry | None:
        """The entry under `item_name`, waiting or signed for by any peer, if it is still here."""
        tops = [self.root / State.NEW, *(self.root / State.SENT / peer for peer in self.peers())]
        for top in tops:
            for lane in Lane:
                if (top / lane / item_name).exists():
                    return Entry.at(top / lane / item_name)
        return None

    def send_again(self, entry: Entry) -> None:
        """From "signed for" back to waiting: the peer has lost it, or another one takes over."""
        self.put_back(entry)

    def release(self, entry: Entry) -> None:
        """Free this outlet's copy. Only upon the mother's receipt."""
        entry.path.unlink(missing_ok=True)

    def done(self, entry: Entry) -> Entry:
        """From in hand to "this archive has it"."""
        return self._move(entry, State.DONE, entry.item.name)

    def entries(self, state: State) -> Iterator[Entry]:
        """All entries in `state` (not SENT), higher lanes first, unsorted within a lane."""
        for lane in Lane:
            yield from _entries(self.directory(state, lane))

    def recover(self) -> int:
        """Put back all that a killed process had in hand; returns how many."""
        count = 0
        for entry in list(self.entries(State.ACTIVE)):
            self.put_back(entry)
            count += 1
        return count

    def holds(self, entry: Entry) -> bool:
        """Whether a copy of `entry` stands in this queue (deferred ones not looked at)."""
        name = entry.item.name
        places = [self.directory(s, entry.lane) for s in (State.NEW, State.ACTIVE, State.DONE)]
        places += [self.root / State.SENT / peer / entry.lane for peer in self.peers()]
        return any((place / name).exists() for place in places)

    def tally(self, state: State, lane: Lane) -> Tally:
        """Count and oldest entry of one directory; for SENT over all peers."""
        directories = [self.directory(state, lane)]
        if state is State.SENT:
            directories = [self.root / state / peer / lane for peer in self.peers()]
        count, oldest = 0, ""
        for directory in directories:
            for name in names(directory):
                count += 1
                if not oldest or name < oldest.rpartition("/")[2]:
                    oldest = f"{directory}/{name}"
        return Tally(count, Entry.at(Path(oldest)) if oldest else None)

    def next_due_s(self) -> float | None:
        """When the next deferred entry is due (Unix time), or None."""
        return min((entry.due_s for entry in self.entries(State.DEFERRED)), default=None)

    def _due(self, lane: Lane, limit: int) -> list[Entry]:
        now_s = time.time()
        due: list[Entry] = []
        for entry in _entries(self.directory(State.DEFERRED, lane)):
            if entry.due_s <= now_s:
                due.append(entry)
                if len(due) >= limit:
                    break
        return due

    def _move(self, entry: Entry, state: State, name: str) -> Entry:
        path = self.directory(state, entry.lane) / name
        entry.path.rename(path)
        return Entry.at(path)


def _rename(entry: Entry, directory: Path) -> Entry:
    path = directory / entry.item.name
    try:
        entry.path.rename(path)
    except FileNotFoundError:
        make_directory(directory)
        entry.path.rename(path)
    return Entry.at(path)


def _entries(directory: Path) -> Iterator[Entry]:
    for name in names(directory):
        with contextlib.suppress(DataError):
            yield Entry.at(directory / name)
