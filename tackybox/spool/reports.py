"""Archives' reports on storage commitment, from the process that is told to the one that asked.

`<spool>/reports/<transaction UID>` is one report, durable before the archive is told that it was
taken. Who asked under that UID reads and removes it. Reports that nobody asks for any more (their
asker was killed, and has asked again) go after a while, the oldest of more than MOST_REPORTS too.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from tackybox.errors import DataError
from tackybox.item import is_uid
from tackybox.spool.durable import make_directory, names, write_atomically

MOST_REPORTS = 10_000
_SWEEP_AFTER_REPORTS = 1000
_STALE_S = 86_400.0


class Reports:
    """The reports in the spool at `root`."""

    def __init__(self, root: Path) -> None:
        self._directory = root / "reports"
        make_directory(self._directory)
        self._kept = 0

    def keep(self, transaction_uid: str, report: bytes) -> None:
        """Make `report` durable; raises DataError for a UID that is none, OSError."""
        write_atomically(self._path(transaction_uid), report)
        self._kept += 1
        if self._kept % _SWEEP_AFTER_REPORTS == 0:
            self.sweep()

    def find(self, transaction_uid: str) -> bytes | None:
        """The report under `transaction_uid`, if it has come."""
        try:
            return self._path(transaction_uid).read_bytes()
        except FileNotFoundError:
            return None

    def forget(self, transaction_uid: str) -> None:
        """It was acted on."""
        self._path(transaction_uid).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what nobody has asked for within a day, and the oldest of too many."""
        found = []
        for name in names(self._directory):
            with contextlib.suppress(FileNotFoundError):
                found.append(((self._directory / name).stat().st_mtime, name))
        found.sort()
        too_old_s = time.time() - _STALE_S
        excess = max(0, len(found) - MOST_REPORTS)
        for place, (changed_s, name) in enumerate(found):
            if place < excess or changed_s < too_old_s:
                (self._directory / name).unlink(missing_ok=True)

    def _path(self, transaction_uid: str) -> Path:
        if not is_uid(transaction_uid):
            raise DataError("a transaction UID is none")
        return self._directory / transaction_uid
