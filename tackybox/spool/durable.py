"""Durable file operations in one visible order: write a temporary, fsync, rename, fsync directory.

A file whose fsync failed must be discarded, never fsynced again and trusted: the kernel may have
dropped the dirty pages with the first report.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from tackybox.errors import SpoolError


def fsync_directory(path: Path) -> None:
    """Make the entries of the directory at `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_file(path: Path) -> None:
    """Make the content of the file at `path` durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make the directory at `path` and those above it, each durable where it is new."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    fsync_directory(path.parent)


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Replace `path` by a file that holds `data`; durable when this returns.

    `mode` are the file's permissions, less the umask, from its first moment on.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def names(directory: Path) -> Iterator[str]:
    """Names of the regular entries of `directory`, unsorted, without holding them in memory.

    A directory that does not exist has none. Names that begin with a dot are temporary and skipped.
    """
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry.name
    except FileNotFoundError:
        return


@contextlib.contextmanager
def directory_lock(directory: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the kernel's lock on `directory`, waiting for it; it dies with the process."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def sole_worker(directory: Path, what: str) -> Iterator[None]:
    """Be the only process that works on `directory`; raises SpoolError if another one does."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SpoolError(
                f"another process already is the {what} of the spool at {directory}; "
                "stop it, or give this one a spool of its own"
            ) from error
        yield
    finally:
        os.close(fd)
