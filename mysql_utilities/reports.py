"""Answers from the journal: where each image is, since when, why it waits.

One set of functions over any number of sources: embedded journals (with what still stands in
their pending files) and a MySQL server. The same event in several sources counts once.

Not promised: that the answer is complete where a box's journal is not among the sources; that
waits over two boxes are right where their clocks are not.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from mysql_utilities.drain import pending_dir, sqlite_path
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event, Kind
from mysql_utilities.pending import read_events
from mysql_utilities.sqlite_store import SqliteStore
from mysql_utilities.statements import statements

MAX_EVENTS = 500_000
"""What one question may bring into memory; beyond it the question is too wide."""

KEYS = (
    "sop_instance_uid",
    "series_instance_uid",
    "study_instance_uid",
    "accession_number",
    "patient_id",
    "item",
)
"""The fields that a key is looked for in."""

_GAPS = 100
_SQL = statements("reports.sql")
_ORDER = {kind: place for place, kind in enumerate(Kind)}


class State(StrEnum):
    """How one delivery (or an item without one yet) stands, from its last step."""

    WAITING = "waiting"
    AT_MOTHER = "at mother"
    UNPROVED = "waiting for commitment"
    STORED = "stored"
    RELEASED = "released"
    QUARANTINED = "quarantined"
    REFUSED = "refused"


_STATES = {
    Kind.PUSHED: State.AT_MOTHER,
    Kind.TAKEN: State.UNPROVED,
    Kind.COMMITTED: State.STORED,
    Kind.STORED: State.STORED,
    Kind.RELEASED: State.RELEASED,
    Kind.QUARANTINED: State.QUARANTINED,
    Kind.REFUSED: State.REFUSED,
}


class Store(Protocol):
    """What SqliteStore and MysqlStore have in common for questions."""

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]: ...


class Source(Protocol):
    """Somewhere that events can be found."""

    def steps_by_key(self, key: str) -> list[Event]: ...
    def steps_of(self, items: Iterable[str]) -> list[Event]: ...
    def studies(self, first: str, behind: str) -> set[str]: ...
    def gaps(self) -> list[Event]: ...


@dataclass(frozen=True, slots=True)
class StoreSource:
    """A database as a source. Raises JournalError for a question that is too wide."""

    store: Store

    def steps_by_key(self, key: str) -> list[Event]:
        rows = self.store.rows(
            _SQL["steps_by_key"],
            {"key": key, "max_rows": MAX_EVENTS + 1},
        )
        if len(rows) > MAX_EVENTS:
            raise JournalError(f"more than {MAX_EVENTS} steps match; ask for a study or a series")
        return [Event.from_row(row) for row in rows]

    def steps_of(self, items: Iterable[str]) -> list[Event]:
        rows = (self.store.rows(_SQL["steps_of_item"], {"item": item}) for item in items)
        return [Event.from_row(row) for found in rows for row in found]

    def studies(self, first: str, behind: str) -> set[str]:
        bounds = {"first": first, "behind": behind, "max_rows": MAX_EVENTS}
        return {str(row[0]) for row in self.store.rows(_SQL["studies_of_items"], bounds)}

    def gaps(self) -> list[Event]:
        """The latest events that say that others are missing."""
        return [Event.from_row(row) for row in self.store.rows(_SQL["gaps"], {"max_rows": _GAPS})]


@dataclass(frozen=True, slots=True)
class PendingSource:
    """What stands in a journal's pending files, read without taking it away."""

    journal_dir: Path

    def steps_by_key(self, key: str) -> list[Event]:
        found = [event for event in self._events() if _has_key(event, key)]
        return found + self.steps_of({event.item for event in found if event.item})

    def steps_of(self, items: Iterable[str]) -> list[Event]:
        wanted = set(items)
        return [event for event in self._events() if event.item in wanted] if wanted else []

    def studies(self, first: str, behind: str) -> set[str]:
        found = (event for event in self._events() if first <= event.item < behind)
        return {event.study_instance_uid for event in found} - {""}

    def gaps(self) -> list[Event]:
        """Those that no database has yet."""
        return [event for event in self._events() if event.kind is Kind.GAP]

    def _events(self) -> Iterator[Event]:
        return read_events(pending_dir(self.journal_dir))


@dataclass(frozen=True)
class History:
    """The steps of one item on all boxes, in the order of their times."""

    item: str
    events: tuple[Event, ...]

    def first(self, field: str) -> str:
        """The first value of a text field that is not empty, else ""."""
        return next((value for event in self.events if (value := getattr(event, field))), "")

    def at(self, kind: Kind) -> datetime | None:
        """When this step was made first."""
        return next((event.at for event in self.events if event.kind is kind), None)

    @cached_property
    def standing(self) -> dict[tuple[str, str], Event]:
        """The last step for each (box, destination); what has no destination stands only while
        nothing else has happened on its box."""
        last: dict[tuple[str, str], Event] = {}
        for event in self.events:
            last[event.box, event.destination] = event
            if event.destination:
                last.pop((event.box, ""), None)
        return last

    @property
    def states(self) -> dict[tuple[str, str], State]:
        """How each (box, destination) stands."""
        return {place: state_of(event) for place, event in self.standing.items()}


@dataclass(frozen=True, slots=True)
class Wait:
    """How long one part of the way took: seconds of `count` items from `began` to `done`."""

    box: str
    destination: str
    began: Kind
    done: Kind
    count: int
    median_s: float
    longest_s: float


_HOPS = (
    (Kind.RECEIVED, Kind.PUSHED, False),
    (Kind.RECEIVED, Kind.LANDED, False),
    (Kind.LANDED, Kind.STORED, True),
    (Kind.RECEIVED, Kind.STORED, False),
    (Kind.RECEIVED, Kind.RELEASED, False),
)  # from, to, whether only on one box


def state_of(event: Event) -> State:
    """The state that a last step means."""
    return _STATES.get(event.kind, State.WAITING)


def embedded_sources(journal_dir: Path, store: SqliteStore | None) -> list[Source]:
    """The sources of one spool's journal, in the order in which they must be asked: an event may
    move from the pending files into the database meanwhile, never back."""
    pending: list[Source] = [PendingSource(journal_dir)]
    return [*pending, StoreSource(store)] if store is not None else pending


def open_embedded(journal_dir: Path) -> SqliteStore | None:
    """The embedded journal of a spool for reading, None if there is none yet. Raises
    JournalError."""
    path = sqlite_path(journal_dir)
    return SqliteStore(path, create=False) if path.exists() else None


def find(sources: Sequence[Source], key: str) -> list[History]:
    """The items that bear `key` in any of KEYS on any of their steps, with all their steps from
    all the sources; ordered by when they came. Raises JournalError."""
    key = key.strip()
    if not key:
        return []
    events = {event.event_id: event for source in sources for event in source.steps_by_key(key)}
    # A source may know an item and not that it bears the key: a mother before she read the header.
    items = sorted({event.item for event in events.values() if event.item})
    if len(sources) > 1:
        for source in sources:
            events |= {event.event_id: event for event in source.steps_of(items)}
    return histories(events.values())


def studies_of_day(sources: Sequence[Source], day: date) -> list[str]:
    """Study Instance UIDs of the items that arrived on `day` (UTC), as far as their headers were
    read. Raises JournalError."""
    # An item's id begins with its arrival.
    first, behind = f"{day:%Y%m%d}T", f"{day + timedelta(days=1):%Y%m%d}T"
    return sorted({uid for source in sources for uid in source.studies(first, behind)})


def gaps(sources: Iterable[Source], since: datetime) -> list[Event]:
    """What says that steps are missing which were made since then, or may have been; oldest first.
    Raises JournalError."""
    found = {event.event_id: event for source in sources for event in source.gaps()}
    return sorted((event for event in found.values() if event.at >= since), key=_in_order)


def histories(events: Iterable[Event]) -> list[History]:
    """Events sorted into histories by item; a step without an item is a history of its own."""
    by_item: dict[str, list[Event]] = {}
    for event in events:
        by_item.setdefault(event.item or event.event_id, []).append(event)
    found = [
        History(steps[0].item, tuple(sorted(steps, key=_in_order))) for steps in by_item.values()
    ]
    return sorted(found, key=lambda history: (history.events[0].at, history.item))


def states(found: Iterable[History]) -> dict[tuple[str, str, State], int]:
    """How many items stand how: by (box, destination, state)."""
    counts: dict[tuple[str, str, State], int] = {}
    for history in found:
        for (box, destination), state in history.states.items():
            place = (box, destination, state)
            counts[place] = counts.get(place, 0) + 1
    return counts


def other_contents(found: Iterable[History]) -> dict[str, list[History]]:
    """By SOP Instance UID those items that came under one UID with different content, which no two
    images may have. What each has is known by its digest; items without one are passed over."""
    by_uid: dict[str, list[History]] = {}
    for history in found:
        if (uid := history.first("sop_instance_uid")) and history.item and history.first("digest"):
            by_uid.setdefault(uid, []).append(history)
    return {
        uid: items
        for uid, items in by_uid.items()
        if len({history.first("digest") for history in items}) > 1
    }


def waits(found: Iterable[History]) -> list[Wait]:
    """Seconds per part of the way, by box and destination of its end."""
    seconds: dict[tuple[str, str, Kind, Kind], list[float]] = {}
    for history in found:
        for began, done in _hops(history):
            place = (done.box, done.destination, began.kind, done.kind)
            seconds.setdefault(place, []).append((done.at - began.at).total_seconds())
    return [
        Wait(*place, count=len(values), median_s=statistics.median(values), longest_s=max(values))
        for place, values in seconds.items()
    ]


def _hops(history: History) -> Iterator[tuple[Event, Event]]:
    for began_kind, done_kind, same_box in _HOPS:
        for done in history.events:
            if done.kind is not done_kind:
                continue
            began = next(
                (
                    event
                    for event in history.events
                    if event.kind is began_kind and (not same_box or event.box == done.box)
                ),
                None,
            )
            if began is not None:
                yield began, done


def _in_order(event: Event) -> tuple[datetime, int, str]:
    return event.at, _ORDER[event.kind], event.event_id


def _has_key(event: Event, key: str) -> bool:
    return any(getattr(event, name) == key for name in KEYS)
