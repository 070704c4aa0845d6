"""Copies that a daughter keeps for a while after their release: `kept/<lane>/<item>`.

Nobody waits for them and no promise rests on them: they are there so that an archive that has lost
an image can be given it again (`tackybox reconcile --send`). They are the first to go when space is
low. One name for each item, however many outlets released it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tackybox.errors import DataError
from tackybox.spool.durable import make_directory, names
from tackybox.spool.entry import Entry, Lane, State
from tackybox.spool.outlet import Outlet
from tackybox.spool.renewal import link
from tackybox.spool.window import Window


class Kept:
    """What is kept in the spool at `root`."""

    def __init__(self, root: Path) -> None:
        self._directories = {lane: root / "kept" / lane for lane in Lane}
        self._oldest = {lane: Window(path) for lane, path in self._directories.items()}

    def add(self, entry: Entry) -> None:
        """Keep what an outlet would free. Only upon the receipt that lets it."""
        path = self._directories[entry.lane] / entry.item.name
        try:
            entry.path.rename(path)
        except FileNotFoundError:
            make_directory(path.parent)
            with contextlib.suppress(FileNotFoundError):  # somebody else has released it
                entry.path.rename(path)
        # A rename onto another link to the same file does nothing (rename(2)).
        entry.path.unlink(missing_ok=True)

    def hand_to(self, outlet: Outlet, item_name: str) -> Entry | None:
        """Queue a kept item again for `outlet`, and go on keeping it; None if it is not here."""
        for lane, directory in self._directories.items():
            target = outlet.directory(State.NEW, lane) / item_name
            try:
                link(directory / item_name, target)
            except FileNotFoundError:
                continue
            except FileExistsError:
                pass  # it waits already
            outlet.bell.ring()
            return Entry.named(target.parent, item_name)
        return None

    def count(self) -> int:
        """How many copies there are."""
        return sum(1 for directory in self._directories.values() for _ in names(directory))

    def forget_before(self, moment: datetime) -> int:
        """Free what arrived before `moment`; how many that were."""
        count = 0
        for entry in self._entries():
            if entry.item.arrived_at < moment:
                entry.path.unlink(missing_ok=True)
                count += 1
        return count

    def free(self, missing_bytes: int) -> int:
        """Free the oldest until so many bytes are free; how many items that took."""
        count = 0
        for lane in reversed(tuple(Lane)):
            while missing_bytes > 0 and (found := self._oldest[lane].take(1)):
                with contextlib.suppress(FileNotFoundError):
                    missing_bytes -= found[0].path.stat().st_size
                    found[0].path.unlink()
                    count += 1
        return count

    def _entries(self) -> Iterator[Entry]:
        for directory in self._directories.values():
            for name in names(directory):
                with contextlib.suppress(DataError):
                    yield Entry.named(directory, name)
