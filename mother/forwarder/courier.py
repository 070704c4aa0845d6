"""One archive group's process: carriers deliver, the main loop wakes them when the bell rings.

Beside them a thread asks whether the archive is there, so that no item waits for that, and another
one whether it keeps what it has answered success for. The main
loop looks by itself every `rescan_interval_s`, which is also how deferred items come due. Runs
until told to stop: then each carrier finishes the item in its hand, what it has not begun is put
back, and what is stored is signed for.
"""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

from mother.forwarder.board import Board
from mother.forwarder.delivery import Carrier
from mother.forwarder.losses import Losses
from mother.forwarder.openings import Openings
from mother.forwarder.preparation import Preparation
from mother.forwarder.presence import HelpersPresence, Presence
from mother.forwarder.proving import Proving
from mother.forwarder.settlement import Settlement
from mother.forwarder.width import Width
from mysql_utilities.recorder import Recorder
from tackybox.config import ArchiveGroup, MotherConfig
from tackybox.service import Stop
from tackybox.spool import Outlet, Reports, Spool

_REST_AFTER_S = 5.0


class Courier:
    """Delivers the items of `outlet` to `group`, with the files it makes in `workspace`.

    `number` says which of its processes this is: the first, or one that helps (`board`).
    """

    def __init__(
        self,
        config: MotherConfig,
        group: ArchiveGroup,
        spool: Spool,
        outlet: Outlet,
        workspace: Path,
        recorder: Recorder,
        stop: Stop,
        board: Board,
        number: int,
    ) -> None:
        self._config = config
        self._outlet = outlet
        self._workspace = workspace
        self._stop = stop
        self._board = board
        self._number = number
        self._leading = None if number else Presence(config, group, recorder, board)
        self._presence = self._leading or HelpersPresence(group, board)
        self._proving = Proving(config, group, outlet, Reports(spool.root), stop)
        self._settlement = Settlement(config, spool, outlet, recorder, self._proving.must_prove)
        self._losses = Losses()
        self._look = threading.Condition()
        self._openings = Openings(self._look)
        self._share = board.share(number)
        self._width = Width(self._share)
        self._carriers: list[Carrier] = []
        self._busy = [False] * self._share
        self._rings = 0
        self._failure: Exception | None = None

    def run(self) -> None:
        """Deliver until told to stop. Raises what a thread failed with (the disk, most likely)."""
        numbers = range(self._share)
        self._carriers = [self._carrier(number) for number in numbers]
        threads = []
        if self._leading is not None:
            self._settlement.recover()
            ask = partial(self._ask, self._leading)
            threads.append(threading.Thread(target=ask, name="presence"))
            threads.append(threading.Thread(target=self._prove, name="proving"))
        for number in numbers:
            work = partial(self._carry_all, number)
            threads.append(threading.Thread(target=work, name=f"carrier-{number}"))
        for thread in threads:
            thread.start()
        try:
            while not self._stop.is_set():
                self._wake_carriers()
                bell = self._board.bell(self._number)
                if bell.wait(self._config.rescan_interval_s, self._stop):
                    self._board.heard()
        finally:
            self._stop.set()
            self._wake_carriers()
            if self._leading is not None:
                self._leading.wake()
            for thread in threads:
                thread.join()
            self._settlement.sign()
        if self._failure is not None:
            raise self._failure

    def _ask(self, presence: Presence) -> None:
        try:
            while not self._stop.is_set():
                presence.check()
                self._wake_carriers()
                presence.wait()
        except Exception as error:  # whatever it is: the main loop raises it
            self._failure = error
            self._stop.set()

    def _prove(self) -> None:
        try:
            self._proving.run(self._settlement)
        except Exception as error:  # whatever it is: the main loop raises it
            self._failure = error
            self._stop.set()

    def _carrier(self, number: int) -> Carrier:
        return Carrier(
            self._config,
            self._presence,
            self._settlement,
            Preparation(self._outlet, self._settlement),
            self._losses,
            self._openings,
            self._width,
            self._workspace,
            self._stop,
            partial(self._is_needed, number),
            lambda: len(self._held()),
            self._is_alone,
            self._wake_all,
        )

    def _carry_all(self, number: int) -> None:
        carrier = self._carriers[number]
        try:
            while not self._stop.is_set():
                self._carry(number, carrier)
        except Exception as error:  # whatever it is: the main loop raises it
            self._failure = error
            self._stop.set()
        finally:
            carrier.let_go()
            carrier.rest()

    def _held(self) -> list[int]:
        """The carriers that hold an association."""
        return [number for number, one in enumerate(self._carriers) if one.is_associated]

    def _is_alone(self) -> bool:
        """Whether no carrier holds an association, and no more than one waits for one."""
        return self._board.processes == 1 and not self._held() and self._openings.count <= 1

    def _is_needed(self, number: int) -> bool:
        """Whether carrier `number` is to take an item.

        None where this process only helps, and is not called. Those that hold an association go
        first, as many as pay. A further one helps only while they are busy: what they can do alone
        needs no other association, which an archive that serves one at a time would keep waiting.
        """
        if not self._board.is_called(self._number):
            return False
        held = self._held()
        if number in held:
            return held.index(number) < self._width.current
        if len(held) + self._openings.count >= self._width.current:
            return False
        return all(self._busy[one] for one in held)

    def _carry(self, number: int, carrier: Carrier) -> None:
        """Deliver an item, or wait until there may be one."""
        rings = self._rings
        address = self._presence.current
        if address is not None and carrier.take(address):
            self._set_busy(number, True)
            self._call_helpers()
            carrier.deliver(address)
            return
        self._set_busy(number, False)
        carrier.let_go()
        self._settlement.sign()
        # What holds an association for nothing may keep another one, or a C-ECHO, waiting.
        is_wanted = address is not None and self._is_needed(number) and not self._openings.count
        carrier.rest_if_idle(_REST_AFTER_S if is_wanted else 0.0)
        with self._look:
            self._look.wait_for(
                lambda: (
                    self._rings != rings
                    or self._stop.is_set()
                    or (self._openings.count > 0 and carrier.is_associated)
                ),
                _REST_AFTER_S,
            )

    def _call_helpers(self) -> None:
        """If there are any, this process does all that it may, and the archive may have room."""
        if self._number or self._board.processes == 1 or self._width.is_refused:
            return
        held = self._held()
        if len(held) >= self._width.current and all(self._busy[one] for one in held):
            self._board.call()

    def _set_busy(self, number: int, busy: bool) -> None:
        if self._busy[number] == busy:
            return
        self._busy[number] = busy
        if busy:
            self._wake_carriers()
        else:
            self._width.idle()

    def _wake_all(self) -> None:
        """What a helper has put back, the first one takes."""
        self._wake_carriers()
        if self._number:
            self._board.bell(0).ring()

    def _wake_carriers(self) -> None:
        with self._look:
            self._rings += 1
            self._look.notify_all()
