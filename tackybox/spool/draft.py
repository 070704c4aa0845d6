"""A draft: an item that is still being written, in `tmp/`, promised to nobody.

`accept` is the moment of the promise. Its order: data to the file, fsync the file, rename into
`new/<lane>/`, fsync that directory. Only then may anyone be told 0x0000.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tackybox.item import Item, content_digest
from tackybox.spool.durable import fsync_directory
from tackybox.spool.entry import Entry, Lane


class Draft:
    """A file under `workspace` that becomes an item of box `origin`, or vanishes.

    Used as a context manager: leaving it without `accept` discards the file. All methods raise
    OSError as the file system does; after one the draft can only be discarded.
    """

    def __init__(self, workspace: Path, new: Path, origin: str, transfer_syntax_uid: str) -> None:
        self._path = workspace / uuid.uuid4().hex
        self._new = new
        self._origin = origin
        self._digest = content_digest(transfer_syntax_uid)
        self._file = self._path.open("xb")
        self.size_bytes = 0

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write_head(self, head: bytes) -> None:
        """Write the Part-10 head; it is not part of the content's identity."""
        self._write(head)

    def write_dataset(self, piece: Any) -> None:
        """Write the next `piece` (bytes or a view) of the encoded data set."""
        self._digest.update(piece)
        self._write(piece)

    def accept(self, lane: Lane, sop_instance_uid: str) -> Entry:
        """Make it an item, durable in `new/<lane>/`, arrived now; `sop_instance_uid` validated."""
        self._file.flush()
        os.fsync(self._file.fileno())
        item = Item(datetime.now(UTC), self._origin, self._digest.hexdigest(), sop_instance_uid)
        path = self._new / lane / item.name
        self._path.rename(path)
        fsync_directory(path.parent)
        return Entry(item, lane, path)

    def _write(self, piece: Any) -> None:
        self._file.write(piece)
        self.size_bytes += len(piece)
