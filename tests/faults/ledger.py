"""What senders offered and what was answered 0x0000, by content.

A content is SHA-256(transfer syntax UID, NUL, encoded data set), as in `tackybox.item`. An offer is
noted before its first byte goes out, an answer when its last byte is here: whatever is killed in
between, what was answered was offered. Thread-safe. `size_bytes` and the rest of DICOM are no
business of the ledger.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tackybox.dimse.files import read_source
from tackybox.item import content_digest


class Ledger:
    """`offered` and `answered` count how often each content digest was."""

    def __init__(self) -> None:
        self.offered: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()
        """Statuses other than 0x0000, by status."""
        self._lock = threading.Lock()

    def note_offer(self, digest: str) -> None:
        """The content is about to be sent."""
        with self._lock:
            self.offered[digest] += 1

    def note_status(self, digest: str, status: int) -> None:
        """It was answered `status`."""
        with self._lock:
            if status == 0:
                self.answered[digest] += 1
            else:
                self.refused[status] += 1

    def note_all(self, paths: Iterable[Path], *, answered: bool) -> None:
        """For senders that are programs: the files' contents were offered, and maybe answered
        0x0000."""
        for path in paths:
            digest = digest_of_file(path)
            self.note_offer(digest)
            if answered:
                self.note_status(digest, 0)

    @property
    def answers(self) -> int:
        """How many data sets were answered 0x0000."""
        with self._lock:
            return self.answered.total()


def digest_of_file(path: Path) -> str:
    """The content digest of any Part-10 file, however its file meta was written."""
    source = read_source(path)
    digest = content_digest(source.transfer_syntax_uid)
    digest.update(path.read_bytes()[source.dataset_offset :])
    return str(digest.hexdigest())
