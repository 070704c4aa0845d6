"""What an operator asks of one box's embedded journal: how destinations fare, what came in.

Promises to change nothing. Not promised, but for `steps_known`: events that are still in pending
files, seconds old.
All raise JournalError if the journal is not there or can't be read now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mysql_utilities.drain import pending_dir, sqlite_path
from mysql_utilities.events import Event, Kind
from mysql_utilities.pending import read_events
from mysql_utilities.sqlite_store import SqliteStore
from mysql_utilities.statements import statements

_SQL = statements("box.sql")
_INFLOW_WINDOW = timedelta(hours=4)
_REFUSED_WINDOW = timedelta(hours=1)
_SAME_UID_WINDOW = timedelta(days=1)
_SAME_UID_EVENTS = 100_000
_SAME_UID_MOST = 100
_INFLOW_EVENTS = 500_000  # how far back at most: the look must stay quick on a busy box


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """`outlets`: by destination, the newest event of each of OUTLET_DOWN, OUTLET_UP, DEFERRED and
    QUARANTINED for each peer address, in the order they came. `inflow_bytes_per_hour` is None if
    nothing came in of late. `refused_of_late` counts data sets that the box itself had no means to
    take, in the last hour, and `refused_why` is the last one's reason. `same_uid`: SOP Instance
    UIDs that came with different contents within a day, some of them."""

    box: str
    inflow_bytes_per_hour: float | None
    outlets: Mapping[str, list[Event]] = field(default_factory=dict)
    refused_of_late: int = 0
    refused_why: str = ""
    same_uid: tuple[str, ...] = ()


def facts(journal_dir: Path) -> BoxFacts:
    """What the journal under `journal_dir` says of its box at this moment."""
    with SqliteStore(sqlite_path(journal_dir), create=False) as store:
        outlets: dict[str, list[Event]] = {}
        for row in store.rows(_SQL["last_of_outlets"], {}):
            event = Event.from_row(row[1:])
            outlets.setdefault(event.destination, []).append(event)
        owner = store.rows(_SQL["last_box"], {})
        box = str(owner[0][0]) if owner else ""
        return BoxFacts(box, _inflow(store), outlets, *_refused(store), _same_uid(store))


def steps_known(journal_dir: Path, items: Collection[str]) -> set[tuple[str, Kind, str]]:
    """Which steps of `items` (item id, kind, destination) are on record here, those that still are
    in pending files included."""
    # In this order: an event moves from the pending files into the database, never back.
    found = {
        (event.item, event.kind, event.destination)
        for event in read_events(pending_dir(journal_dir))
        if event.item in items
    }
    with SqliteStore(sqlite_path(journal_dir), create=False) as store:
        for item in items:
            for kind, destination in store.rows(_SQL["steps_known"], {"item": item}):
                found.add((item, Kind(kind), destination))
    return found


def is_down(events: list[Event]) -> bool:
    """Whether a destination with these newest events is down: each peer that was tried is."""
    kinds = (Kind.OUTLET_DOWN, Kind.OUTLET_UP)
    last = {event.peer_address: event.kind for event in events if event.kind in kinds}
    return bool(last) and set(last.values()) == {Kind.OUTLET_DOWN}


def _same_uid(store: SqliteStore) -> tuple[str, ...]:
    since = (datetime.now(UTC) - _SAME_UID_WINDOW).strftime("%Y-%m-%d %H:%M:%S.%f")
    seq = max(0, store.last_seq() - _SAME_UID_EVENTS)
    rows = store.rows(_SQL["same_uid"], {"seq": seq, "since": since, "most": _SAME_UID_MOST})
    return tuple(str(uid) for (uid,) in rows)


def _inflow(store: SqliteStore) -> float | None:
    """Bytes per hour over the last hours; over one hour at least, that a burst is no flood."""
    now = datetime.now(UTC)
    ((size_bytes, first_at),) = store.rows(_SQL["inflow"], _back_to(store, now - _INFLOW_WINDOW))
    if not size_bytes or first_at is None:
        return None
    span = now - datetime.fromisoformat(first_at).replace(tzinfo=UTC)
    return float(size_bytes) / max(1.0, span / timedelta(hours=1))


def _refused(store: SqliteStore) -> tuple[int, str]:
    since = datetime.now(UTC) - _REFUSED_WINDOW
    ((count, _, why),) = store.rows(_SQL["refused_for_want"], _back_to(store, since))
    return int(count), str(why or "")


def _back_to(store: SqliteStore, since: datetime) -> dict[str, object]:
    seq = max(0, store.last_seq() - _INFLOW_EVENTS)
    return {"seq": seq, "since": since.strftime("%Y-%m-%d %H:%M:%S.%f")}
