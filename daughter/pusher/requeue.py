"""Queues again what mothers had signed for and lost, in a thread of its own.

`Outlet.lose_sent` has declared it lost, durably: this thread then moves one item after the other
back to the queue, with an event for each, and goes on after a restart where it was. A million of
them keep nothing waiting, because it rests as long as it works.
"""

from __future__ import annotations

import contextlib
import threading
import time

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.spool import Entry, Outlet

_AT_A_TIME = 256
_AFTER_A_RESTART = "the mother had lost it, or another one takes over"


class Requeue:
    """Moves what is lost of `outlet`; what an earlier process had not finished, from the start."""

    def __init__(self, outlet: Outlet, recorder: Recorder) -> None:
        self._outlet = outlet
        self._recorder = recorder
        self._log = logs.get("requeue")
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}
        self._is_wanted = self._is_running = False
        self._failure: Exception | None = None
        if outlet.has_lost():
            self._start()

    def begin(self, peer: str, why: str) -> None:
        """Queue again what was declared lost at `peer`, for the reason `why`."""
        self._reasons[peer] = why
        self._start()

    def check(self) -> None:
        """Raise what the thread failed with, if it did: OSError, of the disk."""
        if self._failure is not None:
            raise self._failure

    def _start(self) -> None:
        with self._lock:
            self._is_wanted = True
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="requeue", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                with self._lock:
                    self._is_running = self._is_wanted
                    if not self._is_wanted:
                        return
                    self._is_wanted = False
                self._move_all()
        except Exception as error:  # whatever it is: who calls `check` raises it
            self._failure = error

    def _move_all(self) -> None:
        count, began_s = 0, time.monotonic()
        for peer, entry in self._outlet.lost():
            self._move(peer, entry)
            count += 1
            if count % _AT_A_TIME == 0:
                self._outlet.bell.ring()
                time.sleep(time.monotonic() - began_s)
                began_s = time.monotonic()
        if count:
            self._outlet.bell.ring()
            self._log.warning("queued again", outlet=self._outlet.name, items=count)

    def _move(self, peer: str, entry: Entry) -> None:
        with contextlib.suppress(FileNotFoundError):  # a receipt has released it meanwhile
            self._outlet.send_again(entry)
            self._recorder.record(
                Kind.REQUEUED, item=entry.item.id, digest=entry.item.digest, lane=entry.lane,
                sop_instance_uid=entry.item.sop_instance_uid, destination=self._outlet.name,
                peer_address=peer, detail=self._reasons.get(peer, _AFTER_A_RESTART),
            )  # fmt: skip
