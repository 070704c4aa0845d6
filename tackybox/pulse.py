"""Signs of life of a daemon's children, for `tackybox health` (containers ask it) and `status`.

A child's file `<spool>/alive/<part>/<child>` is touched while the child's main loop turns, and set
back to 1970 when the child is started or has died: a child that dies again and again, hangs, or
can't write the spool shows no sign of life. Not durable, and nothing of the relay reads it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

SILENT_AFTER_S = 180.0  # longer than any bounded wait of a child's main loop
STARTS_WITHIN_S = 30.0  # from the daemon's start to the first sign of life of each child
_NEVER = (0, 0)


class Pulse:
    """The signs of life of `part`, which lives in the spool at `root`."""

    def __init__(self, root: Path, part: str) -> None:
        self.part = part
        self._directory = root / "alive" / part

    def expect(self, children: Iterable[str]) -> None:
        """From now on exactly `children` are to show signs of life."""
        with contextlib.suppress(OSError):  # no sign is a sign
            self._directory.mkdir(parents=True, exist_ok=True)
            for path in self._directory.iterdir():
                path.unlink()
            for child in children:
                (self._directory / child).touch()
                self.lost(child)

    def beat(self, child: str) -> None:
        """`child` is alive."""
        with contextlib.suppress(OSError):
            (self._directory / child).touch()  # made here if the disk was full at the start

    def lost(self, child: str) -> None:
        """`child` has died, or was just started."""
        with contextlib.suppress(OSError):
            os.utime(self._directory / child, _NEVER)

    @classmethod
    def all(cls, root: Path) -> list[Pulse]:
        """Of every part that ever lived in the spool at `root`."""
        try:
            return [cls(root, path.name) for path in sorted((root / "alive").iterdir())]
        except OSError:
            return []

    @property
    def is_starting(self) -> bool:
        """Whether the daemon was started a moment ago, so that silence does not mean much."""
        try:
            return abs(time.time() - self._directory.stat().st_mtime) < STARTS_WITHIN_S
        except OSError:
            return False

    def silent(self) -> list[str]:
        """Children without a sign of life for SILENT_AFTER_S; all there is if nothing beats."""
        try:
            seen = {path.name: path.stat().st_mtime for path in self._directory.iterdir()}
        except OSError:
            seen = {}
        now_s = time.time()
        # What beat in the future beat before the clock went back, and not since.
        return sorted(
            name for name, at_s in seen.items() if abs(now_s - at_s) > SILENT_AFTER_S
        ) or ([] if seen else [self.part])
