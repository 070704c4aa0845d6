"""Makes the embedded journal again, as far as the spool can tell, when it was lost or damaged.

The spool's file `journal-identity` says which journal belongs to it, and since when. Where another
one stands in its place (it was deleted, or set aside as damaged), a GAP event says from when to
when steps are missing, and every item that stands in the spool gets those steps again that its
place proves: received or landed, queued, and how it stands. Then the new journal is noted. All of
it can be cut anywhere and is made again without doubles.

Promises flat memory whatever stands in the spool, and to rest as long as it works. Not promised:
steps of items that had left the spool; answers and durations, which no place keeps; that a server,
which may have the lost steps, has each once only: it has RECEIVED once (`Item.reception_id`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mysql_utilities.box import steps_known
from mysql_utilities.drain import Drain
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.errors import DataError
from tackybox.item import Header, Item, read_header
from tackybox.service import Stop
from tackybox.spool import Spool, State
from tackybox.spool.durable import write_atomically
from tackybox.spool.standing import Standing, standing

MADE_AGAIN = "made again from the spool: the journal was lost"
"""In the detail of each event that was made here; its time is what the item's file tells."""
LOOK_EVERY_S = 5.0
CHECK_EVERY_S = 3600.0
_AT_A_TIME = 500
_SETTLE_S = 1.0  # whoever moved an item has put it on record by then
_NAMESPACE = uuid.UUID("b4a7d8d1-6a4e-4d56-9a68-0e9b7b0d6c55")
_NEXT = timedelta(microseconds=1)
_LAST = {
    State.DEFERRED: Kind.DEFERRED,
    State.SENT: Kind.PUSHED,
    State.ANSWERED: Kind.TAKEN,
    State.DONE: Kind.STORED,
}


@dataclass(frozen=True, slots=True)
class _Met:
    """What stood at a place, and what its file said then; it may have moved on since."""

    one: Standing
    status: os.stat_result
    header: Header | None

    @property
    def item(self) -> Item:
        """The item that stood there."""
        return self.one.entry.item


@dataclass(frozen=True, slots=True)
class _Journal:
    """Which journal it is, and when it began."""

    identity: str
    began_at: datetime


def start(spool: Spool, box: str, recorder: Recorder, stop: Stop) -> None:
    """Look after the journal of `box` until `stop` or the process's end, in a thread; for one
    process of a box."""
    keeper = Keeper(spool, box, recorder, stop)
    threading.Thread(target=keeper.run, name="rebuild", daemon=True).start()


class Keeper:
    """Notices that `spool` has another journal than it had, and makes it again."""

    def __init__(self, spool: Spool, box: str, recorder: Recorder, stop: Stop) -> None:
        self._spool = spool
        self._box = box
        self._recorder = recorder
        self._stop = stop
        self._drain = Drain(spool.journal, box)
        self._log = logs.get("rebuild")
        self._check_at_s = float("-inf")

    def run(self) -> None:
        """Look again and again; never raises for what may pass."""
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:  # evidence must never end a box's process
                self._log.warning("the journal can't be looked after for now", exc=error)
            self._stop.wait(LOOK_EVERY_S)
        self.close()

    def close(self) -> None:
        """Let go of the journal."""
        self._drain.close()

    def look(self) -> None:
        """Make the journal again if it is another one than before. Raises JournalError, OSError."""
        if time.monotonic() >= self._check_at_s:
            found = _Journal(*self._drain.check())
            self._check_at_s = time.monotonic() + CHECK_EVERY_S
        else:
            found = _Journal(*self._drain.identity())
        noted = _noted(self._path)
        if noted is not None and noted.identity == found.identity:
            return
        if noted is not None:
            self._say_gap(found, noted.began_at)
        if self._make_again(found, is_replaced=noted is not None):
            note = f"{found.identity} {found.began_at.isoformat()}\n"
            write_atomically(self._path, note.encode())

    @property
    def _path(self) -> Path:
        return self._spool.root / "journal-identity"

    def _say_gap(self, found: _Journal, since: datetime | None) -> None:
        missing = f"between {_moment(since)} and " if since else "before "
        self._recorder.record(
            Kind.GAP,
            event_id=uuid.uuid5(_NAMESPACE, found.identity).hex,
            at=found.began_at,
            detail=f"the journal was lost and begun anew: steps {missing}"
            f"{_moment(found.began_at)} are missing here, save what the spool can tell",
        )

    def _make_again(self, found: _Journal, *, is_replaced: bool) -> bool:
        """Go through the spool; whether to the end. Items younger than a journal that is the first
        one known here can't be missing in it."""
        places = _met(
            one
            for one in standing(self._spool)
            if is_replaced or one.entry.item.arrived_at < found.began_at
        )
        events = items = 0
        while batch := list(itertools.islice(places, _AT_A_TIME)):
            began_s = time.monotonic()
            if self._stop.wait(_SETTLE_S):
                return False
            made = self._make_batch_again(batch)
            if made and not is_replaced and not events:
                self._say_gap(found, None)
            events += made
            items += len(batch)
            self._recorder.flush()
            if self._stop.wait(max(0.0, time.monotonic() - began_s - _SETTLE_S)):
                return False
        if events:
            self._log.warning("the journal was made again from the spool", items=items)
        return True

    def _make_batch_again(self, batch: Sequence[_Met]) -> int:
        """Put on record what is missing of `batch`; how many events that was."""
        known = steps_known(self._spool.journal, {met.item.id for met in batch})
        count = 0
        for met in batch:
            if self._stop.is_set():  # and with it the recorder ends
                break
            missing = [step for step in self._steps(met.one) if (met.item.id, *step) not in known]
            for event in self._events(met, missing):
                self._recorder.record(**event)
                known.add((met.item.id, event["kind"], event["destination"]))
                count += 1
        return count

    def _steps(self, one: Standing) -> list[tuple[Kind, str]]:
        """The steps that the place of an item proves, and where each leads."""
        is_ours = one.entry.item.origin == self._box
        steps = [(Kind.RECEIVED if is_ours else Kind.LANDED, "")]
        if one.outlet:
            steps.append((Kind.QUEUED, one.outlet))
        if one.reason:
            steps.append((Kind.QUARANTINED, one.outlet))
        elif one.state in _LAST:
            steps.append((_LAST[one.state], one.outlet))
        return steps

    def _events(self, met: _Met, steps: Sequence[tuple[Kind, str]]) -> Iterator[dict[str, Any]]:
        """The fields of those steps' events."""
        one, item, status, header = met.one, met.item, met.status, met.header
        arrived, moved = _utc(status.st_mtime), _utc(status.st_ctime)
        at = moved
        for kind, destination in steps:
            fields = {"sop_instance_uid": item.sop_instance_uid}
            if header is not None and kind in (Kind.RECEIVED, Kind.QUEUED):
                fields = header.event_fields()
            if kind is Kind.RECEIVED:
                at = item.arrived_at
            elif kind is Kind.LANDED:
                at = arrived
            elif kind is not Kind.QUEUED:
                at = max(at, moved)
            yield {
                **fields, "kind": kind, "item": item.id, "at": at, "digest": item.digest,
                "event_id": self._event_id(one, kind, destination), "lane": one.entry.lane,
                "destination": destination, "size_bytes": status.st_size,
                "peer_address": item.origin if kind is Kind.LANDED else one.peer,
                "detail": f"{one.reason}: {MADE_AGAIN}" if one.reason else MADE_AGAIN,
            }  # fmt: skip
            at += _NEXT  # where no more is known, right after the step before

    def _event_id(self, one: Standing, kind: Kind, destination: str) -> str:
        if kind is Kind.RECEIVED:
            return one.entry.item.reception_id
        place = (self._spool.identity, self._box, one.entry.item.name, kind, destination)
        return uuid.uuid5(_NAMESPACE, "\n".join(place)).hex


def _met(places: Iterable[Standing]) -> Iterator[_Met]:
    """Read at once: where all of a batch is looked at first and read later, what moves meanwhile
    is found neither here nor at its next place."""
    for one in places:
        with contextlib.suppress(FileNotFoundError):  # it has moved on, and is met there
            yield _Met(one, one.entry.path.stat(), _header(one.entry.path))


def _noted(path: Path) -> _Journal | None:
    try:
        identity, began_at = path.read_text().split()
        return _Journal(identity, datetime.fromisoformat(began_at))
    except (FileNotFoundError, ValueError):
        return None


def _header(path: Path) -> Header | None:
    try:
        return read_header(path)
    except DataError:
        return None


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
