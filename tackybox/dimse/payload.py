"""A data set ready to be sent: opened once, so that what was verified is what is sent.

A small one is read into memory, where hashing and sending share one copy; a large one stays in its
file, is hashed in pieces and sent by the kernel. Memory is bounded either way.
Does not promise that a large file is not changed between the two: nothing in a spool does that.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from tackybox.dimse.messages import dataset_fragments
from tackybox.dimse.transport import Connection
from tackybox.item import content_digest

SMALL_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_FRAGMENTS_A_WRITE = 500  # two parts each; sendmsg(2) takes 1024


class Content:
    """A data set that is in memory already; it can be sent any number of times."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)

    def send(
        self, connection: Connection, head: bytes, context_id: int, fragment_size: int
    ) -> None:
        """Send `head`, and behind it the data set in PDUs. Raises OSError."""
        _send(connection, head, self._content, context_id, fragment_size)


class Payload:
    """The data set that begins at `dataset_offset` of the file at `path`; close it.

    It can be sent once. `buffer` is where a small one is kept until then; a new one if None.
    Raises OSError as the file system does.
    """

    def __init__(self, path: Path, dataset_offset: int, buffer: memoryview | None = None) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._offset = dataset_offset
            self.file_bytes = os.fstat(self._fd).st_size
            self.size_bytes = max(0, self.file_bytes - dataset_offset)
            self.is_small = self.size_bytes <= SMALL_BYTES
            self._content: memoryview | None = None
            if self.is_small:
                room = (buffer or memoryview(bytearray(self.size_bytes)))[: self.size_bytes]
                self.size_bytes = os.preadv(self._fd, [room], dataset_offset)
                self._content = room[: self.size_bytes]
        except BaseException:
            self.close()
            raise
        if self._content is not None:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def digest(self, transfer_syntax_uid: str) -> str:
        """The content digest, as `tackybox.item` defines it."""
        digest = content_digest(transfer_syntax_uid)
        if self._content is not None:
            digest.update(self._content)
            return str(digest.hexdigest())
        buffer = bytearray(_CHUNK_BYTES)
        offset = self._offset
        while count := os.preadv(self._fd, [buffer], offset):
            digest.update(memoryview(buffer)[:count])
            offset += count
        return str(digest.hexdigest())

    def send(
        self, connection: Connection, head: bytes, context_id: int, fragment_size: int
    ) -> None:
        """Send `head`, and behind it the data set in PDUs. Raises OSError, EOFError if the file is
        shorter than it was."""
        if not self.is_small:
            for start, size, heads in dataset_fragments(self.size_bytes, context_id, fragment_size):
                connection.send_file(head + heads, self._fd, self._offset + start, size)
                head = b""
            return
        if self._content is None:
            raise ValueError("a payload can be sent only once")
        content, self._content = self._content, None
        _send(connection, head, content, context_id, fragment_size)


def _send(
    connection: Connection, head: bytes, content: memoryview, context_id: int, fragment_size: int
) -> None:
    fragments = dataset_fragments(len(content), context_id, fragment_size)
    while some := list(islice(fragments, _FRAGMENTS_A_WRITE)):
        parts: list[bytes | memoryview] = [head]
        for start, size, heads in some:
            parts += (heads, content[start : start + size])
        connection.send(parts)
        head = b""
