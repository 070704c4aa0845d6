"""Statements of many rows hold every value as the driver would have written it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql.converters import escape_string

from mysql_utilities import multi_row
from mysql_utilities.events import FIELDS, MAX_LENGTHS, Event, Kind
from mysql_utilities.multi_row import insert_statements
from tests.mysql_utilities.test_events import numbers, texts


def quote(text: str) -> str:
    return f"'{escape_string(text)}'"


def literal(value: object) -> str:
    return "NULL" if value is None else quote(str(value))


some_events = st.builds(lambda t, n: Event(kind=Kind.GAP, **t, **n), texts, numbers)


@settings(max_examples=30)
@given(st.lists(some_events, min_size=1, max_size=3))
def test_every_value_is_its_literal(events: list[Event]) -> None:
    rows = [event.to_row() for event in events]
    lists = ",".join(f"({','.join(map(literal, row))})" for row in rows)
    assert f"VALUES {lists}\nON DUPLICATE" in "".join(insert_statements(rows, quote))


def test_many_rows_are_several_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_row, "MAX_CHARS", 1000)
    rows = [Event(kind=Kind.GAP, box="b", detail="x" * 100).to_row() for _ in range(100)]
    statements = list(insert_statements(rows, quote))
    assert 5 < len(statements) < 50
    assert sum(statement.count("'GAP'") for statement in statements) == 100
    assert all(statement.startswith("INSERT INTO event") for statement in statements)
    assert list(insert_statements([], quote)) == []


@pytest.mark.parametrize("hostile", ["\x1f", "\x1e", "a\x1f\x1e", "\x1d\x1f"])
def test_a_value_that_could_end_another_is_refused(hostile: str) -> None:
    row: list[Any] = list(Event(kind=Kind.GAP, box="b").to_row())
    row[FIELDS.index("detail")] = hostile
    with pytest.raises(ValueError, match="control character"):
        list(insert_statements([tuple(row)], quote))


def test_all_text_fields_are_text() -> None:
    assert {*MAX_LENGTHS, "kind", "event_id", "at"} == {*FIELDS} - {
        "status_code", "size_bytes", "duration_s",
    }  # fmt: skip
