"""How much one push carries: what the link takes in a moment, less where the mother has no room.

An item that arrives is taken at once, alone if it is: batches grow with what waits. A push that
fills a mother's disk brings half as many items the next time, down to one, so that what is left of
her disk is filled with items that arrive whole; each push that is taken doubles that again.
"""

from __future__ import annotations

from collections.abc import Sequence

from tackybox.spool import Entry, Outlet

_LINK_S = 2.0  # so long that a start now and then costs little; high items do not wait for it
_SMALLEST_BYTES = 4 << 20
_CLAIM_ENTRIES = 16
_RATE_DECAY = 0.9


class Batches:
    """Fills batches from `outlet`, `most_items` and about `most_bytes` at most.

    A courier's threads share it; what one learns may be lost to another that learns just then.
    """

    def __init__(self, outlet: Outlet, most_items: int, most_bytes: int) -> None:
        self._outlet = outlet
        self._most_items = self._limit_items = most_items
        self._most_bytes = most_bytes
        self._rate_bytes_s = 0.0

    def fill(self, batch: list[Entry]) -> None:
        """Claim more for `batch`: bounded in items, and in bytes by what the link takes soon.

        All of one lane: a high item does not wait for others on the way.
        """
        goal_bytes = min(self._most_bytes, max(_SMALLEST_BYTES, int(self._rate_bytes_s * _LINK_S)))
        size_bytes = sum(entry.path.stat().st_size for entry in batch)
        while batch and size_bytes < goal_bytes and len(batch) < self._limit_items:
            # As many as seem to be missing, if the next ones are as large.
            missing = (goal_bytes - size_bytes) * len(batch) // max(size_bytes, 1)
            limit = max(1, min(missing, _CLAIM_ENTRIES, self._limit_items - len(batch)))
            more = self._outlet.claim(limit, (batch[0].lane,))
            if not more:
                break
            batch += more
            size_bytes += sum(entry.path.stat().st_size for entry in more)

    def went(self, size_bytes: int, push_s: float) -> None:
        """A push of `size_bytes` took `push_s`."""
        # The best of late: a push of few small items tells of round trips, not of the link.
        self._rate_bytes_s = max(size_bytes / max(push_s, 1e-3), self._rate_bytes_s * _RATE_DECAY)
        self._limit_items = min(self._most_items, self._limit_items * 2)

    def had_no_room(self, batch: Sequence[Entry]) -> None:
        """The mother's disk was full before all of `batch` had arrived."""
        self._limit_items = max(1, min(self._limit_items, len(batch)) // 2)
