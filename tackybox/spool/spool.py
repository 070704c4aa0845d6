"""The spool of one box: its map, its identity, and the moves that concern no single outlet."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tackybox.errors import SpoolError
from tackybox.reasons import Reason
from tackybox.spool.bell import Bell
from tackybox.spool.draft import Draft, finished, is_whole
from tackybox.spool.durable import (
    SharedSync,
    fsync_directory,
    make_directory,
    names,
    sole_worker,
    write_atomically,
)
from tackybox.spool.entry import Entry, Lane, State
from tackybox.spool.outlet import Outlet
from tackybox.spool.window import Window

BOX = "_box"  # stands for an outlet in quarantine where an item never came to any


@dataclass(frozen=True, slots=True)
class Space:
    """What the spool's file system has left for us."""

    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An entry in quarantine, the outlet it was meant for, and the reason's word."""

    outlet: str
    reason: str
    entry: Entry


class Spool:
    """The spool at `root`; use `Spool.open`."""

    def __init__(self, root: Path, identity: str) -> None:
        self.root = root
        self.identity = identity
        self.bell = Bell(root / "bell")
        self._windows = {lane: Window(root / "new" / lane) for lane in Lane}
        self._syncs: dict[Path, SharedSync] = {}

    @classmethod
    def open(cls, root: Path) -> Spool:
        """The spool at `root`, made if the directory is not one yet.

        Raises SpoolError, with one sentence for a person, if it can't be written, is not on one
        file system, or has no hard links.
        """
        try:
            root.mkdir(exist_ok=True)
            for lane in Lane:
                make_directory(root / "new" / lane)
            for part in ("tmp", "out", "quarantine", "arriving", "landing", "receipts", "journal"):
                make_directory(root / part)
            identity = _identity(root)
            _check_links(root)
        except OSError as error:
            raise SpoolError(
                f"the spool at {root} can't be used: {error.strerror}; it must be a directory "
                "that this user may write, on one file system with hard links"
            ) from error
        return cls(root, identity)

    @property
    def journal(self) -> Path:
        """Where the box's embedded journal lives."""
        return self.root / "journal"

    @contextlib.contextmanager
    def workspace(self, part: str) -> Iterator[Path]:
        """A directory under `tmp/` for the process that is the only `part` of this box.

        Of what a killed predecessor left in it finished drafts become items, all else is removed.
        Raises SpoolError if `part` runs already.
        """
        directory = self.root / "tmp" / part
        directory.mkdir(exist_ok=True)
        with sole_worker(directory, part):
            for path in list(directory.iterdir()):
                self._take_over(path)
            yield directory

    def _take_over(self, path: Path) -> None:
        entry = finished(path)
        if entry is None:
            path.unlink()
        elif is_whole(entry):
            path.rename(self.root / "new" / entry.lane / entry.item.name)
        else:
            self.quarantine(entry, Reason.DIGEST_DIFFERS)

    def draft(self, workspace: Path, origin: str, transfer_syntax_uid: str) -> Draft:
        """Begin to write an item that arrives at the box named `origin`."""
        sync = self._syncs.setdefault(workspace, SharedSync(workspace))
        return Draft(workspace, sync, self.root / "new", origin, transfer_syntax_uid)

    def arrivals(self, limit: int) -> list[Entry]:
        """Up to `limit` accepted entries that are not fanned out yet, higher lanes first."""
        found: list[Entry] = []
        for lane in Lane:
            found += self._windows[lane].take(limit - len(found))
        return found

    def fan_out(self, entry: Entry, outlets: Sequence[Outlet], lane: Lane) -> None:
        """Hand `entry` to every one of `outlets` in `lane`: a link each, and a rename for the last.

        The rename comes when the links are durable, so that an interrupted call is simply made
        again, and the count of links never falls before every outlet has its own.
        """
        here = replace(entry, lane=lane)
        *others, last = outlets
        for outlet in others:
            directory = outlet.directory(State.NEW, lane)
            if not outlet.holds(here):
                os.link(entry.path, directory / entry.item.name)
            fsync_directory(directory)
        entry.path.rename(last.directory(State.NEW, lane) / entry.item.name)

    def count_links(self) -> int:
        """How many links to items stand in the spool on their way; quarantine is not counted."""
        arrived = sum(1 for lane in Lane for _ in names(self.root / "new" / lane))
        return arrived + sum(
            outlet.tally(state, lane).count
            for outlet in self.outlets()
            for state in State
            for lane in Lane
        )

    @contextlib.contextmanager
    def work_outlet(self, name: str) -> Iterator[Outlet]:
        """The outlet `name`, for the one process that works it; SpoolError if another does."""
        outlet = Outlet(self.root, name)
        with sole_worker(outlet.root, "worker of an outlet"):
            yield outlet

    def outlets(self) -> list[Outlet]:
        """All outlets on disk, those no longer configured included."""
        return [Outlet(self.root, name) for name in sorted(names(self.root / "out"))]

    def is_complete(self, entry: Entry) -> bool:
        """Whether every outlet that `entry` was handed to is done with it."""
        try:
            links = entry.path.stat().st_nlink
        except FileNotFoundError:
            return False  # another outlet's worker has completed it already
        return links == len(self._done_paths(entry))

    def complete(self, entry: Entry) -> None:
        """Free all copies of `entry`. Only when `is_complete`, after its receipt is durable."""
        for path in self._done_paths(entry):
            path.unlink(missing_ok=True)

    def quarantine(self, entry: Entry, reason: str) -> Entry:
        """Put an accepted entry that can't be handed to any outlet into quarantine."""
        directory = self.root / "quarantine" / BOX / reason / entry.lane
        make_directory(directory)
        path = directory / entry.item.name
        entry.path.rename(path)
        return Entry.at(path)

    def quarantined(self) -> Iterator[Quarantined]:
        """Everything in quarantine, by outlet, reason and lane."""
        top = self.root / "quarantine"
        for outlet in sorted(names(top)):
            for reason in sorted(names(top / outlet)):
                for lane in Lane:
                    directory = top / outlet / reason / lane
                    for name in sorted(names(directory)):
                        yield Quarantined(outlet, reason, Entry.at(directory / name))

    def retry(self, quarantined: Quarantined) -> None:
        """Put an entry from quarantine back to the beginning of the way it was on."""
        entry = quarantined.entry
        target = self.root / "new"
        bell = self.bell
        if quarantined.outlet != BOX:
            outlet = Outlet(self.root, quarantined.outlet)
            target, bell = outlet.root / State.NEW, outlet.bell
        entry.path.rename(target / entry.lane / entry.item.name)
        bell.ring()

    def space(self) -> Space:
        """What is left on the spool's file system, as an unprivileged user sees it."""
        fs = os.statvfs(self.root)
        return Space(fs.f_bavail * fs.f_frsize, fs.f_blocks * fs.f_frsize, fs.f_favail, fs.f_files)

    def _done_paths(self, entry: Entry) -> list[Path]:
        paths = (
            self.root / "out" / outlet / State.DONE / entry.lane / entry.item.name
            for outlet in names(self.root / "out")
        )
        return [path for path in paths if path.exists()]


def _identity(root: Path) -> str:
    path = root / "identity"
    if not path.exists():
        write_atomically(path, f"{uuid.uuid4().hex}\n".encode())
    return path.read_text().strip()


def _check_links(root: Path) -> None:
    """Prove that every part of the spool can be reached by rename and link: one file system."""
    probe = root / "tmp" / f".probe-{uuid.uuid4().hex}"
    probe.touch()
    try:
        for directory in ("new", "out", "quarantine", "arriving", "landing"):
            linked = root / directory / probe.name
            os.link(probe, linked)
            linked.unlink()
    finally:
        probe.unlink()
