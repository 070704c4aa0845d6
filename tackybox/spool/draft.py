"""A draft: an item that is still being written, in a workspace under `tmp/`, promised to nobody.

`accept` is the moment of the promise. Its order: all data in the file; the file gets its final
name, still in the workspace; file and workspace are fsynced, both at the same time and the
workspace together with other drafts'; a rename into `new/<lane>/`. Only then may anyone be told
0x0000. The rename needs no fsync: after a power cut the finished draft is found where it was, its
digest in its name, and `Spool.workspace` moves it again (docs/decisions/0012).
"""

from __future__ import annotations

import contextlib
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from tackybox.errors import DataError
from tackybox.item import Item, content_digest, digest_of
from tackybox.spool.beside import DigestBeside
from tackybox.spool.durable import SharedSync, start_writing
from tackybox.spool.entry import Entry, Lane

_START_WRITING_BYTES = 1 << 18
_LARGE_BYTES = 1 << 21


class Blank:
    """An empty file in `workspace`, made for a draft to come: on many file systems that takes as
    long as to write an image, so whoever has a moment makes one ahead. Raises OSError."""

    def __init__(self, workspace: Path) -> None:
        # Text, not Path: this is done for each image.
        self.workspace = str(workspace)
        self.path = f"{self.workspace}/{uuid.uuid4().hex}"
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def discard(self) -> None:
        """It is not needed."""
        os.close(self.fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class Draft:
    """A file, `blank` until now, that becomes an item of box `origin`, or vanishes.

    Used as a context manager: leaving it without `accept` discards the file. All methods raise
    OSError as the file system does; after one the draft can only be discarded.
    """

    def __init__(
        self, blank: Blank, sync: SharedSync, new: Path, origin: str, transfer_syntax_uid: str
    ) -> None:
        self._workspace = blank.workspace
        self._path = blank.path
        self._sync = sync
        self._new = new
        self._origin = origin
        self._digest = content_digest(transfer_syntax_uid)
        self._fd: int | None = blank.fd
        self._beside: DigestBeside | None = None
        self._started_bytes = 0
        self._is_item = False
        self.size_bytes = 0

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Discard it, unless it was accepted."""
        self._end_beside()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            if not self._is_item:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)

    def write_head(self, head: bytes) -> None:
        """Write the Part-10 head; it is not part of the content's identity."""
        self._write(head)

    def write_dataset(self, piece: bytes | memoryview) -> None:
        """Write the next `piece` of the encoded data set."""
        if self._beside is None and self.size_bytes >= _LARGE_BYTES:
            with contextlib.suppress(RuntimeError):  # no thread to be had: this one goes on hashing
                self._beside = DigestBeside(self._digest)
        self._write(piece)
        (self._beside or self._digest).update(memoryview(piece))

    def accept(self, lane: Lane, sop_instance_uid: str) -> Entry:
        """Make it an item, durable, arrived now; `sop_instance_uid` validated."""
        self._end_beside()
        item = Item(datetime.now(UTC), self._origin, self._digest.hexdigest(), sop_instance_uid)
        name = item.name
        finished = f"{self._workspace}/{lane}~{name}"
        os.rename(self._path, finished)
        self._path = finished
        self._sync.sync(self._open_fd())
        path = f"{self._new}/{lane}/{name}"
        os.rename(finished, path)
        self._is_item = True
        return Entry(item, lane, Path(path))

    def _end_beside(self) -> None:
        """From now on `_digest` has everything."""
        beside, self._beside = self._beside, None
        if beside is not None:
            beside.finish()

    def _write(self, piece: bytes | memoryview) -> None:
        fd, left = self._open_fd(), memoryview(piece)
        while left:
            written = os.write(fd, left)
            self.size_bytes += written
            left = left[written:]
        if (fresh := self.size_bytes - self._started_bytes) >= _START_WRITING_BYTES:
            start_writing(fd, self._started_bytes, fresh)
            self._started_bytes = self.size_bytes

    def _open_fd(self) -> int:
        if self._fd is None:
            raise ValueError("the draft was closed")
        return self._fd


def finished(path: Path) -> Entry | None:
    """The entry that a killed process had finished at `path` in its workspace; None if it had not.

    Whether anyone was told 0x0000 for it is not known.
    """
    lane, _, name = path.name.partition("~")
    try:
        return Entry(Item.parse(name), Lane(lane), path)
    except (DataError, ValueError):
        return None


def is_whole(entry: Entry) -> bool:
    """Whether no power cut has torn it: its digest is the one in its name."""
    try:
        return digest_of(entry.path) == entry.item.digest
    except DataError:
        return False
