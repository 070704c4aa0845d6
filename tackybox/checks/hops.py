"""How far some images have come, from this box's embedded journal: hop by hop.

A hop is done when every image has made it. Promises to read only, and to take a journal that
can't be read just now for one that says nothing yet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mysql_utilities import box, reports
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event, Kind
from tackybox.config import DaughterConfig, MotherConfig
from tackybox.spool import STORED_BY


@dataclass(frozen=True, slots=True)
class Hop:
    """One step to one place ("" = this box): what it is called, and which event proves it."""

    name: str
    kind: Kind
    destination: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.destination}".rstrip()

    def is_proved_by(self, event: Event) -> bool:
        """Whether `event` says that its image has made this hop."""
        if event.kind is not self.kind or self.destination not in ("", event.destination):
            return False
        return event.kind is not Kind.RELEASED or event.detail.startswith(STORED_BY)


@dataclass(frozen=True, slots=True)
class Made:
    """A hop that every image has made: when the last did, how long after the start, and by whom."""

    hop: Hop
    at: datetime
    after_s: float
    detail: str


def hops_of(config: DaughterConfig | MotherConfig) -> list[Hop]:
    """The hops of this box, in the order of the journey, those of one destination together.

    With `release: landed` a daughter frees her copy at the mother and hears of no archive.
    """
    hops = [Hop("received", Kind.RECEIVED)]
    if isinstance(config, DaughterConfig):
        for group in config.destinations:
            hops += [
                Hop("queued for mother", Kind.QUEUED, group.name),
                Hop("landed at mother", Kind.PUSHED, group.name),
            ]
            if config.release == "stored":
                hops.append(Hop("stored, by receipt of mother", Kind.RELEASED, group.name))
        return hops
    for archives in config.archives:
        hops += [
            Hop("queued for archive", Kind.QUEUED, archives.name),
            Hop("stored in archive", Kind.STORED, archives.name),
        ]
    return hops


class Track:
    """The way of the images with the SOP Instance UIDs `uids`, from `began` on."""

    def __init__(
        self, journal_dir: Path, uids: Sequence[str], hops: Sequence[Hop], began: datetime
    ) -> None:
        self._journal_dir = journal_dir
        self._uids = uids
        self._hops = hops
        self._began = began
        self._events: list[Event] = []

    def look(self) -> list[Made]:
        """Read the journal again; the hops that every image has made."""
        with contextlib.suppress(JournalError):
            self._events = self._read()
        return [made for hop in self._hops if (made := self._made(hop))]

    def is_over(self) -> bool:
        """Whether nothing more can come: each image has made each last hop, or is set aside."""
        destinations = {hop.destination: hop for hop in self._hops if hop.destination}
        return all(
            self.count(hop) + len(self._set_aside(hop)) >= len(self._uids)
            for hop in destinations.values()
        )

    def missing(self) -> Hop | None:
        """The first hop that an image has not made."""
        return next((hop for hop in self._hops if not self._made(hop)), None)

    def before(self, hop: Hop) -> str:
        """Where those stand that have not made `hop`, in words."""
        number = self._hops.index(hop)
        earlier = [one for one in self._hops[:number] if one.destination in ("", hop.destination)]
        return str(earlier[-1]) if earlier else "sent"

    def count(self, hop: Hop) -> int:
        """How many images have made `hop`."""
        return len({e.sop_instance_uid for e in self._events if hop.is_proved_by(e)})

    def why(self, hop: Hop) -> str:
        """Why they stand before `hop`, as the journal says; "" if it says nothing."""
        set_aside = list(self._set_aside(hop).values())
        if set_aside:
            return f"in quarantine: {set_aside[-1].detail}"
        deferred = [e for e in self._events if e.kind is Kind.DEFERRED and _is_to(e, hop)]
        if deferred:
            status = deferred[-1].status_code
            answered = "" if status is None else f"status 0x{status:04X}, "
            return f"deferred: {answered}{deferred[-1].detail}"
        with contextlib.suppress(JournalError):
            events = box.facts(self._journal_dir).outlets.get(hop.destination, [])
            if box.is_down(events):
                down = [event for event in events if event.kind is Kind.OUTLET_DOWN]
                return f"{down[-1].peer_address} can't be reached: {down[-1].detail}"
        return ""

    def _made(self, hop: Hop) -> Made | None:
        first: dict[str, Event] = {}
        for event in self._events:
            if hop.is_proved_by(event):
                first.setdefault(event.sop_instance_uid, event)
        if len(first) < len(self._uids):
            return None
        last = max(first.values(), key=lambda event: event.at)
        by = last.detail
        if hop.destination not in ("", last.peer_address):  # which of several alternatives
            by = by or last.peer_address
        return Made(hop, last.at, (last.at - self._began).total_seconds(), by)

    def _set_aside(self, hop: Hop) -> dict[str, Event]:
        """By image, that it stands in quarantine on the way to where `hop` goes."""
        return {
            event.sop_instance_uid: event
            for event in self._events
            if event.kind is Kind.QUARANTINED and (_is_to(event, hop) or not event.destination)
        }

    def _read(self) -> list[Event]:
        store = reports.open_embedded(self._journal_dir)
        with store or contextlib.nullcontext():
            sources = reports.embedded_sources(self._journal_dir, store)
            found = [one for uid in self._uids for one in reports.find(sources, uid)]
        return [event for history in found for event in history.events]


def _is_to(event: Event, hop: Hop) -> bool:
    return event.destination == hop.destination
