"""One archive group's process: the main loop asks whether the archive is there, carriers deliver.

Woken by the outlet's bell; looks by itself every `rescan_interval_s`, which is also how deferred
items come due. Runs until told to stop: then each carrier finishes the item in its hand, what it
has not begun is put back, and what is stored is signed for.
"""

from __future__ import annotations

import threading
from pathlib import Path

from mother.forwarder.delivery import Carrier, Losses, Openings
from mother.forwarder.presence import Presence
from mother.forwarder.settlement import Settlement
from mysql_utilities.recorder import Recorder
from tackybox.config import ArchiveGroup, MotherConfig
from tackybox.service import Stop
from tackybox.spool import Outlet, Spool

_CLAIM_ENTRIES = 4  # few, so that a new high-lane item overtakes soon and carriers share the work
_REST_AFTER_S = 5.0


class Courier:
    """Delivers the items of `outlet` to `group`, with the files it makes in `workspace`."""

    def __init__(
        self,
        config: MotherConfig,
        group: ArchiveGroup,
        spool: Spool,
        outlet: Outlet,
        workspace: Path,
        recorder: Recorder,
        stop: Stop,
    ) -> None:
        self._config = config
        self._outlet = outlet
        self._workspace = workspace
        self._stop = stop
        self._presence = Presence(config, group, recorder)
        self._settlement = Settlement(config, spool, outlet, recorder)
        self._losses = Losses()
        self._look = threading.Condition()
        self._openings = Openings(self._look)
        self._busy = [False] * config.associations
        self._rings = 0
        self._failure: Exception | None = None

    def run(self) -> None:
        """Deliver until told to stop. Raises what a carrier failed with (the disk, most likely)."""
        self._settlement.recover()
        threads = [
            threading.Thread(target=self._carry_all, args=(number,), name=f"carrier-{number}")
            for number in range(self._config.associations)
        ]
        for thread in threads:
            thread.start()
        try:
            while not self._stop.is_set():
                self._presence.check()
                self._wake_carriers()
                pause_s = min(self._presence.due_in_s(), self._config.rescan_interval_s)
                self._outlet.bell.wait(pause_s, self._stop)
        finally:
            self._stop.set()
            self._wake_carriers()
            for thread in threads:
                thread.join()
            self._settlement.sign()
        if self._failure is not None:
            raise self._failure

    def _carry_all(self, number: int) -> None:
        carrier = Carrier(
            self._config,
            self._outlet,
            self._presence,
            self._settlement,
            self._losses,
            self._openings,
            self._workspace,
            self._stop,
        )
        try:
            while not self._stop.is_set():
                self._carry(number, carrier)
        except Exception as error:
            self._failure = error
            self._stop.set()
        finally:
            carrier.rest()

    def _carry(self, number: int, carrier: Carrier) -> None:
        """Deliver a few items, or wait until there may be some.

        A carrier helps only while the one before it is busy: what one can do alone needs no second
        association, which an archive that serves one at a time would keep waiting.
        """
        rings = self._rings
        address = self._presence.current
        is_needed = number == 0 or self._busy[number - 1]
        entries = self._outlet.claim(_CLAIM_ENTRIES) if address and is_needed else []
        if address is None or not entries:
            self._settlement.sign()
            carrier.rest_if_idle(0.0 if self._openings.any() else _REST_AFTER_S)
            with self._look:
                self._look.wait_for(
                    lambda: (
                        self._rings != rings
                        or self._stop.is_set()
                        or (self._openings.any() and carrier.is_associated)
                    ),
                    _REST_AFTER_S,
                )
            return
        self._set_busy(number, True)
        try:
            carrier.deliver(entries, address)
        finally:
            self._set_busy(number, False)
        self._settlement.sign(gather=True)
        if self._presence.current is None:
            self._outlet.bell.ring()  # the main loop is to ask the archive

    def _set_busy(self, number: int, busy: bool) -> None:
        self._busy[number] = busy
        if busy:
            self._wake_carriers()

    def _wake_carriers(self) -> None:
        with self._look:
            self._rings += 1
            self._look.notify_all()
