"""One outlet's queue: the directories under `out/<outlet>/` and the moves between them.

One process at a time works an outlet (`Spool.work_outlet` holds the lock); its threads may share
the object, and its forked children may claim from it, each with an object of its own. Every move is
one rename within the spool, so that a kill at any line leaves the item in exactly one state; none
of them needs an fsync, because the state it might fall back to after a power cut is an earlier one,
from which the item is delivered again.

Memory and the cost of a claim do not grow with the queue: what is next is known from windows
(`tackybox.spool.window`), what is walked through is streamed, in no order.
"""

from __future__ import annotations

import contextlib
import math
import os
import uuid
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from tackybox.errors import DataError
from tackybox.spool.bell import Bell
from tackybox.spool.durable import (
    fsync_directory,
    make_directory,
    names,
    sweep_temporaries,
    write_atomically,
)
from tackybox.spool.entry import Entry, Lane, State
from tackybox.spool.renewal import adopt, move, renew
from tackybox.spool.window import Window, mark_of

_BY_PEER = (State.SENT, State.ANSWERED)
_LOST = "~"  # behind a peer's name: what she had signed for, to be queued again


@dataclass(frozen=True, slots=True)
class Tally:
    """How many entries a directory holds, and the name of the oldest."""

    count: int
    oldest: Entry | None


class Outlet:
    """The queue named `name` under the spool at `root`; its directories are made if missing.

    Nothing that is deferred waits longer than `longest_wait_s`, whatever the clock does. Of several
    processes that claim from it all but one only `help`: they take nothing that was tried before,
    so that one alone knows how often it failed, and renew no directory (`tackybox.spool.renewal`).
    """

    def __init__(
        self, root: Path, name: str, longest_wait_s: float = math.inf, *, helps: bool = False
    ) -> None:
        self.name = name
        self.root = root / "out" / name
        self._quarantine = root / "quarantine" / name
        self._directories = {
            (state, lane): self.root / state / lane for state in State for lane in Lane
        }
        for state in (State.NEW, State.ACTIVE, State.DEFERRED, State.DONE):
            for lane in Lane:
                make_directory(self.directory(state, lane))
        for state in _BY_PEER:
            make_directory(self.root / state)
        self.bell = Bell(self.root / "bell")
        self._waiting = {
            lane: Window(self.directory(State.NEW, lane), renewable=not helps) for lane in Lane
        }
        self._deferred = {
            lane: Window(
                self.directory(State.DEFERRED, lane),
                by_due=True,
                renewable=not helps,
                longest_wait_s=longest_wait_s,
            )
            for lane in Lane
        }
        self._claimed = (self._waiting,) if helps else (self._deferred, self._waiting)
        self._is_untried_turn = True
        self._sent: dict[Path, Window] = {}
        self._answered: dict[Path, Window] = {}
        self._seen_empty: dict[Path, int | None] = {}

    def directory(self, state: State, lane: Lane) -> Path:
        """Where entries of `lane` stand in `state` (not for SENT and ANSWERED: by peer)."""
        return self._directories[state, lane]

    def claim(self, limit: int, lanes: Sequence[Lane] = tuple(Lane)) -> list[Entry]:
        """Move up to `limit` entries of one lane into hand, the highest in which something waits.

        With one call those that were deferred and are due come first; with the next one those of
        any lane that were never tried: what fails again and again must not be all that is tried.
        """
        self._is_untried_turn = not self._is_untried_turn
        order = [[windows[lane] for windows in self._claimed] for lane in lanes]
        if self._is_untried_turn:
            order = [[windows[lane]] for windows in reversed(self._claimed) for lane in lanes]
        while True:
            for windows in order:
                claimed: list[Entry] = []
                for window in windows:
                    claimed += self._claim_from(window, limit - len(claimed))
                if claimed:
                    return claimed
            if not any(window.is_reading for windows in order for window in windows):
                return []

    def put_back(self, entry: Entry) -> None:
        """From in hand back to waiting, without counting an attempt; what was tried before, to
        those that were deferred."""
        state, windows = State.NEW, self._waiting
        if entry.attempts:
            state, windows = State.DEFERRED, self._deferred
        windows[entry.lane].put(self._move(entry, state, entry.file_name))

    def defer(self, entry: Entry, due_s: float) -> Entry:
        """From in hand to the next attempt at `due_s` (Unix time); counts one attempt."""
        counted = replace(entry, attempts=entry.attempts + 1, due_s=int(due_s))
        later = self._move(counted, State.DEFERRED, counted.file_name)
        self._deferred[entry.lane].put(later)
        return later

    def quarantine(self, entry: Entry, reason: str) -> Entry:
        """Out of the queue, visibly, under `reason` (a word of `tackybox.reasons`)."""
        return _rename(entry, self._quarantine / reason / entry.lane)

    def quarantined(self, reason: str) -> Iterator[Entry]:
        """What stands in this outlet's quarantine under `reason`."""
        for lane in Lane:
            yield from _entries(self._quarantine / reason / lane)

    def sent(self, entry: Entry, peer: str) -> Entry:
        """From in hand to "signed for by `peer`"."""
        return _rename(entry, self.root / State.SENT / peer / entry.lane)

    def sent_entries(self, peer: str) -> Iterator[Entry]:
        """All entries that `peer` signed for and that are still here."""
        for lane in Lane:
            yield from _entries(self.root / State.SENT / peer / lane)

    def has_sent(self, peer: str) -> bool:
        """Whether anything is here that `peer` signed for. Costs little, however often asked."""
        return not all(self._is_empty(self.root / State.SENT / peer / lane) for lane in Lane)

    def oldest_sent(self, peer: str) -> Entry | None:
        """The oldest entry that `peer` signed for; the next one with the next call, then None.

        It may be gone by now. Those that were handed out and stay come again after a while.
        """
        found: list[Entry] = []
        for lane in Lane:
            directory = self.root / State.SENT / peer / lane
            found += self._sent.setdefault(directory, Window(directory)).take(1)
        found.sort(key=lambda entry: entry.item)
        for entry in found[1:]:
            self._sent[entry.path.parent].put(entry)
        return found[0] if found else None

    def lose_sent(self, peer: str) -> None:
        """Have all that `peer` signed for queued again: from now on, durably, it is `lost`."""
        sent = self.root / State.SENT
        with contextlib.suppress(FileNotFoundError):
            (sent / peer).rename(sent / f"{peer}{_LOST}{uuid.uuid4().hex}")
        fsync_directory(sent)

    def has_lost(self) -> bool:
        """Whether something may be `lost`."""
        return any(_LOST in name for name in self.peers())

    def lost(self) -> Iterator[tuple[str, Entry]]:
        """What is to be queued again, each with the peer that had signed for it.

        Only for one thread at a time; it is to move each entry, or to come again.
        """
        for name in self.peers():
            peer, mark, _ = name.partition(_LOST)
            if mark:
                for lane in Lane:
                    directory = self.root / State.SENT / name / lane
                    for entry in _entries(directory):
                        yield peer, entry
                    with contextlib.suppress(OSError):  # not all of it was moved
                        directory.rmdir()
                with contextlib.suppress(OSError):
                    (self.root / State.SENT / name).rmdir()

    def sync_sent(self, peer: str) -> None:
        """Make what was moved to "signed for by `peer`" durable there."""
        for lane in Lane:
            directory = self.root / State.SENT / peer / lane
            if directory.exists():
                fsync_directory(directory)

    def peers(self) -> list[str]:
        """The peers that ever signed for something; for what is lost, names that are no peer's."""
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

    def find_sent(self, item_name: str, peer: str) -> Entry | None:
        """The entry under `item_name` that `peer` signed for, if it is still here."""
        for lane in Lane:
            directory = self.root / State.SENT / peer / lane
            if (directory / item_name).exists():
                return Entry.named(directory, item_name)
        return None

    def find(self, item_name: str) -> Entry | None:
        """The entry under `item_name`, waiting or signed for by any peer, if it is still here."""
        tops = [*(self.root / State.SENT / peer for peer in self.peers()), self.root / State.NEW]
        for top in tops:
            for lane in Lane:
                if (top / lane / item_name).exists():
                    return Entry.named(top / lane, item_name)
        return None

    def send_again(self, entry: Entry) -> None:
        """From "signed for" or "lost" back to waiting."""
        self.put_back(entry)

    def release(self, entry: Entry) -> None:
        """Free this outlet's copy. Only upon the mother's receipt."""
        entry.path.unlink(missing_ok=True)

    def done(self, entry: Entry) -> Entry:
        """From in hand to "this archive has it"."""
        return self._move(entry, State.DONE, entry.item.name)

    def answered(self, entry: Entry, archive: str) -> Entry:
        """From in hand to "`archive` answered success"; it keeps its count of attempts."""
        directory = self.root / State.ANSWERED / archive / entry.lane
        path = directory / entry.file_name
        try:
            move(entry.path, path)
        except FileNotFoundError:
            make_directory(directory)
            entry.path.rename(path)
        later = replace(entry, path=path)
        self._answered_window(directory).put(later)
        return later

    def take_answered(self, archive: str, limit: int) -> list[Entry]:
        """Up to `limit` entries that `archive` answered success for, higher lanes first.

        They stay where they are. Each may be gone by now; those that stay come again after a while.
        """
        taken: list[Entry] = []
        for lane in Lane:
            window = self._answered_window(self.root / State.ANSWERED / archive / lane)
            taken += window.take(limit - len(taken))
        return taken

    def entries(self, state: State) -> Iterator[Entry]:
        """All entries in `state` (not by peer), higher lanes first, unsorted within a lane."""
        for lane in Lane:
            yield from _entries(self.directory(state, lane))

    def recover(self) -> int:
        """Put back all that a killed process had in hand; returns how many."""
        count = 0
        for entry in self.entries(State.ACTIVE):
            self.put_back(entry)
            count += 1
        return count

    def adopt(self) -> None:
        """Finish what a killed worker had begun with the directories, and remove the bookmark that
        it had not finished. For the worker, at start."""
        sweep_temporaries(self.root)
        for state in (State.NEW, State.DEFERRED):
            for lane in Lane:
                adopt(self.directory(state, lane))
        for directory in self._by_peer(State.SENT):
            adopt(directory)

    def holds(self, entry: Entry) -> bool:
        """Whether a link to the file of `entry` stands in this queue (deferred not looked at).

        Raises FileNotFoundError if that file is gone.
        """
        file = entry.path.stat()
        places = [self.directory(s, entry.lane) for s in (State.NEW, State.ACTIVE, State.DONE)]
        places += [place for state in _BY_PEER for place in self._by_peer(state, entry.lane)]
        return any(_is(place / entry.item.name, file) for place in places)

    def tried(self, item_names: Set[str]) -> set[str]:
        """Those of `item_names`, a few, that were deferred here or stand in quarantine."""
        whys = list(names(self._quarantine))
        places = [self._quarantine / why / lane for why in whys for lane in Lane]
        found = {name for name in item_names for place in places if (place / name).exists()}
        for lane in Lane:
            deferred = names(self.directory(State.DEFERRED, lane))
            found |= {name for one in deferred if (name := one.partition("~")[0]) in item_names}
        return found

    def tally(self, state: State, lane: Lane) -> Tally:
        """Count and oldest entry of one directory; those by peer over all of them."""
        directories = [self.directory(state, lane)]
        if state in _BY_PEER:
            directories = list(self._by_peer(state, lane))
        count, oldest = 0, None
        for directory in directories:
            for name in names(directory):
                count += 1
                if oldest is None or name < oldest[0]:
                    oldest = name, directory
        return Tally(count, Entry.named(oldest[1], oldest[0]) if oldest else None)

    @property
    def passes(self) -> int:
        """How many times this object has read a directory through to find what is next."""
        windows = (*self._waiting.values(), *self._deferred.values())
        return sum(window.passes for window in windows)

    def _claim_from(self, window: Window, limit: int) -> list[Entry]:
        """Up to `limit` of what is next; at least one if there is any."""
        claimed: list[Entry] = []
        while not claimed and (entries := window.take(limit)):
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    claimed.append(self._move(entry, State.ACTIVE, entry.file_name))
        return claimed

    def _answered_window(self, directory: Path) -> Window:
        return self._answered.setdefault(directory, Window(directory))

    def _by_peer(self, state: State, *lanes: Lane) -> Iterator[Path]:
        """The directories of `state`, of all lanes or of these."""
        for peer in sorted(names(self.root / state)):
            for lane in lanes or Lane:
                yield self.root / state / peer / lane

    def _is_empty(self, directory: Path) -> bool:
        mark = mark_of(directory)
        if mark is not None and self._seen_empty.get(directory) == mark:
            return True
        for _ in names(directory):
            return False
        self._seen_empty[directory] = mark
        with contextlib.suppress(FileNotFoundError):  # nothing was ever signed for in this lane
            renew(directory)
        return True

    def _move(self, entry: Entry, state: State, name: str) -> Entry:
        path = self.directory(state, entry.lane) / name
        move(entry.path, path)
        return replace(entry, path=path)


def _rename(entry: Entry, directory: Path) -> Entry:
    path = directory / entry.item.name
    try:
        entry.path.rename(path)
    except FileNotFoundError:
        make_directory(directory)
        entry.path.rename(path)
    return Entry(entry.item, entry.lane, path)


def _is(path: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), file)
    except FileNotFoundError:
        return False


def _entries(directory: Path) -> Iterator[Entry]:
    for name in names(directory):
        with contextlib.suppress(DataError):
            yield Entry.named(directory, name)
