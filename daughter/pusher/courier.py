"""The courier of one outlet: takes what waits to one of its mothers, forever.

To the first that works; or, in a group that shares, to the one that the item's study falls to.

One forked child runs one courier. Its threads: `parallel` carriers that each take a batch, push it
and have it signed for, the last of several for the high lane alone, so that a high item finds one
free at once; a listener for the bell; and the main loop, which keeps the roads to the mothers open
and acts on receipts. A push that failed after `commit` was asked is *in doubt*: those items stay in
hand until the mother's receipts say what she has, because to send them again might store them
twice, and to forget them might lose them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

from daughter.pusher.batching import Batches
from daughter.pusher.compression import Compression
from daughter.pusher.doubt import Doubts
from daughter.pusher.group_commit import MISSING, Answer
from daughter.pusher.rsync import Road
from daughter.pusher.settlement import Settlement
from daughter.pusher.spreading import in_turn, study_of
from daughter.pusher.trouble import NoRoomError, RoadError
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.config import DaughterConfig, MotherGroup
from tackybox.service import Backoff, Stop
from tackybox.spool import Entry, Lane, Outlet, Spool, State

_TICK_S = 0.5
_RESCAN_S = 2.0  # how often carriers look though no bell rang
_FIRST_RETRY_S = 1.0
# Where nothing is awaited (release: landed), receipts are read now and then all the same: a mother
# keeps those that were not read.
_CATCH_UP = 100  # times the interval
_CATCH_UP_KEEPING = 10  # the same where copies are kept: a mother may want one again
# A connection that broke, or a mother being started again, moves no study to another one. Short:
# what waits for her stands before the others' items meanwhile.
_PATIENCE_S = 10.0


class _Way:
    """A road, and what this courier knows of it."""

    def __init__(self, road: Road, cap_s: float, interval_s: float) -> None:
        self.road = road
        self.backoff = Backoff(_FIRST_RETRY_S, cap_s)
        self.try_at_s = 0.0
        self.receipts_at_s = 0.0
        self.receipts_interval_s = interval_s
        self.catch_up_at_s = 0.0
        self.down_since_s: float | None = time.monotonic()
        # A road that opens may not take items: it counts as down until a push is signed for.
        self.failing_since_s: float | None = self.down_since_s
        self.push_failed = False
        self.told = ""
        self.why = ""
        self.compression = Compression()

    @property
    def down_s(self) -> float:
        """For how long the road is known to be down; 0 if it is not."""
        return _since(self.down_since_s)

    @property
    def failing_s(self) -> float:
        """For how long nothing has gone well, be it to connect or to push; 0 if the last did."""
        return _since(self.failing_since_s)

    def goes_well(self) -> None:
        """A push was signed for, or the road opened and none has failed since one was."""
        self.backoff.reset()
        self.failing_since_s = None
        self.push_failed = False

    def goes_wrong(self) -> None:
        """A push or a try to connect has failed."""
        self.failing_since_s = self.failing_since_s or time.monotonic()


def _lanes_of_carriers(parallel: int) -> list[tuple[Lane, ...]]:
    """The lanes that each of `parallel` carriers serves."""
    every = tuple(Lane)
    return [every] * parallel if parallel == 1 else [*[every] * (parallel - 1), (Lane.HIGH,)]


def _since(at_s: float | None) -> float:
    return 0.0 if at_s is None else time.monotonic() - at_s


class Courier:
    """Delivers `outlet` of `spool` to the mothers of `group`."""

    def __init__(
        self,
        config: DaughterConfig,
        group: MotherGroup,
        spool: Spool,
        outlet: Outlet,
        recorder: Recorder,
        stop: Stop,
    ) -> None:
        self._config = config
        self._outlet = outlet
        self._commitments = spool.commitments
        self._recorder = recorder
        self._stop = stop
        self._log = logs.get("courier")
        self._catch_up_s = config.receipts_interval_s * (
            _CATCH_UP_KEEPING if config.keep_days else _CATCH_UP
        )
        self._ways = [
            _Way(
                Road(address, config, outlet.root / State.ACTIVE),
                config.backoff_cap_s,
                config.receipts_interval_s,
            )
            for address in group.alternatives
        ]
        self._sharing = group.sharing
        self._doubts = Doubts(
            outlet, [way.road.name for way in self._ways], outlet.entries(State.ACTIVE)
        )
        self._settlement = Settlement(config, spool, outlet, self._doubts, recorder)
        self._batches = Batches(outlet, config.batch_items, config.batch_bytes)
        self._look = threading.Condition()
        self._rings = 0
        self._failure: Exception | None = None

    def run(self) -> None:
        """Work until told to stop; batches in hand are finished or left in doubt.

        Raises what a carrier failed with, other than a road.
        """
        threads = [
            threading.Thread(
                target=self._carry_all, args=(lanes,), name=f"carrier {n}", daemon=True
            )
            for n, lanes in enumerate(_lanes_of_carriers(self._config.parallel))
        ]
        threads.append(threading.Thread(target=self._listen, name="bell", daemon=True))
        for thread in threads:
            thread.start()
        try:
            while not self._stop.wait(_TICK_S):
                if self._failure is not None:
                    raise self._failure
                self._keep_roads_open()
                self._act_on_receipts()
                self._fail_over()
        finally:
            self._wake_carriers()
            for thread in threads:
                thread.join(self._config.network_timeout_s)
            for way in self._ways:
                way.road.discard()

    def _listen(self) -> None:
        while not self._stop.is_set():
            if self._outlet.bell.wait(_TICK_S, self._stop):
                self._wake_carriers()

    def _wake_carriers(self) -> None:
        """Have each look again, also one that has just looked and is about to wait."""
        with self._look:
            self._rings += 1
            self._look.notify_all()

    # --- the roads

    def _first_open(self) -> _Way | None:
        return next((way for way in self._ways if way.road.is_open), None)

    def _keep_roads_open(self) -> None:
        """Open what is closed and due; a later alternative only while no earlier one works.

        Of mothers that share, all.
        """
        for way in self._ways:
            wanted = self._is_wanted(way)
            if not way.road.is_open:
                if way.down_since_s is None:
                    self._note_down(way, way.why or "the connection ended")
                    way.why = ""
                if time.monotonic() >= way.try_at_s and (wanted or self._outlet_needs(way)):
                    self._open(way)
            elif not wanted and not self._outlet_needs(way):
                way.road.close()
            if wanted:
                way.road.stand_by()

    def _is_wanted(self, way: _Way) -> bool:
        """Whether items are to go this way, if it is open."""
        first = self._first_open()
        return self._sharing or first is None or self._ways.index(first) >= self._ways.index(way)

    def _outlet_needs(self, way: _Way) -> bool:
        """Whether receipts are still awaited over this road."""
        name = way.road.name
        return self._doubts.concern(name) or self._outlet.has_sent(name)

    def _modality_waits(self) -> bool:
        """Whether receipts are awaited for what was freed when it had landed."""
        return self._config.release == "landed" and bool(self._commitments.names())

    def _open(self, way: _Way) -> None:
        try:
            way.road.open()
            self._settlement.meet(way.road)
        except RoadError as error:
            self._note_down(way, str(error))
            return
        if not way.push_failed:
            self._goes_well(way)
        way.down_since_s = None
        way.receipts_at_s = 0.0
        self._log.info("mother reached", mother=way.road.name, outlet=self._outlet.name)
        self._wake_carriers()

    def _goes_well(self, way: _Way) -> None:
        way.goes_well()
        told, way.told = way.told, ""
        if told:
            self._recorder.record(
                Kind.OUTLET_UP, destination=self._outlet.name, peer_address=way.road.name
            )

    def _note_down(self, way: _Way, why: str) -> None:
        way.goes_wrong()
        wait_s = way.backoff.next()
        way.try_at_s = time.monotonic() + wait_s
        way.down_since_s = way.down_since_s or time.monotonic()
        if why != way.told:  # once per reason, not once per try
            self._recorder.record(
                Kind.OUTLET_DOWN,
                destination=self._outlet.name,
                peer_address=way.road.name,
                detail=why,
            )
        way.told = why
        self._log.warning(
            "mother not reached", mother=way.road.name, outlet=self._outlet.name, reason=why,
            wait_s=round(wait_s, 1),
        )  # fmt: skip

    # --- receipts

    def _act_on_receipts(self) -> None:
        for way in self._ways:
            if not way.road.is_open or time.monotonic() < way.receipts_at_s:
                continue
            is_awaited = self._outlet_needs(way) or self._modality_waits()
            if not is_awaited and time.monotonic() < way.catch_up_at_s:
                continue
            try:
                self._settlement.settle(way.road)
                way.catch_up_at_s = time.monotonic() + self._catch_up_s
            except RoadError as error:
                way.road.close()
                self._note_down(way, str(error))
            way.receipts_at_s = time.monotonic() + way.receipts_interval_s
        if self._doubts.put_back_cleared():
            self._wake_carriers()

    def _fail_over(self) -> None:
        """Where another mother works, don't leave items for ever with one that is gone."""
        if self._first_open() is None:
            return
        for way in self._ways:
            if (down_s := way.down_s) > self._config.failover_after_s:
                self._doubts.clear(way.road.name, self._doubts.of(way.road.name))
                self._settlement.send_again(
                    way.road.name, f"not reached for {down_s:.0f} s; another mother takes over"
                )

    # --- the carriers

    def _carry_all(self, lanes: Sequence[Lane]) -> None:
        try:
            while not self._stop.is_set():
                self._carry(lanes)
        except Exception as error:  # whatever it is (the disk, most likely): `run` raises it
            self._failure = error

    def _carry(self, lanes: Sequence[Lane]) -> None:
        """Deliver one batch, or wait until there may be one."""
        rings = self._rings
        entries: list[Entry] = []
        if self._first_open() is not None:
            entries += self._outlet.claim(1, lanes)
            if self._sharing:
                self._batches.fill(entries)
        by_way: dict[_Way | None, list[Entry]] = {}
        for entry in entries:
            by_way.setdefault(self._way_for(entry), []).append(entry)
        self._put_back(by_way.get(None, ()))
        for way, share in by_way.items():
            if way is not None:
                try:
                    self._deliver(way, share)
                except RoadError as error:
                    self._failed(way, str(error))
        if not entries or None in by_way:
            with self._look:
                self._look.wait_for(
                    lambda: self._rings != rings or self._stop.is_set(), timeout=_RESCAN_S
                )

    def _way_for(self, entry: Entry) -> _Way | None:
        """The way that `entry` goes now; None if it is to wait for a moment."""
        if not self._sharing:
            return self._first_open()
        ways = {way.road.name: way for way in self._ways}
        for name in in_turn(study_of(entry), ways):
            if ways[name].road.is_open:
                return ways[name]
            if ways[name].failing_s < _PATIENCE_S:
                break
        return None

    def _deliver(self, way: _Way, entries: list[Entry]) -> None:
        """Push `entries`, and what comes before rsync is ready, and have them signed for."""
        compress, urgent = self._compress(way, entries), entries[0].lane is Lane.HIGH
        started_s = time.monotonic()

        def when_ready() -> Sequence[Entry]:
            nonlocal started_s
            if not self._sharing:
                self._batches.fill(entries)
            started_s = time.monotonic()
            return entries

        try:
            compressed = way.road.push(when_ready, compress=compress, urgent=urgent)
        except NoRoomError:
            way.push_failed = True
            self._keep_what_arrived(way, entries, started_s)
            raise
        except RoadError:
            way.push_failed = True  # what was put back is pushed again, which tells
            self._put_back(entries)
            raise
        sizes_bytes = [entry.path.stat().st_size for entry in entries]
        push_s = time.monotonic() - started_s
        way.compression.note(compressed, sum(sizes_bytes), push_s)
        self._batches.went(sum(sizes_bytes), push_s)
        answers = self._commit(way, entries, sizes_bytes)
        by_name = {entry.item.name: entry for entry in entries}
        took_s = time.monotonic() - started_s
        way.push_failed = True  # unless nothing is found wrong
        self._settlement.answered(way.road.name, by_name, answers, duration_s=took_s)
        self._goes_well(way)

    def _keep_what_arrived(self, way: _Way, entries: list[Entry], started_s: float) -> None:
        """Have signed for what the mother had room for: unsigned, it would only fill her disk."""
        self._batches.had_no_room(entries)
        sizes_bytes = [entry.path.stat().st_size for entry in entries]
        try:
            answers = self._commit(way, entries, sizes_bytes)
        except RoadError:  # in doubt now
            return
        missing = {answer.item_name for answer in answers if answer.kind == MISSING}
        self._put_back([entry for entry in entries if entry.item.name in missing])
        arrived = {e.item.name: e for e in entries if e.item.name not in missing}
        with contextlib.suppress(RoadError):  # that her disk is full is told, and comes first
            took_s = time.monotonic() - started_s
            self._settlement.answered(way.road.name, arrived, answers, duration_s=took_s)

    def _commit(
        self, way: _Way, entries: Sequence[Entry], sizes_bytes: Sequence[int]
    ) -> Sequence[Answer]:
        try:
            return way.road.commit(entries, sizes_bytes)
        except RoadError:
            self._doubts.add(entries, way.road.name)
            raise

    def _put_back(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._outlet.put_back(entry)

    def _compress(self, way: _Way, entries: Sequence[Entry]) -> bool:
        if self._config.compress == "auto":
            return way.compression.pays(entries)
        return self._config.compress == "always"

    def _failed(self, way: _Way, why: str) -> None:
        """Have the main loop open the road again; carriers wait for it meanwhile."""
        self._log.warning("push failed", mother=way.road.name, reason=why)
        way.goes_wrong()
        with self._look:
            # The first carrier that fails, also where the road has ended by itself since.
            if way.road.is_open or not (way.why or way.down_since_s):
                way.why = why  # before the main loop can see that it is closed
                way.road.close()
