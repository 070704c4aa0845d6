"""Who waits for an association just now."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Openings:
    """How many carriers wait for an association just now; `look` is notified when one begins to.

    An archive that serves one association at a time lets the others wait: an idle carrier then
    ends its own at once.
    """

    def __init__(self, look: threading.Condition) -> None:
        self._look = look
        self._count = 0

    @property
    def count(self) -> int:
        """How many wait."""
        return self._count

    @contextmanager
    def one(self) -> Iterator[None]:
        """While this lasts, one more waits."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def _add(self, count: int) -> None:
        with self._look:
            self._count += count
            self._look.notify_all()
