"""Is the archive there? C-ECHO decides, and while it says no, nothing else is sent.

One per archive group; shared by the group's threads. An echo is made at the start, after every
failure, when nothing has proved the archive alive for `echo_interval_s`, and, while an alternative
stands in, to find the first one again; never for each image. While no alternative answers, the
wait between two rounds grows, with jitter, up to `backoff_cap_s`, and never ends.
"""

from __future__ import annotations

import threading
import time

from mother.forwarder.board import Board
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.config import ArchiveAddress, ArchiveGroup, MotherConfig
from tackybox.dimse.association import Timeouts
from tackybox.dimse.scu import echo
from tackybox.service import Backoff

_FIRST_WAIT_S = 1.0
_FAILURES_BEFORE_PAUSE = 10
_FIRST_HELPERS_PAUSE_S = 10.0
_LONGEST_HELPERS_PAUSE_S = 600.0


class Presence:
    """Which of the group's alternatives takes images now. `check` is for one thread only."""

    def __init__(
        self, config: MotherConfig, group: ArchiveGroup, recorder: Recorder, board: Board
    ) -> None:
        self._config = config
        self._group = group
        self._recorder = recorder
        self._board = board
        self._log = logs.get("presence")
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._backoff = Backoff(_FIRST_WAIT_S, config.backoff_cap_s)
        self._current: ArchiveAddress | None = None
        self._check_at_s = 0.0  # monotonic
        self._proved_at_s = 0.0
        self._failures = 0
        self._told: str | None = None  # what the journal was told last: "" = up, else why down

    @property
    def current(self) -> ArchiveAddress | None:
        """The archive to send to, or None while none answers."""
        with self._lock:
            return self._current

    def due_in_s(self) -> float:
        """Seconds until `check` has something to do."""
        with self._lock:
            return max(0.0, self._check_at_s - time.monotonic())

    def wait(self) -> None:
        """Wait until `check` has something to do."""
        self._woken.wait(self.due_in_s())
        self._woken.clear()

    def wake(self) -> None:
        """End a `wait`."""
        self._woken.set()

    def proved(self, address: ArchiveAddress) -> None:
        """An item was stored: the archive is alive and takes things."""
        with self._lock:
            self._proved_at_s = time.monotonic()
            self._failures = 0
        self._tell_up(address)

    def failed(self, address: ArchiveAddress, why: str, *, lost: bool) -> None:
        """An item was not stored, and not because of what it is.

        `lost`: no answer came, so nothing more goes there before a C-ECHO. When one item after
        another fails although C-ECHO works, all wait a while, longer each time.
        """
        with self._lock:
            self._failures += 1
            pause = self._failures >= _FAILURES_BEFORE_PAUSE
            if self._current != address or not (lost or pause):
                return
            self._set(None)
            self._check_at_s = 0.0
            wait_s = self._pause() if pause else 0.0
        self.wake()
        if pause:
            self._tell_down(address, why, wait_s)

    def check(self) -> None:
        """Echo if it is time to."""
        now_s = time.monotonic()
        with self._lock:
            before = self._current
            if now_s < self._check_at_s:
                return
            fresh_s = self._proved_at_s + self._config.echo_interval_s - now_s
            if before == self._group.alternatives[0] and fresh_s > 0:
                self._check_at_s = now_s + fresh_s
                return
        why: list[str] = []
        for address in self._group.alternatives:
            result = echo(
                address,
                calling_aet=self._config.aet,
                timeouts=self._timeouts(),
                max_pdu_bytes=self._config.max_pdu_bytes,
            )
            if result.reachable:
                self._up(address)
                return
            why.append(result.message)
        self._down("; ".join(why))

    def _up(self, address: ArchiveAddress) -> None:
        with self._lock:
            moved = self._current not in (None, address)
            self._set(address)
            self._proved_at_s = time.monotonic()
            self._check_at_s = self._proved_at_s + self._config.echo_interval_s
            on_trial = self._failures >= _FAILURES_BEFORE_PAUSE
            if not on_trial:
                self._backoff.reset()
        if not on_trial:
            self._tell_up(address, moved=moved)

    def _down(self, why: str) -> None:
        with self._lock:
            self._set(None)
            wait_s = self._pause()
        self._tell_down(self._group.alternatives[0], why, wait_s)

    def _set(self, address: ArchiveAddress | None) -> None:
        self._current = address
        self._board.show(None if address is None else self._group.alternatives.index(address))

    def _pause(self) -> float:
        wait_s = self._backoff.next()
        self._check_at_s = time.monotonic() + wait_s
        return wait_s

    def _tell_up(self, address: ArchiveAddress, *, moved: bool = False) -> None:
        with self._lock:
            if self._told == "" and not moved:
                return
            self._told = ""
        self._recorder.record(
            Kind.OUTLET_UP, destination=self._group.name, peer_address=str(address),
            called_aet=address.aet, detail=f"{address} answers",
        )  # fmt: skip
        self._log.info("archive answers", outlet=self._group.name, archive=address)

    def _tell_down(self, address: ArchiveAddress, why: str, wait_s: float) -> None:
        with self._lock:
            news, self._told = self._told != why, why
        if news:
            self._recorder.record(
                Kind.OUTLET_DOWN, destination=self._group.name, peer_address=str(address),
                called_aet=address.aet, detail=why,
            )  # fmt: skip
        self._log.warning(
            "archive not there", outlet=self._group.name, archive=address, reason=why,
            wait_s=round(wait_s, 1),
        )  # fmt: skip

    def _timeouts(self) -> Timeouts:
        """Short ones: a C-ECHO costs an archive that works nothing."""
        answer_s = min(self._config.dimse_timeout_s, self._config.connect_timeout_s)
        return Timeouts(self._config.connect_timeout_s, answer_s)


class HelpersPresence:
    """As a courier that helps another one sees it: what that one shows, without asking the archive.

    After any failure it keeps out of the way for a while, longer each time: the archive may not
    have room for more, and what is wrong with it the other one finds out. Tells nobody.
    """

    def __init__(self, group: ArchiveGroup, board: Board) -> None:
        self._group = group
        self._board = board
        self._backoff = Backoff(_FIRST_HELPERS_PAUSE_S, _LONGEST_HELPERS_PAUSE_S)
        self._not_before_s = 0.0

    @property
    def current(self) -> ArchiveAddress | None:
        """The archive to send to, or None while none answers or this one is to keep out."""
        alternative = self._board.shown
        if alternative is None or time.monotonic() < self._not_before_s:
            return None
        return self._group.alternatives[alternative]

    def proved(self, address: ArchiveAddress) -> None:
        """An item was stored at `address`."""
        self._backoff.reset()

    def failed(self, address: ArchiveAddress, why: str, *, lost: bool) -> None:
        """An item was not stored, or no association was to be had."""
        self._not_before_s = time.monotonic() + self._backoff.next()
