"""tackybox.sql on real servers: twice, over an older version, and what its views say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mysql_utilities.events import MAX_LENGTHS, Event, Kind
from mysql_utilities.mysql_store import SCHEMA_VERSION, MysqlStore

OLD_VERSIONS = [Path(__file__).parent / f"schema_version_{number}.sql" for number in (1, 2)]
SHAPE = """
SELECT TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_TYPE, IS_NULLABLE, COLLATION_NAME
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1, 3;
SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1, 2, 3;
"""
VIEWS = (
    "where_is_my_study", "study_at_each_destination", "waiting", "quarantined", "history",
    "latency_per_hop", "volume_per_day", "same_uid_other_content", "image", "standing", "hop",
)  # fmt: skip


@pytest.fixture
def filled(server: Any, journey: Callable[[int], list[Event]]) -> Any:
    address = server.database()
    with MysqlStore(address) as store:
        store.insert_events(journey(5))
    return address


def test_loading_it_twice_changes_nothing(server: Any, filled: Any) -> None:
    before = server.query(filled, SHAPE), server.query(filled, "SELECT * FROM event")
    assert server.load(filled) == "", "it prints nothing"
    assert (server.query(filled, SHAPE), server.query(filled, "SELECT * FROM event")) == before


@pytest.mark.parametrize("old", OLD_VERSIONS, ids=lambda path: path.stem)
def test_an_older_version_is_upgraded_with_its_rows(server: Any, old: Path) -> None:
    address = server.empty_database()
    server.load(address, old)
    before = server.query(address, "SELECT id, event_id, at, item, detail, duration_s FROM event")
    server.load(address)
    assert before == server.query(
        address, "SELECT id, event_id, at, item, detail, duration_s FROM event"
    )
    assert server.query(address, SHAPE) == server.query(server.database(), SHAPE)
    assert server.query(address, "SELECT version FROM schema_version") == [[old.stem[-1]], ["3"]]
    assert server.query(address, "SELECT images, at_mother FROM where_is_my_study") == [["1", "0"]]
    with MysqlStore(address) as store:
        store.insert_events([Event(kind=Kind.STORED, box="mother", item="i1", digest="d")])


def test_an_ordinary_user_can_load_it(server: Any) -> None:
    address = server.empty_database()
    text = (Path(__file__).parents[2] / "tackybox.sql").read_text()
    with server.session(address) as run_script:
        run_script(text)
    with MysqlStore(address) as store:
        assert store.read_after(0) == []
        for view in VIEWS:
            assert store.rows(f"SELECT * FROM {view}", {}) == []


def test_its_lengths_are_those_of_the_events(server: Any, filled: Any) -> None:
    widths = server.query(
        filled,
        "SELECT COLUMN_NAME, CHARACTER_MAXIMUM_LENGTH FROM information_schema.COLUMNS"
        " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'event' AND DATA_TYPE = 'varchar'",
    )
    found = {name: int(width) for name, width in widths if name != "kind"}
    assert found == MAX_LENGTHS
    assert SCHEMA_VERSION == 3


def test_where_is_my_study(server: Any, filled: Any) -> None:
    (row,) = server.query(
        filled,
        "SELECT study_instance_uid, images, received, at_mother, at_archive, archives, waiting,"
        " quarantined, first_utc, last_utc, wait_s FROM where_is_my_study"
        " WHERE accession_number = 'ACC1.2.840.1'",
    )
    assert row == [
        "1.2.840.1", "5", "5", "5", "3", "PACS", "1", "1",
        "2026-03-29 00:59:59.999999", "2026-03-29 01:00:09.999999", "9.0000",
    ]  # fmt: skip


def test_study_at_each_destination(server: Any, filled: Any) -> None:
    rows = server.query(
        filled,
        "SELECT box, destination, images, delivered, waiting, quarantined"
        " FROM study_at_each_destination ORDER BY box",
    )
    assert rows == [["mother", "PACS", "5", "3", "1", "1"], ["north", "mother", "5", "5", "0", "0"]]


def test_waiting_and_quarantined(server: Any, filled: Any) -> None:
    columns = "box, destination, since_utc, status_code, accession_number"
    (waits,) = server.query(filled, f"SELECT {columns}, last_step, lane, detail FROM waiting")
    assert waits == [
        "mother", "PACS", "2026-03-29 01:00:04.999999", str(0xA700), "ACC1.2.840.1",
        "DEFERRED", "", "archive is full; trying later",
    ]  # fmt: skip
    (held,) = server.query(filled, f"SELECT {columns}, reason FROM quarantined")
    assert held == [
        "mother", "PACS", "2026-03-29 01:00:05.999999", str(0xA900), "ACC1.2.840.1",
        "status-a900: does not match",
    ]  # fmt: skip


def test_latency_and_volume(server: Any, filled: Any) -> None:
    rows = server.query(
        filled,
        "SELECT day, box, hop, images, median_s, average_s, longest_s FROM latency_per_hop"
        " ORDER BY box, hop",
    )
    assert [[row[1], row[2], row[3], *(float(value) for value in row[4:])] for row in rows] == [
        ["mother", "landed to stored", "3", 3.0, 3.0, 3.0],
        ["mother", "received to landed", "5", 2.0, 2.0, 2.0],
        ["mother", "received to stored", "3", 5.0, 5.0, 5.0],
        ["north", "received to pushed", "5", 2.5, 2.5, 2.5],
        ["north", "received to released", "3", 6.0, 6.0, 6.0],
    ]
    assert {row[0] for row in rows} == {"2026-03-29"}
    volume = server.query(filled, "SELECT * FROM volume_per_day")
    assert volume == [["2026-03-29", "north", "CT", "5", "5000", "1"]]


def test_history_bears_the_header_on_every_step(server: Any, filled: Any) -> None:
    rows = server.query(
        filled,
        "SELECT step, status, modality, accession_number FROM history"
        " WHERE sop_instance_uid = '1.2.840.1.2' ORDER BY at_utc, id",
    )
    assert [row[0] for row in rows] == [
        "RECEIVED", "QUEUED", "LANDED", "PUSHED", "QUEUED", "QUARANTINED",
    ]  # fmt: skip
    assert {tuple(row[2:]) for row in rows} == {("CT", "ACC1.2.840.1")}
    assert rows[-1][1] == "0xA900"


def test_times_are_what_they_were_in_any_session(server: Any, filled: Any) -> None:
    for zone in ("+00:00", "+13:00", "-05:00"):
        (row,) = server.query(filled, f"SET time_zone = '{zone}'; SELECT MIN(at) FROM event")
        assert row == ["2026-03-29 00:59:59.999999"]
    with MysqlStore(filled) as store:
        (_, first), *_ = store.read_after(0, 1)
    assert first.at == datetime(2026, 3, 29, 0, 59, 59, 999999, UTC)
