"""Durable file operations in one visible order: write a temporary, fsync, rename, fsync directory.

A file whose fsync failed must be discarded, never fsynced again and trusted: the kernel may have
dropped the dirty pages with the first report.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import threading
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


class SharedSync:
    """Makes the entries of `directory` durable for many threads at once: one fsync serves all that
    asked before it began (group commit). For one process; its thread begins with the first round.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._asked = threading.Condition()
        self._gathering: SyncRound | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> SyncRound:
        """Ask for an fsync that covers all entries made before; wait for it with `wait`."""
        with self._asked:
            if self._gathering is None:
                self._gathering = SyncRound()
                self._asked.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
                self._thread.start()
            return self._gathering

    def _run(self) -> None:
        while True:
            with self._asked:
                while (sync_round := self._gathering) is None:
                    self._asked.wait()
                self._gathering = None
            try:
                fsync_directory(self._directory)
            except OSError as error:
                sync_round.error = error
            sync_round.done.set()


class SyncRound:
    """One fsync of a SharedSync."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: OSError | None = None

    def wait(self) -> None:
        """Return when it is done; raises OSError if it failed."""
        self.done.wait()
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror)


_SYNC_FILE_RANGE_WRITE = 2
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def start_writing(fd: int, offset: int, count: int) -> None:
    """Have the kernel begin to write what was written to `fd` there, so that an fsync later finds
    less to do. Promises nothing of durability; what fails, the fsync reports."""
    _LIBC.sync_file_range(fd, offset, count, _SYNC_FILE_RANGE_WRITE)


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
