"""What the journals say that archives must have: for `reconcile` and `proof`.

An image counts as stored where an archive's answer is on record (STORED), or, in a daughter's own
journal, where she freed her copy upon the mother's receipt that every archive has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from mysql_utilities.events import Event, Kind
from mysql_utilities.reports import History, State, state_of
from tackybox.errors import DataError
from tackybox.item import Item
from tackybox.spool import STORED_BY

EVERY_ARCHIVE = "every archive of the mother"


@dataclass(frozen=True, slots=True)
class Image:
    """An item that an outlet of `box` was to deliver; `archive` is the address that said it has it,
    "" while none has, EVERY_ARCHIVE where only a mother's receipt is on record."""

    item: Item
    study_instance_uid: str
    series_instance_uid: str
    box: str
    outlet: str
    archive: str
    state: State


@dataclass(slots=True)
class Group:
    """The images of one study that one site received on one day (UTC) for one outlet."""

    day: date
    site: str
    study_instance_uid: str
    outlet: str
    images: list[Image] = field(default_factory=list)

    @property
    def stored(self) -> list[Image]:
        """Those that the archive has said it has; a SOP instance that was sent twice counts once,
        by what was sent last."""
        last = {image.item.sop_instance_uid: image for image in self.images if image.archive}
        return list(last.values())

    def count(self) -> int:
        """How many different SOP instances there are."""
        return len({image.item.sop_instance_uid for image in self.images})


def groups(histories: Sequence[History], days: Collection[date]) -> list[Group]:
    """The groups of what arrived on any of `days`; of all days if there are none."""
    found: dict[tuple[date, str, str, str], Group] = {}
    for history in histories:
        for image in images(history):
            day = image.item.arrived_at.date()
            if days and day not in days:
                continue
            key = (day, image.item.origin, image.study_instance_uid, image.outlet)
            found.setdefault(key, Group(*key)).images.append(image)
    return [found[key] for key in sorted(found)]


def images(history: History) -> Iterator[Image]:
    """One for each outlet that is, or was to be, an archive's; for a daughter's journal alone, one
    for each of her outlets."""
    item = item_of(history)
    if item is None:
        return
    study, series = history.first("study_instance_uid"), history.first("series_instance_uid")
    mothers = {event.box for event in history.events if event.kind is Kind.LANDED}
    mothers |= {event.box for event in history.events if event.kind is Kind.STORED}
    for (box, outlet), last in history.standing.items():
        if outlet and (not mothers or box in mothers):
            said = _said(history.events, box, outlet)
            yield Image(item, study, series, box, outlet, said, state_of(last))


def item_of(history: History) -> Item | None:
    """The item, whose name is put together again from its id; None if the journal lacks a part."""
    digest, uid = history.first("digest"), history.first("sop_instance_uid")
    arrival_and_origin = history.item.rpartition("_")[0]
    try:
        return Item.parse(f"{arrival_and_origin}_{digest}_{uid}")
    except DataError:
        return None


def _said(events: Sequence[Event], box: str, outlet: str) -> str:
    for event in reversed(events):
        if (event.box, event.destination) == (box, outlet):
            if event.kind is Kind.STORED:
                return event.peer_address or outlet
            if event.kind is Kind.RELEASED and event.detail.startswith(STORED_BY):
                return EVERY_ARCHIVE
    return ""
