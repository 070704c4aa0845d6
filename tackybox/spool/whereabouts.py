"""Which items of some SOP instances stand in a spool, wherever in it: one walk over its names.

Memory is flat whatever the spool holds; a million names take a second or two. Not promised: that
an item which moves backwards (put back, queued again) while the walk goes on is met.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tackybox.errors import DataError
from tackybox.item import Item

# In the order of an item's way, so that one which moves on meanwhile is met again.
_ON_THE_WAY = ("tmp", "new", "out")
_QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A copy of an item in the spool."""

    item: Item
    is_quarantined: bool


def whereabouts(root: Path, sop_instance_uids: Collection[str]) -> Iterator[Whereabouts]:
    """Each copy of an item of one of `sop_instance_uids` in the spool at `root`; raises OSError."""
    for part in (*_ON_THE_WAY, _QUARANTINE):
        for name in _file_names(root / part):
            uid = name.rpartition("_")[2].partition("~")[0]
            if uid in sop_instance_uids and (item := _item_in(name)):
                yield Whereabouts(item, part == _QUARANTINE)


def _item_in(file_name: str) -> Item | None:
    """The item of a name with what the receiver puts before it, or a queue behind it."""
    for piece in file_name.split("~"):
        with contextlib.suppress(DataError):
            return Item.parse(piece)
    return None


def _file_names(top: Path) -> Iterator[str]:
    """Names of all that is no directory under `top`; of a directory that goes meanwhile, none."""
    directories = [str(top)]
    while directories:
        directory = directories.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                else:
                    yield entry.name
