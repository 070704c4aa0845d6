"""A skew that is told is one: steps dated against their true order, and none of those in order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mysql_utilities.events import Event, Kind
from mysql_utilities.reports import histories
from mysql_utilities.skew import Skew, skews
from tests.mysql_utilities.conftest import make_journey

HOUR_S = 3600.0
DAY_S = 86_400.0


def shifted(
    events: list[Event], box: str, by_s: float, kinds: frozenset[Kind] = frozenset(Kind)
) -> list[Event]:
    """These events as `box` dates its `kinds` when its clock is that far ahead."""
    return [
        replace(event, at=event.at + timedelta(seconds=by_s))
        if event.box == box and event.kind in kinds
        else event
        for event in events
    ]


def found(events: list[Event]) -> list[Skew]:
    return skews(histories(events))


def test_right_clocks_are_not_skewed() -> None:
    assert found(make_journey(5)) == []


@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S, DAY_S, -DAY_S])
def test_boxes_apart(by_s: float) -> None:
    (skew,) = found(shifted(make_journey(5), "mother", by_s))
    assert (skew.box, skew.other) == ("mother", "north")
    # What the journey itself took is not known to be none.
    assert abs(by_s) - 10 < abs(skew.ahead_s) <= abs(by_s)
    assert (skew.ahead_s > 0) == (by_s > 0)
    assert ("ahead of" if by_s > 0 else "behind") in str(skew)


def test_a_clock_that_goes_back_while_an_image_waits() -> None:
    late = frozenset({Kind.PUSHED, Kind.RELEASED})
    own = [
        skew for skew in found(shifted(make_journey(1), "north", -DAY_S, late)) if not skew.other
    ]
    assert [skew.box for skew in own] == ["north"]
    assert -DAY_S <= own[0].ahead_s < -DAY_S + 10
    assert "went back" in str(own[0])


def test_a_clock_that_goes_back_between_forwarding_and_stored() -> None:
    events = shifted(make_journey(1), "mother", -DAY_S, frozenset({Kind.STORED}))
    assert any(skew.box == "mother" and not skew.other for skew in found(events))


def test_less_than_the_tolerance_is_nothing() -> None:
    # image 0 lands 0.5 s before it is noted as pushed
    assert found(shifted(make_journey(1), "mother", 1.2)) == []


def test_a_second_mother_that_was_not_signed_for_yet_proves_nothing() -> None:
    events = make_journey(1)
    (queued,) = [event for event in events if event.box == "north" and event.kind is Kind.QUEUED]
    other = Event(kind=Kind.QUEUED, box="north", item=queued.item, at=queued.at, destination="b")
    (landed,) = [event for event in events if event.kind is Kind.LANDED]
    late = Event(
        kind=Kind.LANDED, box="second", item=queued.item, at=landed.at + timedelta(seconds=900)
    )
    assert found([*events, other, late]) == []


def test_sent_again_after_it_was_signed_for_proves_nothing() -> None:
    events = make_journey(1)
    (landed,) = [event for event in events if event.kind is Kind.LANDED]
    at = landed.at + timedelta(seconds=900)
    again = Event(kind=Kind.REQUEUED, box="north", item=landed.item, at=at, destination="mother")
    twice = Event(kind=Kind.LANDED, box="mother", item=landed.item, at=at + timedelta(seconds=9))
    assert found([*events, again, twice]) == []


def test_a_retried_image_is_queued_before_it_is_stored_a_second_time() -> None:
    events = make_journey(1)
    (stored,) = [event for event in events if event.kind is Kind.STORED]
    again = Event(
        kind=Kind.FORWARDING, box="mother", item=stored.item, destination=stored.destination,
        at=stored.at + timedelta(seconds=900),
    )  # fmt: skip
    assert found([*events, again]) == []
