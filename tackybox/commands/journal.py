"""What verbs about a spool show of its embedded journal; a journal that can't be read costs them
that part and no more."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mysql_utilities import box, reports
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event, Kind
from tackybox.spool import Spool

_UNKNOWN_BOX = "unknown"
_PROBLEMS = (Kind.OUTLET_DOWN, Kind.DEFERRED, Kind.QUARANTINED)


@dataclass(frozen=True, slots=True)
class OutletFacts:
    """How an outlet fares; the last problem in words, its kind of event, and when it was."""

    is_down: bool = False
    problem: str = ""
    problem_kind: str = ""
    problem_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the journal says of a box; `unreadable` says why it says nothing. `same_uid`: SOP
    Instance UIDs that came with several contents of late."""

    box: str = _UNKNOWN_BOX
    inflow_bytes_per_hour: float | None = None
    outlets: dict[str, OutletFacts] = field(default_factory=dict)
    same_uid: list[str] = field(default_factory=list)
    unreadable: str = ""
    refused_of_late: int = 0
    refused_why: str = ""

    @property
    def attention(self) -> list[str]:
        """A sentence for each thing that a person should look at."""
        found = []
        if self.refused_of_late:
            count = self.refused_of_late
            found.append(f"{count} refused with 0xA700 in the last hour: {self.refused_why}")
        if self.same_uid:
            more = f" and {len(self.same_uid) - 1} more" if len(self.same_uid) > 1 else ""
            found.append(
                f"one SOP Instance UID, different images, all delivered: {self.same_uid[0]}{more}; "
                "an archive may keep only one of them; see: tackybox trace UID"
            )
        return found + ([self.unreadable] if self.unreadable else [])


def facts(spool: Spool) -> Facts:
    """What the spool's journal says; empty if it can't be read."""
    try:
        found = box.facts(spool.journal)
    except JournalError as error:
        return Facts(unreadable=str(error))
    outlets = {name: _outlet(events) for name, events in found.outlets.items()}
    return Facts(
        found.box or _UNKNOWN_BOX, found.inflow_bytes_per_hour, outlets, list(found.same_uid),
        refused_of_late=found.refused_of_late, refused_why=found.refused_why,
    )  # fmt: skip


def history(spool: Spool, item: str) -> list[dict[str, Any]]:
    """The steps of one item on this box, oldest first; none if the journal can't be read."""
    try:
        store = reports.open_embedded(spool.journal)
        with store or contextlib.nullcontext():
            found = reports.find(reports.embedded_sources(spool.journal, store), item)
    except JournalError:
        return []
    return [
        {
            "at": event.at,
            "kind": str(event.kind),
            "destination": event.destination,
            "status_code": event.status_code,
            "detail": event.detail,
        }
        for history in found
        for event in history.events
    ]


def _outlet(events: list[Event]) -> OutletFacts:
    problems = [event for event in events if event.kind in _PROBLEMS]
    if not problems:
        return OutletFacts()
    last = problems[-1]
    words = last.detail
    if last.status_code is not None:
        words = f"status 0x{last.status_code:04X} {words}".rstrip()
    return OutletFacts(box.is_down(events), words, str(last.kind), last.at)
