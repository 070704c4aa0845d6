"""The spool of one box: its map, its identity, and the moves that concern no single outlet."""

from __future__ import annotations

import contextlib
import math
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tackybox.errors import SpoolError
from tackybox.reasons import Reason
from tackybox.spool.bell import Bell
from tackybox.spool.commitments import CommitmentRequests
from tackybox.spool.draft import Blank, Draft, finished, is_whole
from tackybox.spool.durable import (
    SharedSync,
    fsync_directory,
    has_worker,
    make_directory,
    names,
    sole_worker,
)
from tackybox.spool.entry import Entry, Lane, State
from tackybox.spool.identity import FULL, claim_identity
from tackybox.spool.outlet import Outlet
from tackybox.spool.renewal import link, move
from tackybox.spool.trial import mounts_below
from tackybox.spool.window import Window

_PREDECESSOR_S = 2.0
_STALE_PROBE_S = 60.0
_PROBE = ".probe-"
_LINKED = ("new", "out", "quarantine", "arriving", "landing")
_PARTS = ("tmp", "out", "quarantine", "arriving", "landing", "receipts", "journal", "commitment")
# A box needs some itself: bookmarks, events, directories. As `status` and `check` warn, or fewer.
_SPARE_INODES = 1000
_SPARE_INODES_SHARE = 50
BOX = "_box"  # stands for an outlet in quarantine where an item never came to any


@dataclass(frozen=True, slots=True)
class Space:
    """What the spool's file system has left for us."""

    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int

    def is_low(self, min_free_bytes: int) -> bool:
        """Whether nothing more is to be accepted: below `min_free_bytes`, or hardly an inode left.

        File systems that make inodes as they need them say that they have 0 of 0.
        """
        spare = min(_SPARE_INODES, self.total_inodes // _SPARE_INODES_SHARE)
        return self.free_bytes < min_free_bytes or self.free_inodes < spare

    def shortage(self, min_free_bytes: int) -> str:
        """What is short if it `is_low`, for people; "" if nothing is."""
        if not self.is_low(min_free_bytes):
            return ""
        if self.free_bytes < min_free_bytes:
            return f"less than {min_free_bytes >> 20} MiB free"
        return f"only {self.free_inodes} inodes free"


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
        self.commitments = CommitmentRequests(root)
        self._windows = {lane: Window(root / "new" / lane) for lane in Lane}
        self._syncs: dict[Path, SharedSync] = {}

    @classmethod
    def open(cls, root: Path, kind: str = "") -> Spool:
        """The spool at `root`, made if the directory is not one yet.

        A daemon says which `kind` of box it works for, "daughter" or "mother". It makes no
        directory for the spool: one that is missing is a volume that is not mounted. A full disk
        is no reason not to open, because what is there must leave it.

        Raises SpoolError, with one sentence for a person, if it can't be written, is not on one
        file system, has no hard links, or is the other kind's.
        """
        try:
            if not kind:
                root.mkdir(exist_ok=True)
            elif not root.exists():
                raise SpoolError(
                    f"the spool at {root} is not there; make the directory, or mount a volume there"
                )
            _make_parts(root)
            spool = cls(root, claim_identity(root, kind))
            _check_links(root)
        except OSError as error:
            raise _unusable(root, error) from error
        if inside := mounts_below(root) if kind else []:
            raise SpoolError(
                f"the spool at {root} is on several file systems: {inside[0]} is a mount of its "
                "own; mount one volume at the spool, none inside it"
            )
        return spool

    @property
    def journal(self) -> Path:
        """Where the box's embedded journal lives."""
        return self.root / "journal"

    @contextlib.contextmanager
    def workspace(
        self, part: str, note_torn: Callable[[Entry], object] | None = None
    ) -> Iterator[Path]:
        """A directory under `tmp/` for the process that is the only `part` of this box.

        Of what a killed predecessor left in it finished drafts become items, all else is removed.
        A finished draft that a power cut has torn goes to quarantine, and `note_torn` is called.
        Raises SpoolError if `part` runs already.
        """
        directory = self.root / "tmp" / part
        make_directory(directory)
        with sole_worker(directory, part, _PREDECESSOR_S):
            _sweep_probes(self.root)
            for path in list(directory.iterdir()):
                torn = self._take_over(path)
                if torn is not None and note_torn is not None:
                    note_torn(torn)
            yield directory

    def has_part(self, part: str) -> bool:
        """Whether a process works in the workspace of `part`; True where that can't be told."""
        return has_worker(self.root / "tmp" / part)

    def _take_over(self, path: Path) -> Entry | None:
        """The finished draft at `path` becomes an item; returned if it is torn."""
        entry = finished(path)
        if entry is None:
            path.unlink()
        elif is_whole(entry):
            path.rename(self.root / "new" / entry.lane / entry.item.name)
        else:
            return self.quarantine(entry, Reason.DIGEST_DIFFERS)
        return None

    def draft(
        self, workspace: Path, origin: str, transfer_syntax_uid: str, blank: Blank | None = None
    ) -> Draft:
        """Begin to write an item that arrives at the box named `origin`; in `blank`, if one was
        made in that workspace before."""
        sync = self._syncs.setdefault(workspace, SharedSync(workspace))
        return Draft(
            blank or Blank(workspace), sync, self.root / "new", origin, transfer_syntax_uid
        )

    def arrivals(self, limit: int) -> list[Entry]:
        """Up to `limit` accepted entries that are not fanned out yet, of the highest lane that has
        any; no lower lane is looked at."""
        while True:
            for lane in Lane:
                if found := self._windows[lane].take(limit):
                    return found
            if not any(window.is_reading for window in self._windows.values()):
                return []

    def fan_out(self, entries: Sequence[Entry], outlets: Sequence[Outlet]) -> Iterator[Entry]:
        """Hand each of `entries` to every one of `outlets`, in its `lane`, wherever its file is.

        A link for each outlet and a rename for the last. The renames come when all links are
        durable, so that an interrupted call is simply made again, and the count of links never
        falls before every outlet has its own. Yields each of them right before its rename, so that
        what is then put on record no kill can take away, and is to be iterated to the end; passes
        over one that is gone. An earlier copy of one that was sent again gives way to it.
        """
        *others, last = outlets
        for entry in entries if others else ():
            _forget_done(entry, outlets)
        begun = {entry.item.name for entry in entries if others and _links(entry) > 1}
        for outlet in others:
            tried = outlet.tried(begun) if begun else set()
            lanes = {
                entry.lane
                for entry in entries
                if entry.item.name not in tried and _link(entry, outlet)
            }
            for lane in lanes:
                fsync_directory(outlet.directory(State.NEW, lane))
        for entry in entries:
            if not entry.path.exists():
                continue
            yield entry
            with contextlib.suppress(FileNotFoundError):
                move(entry.path, last.directory(State.NEW, entry.lane) / entry.item.name)

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
    def work_outlet(self, name: str, longest_wait_s: float = math.inf) -> Iterator[Outlet]:
        """The outlet `name`, for the one process that works it; SpoolError if another does."""
        outlet = Outlet(self.root, name, longest_wait_s)
        with sole_worker(outlet.root, "worker of an outlet"):
            outlet.adopt()
            yield outlet

    def outlets(self) -> list[Outlet]:
        """All outlets on disk, those no longer configured included."""
        return [Outlet(self.root, name) for name in sorted(names(self.root / "out"))]

    def is_complete(self, entry: Entry) -> bool:
        """Whether every outlet that the "done" `entry` was handed to is done with it."""
        try:
            links = entry.path.stat().st_nlink
        except FileNotFoundError:
            return False  # another outlet's worker has completed it already
        return links == 1 or links == len(self._done_paths(entry))

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

    def count_quarantined(self) -> Counter[tuple[str, Lane]]:
        """How many stand in quarantine, for each outlet and lane."""
        counts: Counter[tuple[str, Lane]] = Counter()
        top = self.root / "quarantine"
        for outlet in names(top):
            for reason in names(top / outlet):
                for lane in Lane:
                    counts[outlet, lane] += sum(1 for _ in names(top / outlet / reason / lane))
        return counts

    def retry(self, quarantined: Quarantined) -> None:
        """Put an entry from quarantine back to the beginning of the way it was on."""
        entry = quarantined.entry
        target = self.root / "new"
        bell = self.bell
        if quarantined.outlet != BOX:
            outlet = Outlet(self.root, quarantined.outlet)
            target, bell = outlet.root / State.NEW, outlet.bell
        move(entry.path, target / entry.lane / entry.item.name)
        bell.ring()

    def send_again(self, outlet_name: str, item_name: str) -> bool:
        """Queue again what an archive said it had, if its file is still here: from "done", where
        it stays while another archive lacks it."""
        for lane in Lane:
            outlet = self.root / "out" / outlet_name
            with contextlib.suppress(FileNotFoundError):
                move(outlet / State.DONE / lane / item_name, outlet / State.NEW / lane / item_name)
                Bell(outlet / "bell").ring()
                return True
        return False

    def space(self) -> Space:
        """What is left on the spool's file system, as an unprivileged user sees it."""
        fs = os.statvfs(self.root)
        return Space(fs.f_bavail * fs.f_frsize, fs.f_blocks * fs.f_frsize, fs.f_favail, fs.f_files)

    def _done_paths(self, entry: Entry) -> list[Path]:
        place = f"{State.DONE}/{entry.lane}/{entry.item.name}"
        paths = (self.root / "out" / outlet / place for outlet in names(self.root / "out"))
        return [path for path in paths if path.exists()]


def _links(entry: Entry) -> int:
    try:
        return entry.path.stat().st_nlink
    except FileNotFoundError:
        return 0


def _link(entry: Entry, outlet: Outlet) -> bool:
    """A link for `outlet`, unless an interrupted call has made it; whether the file is there."""
    target = outlet.directory(State.NEW, entry.lane) / entry.item.name
    try:
        if entry.path.stat().st_nlink == 1 or not outlet.holds(entry):
            try:
                link(entry.path, target)
            except FileExistsError:  # an earlier copy, sent again since: this one was verified last
                target.unlink(missing_ok=True)
                link(entry.path, target)
    except FileNotFoundError:
        return False
    return True


def _forget_done(entry: Entry, outlets: Sequence[Outlet]) -> None:
    """Where an earlier copy of `entry` is "done", that says nothing of this one, whose links are
    counted from now on."""
    with contextlib.suppress(FileNotFoundError):
        if entry.path.stat().st_nlink == 1:
            for outlet in outlets:
                done = outlet.directory(State.DONE, entry.lane) / entry.item.name
                done.unlink(missing_ok=True)


def _make_parts(root: Path) -> None:
    for lane in Lane:
        make_directory(root / "new" / lane)
    for part in _PARTS:
        make_directory(root / part)


def _unusable(place: Path, error: OSError) -> SpoolError:
    return SpoolError(
        f"the spool at {place} can't be used: {error.strerror}; it must be a directory "
        "that this user may write, on one file system with hard links"
    )


def _check_links(root: Path) -> None:
    """Prove that every part of the spool can be reached by rename and link: one file system.

    Where there is no room for the proof the spool is not new, and was proved before.
    """
    probe = root / "tmp" / f"{_PROBE}{uuid.uuid4().hex}"
    try:
        probe.touch()
        for directory in _LINKED:
            linked = root / directory / probe.name
            os.link(probe, linked)
            linked.unlink()
    except OSError as error:
        if error.errno not in FULL:
            raise
    finally:
        probe.unlink(missing_ok=True)


def _sweep_probes(root: Path) -> None:
    """Remove the probes of killed processes; those of others that are at it now are young."""
    for directory in ("tmp", *_LINKED):
        for probe in (root / directory).glob(f"{_PROBE}*"):
            with contextlib.suppress(FileNotFoundError):
                if probe.stat().st_mtime < time.time() - _STALE_PROBE_S:
                    probe.unlink()
