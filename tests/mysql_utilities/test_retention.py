"""What is old enough leaves the embedded journal, once the server has it; nothing else does."""

from __future__ import annotations

import logging
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mysql_utilities import retention
from mysql_utilities.drain import sqlite_path
from mysql_utilities.events import Event, Kind
from mysql_utilities.mysql_store import MysqlAddress, MysqlStore
from mysql_utilities.shipper import Shipper
from mysql_utilities.sqlite_store import SqliteStore
from tests.databases import Server

KEEP = timedelta(days=30)
NOW = datetime.now(UTC)
ADDRESS = MysqlAddress("127.0.0.1", 3306, "tackybox", "w0rd", "journal")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PAUSE_S", 0.0)


def fill(journal_dir: Path, *ages_days: float) -> list[str]:
    """Events of these ages, in this order; their ids."""
    ages = [timedelta(days=days) for days in ages_days]
    made = [Event(kind=Kind.RECEIVED, box="north", at=NOW - age) for age in ages]
    with SqliteStore(sqlite_path(journal_dir)) as store:
        store.insert_events(made)
    return [event.event_id for event in made]


def kept(journal_dir: Path) -> list[str]:
    with SqliteStore(sqlite_path(journal_dir)) as store:
        return [event.event_id for _, event in store.read_after(0, 1_000_000)]


def forget(journal_dir: Path, server: MysqlAddress | None = None) -> int:
    return retention.forget(journal_dir, KEEP, server, threading.Event())


def ship(journal_dir: Path, address: MysqlAddress) -> int:
    shipper = Shipper(journal_dir, address)
    shipped = 0
    while count := shipper.ship_once():
        shipped += count
    shipper.close()
    return shipped


def on_server(address: MysqlAddress) -> set[str]:
    with MysqlStore(address) as store:
        return {event.event_id for _, event in store.read_after(0, 1_000_000)}


def test_what_is_older_goes_in_several_batches_and_the_rest_stays(tmp_path: Path) -> None:
    ids = fill(tmp_path, *[40] * 1234, 31, 29, 1)
    assert forget(tmp_path) == 1235
    assert kept(tmp_path) == ids[-2:]
    assert forget(tmp_path) == 0


def test_the_last_event_stays_however_old(tmp_path: Path) -> None:
    ids = fill(tmp_path, 50, 40, 35)
    assert forget(tmp_path) == 2
    assert kept(tmp_path) == ids[-1:]


def test_a_journal_that_is_empty_or_not_there(tmp_path: Path) -> None:
    assert forget(tmp_path) == 0
    assert not sqlite_path(tmp_path).exists()
    fill(tmp_path)
    assert forget(tmp_path) == 0


def test_a_wrong_clock_forgets_nothing_early_and_holds_nothing_up(tmp_path: Path) -> None:
    ids = fill(tmp_path, 40, -5000, 40, 2, 20_000, 1)
    assert forget(tmp_path) == 3
    assert kept(tmp_path) == ids[3:]


def test_nothing_goes_that_the_server_never_had(tmp_path: Path) -> None:
    ids = fill(tmp_path, 50, 40, 1)
    assert forget(tmp_path, ADDRESS) == 0
    with SqliteStore(sqlite_path(tmp_path)) as store:
        store.note_shipped("another@server:3306/journal", 3)
    assert forget(tmp_path, ADDRESS) == 0
    assert kept(tmp_path) == ids


def test_the_server_keeps_what_the_box_forgets_and_shipping_goes_on(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    address = server.database()
    ids = fill(tmp_path, *[40] * 700)
    assert ship(tmp_path, address) == 700
    unshipped = fill(tmp_path, 39, 38)
    assert forget(tmp_path, address) == 699
    assert kept(tmp_path) == [ids[-1], *unshipped]
    assert on_server(address) == set(ids)
    assert ship(tmp_path, address) == 2
    assert forget(tmp_path, address) == 2
    assert ship(tmp_path, address) == 0
    assert on_server(address) == {*ids, *unshipped}
    assert caplog.messages == []


def test_a_server_that_was_restored_from_a_backup_is_given_all_that_is_left(
    tmp_path: Path, server: Server
) -> None:
    address = server.database()
    ids = fill(tmp_path, *[40] * 5)
    ship(tmp_path, address)
    backup = [
        f"DELETE FROM event WHERE event_id <> '{ids[0]}'",
        f"UPDATE shipment SET last_seq = 1, last_event_id = '{ids[0]}'",
    ]
    forget(tmp_path, address)
    more = fill(tmp_path, 1, 1)
    server.as_root(";".join(backup), address.database)
    ship(tmp_path, address)
    assert on_server(address) == {ids[0], ids[-1], *more}
    # What the server says now counts, not what another one said before.
    server.as_root("DELETE FROM event; DELETE FROM shipment", address.database)
    young = fill(tmp_path, 35)
    ship(tmp_path, address)
    assert on_server(address) == {ids[-1], *more, *young}


def test_a_journal_of_version_1_is_taken_along(tmp_path: Path) -> None:
    ids = fill(tmp_path, 40, 1)
    with sqlite3.connect(sqlite_path(tmp_path)) as old:
        old.executescript("DROP TABLE shipped; PRAGMA user_version = 1")
    old.close()
    more = fill(tmp_path, 1)
    assert forget(tmp_path, ADDRESS) == 0
    assert forget(tmp_path) == 1
    assert kept(tmp_path) == [*ids[1:], *more]


def test_stop_ends_it_between_two_batches(tmp_path: Path) -> None:
    fill(tmp_path, *[40] * 10)
    stop = threading.Event()
    stop.set()
    assert retention.forget(tmp_path, KEEP, None, stop) == 0


def test_others_write_between_two_batches(tmp_path: Path) -> None:
    fill(tmp_path, *[40] * 1200)

    class Writing(threading.Event):
        """A stop in whose every wait another connection writes."""

        def wait(self, timeout: float | None = None) -> bool:
            fill(tmp_path, 1)
            return False

    assert retention.forget(tmp_path, KEEP, None, Writing()) == 1199
    assert len(kept(tmp_path)) == 1 + 3
