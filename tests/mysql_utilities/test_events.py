"""Events are clean from the moment they exist, and the same after every way of keeping them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysql_utilities.events import (
    FIELDS,
    MAX_LENGTHS,
    Event,
    Kind,
    clean_row,
    line_and_row,
    rows_of,
)

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


@given(kinds, moments, texts, numbers)
def test_line_and_row_without_an_event_are_the_same(
    kind: Kind, at: datetime, text: dict[str, str], number: dict[str, Any]
) -> None:
    values = {"at": at, "event_id": "0" * 32, **text, **number}
    line, row = line_and_row(kind, values)
    event = Event(kind=kind, **values)
    assert line.isascii()
    assert Event.from_json(line) == event
    assert tuple(row) == event.to_row()


def test_a_line_gets_an_id_and_a_time_of_its_own() -> None:
    before = datetime.now(UTC)
    first, second = (Event.from_json(line_and_row(Kind.GAP, {"box": ""})[0]) for _ in range(2))
    assert first.event_id < second.event_id or first.event_id[:12] == second.event_id[:12]
    assert first.event_id != second.event_id
    assert before <= first.at <= second.at <= datetime.now(UTC)


@pytest.mark.parametrize(
    "values",
    [{}, {"box": "b", "no_such_field": 1}, {"box": "b", "size_bytes": "many"},
     {"box": "b", "at": datetime(2026, 1, 1)}, {"box": "b", "event_id": "x"}],
)  # fmt: skip
def test_what_is_no_event_gives_no_line(values: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        line_and_row(Kind.GAP, values)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)
some_fields = st.dictionaries(st.sampled_from([*FIELDS, "invented_later"]), json_values)
good_lines = st.builds(line_and_row, kinds, texts).map(lambda both: both[0])
lines = st.lists(
    good_lines.map(str.encode)
    | st.binary(max_size=50).map(lambda data: data.replace(b"\n", b""))
    | st.builds(lambda good, odd: json.dumps(json.loads(good) | odd), good_lines, some_fields).map(
        str.encode
    ),
    max_size=6,
)


@given(lines)
def test_rows_of_lines_are_those_of_their_events(lines: list[bytes]) -> None:
    expected = []
    for line in lines:
        try:
            expected.append(Event.from_json(line).to_row())
        except ValueError:
            expected.append(None)
    assert list(rows_of(lines)) == expected


def test_lines_that_are_only_together_json_are_no_events() -> None:
    good = line_and_row(Kind.GAP, {"box": "b"})[0].encode()
    many = [good] * 100
    assert None not in list(rows_of(many))
    assert [row is None for row in rows_of([*many, b"[", b"]", good])] == [False] * 100 + [
        True, True, False,
    ]  # fmt: skip
    assert list(rows_of([good[:50], good[50:]])) == [None, None]
    assert list(rows_of([])) == []


@given(kinds, moments, texts, numbers)
def test_a_clean_row_is_left_as_it_is(
    kind: Kind, at: datetime, text: dict[str, str], number: dict[str, Any]
) -> None:
    row = Event(kind=kind, at=at, **text, **number).to_row()
    assert clean_row(row) == row


@given(texts)
def test_a_row_that_somebody_wrote_by_hand_is_cleaned(text: dict[str, str]) -> None:
    event = Event(kind=Kind.GAP, box="b")
    row = [text.get(name, value) for name, value in zip(FIELDS, event.to_row(), strict=True)]
    clean = clean_row(tuple(row))
    expected = Event(kind=Kind.GAP, at=event.at, event_id=event.event_id, **text)
    assert Event.from_row(clean) == expected
    for value, max_length in zip(clean, map(MAX_LENGTHS.get, FIELDS), strict=True):
        assert max_length is None or len(value) <= max_length
        assert "\x1f" not in str(value)


@pytest.mark.parametrize(("name", "value"), [("kind", "OTHER"), ("at", "yesterday"), ("box", None)])
def test_a_row_that_is_no_event(name: str, value: Any) -> None:
    row = list(Event(kind=Kind.GAP, box="b").to_row())
    row[FIELDS.index(name)] = value
    if value is None:
        assert clean_row(tuple(row))[1] == ""
        return
    if name == "at":
        row[FIELDS.index("detail")] = "\n"  # or else it is the server that refuses it
    with pytest.raises(ValueError, match=r"OTHER|isoformat"):
        clean_row(tuple(row))
