"""A bell: a FIFO by which one process tells another to look again, within one machine.

Only a hint: a ring may be lost or late, so whoever waits also looks by itself now and then.
Ringing never blocks and never fails, whether somebody waits or not.
"""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path
from typing import Protocol


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class Bell:
    """The bell at `path`, made if need be. Each waiter must be the only one of its bell."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o660)
        self._fd: int | None = None

    def ring(self) -> None:
        """Wake the waiter if there is one."""
        with contextlib.suppress(OSError):  # ENXIO: nobody waits; EAGAIN: rung already
            fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(fd, b"!")
            finally:
                os.close(fd)

    def wait(self, timeout_s: float, *also: _HasFileno) -> bool:
        """Wait for a ring, at most `timeout_s` seconds; True if it rang.

        Returns early, False, when one of `also` (a Stop, say) can be read.
        """
        if self._fd is None:
            # Read and write, so that the last ringer's close is not an end of file.
            self._fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)
        watched: list[int | _HasFileno] = [self._fd, *also]
        if self._fd not in select.select(watched, [], [], timeout_s)[0]:
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 65536)
        return True

    def close(self) -> None:
        """Stop waiting."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
