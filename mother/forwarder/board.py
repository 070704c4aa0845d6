"""What the processes of one archive group's courier know of each other.

Where an archive may have many associations, one process is not enough: its threads wait for each
other's interpreter lock while a core is idle (docs/decisions/0026). The first courier alone asks
whether the archive is there, and has items proved; the others help it while all its own
associations are open and busy, and the archive has not refused one. A helper that fails keeps out
for a while.
"""

from __future__ import annotations

import mmap
import time

from tackybox.spool import Bell, Outlet

_CALL_AGAIN_S = 0.25
_CALLED_S = 1.0
_ASSOCIATIONS_EACH = 2  # at least: a process costs some 10 MB


class Board:
    """Made before the processes are forked, which each use it for their own `number`, from 0."""

    def __init__(self, outlet: Outlet, associations: int, cores: int) -> None:
        self.processes = max(1, min(cores, associations // _ASSOCIATIONS_EACH))
        self._associations = associations
        self._shown = mmap.mmap(-1, 1)
        self._bells = [outlet.bell]
        self._bells += [Bell(outlet.root / f"bell-{n}") for n in range(1, self.processes)]
        self._call_at_s = self._called_until_s = 0.0

    def share(self, number: int) -> int:
        """How many of the associations are this process's; the first has no fewer than others."""
        return (self._associations + self.processes - 1 - number) // self.processes

    def bell(self, number: int) -> Bell:
        """What this process waits for."""
        return self._bells[number]

    def show(self, alternative: int | None) -> None:
        """The first one says which of the group's alternatives takes images now."""
        self._shown[0] = 0 if alternative is None else alternative + 1

    @property
    def shown(self) -> int | None:
        """Which alternative takes images, as far as the first one knows."""
        return self._shown[0] - 1 if self._shown[0] else None

    def call(self) -> None:
        """The first one can do no more by itself."""
        now_s = time.monotonic()
        if now_s >= self._call_at_s:
            self._call_at_s = now_s + _CALL_AGAIN_S
            for bell in self._bells[1:]:
                bell.ring()

    def heard(self) -> None:
        """This process's bell has rung."""
        self._called_until_s = time.monotonic() + _CALLED_S

    def is_called(self, number: int) -> bool:
        """Whether this process is to take items now."""
        return number == 0 or time.monotonic() < self._called_until_s
