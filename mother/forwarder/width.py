"""How many associations an archive is given at a time: as many as pay, up to what is configured.

The rule. It begins with all that are allowed. While the archive has work without a break, one fewer
or one more is tried for a moment: one fewer stays if it delivers as much (then the others only made
each other wait), one more stays if it delivers clearly more. A trial that fails is repeated ever
more seldom. When the archive refuses an association while it serves others, these are as many as
there may be. Never below one. Knows nothing of sockets; the clock is the caller's.
"""

from __future__ import annotations

import threading

MEASURE_S = 2.0
FIRST_TRIAL_S = 10.0
_LONGEST_TRIAL_S = 600.0
_AS_MUCH = 0.95
_CLEARLY_MORE = 1.1
_ANSWER_BYTES = 1 << 16  # what waiting for an answer is worth, so that small items count too


class Width:
    """Between one and `limit`; shared by the carriers. Times are monotonic seconds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._current = limit
        self._before: tuple[int, float] | None = None  # while a trial runs: width and rate
        self._pause_s = FIRST_TRIAL_S
        self._next_trial_s: float | None = None
        self._narrower_next = True
        self._since_s: float | None = None
        self._bytes = 0
        self._is_refused = False

    @property
    def current(self) -> int:
        """How many carriers may work."""
        return self._current

    @property
    def is_refused(self) -> bool:
        """Whether the archive had no room for as many as are configured, when last tried."""
        return self._is_refused

    def idle(self) -> None:
        """A carrier found nothing to do: what was measured says nothing about the archive."""
        with self._lock:
            self._since_s = None

    def stored(self, size_bytes: int, now_s: float) -> bool:
        """An item was stored; True if one more carrier may work now."""
        with self._lock:
            before = self._current
            if self._since_s is None:
                self._since_s, self._bytes = now_s, 0
            self._bytes += size_bytes + _ANSWER_BYTES
            if now_s - self._since_s >= MEASURE_S:
                rate = self._bytes / (now_s - self._since_s)
                self._since_s = None
                self._judge(rate, now_s)
            return self._current > before

    def refused(self, held: int, now_s: float) -> bool:
        """A further association did not come about, while the archive serves `held` of ours.

        True if these show that it was one too many, and that nothing else is wrong.
        """
        if held == 0:
            return False
        with self._lock:
            self._is_refused = True
            self._settle(min(self._current, held), now_s, succeeded=self._before is None)
        return True

    def _judge(self, rate: float, now_s: float) -> None:
        if self._before is not None:
            width, rate_before = self._before
            factor = _AS_MUCH if self._current < width else _CLEARLY_MORE
            succeeded = rate >= factor * rate_before
            self._is_refused = self._is_refused and self._current < self._limit
            self._settle(self._current if succeeded else width, now_s, succeeded=succeeded)
        elif self._next_trial_s is None:
            self._next_trial_s = now_s + self._pause_s
        elif now_s >= self._next_trial_s and self._limit > 1:
            self._before = (self._current, rate)
            narrower = self._current == self._limit or (self._narrower_next and self._current > 1)
            self._current += -1 if narrower else 1
            self._narrower_next = not narrower

    def _settle(self, width: int, now_s: float, *, succeeded: bool) -> None:
        self._current = width
        self._before = None
        self._since_s = None
        self._pause_s = FIRST_TRIAL_S if succeeded else min(2 * self._pause_s, _LONGEST_TRIAL_S)
        self._next_trial_s = now_s + self._pause_s
