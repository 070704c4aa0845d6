"""Where every item of a spool stands, as its directories say: what is known without a journal.

Promises flat memory, and that an item which moves on meanwhile in the order of its life, or back
from hand, is met, at one of its places or at several. Not promised: that an item is still where it
was met; that one which moves back from quarantine, or to and fro, is met at all. Changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from tackybox.errors import DataError
from tackybox.spool.durable import names
from tackybox.spool.entry import Entry, Lane, State
from tackybox.spool.spool import BOX, Spool


@dataclass(frozen=True, slots=True)
class Standing:
    """An entry, and what its place says of it.

    `outlet` is "" before any; `state` is None in `new/`, where nothing has happened yet, and in
    quarantine, where `reason` is the word for why. `peer` is the mother that has signed for it,
    or the archive that has answered success.
    """

    entry: Entry
    outlet: str = ""
    state: State | None = None
    peer: str = ""
    reason: str = ""


def standing(spool: Spool) -> Iterator[Standing]:
    """All that stands in `spool`, in the order in which items move, so that none slips by."""
    for entry in _entries(spool, "new"):
        yield Standing(entry)
    outlets = sorted(names(spool.root / "out"))
    for outlet in outlets:
        yield from _in_outlet(spool, outlet)
    for outlet in sorted(names(spool.root / "quarantine")):
        for reason in sorted(names(spool.root / "quarantine" / outlet)):
            for entry in _entries(spool, "quarantine", outlet, reason):
                yield Standing(entry, "" if outlet == BOX else outlet, reason=reason)


def _in_outlet(spool: Spool, outlet: str) -> Iterator[Standing]:
    # What is in hand goes to either side, all of it when a killed worker starts again: looked at
    # before each and behind the last. There is little.
    in_hand = State.ACTIVE
    for state in (in_hand, State.NEW, in_hand, State.DEFERRED, in_hand):
        for entry in _entries(spool, "out", outlet, state):
            yield Standing(entry, outlet, state)
    for peer in sorted(names(spool.root / "out" / outlet / State.SENT)):
        is_lost = "~" in peer  # on its way back to waiting
        for entry in _entries(spool, "out", outlet, State.SENT, peer):
            if is_lost:
                yield Standing(entry, outlet, State.NEW)
            else:
                yield Standing(entry, outlet, State.SENT, peer=peer)
    for archive in sorted(names(spool.root / "out" / outlet / State.ANSWERED)):
        for entry in _entries(spool, "out", outlet, State.ANSWERED, archive):
            yield Standing(entry, outlet, State.ANSWERED, peer=archive)
    for entry in _entries(spool, "out", outlet, State.DONE):
        yield Standing(entry, outlet, State.DONE)


def _entries(spool: Spool, *parts: str) -> Iterator[Entry]:
    for lane in Lane:
        directory = spool.root.joinpath(*parts, lane)
        for name in names(directory):
            with contextlib.suppress(DataError):
                yield Entry.named(directory, name)
