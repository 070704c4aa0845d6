"""Senders that note each answer: a scanner that sends once, and scanners that don't give up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom.uid import CTImageStorage

from bench.raw_sender import RawAssociation
from tackybox.demo.stack import LOOPBACK
from tests.faults.ledger import Ledger, digest_of_file
from tests.peers import wait_until

_AGAIN_S = 0.2
TIMEOUT_S = 20.0


def send(
    ledger: Ledger, port: int, aet: str, paths: Sequence[Path], *, priority: int = 0
) -> list[int | None]:
    """Offer the CT images at `paths` over one association; each one's status.

    None from the first on for which no answer came: the association broke, or never was.
    """
    statuses: list[int | None] = [None] * len(paths)
    with contextlib.suppress(OSError, EOFError):
        association = RawAssociation(
            (LOOPBACK, port), aet, [str(CTImageStorage)], "SCANNER", TIMEOUT_S
        )
        with contextlib.closing(association):
            for number, path in enumerate(paths):
                digest = digest_of_file(path)
                message = association.message(path, priority)
                ledger.note_offer(digest)
                status = association.store(message)
                ledger.note_status(digest, status)
                statuses[number] = status
            association.release()
    return statuses


class Scanners:
    """Several senders at once, each of which sends an image again until it is answered 0x0000."""

    def __init__(
        self,
        ledger: Ledger,
        port: int,
        aet: str,
        paths: Sequence[Path],
        senders: int,
        pause_s: float,
    ) -> None:
        self._ledger = ledger
        self._to = (port, aet)
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._left = len(paths)
        self._answered = 0
        self._threads = [
            threading.Thread(target=self._send_all, args=(paths[n::senders],), daemon=True)
            for n in range(senders)
        ]

    @property
    def answered(self) -> int:
        """How many were answered 0x0000 until now."""
        with self._lock:
            return self._answered

    @property
    def done(self) -> bool:
        """Whether all of them were."""
        with self._lock:
            return not self._left

    def wait_answered(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until `count` were answered 0x0000; fails the test if they are not."""
        wait_until(lambda: self.answered >= count, f"{count} are answered", timeout_s)

    def wait_done(self, timeout_s: float = 120.0) -> None:
        """Wait until all were; fails the test if they are not."""
        wait_until(lambda: self.done, "everything is answered", timeout_s)

    @contextlib.contextmanager
    def running(self) -> Iterator[Scanners]:
        """They send until the block ends; what is in hand then is awaited."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(2 * TIMEOUT_S)

    def _send_all(self, paths: Sequence[Path]) -> None:
        left = list(paths)
        while left and not self._stop.is_set():
            with contextlib.suppress(OSError, EOFError):
                self._send_some(left)
            if left:
                self._stop.wait(_AGAIN_S)

    def _send_some(self, left: list[Path]) -> None:
        """One association; takes what was answered 0x0000 off `left`."""
        port, aet = self._to
        association = RawAssociation(
            (LOOPBACK, port), aet, [str(CTImageStorage)], "SCANNER", TIMEOUT_S
        )
        with contextlib.closing(association):
            while left and not self._stop.is_set():
                digest = digest_of_file(left[0])
                message = association.message(left[0])
                self._ledger.note_offer(digest)
                status = association.store(message)
                self._ledger.note_status(digest, status)
                if status:
                    self._stop.wait(_AGAIN_S)
                    continue
                del left[0]
                with self._lock:
                    self._answered += 1
                    self._left -= 1
                self._stop.wait(self._pause_s)
            association.release()
