"""A digest that is made beside the thread that has the bytes, on another core if there is one.

A large data set takes as long to be hashed as to be received: side by side it takes half. For small
ones the hand-over costs more than it saves (docs/decisions/0012). What is hashed are the bytes as
they came, in copies, never what was read back from a disk.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any

_BUFFER_BYTES = 1 << 18
_BUFFERS = 4  # the one who fills them waits when all are full: memory stays as it is


class DigestBeside:
    """Feeds `digest` with what `update` is given, which it need not keep; for one thread.

    `digest` may be used again after `finish`. Raises RuntimeError if no thread can be had.
    """

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self._full: SimpleQueue[memoryview | None] = SimpleQueue()
        self._empty: SimpleQueue[memoryview] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="digest", daemon=True)
        self._thread.start()
        for _ in range(_BUFFERS):
            self._empty.put(memoryview(bytearray(_BUFFER_BYTES)))
        self._filling = self._empty.get()
        self._filled_bytes = 0

    def update(self, piece: memoryview) -> None:
        """The next `piece`, of any length."""
        while piece:
            count = min(len(piece), _BUFFER_BYTES - self._filled_bytes)
            end = self._filled_bytes + count
            self._filling[self._filled_bytes : end] = piece[:count]
            self._filled_bytes, piece = end, piece[count:]
            if end == _BUFFER_BYTES:
                self._full.put(self._filling)
                self._filling = self._empty.get()
                self._filled_bytes = 0

    def finish(self) -> None:
        """Everything is in the digest when this returns, and the thread has ended."""
        self._full.put(self._filling[: self._filled_bytes])
        self._full.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (content := self._full.get()) is not None:
            self._digest.update(content)
            self._empty.put(content)
