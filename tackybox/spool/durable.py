"""Durable file operations in one visible order: write a temporary, fsync, rename, fsync directory.

A file whose fsync failed must be discarded, never fsynced again and trusted: the kernel may have
dropped the dirty pages with the first report.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tackybox.errors import SpoolError

_SLOW_FSYNC_S = 0.002
_MOST_AT_ONCE = 16
_LOCK_AGAIN_S = 0.05
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")  # as `write_atomically` names them


def fsync_directory(path: Path) -> None:
    """Make the entries of the directory at `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class SharedSync:
    """Makes files in `directory`, and their entries, durable for many threads at once: one fsync
    of the directory serves all that asked before it began (group commit). For one process.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._asking = threading.Lock()
        self._syncing = threading.Lock()
        self._asked = self._done = self._failed = 0
        self._is_slow = False
        self._others: ThreadPoolExecutor | None = None

    def sync(self, fd: int) -> None:
        """Make the file `fd` and its entry, made before, durable; raises OSError.

        On a slow disk both at the same time; on a fast one that costs more than it saves.
        """
        entry = None
        if self._is_slow:
            if self._others is None:
                self._others = ThreadPoolExecutor(_MOST_AT_ONCE, "sync")
            entry = self._others.submit(self._sync_entries, self._ask())
        began_s = time.monotonic()
        os.fsync(fd)
        self._is_slow = time.monotonic() - began_s > _SLOW_FSYNC_S
        if entry is None:
            self._sync_entries(self._ask())
        else:
            entry.result()

    def _ask(self) -> int:
        with self._asking:
            self._asked += 1
            return self._asked

    def _sync_entries(self, mine: int) -> None:
        with self._syncing:
            # First: a later one, of whoever had the lock before us, may succeed and mean nothing.
            if self._failed >= mine:
                raise OSError(errno.EIO, "the directory could not be flushed")
            if self._done >= mine:
                return  # the one before us began after we had asked
            covered = self._asked
            try:
                fsync_directory(self._directory)
            except OSError:
                self._failed = covered
                raise
            self._done = covered


_SYNC_FILE_RANGE_WRITE = 2
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def start_writing(fd: int, offset: int, count: int) -> None:
    """Have the kernel begin to write what was written to `fd` there, so that an fsync later finds
    less to do. Promises nothing of durability; what fails, the fsync reports."""
    _LIBC.sync_file_range(fd, offset, count, _SYNC_FILE_RANGE_WRITE)


_FALLOC_FL_KEEP_SIZE = 1
_LIBC.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def reserve(fd: int, size_bytes: int) -> None:
    """Have the disk hold room for the first `size_bytes` of the file `fd`, whose size stays.

    What is then written there finds room on a full disk. Nothing happens where the file system
    can't, or has none left.
    """
    if os.fstat(fd).st_blocks * 512 < size_bytes:
        _LIBC.fallocate(fd, _FALLOC_FL_KEEP_SIZE, 0, size_bytes)


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


def sweep_temporaries(directory: Path) -> None:
    """Remove what a killed `write_atomically` left in `directory`; for its only writer."""
    with os.scandir(directory) as entries:
        left = [entry.name for entry in entries if _TEMPORARY.fullmatch(entry.name)]
    for name in left:
        (directory / name).unlink(missing_ok=True)


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
def sole_worker(directory: Path, what: str, patience_s: float = 0.0) -> Iterator[None]:
    """Be the only process that works on `directory`; raises SpoolError if another one does.

    A killed predecessor's children, who share its lock, are given `patience_s` to die.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    until_s = time.monotonic() + patience_s
    try:
        while not lock_at_once(fd):
            if time.monotonic() >= until_s:
                raise SpoolError(
                    f"another process already is the {what} of the spool at {directory}; "
                    "stop it, or give this one a spool of its own"
                )
            time.sleep(_LOCK_AGAIN_S)
        yield
    finally:
        os.close(fd)


def has_worker(directory: Path) -> bool:
    """Whether a process is the `sole_worker` of `directory`; True where that can't be found out."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return True
    try:
        return not lock_at_once(fd)
    except OSError:  # a file system without locks
        return True
    finally:
        os.close(fd)


def lock_at_once(fd: int) -> bool:
    """Take the kernel's lock on the open directory `fd` if nobody has it; whether it is taken."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
