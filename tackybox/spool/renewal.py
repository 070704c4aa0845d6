"""Directories that were large and are empty again get replaced by new ones.

A directory of ext4 never shrinks: one that held a million names takes 50 ms to read when it is
empty, and each image on an idle relay would pay that. Promises: a directory that anybody puts
something into meanwhile stays as it is, because rename(2) replaces only an empty one; and no power
cut hides an item, because the new directory is durable under a name of its own first, where `adopt`
finds what was left. A move into the directory at that very moment may meet the old one, which is
gone: `move` and `link` do it again. Only the one process that works a directory may renew it.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from tackybox.spool.durable import fsync_directory

LARGE_BYTES = 1 << 20


def renew(directory: Path) -> bool:
    """Replace `directory` if it is empty and large; whether it was replaced."""
    found = directory.stat()
    if found.st_size < LARGE_BYTES or found.st_uid != os.geteuid():
        return False
    fresh = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}")
    fresh.mkdir()
    fresh.chmod(found.st_mode & 0o7777)
    fsync_directory(directory.parent)
    try:
        fresh.rename(directory)
    except OSError:  # ENOTEMPTY, mostly: something has come
        fresh.rmdir()
        return False
    fsync_directory(directory.parent)
    return True


def adopt(directory: Path) -> None:
    """Finish what a killed process or a power cut left of renewing `directory`."""
    for fresh in directory.parent.glob(f".{directory.name}.*"):
        for path in fresh.iterdir():
            path.rename(directory / path.name)
        fsync_directory(directory)
        with contextlib.suppress(OSError):
            fresh.rmdir()


def link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`; its directory may be renewed at this moment."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        os.link(source, target)


def move(source: Path, target: Path) -> None:
    """Rename `source` to `target`; its directory may be renewed at this moment."""
    try:
        source.rename(target)
    except FileNotFoundError:
        source.rename(target)
