"""How many associations there are at once, over all workers of the receiver.

Each worker has a counter of its own in memory that all share, so that none waits for another's
lock; who looks at all of them may see one more or less than there are at that very moment.
"""

from __future__ import annotations

import mmap
import struct
import threading

_COUNTER = struct.Struct("=q")


class Seats:
    """Seats for `limit` associations, taken by `workers` processes; made before they are forked."""

    def __init__(self, limit: int, workers: int) -> None:
        self._limit = limit
        self._workers = workers
        self._counters = mmap.mmap(-1, _COUNTER.size * workers)
        self._lock = threading.Lock()

    def begin(self, worker: int) -> None:
        """`worker` begins, with none: it may have a predecessor that was killed."""
        self._lock = threading.Lock()
        self._set(worker, 0)

    def take(self, worker: int) -> bool:
        """One more for `worker`, if there is one."""
        with self._lock:
            if sum(map(self._get, range(self._workers))) >= self._limit:
                return False
            self._set(worker, self._get(worker) + 1)
            return True

    def give_back(self, worker: int) -> None:
        """One less for `worker`."""
        with self._lock:
            self._set(worker, self._get(worker) - 1)

    def fewest(self) -> int:
        """How many the worker with the fewest has."""
        return min(map(self._get, range(self._workers)))

    def _get(self, worker: int) -> int:
        return int(_COUNTER.unpack_from(self._counters, worker * _COUNTER.size)[0])

    def _set(self, worker: int, count: int) -> None:
        _COUNTER.pack_into(self._counters, worker * _COUNTER.size, count)
