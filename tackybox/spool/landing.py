"""A mother's landing strip for one daughter: from where rsync writes to where we vouch for it.

`arriving/<daughter>/` belongs to rsync and nothing in it is trusted. `take` moves a file out of
its reach into `landing/<daughter>/<lane>/`, where it can be verified without changing under our
hands; `admit` moves it into `new/<lane>/` once its receipt is durable. A file that a killed commit
left in `landing/` is verified again by the next one, so that a cut answer makes no second copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tackybox.errors import DataError
from tackybox.item import Item, digest_of
from tackybox.reasons import DAMAGED
from tackybox.spool.durable import (
    directory_lock,
    fsync_directory,
    fsync_file,
    lock_at_once,
    make_directory,
    names,
)
from tackybox.spool.entry import Entry, Lane, State
from tackybox.spool.identity import FULL

_STALE_S = 86_400
_PARTIAL = ".partial"  # where the daughter has rsync keep what it has half
_COMMIT_S = 60.0  # for so long a commit may follow the push that it is about


class Landing:
    """The strip of the daughter named `daughter` in the spool at `root`."""

    def __init__(self, root: Path, daughter: str) -> None:
        self.arriving = root / "arriving" / daughter
        make_directory(self.arriving)
        self._landing = root / "landing" / daughter
        for lane in Lane:
            make_directory(self._landing / lane)
        self._new = root / "new"
        self._out = root / "out"
        self._quarantine = root / "quarantine"

    def note_seen(self) -> None:
        """Note that the daughter is there now: `last_seen` tells."""
        os.utime(self.arriving)

    @contextlib.contextmanager
    def exclusive(self, lanes: Container[Lane]) -> Iterator[None]:
        """Be the only one, of any process, that takes and admits in `lanes` of this strip."""
        with contextlib.ExitStack() as held:
            for lane in Lane:  # always in this order: no two wait for each other
                if lane in lanes:
                    held.enter_context(directory_lock(self._landing / lane))
            yield

    def wait_until_settled(self) -> None:
        """Wait until none is `exclusive` who is now: a commit that was begun is signed for."""
        for lane in Lane:
            with directory_lock(self._landing / lane, shared=True):
                pass

    def take(self, item: Item, lane: Lane) -> Entry | None:
        """Move the arrived file of `item` out of rsync's reach; None if it has not arrived."""
        path = self._landing / lane / item.name
        try:
            (self.arriving / item.name).rename(path)
        except FileNotFoundError:
            return None
        return Entry(item, lane, path)

    def left_over(self, lane: Lane) -> Iterator[Entry]:
        """What a killed commit had taken of `lane` and not admitted."""
        for name in list(names(self._landing / lane)):
            with contextlib.suppress(DataError):  # nothing that we have put there
                yield Entry.named(self._landing / lane, name)

    def is_sound(self, entry: Entry) -> bool:
        """Whether the taken file is a regular file with its name's digest; durable if so.

        What can't be read, or not made durable, is not sound: one bad block stops no other item.
        Raises OSError if there was no room to make it durable: nothing is wrong with it then, but
        it must not be asked again of the same file (a second fsync may succeed and mean nothing).
        """
        if entry.path.is_symlink() or not entry.path.is_file():
            return False
        try:
            sound = digest_of(entry.path) == entry.item.digest
            if sound:
                fsync_file(entry.path)
        except DataError:
            return False
        except OSError as error:
            if error.errno in FULL:
                raise
            return False
        return sound

    def discard(self, entry: Entry) -> None:
        """Remove a taken file that is not sound; the daughter has the good one."""
        if entry.path.is_dir() and not entry.path.is_symlink():
            shutil.rmtree(entry.path)
        else:
            entry.path.unlink(missing_ok=True)

    def set_aside(self, entry: Entry, outlet: str, reason: str) -> None:
        """Put a taken file that is not sound, and was signed for, into quarantine."""
        directory = self._quarantine / outlet / reason / entry.lane
        make_directory(directory)
        entry.path.rename(directory / entry.item.name)

    def sync(self, lane: Lane) -> None:
        """Make the entries of the strip's `lane` durable."""
        fsync_directory(self._landing / lane)

    def gone_bad(self, entries: Sequence[Entry]) -> dict[str, list[Path]]:
        """Copies of `entries` that have gone bad here, by item name; mostly none.

        Those in quarantine, and links to the very same files that stand deferred for other
        archives: these would be found bad when they are due, and nobody would replace them then.
        """
        found: dict[str, list[Path]] = {}
        files: set[int] = set()
        for directory in self._damaged():
            for entry in entries:
                path = directory / entry.item.name
                if (file := _inode(path)) is not None:
                    found.setdefault(entry.item.name, []).append(path)
                    files.add(file)
        for directory in self._out.glob(f"*/{State.DEFERRED}/*") if found else ():
            for name in names(directory):
                bad = found.get(name.partition("~")[0])
                if bad is not None and _inode(directory / name) in files:
                    bad.append(directory / name)
        return found

    def _damaged(self) -> list[Path]:
        return [
            directory
            for outlet in names(self._quarantine)
            for reason in DAMAGED
            for lane in Lane
            if (directory := self._quarantine / outlet / reason / lane).is_dir()
        ]

    def admit(self, entry: Entry, gone_bad: Iterable[Path] = ()) -> Entry:
        """Move a sound entry, its receipt durable, to where it is fanned out.

        Its copies `gone_bad` are removed: it takes their place.
        """
        path = self._new / entry.lane / entry.item.name
        entry.path.rename(path)
        for bad in gone_bad:
            bad.unlink(missing_ok=True)
        return Entry(entry.item, entry.lane, path)

    def sweep(self) -> None:
        """Remove what rsync left half done more than a day ago."""
        for path in self._arrived():
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime < time.time() - _STALE_S:
                    path.unlink()

    def stay(self) -> None:
        """Keep `clear` away until this process, and what it becomes or starts, has ended."""
        fd = os.open(self.arriving, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(fd, fcntl.LOCK_SH)
        os.set_inheritable(fd, True)

    def clear(self) -> int:
        """Remove what cut pushes have left, unless one is at work; returns how many files.

        Not what has arrived whole just now: its commit may be about to come. The daughter has each
        of them still, and sends it again.
        """
        count = 0
        fd = os.open(self.arriving, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for path in self._arrived() if lock_at_once(fd) else ():
                with contextlib.suppress(OSError):
                    if not self._may_be_committed(path):
                        path.unlink()
                        count += 1
        finally:
            os.close(fd)
        return count

    def _arrived(self) -> list[Path]:
        """All that rsync has written, whole or not."""
        partial = self.arriving / _PARTIAL
        halves = partial.iterdir() if partial.is_dir() and not partial.is_symlink() else ()
        return [*halves, *(path for path in self.arriving.iterdir() if path != partial)]

    def _may_be_committed(self, path: Path) -> bool:
        """Whether it is whole and new, by the time that no sender sets."""
        is_whole = path.parent == self.arriving and not path.name.startswith(".")
        return is_whole and 0 <= time.time() - path.lstat().st_ctime < _COMMIT_S


def clear_all(root: Path) -> int:
    """Remove what cut pushes of any daughter have left in the spool at `root`; how many files."""
    return sum(Landing(root, daughter).clear() for daughter in names(root / "arriving"))


def last_seen(root: Path, daughter: str) -> datetime | None:
    """When `daughter` last asked for anything at the spool at `root`; None if never."""
    try:
        return datetime.fromtimestamp((root / "arriving" / daughter).stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
