"""Whether the clocks that dated some histories agree, judged by steps whose true order is known.

Two rules. On one box a step that needs another one is not made before it: dated earlier, the box's
clock went back in between. Over two boxes, an image lands at a mother after the daughter received
it and before she notes that the mother signed for it: dated outside of that, the clocks differ.

Promises that a skew which is told is one. Not promised: that each is found. A clock that jumped
ahead looks like a long wait, and with several mothers less can be told; under TOLERANCE_S nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from mysql_utilities.events import Event, Kind
from mysql_utilities.reports import History

TOLERANCE_S = 1.0

_AFTER = (
    (Kind.RECEIVED, Kind.QUEUED),
    (Kind.RECEIVED, Kind.PUSHED),
    (Kind.LANDED, Kind.QUEUED),
    (Kind.LANDED, Kind.STORED),
    (Kind.QUEUED, Kind.PUSHED),
    (Kind.QUEUED, Kind.FORWARDING),
    (Kind.QUEUED, Kind.STORED),
    (Kind.FORWARDING, Kind.STORED),
    (Kind.PUSHED, Kind.RELEASED),
)
"""On one box the second is never made before the first, where both have the same destination or
the first has none."""
_SENT_AGAIN = frozenset({Kind.REQUEUED, Kind.RETRIED})


@dataclass(frozen=True, slots=True)
class Skew:
    """The clock of `box` is ahead of that of `other` by at least `ahead_s` seconds (behind, where
    negative); `other` is "" where it is its own clock, which went back by so much."""

    box: str
    other: str
    ahead_s: float

    def __str__(self) -> str:
        amount = f"at least {abs(self.ahead_s):.1f} s"
        if not self.other:
            return f"the clock of {self.box} went back by {amount} on the way"
        way = "ahead of" if self.ahead_s > 0 else "behind"
        return f"the clock of {self.box} was {amount} {way} that of {self.other}"


def skews(found: Iterable[History]) -> list[Skew]:
    """What these histories prove of their boxes' clocks; the most of each kind."""
    most: dict[tuple[str, str, bool], Skew] = {}
    for history in found:
        for skew in (*_own(history), *_between(history)):
            key = (skew.box, skew.other, skew.ahead_s > 0)
            if key not in most or abs(most[key].ahead_s) < abs(skew.ahead_s):
                most[key] = skew
    return [most[key] for key in sorted(most)]


def _own(history: History) -> Iterator[Skew]:
    by_box: dict[str, list[Event]] = {}
    for event in history.events:
        by_box.setdefault(event.box, []).append(event)
    for box, events in by_box.items():
        for first_kind, then_kind in _AFTER:
            firsts = [event for event in events if event.kind is first_kind]
            for then in _last_of_each(events, then_kind):
                before = [
                    one.at for one in firsts
                    if not one.destination or one.destination == then.destination
                ]  # fmt: skip
                back_s = (min(before) - then.at).total_seconds() if before else 0.0
                if back_s > TOLERANCE_S:
                    yield Skew(box, "", -back_s)


def _last_of_each(events: Iterable[Event], kind: Kind) -> Iterable[Event]:
    """For each destination the last event of `kind`, by its date."""
    last: dict[str, Event] = {}
    for event in events:  # in the order of their dates
        if event.kind is kind:
            last[event.destination] = event
    return last.values()


def _between(history: History) -> Iterator[Skew]:
    """Of each mother's clock against the daughter's."""
    received = [event for event in history.events if event.kind is Kind.RECEIVED]
    if not received:
        return
    daughter, came = received[0].box, received[0].at
    taken = _taken_at(history, daughter)
    for event in history.events:
        if event.kind is Kind.LANDED and event.box != daughter:
            ahead_s = (event.at - taken).total_seconds() if taken is not None else 0.0
            behind_s = (came - event.at).total_seconds()
            if ahead_s > TOLERANCE_S:
                yield Skew(event.box, daughter, ahead_s)
            elif behind_s > TOLERANCE_S:
                yield Skew(event.box, daughter, -behind_s)


def _taken_at(history: History, daughter: str) -> datetime | None:
    """When the daughter noted that the one mother had signed; None if there may be another one
    of which she does not know it yet."""
    steps = [event for event in history.events if event.box == daughter]
    outlets = {event.destination for event in steps if event.kind is Kind.QUEUED}
    if len(outlets) != 1 or any(event.kind in _SENT_AGAIN for event in steps):
        return None
    return max((event.at for event in steps if event.kind is Kind.PUSHED), default=None)
