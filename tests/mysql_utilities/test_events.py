"""Events are clean from the moment they exist, and the same after every way of keeping them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysql_utilities.events import FIELDS, MAX_LENGTHS, Event, Kind

anything = st.text(st.characters(), max_size=1200)  # surrogates and NULs included
texts = st.fixed_dictionaries(dict.fromkeys(MAX_LENGTHS, anything))
numbers = st.fixed_dictionaries(
    {
        "status_code": st.none() | st.integers(),
        "size_bytes": st.none() | st.integers(),
        "duration_s": st.none() | st.floats(),
    }
)
moments = st.datetimes(
    min_value=datetime(1000, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=14))]),
)
kinds = st.sampled_from(Kind)


@given(kinds, moments, texts, numbers)
def test_every_way_of_keeping_an_event_gives_it_back(
    kind: Kind, at: datetime, text: dict[str, str], number: dict[str, Any]
) -> None:
    event = Event(kind=kind, at=at, **text, **number)
    assert Event.from_json(event.to_json()) == event
    assert Event.from_row(event.to_row()) == event
    assert replace(event) == event, "cleaning twice changes nothing"
    assert event.at == at


@given(texts, numbers)
def test_whatever_comes_fits_the_databases(text: dict[str, str], number: dict[str, Any]) -> None:
    event = Event(kind=Kind.GAP, **text, **number)
    for name, max_length in MAX_LENGTHS.items():
        value = getattr(event, name)
        assert len(value) <= max_length
        assert value == value.strip()
        value.encode("utf-8")  # no lone surrogate
        assert all(ord(char) >= 0x20 and not 0x7F <= ord(char) < 0xA0 for char in value)
    assert event.duration_s is None or math.isfinite(event.duration_s)
    assert event.size_bytes is None or 0 <= event.size_bytes < 2**63
    assert event.status_code is None or -(2**31) <= event.status_code < 2**31
    assert "\n" not in event.to_json()


@given(st.text() | st.binary())
def test_a_line_that_is_no_event_is_a_value_error(line: str | bytes) -> None:
    with pytest.raises(ValueError, match="not a journal line"):
        Event.from_json(line)


@pytest.mark.parametrize("missing", ["event_id", "at", "kind", "box"])
def test_a_line_without_an_essential_is_no_event(missing: str) -> None:
    line = Event(kind=Kind.GAP, box="b").to_json()
    with pytest.raises(ValueError, match="not a journal line"):
        Event.from_json(line.replace(f'"{missing}"', '"other"'))


def test_a_newer_versions_line_is_read() -> None:
    event = Event(kind=Kind.STORED, box="mother", status_code=0)
    assert Event.from_json(event.to_json()[:-1] + ',"invented_later":1}') == event


def test_a_cut_value_shows_that_it_was_cut() -> None:
    detail = Event(kind=Kind.GAP, box="b", detail="x" * 5000).detail
    assert len(detail) == MAX_LENGTHS["detail"]
    assert detail.endswith("x…")


def test_naive_times_and_foreign_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        Event(kind=Kind.GAP, box="b", at=datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="event_id"):
        Event(kind=Kind.GAP, box="b", event_id="'; DROP TABLE event; --")


def test_every_kind_has_a_meaning() -> None:
    assert all(kind.meaning and kind == kind.value == kind.name for kind in Kind)
    assert len({kind.meaning for kind in Kind}) == len(Kind)
    assert FIELDS[:5] == ("kind", "box", "item", "event_id", "at")
