"""Whatever happens to the server, it ends up with exactly the embedded journal's events."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mysql_utilities import shipper as shipper_module
from mysql_utilities.drain import sqlite_path
from mysql_utilities.errors import JournalError, JournalSchemaError
from mysql_utilities.events import Event, Kind
from mysql_utilities.mysql_store import MysqlAddress, MysqlStore
from mysql_utilities.recorder import Recorder
from mysql_utilities.shipper import Shipper, retry_delay_s
from mysql_utilities.sqlite_store import SqliteStore


def embedded(journal_dir: Path) -> list[Event]:
    with SqliteStore(sqlite_path(journal_dir), create=False) as store:
        return [event for _, event in store.read_after(0, 1_000_000)]


def shipped(address: MysqlAddress) -> list[Event]:
    with MysqlStore(address) as store:
        return [event for _, event in store.read_after(0, 1_000_000)]


def fill(journal_dir: Path, events: list[Event]) -> None:
    with SqliteStore(sqlite_path(journal_dir)) as store:
        store.insert_events(events)


def ship_all(journal_dir: Path, address: MysqlAddress) -> int:
    shipper = Shipper(journal_dir, address)
    total = 0
    while count := shipper.ship_once():
        total += count
    shipper.close()
    return total


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def running(shipper: Shipper) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=shipper.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def test_everything_arrives_once(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]]
) -> None:
    address = server.database()
    fill(tmp_path, journey(300))
    assert ship_all(tmp_path, address) == len(journey(300))
    assert shipped(address) == embedded(tmp_path)
    assert ship_all(tmp_path, address) == 0


def test_two_boxes_and_two_shippers_of_one(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]]
) -> None:
    address = server.database()
    for box in ("north", "south"):
        (tmp_path / box).mkdir()
        fill(tmp_path / box, journey(200))
    with (
        running(Shipper(tmp_path / "north", address)),
        running(Shipper(tmp_path / "north", address)),
        running(Shipper(tmp_path / "south", address)),
    ):
        expected = embedded(tmp_path / "north") + embedded(tmp_path / "south")
        until(lambda: len(shipped(address)) >= len(expected))
    key = lambda event: event.event_id  # noqa: E731
    assert sorted(shipped(address), key=key) == sorted(expected, key=key)


def test_stopped_frozen_killed_and_started_again(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "RETRY_MAX_S", 1.0)
    monkeypatch.setattr(shipper_module, "POLL_S", 0.05)
    monkeypatch.setattr(shipper_module, "BATCH_EVENTS", 20)
    address = server.database()
    with Recorder(tmp_path, "north") as recorder:

        def record(count: int = 400) -> None:
            for number in range(count):
                recorder.record(Kind.STORED, item=f"i{number}", duration_s=number / 7)
            assert recorder.flush(30), "a server in trouble must not hold up the journal"

        with running(Shipper(tmp_path, address, timeout_s=1.0)):
            record()
            server.freeze()
            record()
            time.sleep(2.5)
            server.thaw()
            record()
            server.stop(signal.SIGKILL)
            record()
            server.start()
            record()
            server.stop()
            record()
            server.start()
            until(lambda: len(shipped(address)) >= 2400)
    assert shipped(address) == embedded(tmp_path)
    assert len(shipped(address)) == 2400


def test_a_wiped_server_is_filled_again(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]]
) -> None:
    address = server.database()
    fill(tmp_path, journey(10))
    shipper = Shipper(tmp_path, address)
    assert shipper.ship_once() == len(journey(10))
    database = address.database
    server.as_root(f"DROP DATABASE {database}; CREATE DATABASE {database}")
    with pytest.raises(JournalError):
        shipper.ship_once()
    with pytest.raises(JournalSchemaError):
        shipper.ship_once()
    server.load(address)
    assert shipper.ship_once() == len(journey(10))
    assert shipped(address) == embedded(tmp_path)


def test_a_restored_server_gets_what_it_lacks(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]]
) -> None:
    address = server.database()
    first, second = journey(5), journey(7)
    fill(tmp_path, first)
    ship_all(tmp_path, address)
    server.as_root(
        "CREATE TABLE e AS SELECT * FROM event; CREATE TABLE s AS SELECT * FROM shipment",
        address.database,
    )
    fill(tmp_path, second)
    ship_all(tmp_path, address)
    server.as_root(
        "DELETE FROM event; INSERT INTO event SELECT * FROM e;"
        "DELETE FROM shipment; INSERT INTO shipment SELECT * FROM s",
        address.database,
    )
    assert ship_all(tmp_path, address) == len(second)
    assert {e.event_id for e in shipped(address)} == {e.event_id for e in embedded(tmp_path)}


def test_a_restored_journal_is_shipped_from_its_beginning(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]]
) -> None:
    address = server.database()
    fill(tmp_path, journey(3))
    (tmp_path / "backup").mkdir()
    shutil.copy(sqlite_path(tmp_path), sqlite_path(tmp_path / "backup"))
    fill(tmp_path, journey(3))
    ship_all(tmp_path, address)
    restored = journey(4)
    fill(tmp_path / "backup", restored)
    ship_all(tmp_path / "backup", address)
    assert {e.event_id for e in restored} <= {e.event_id for e in shipped(address)}


def test_what_is_deleted_on_the_server_stays_deleted(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]]
) -> None:
    address = server.database()
    fill(tmp_path, journey(3))
    ship_all(tmp_path, address)
    server.as_root("DELETE FROM event", address.database)
    assert ship_all(tmp_path, address) == 0
    server.as_root("DELETE FROM shipment", address.database)
    assert ship_all(tmp_path, address) == len(journey(3))


def test_no_journal_yet_is_nothing_to_ship(tmp_path: Path) -> None:
    assert Shipper(tmp_path, MysqlAddress("127.0.0.1", 1, "u", "p", "d")).ship_once() == 0


def test_trouble_is_said_once_in_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    journey: Callable[[int], list[Event]],
) -> None:  # fmt: skip
    monkeypatch.setattr(shipper_module, "RETRY_MIN_S", 0.01)
    monkeypatch.setattr(shipper_module, "RETRY_MAX_S", 0.01)
    fill(tmp_path, journey(1))
    with (
        caplog.at_level(logging.INFO),
        running(Shipper(tmp_path, MysqlAddress("127.0.0.1", 1, "u", "SECRET", "d"))),
    ):
        time.sleep(0.5)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "can't be reached" in caplog.text
    assert "SECRET" not in caplog.text


def test_waits_grow_up_to_a_cap() -> None:
    for failures in range(1, 200):
        ceiling_s = min(shipper_module.RETRY_MAX_S, 2.0 ** (failures - 1))
        assert ceiling_s / 2 <= retry_delay_s(failures) <= ceiling_s


def test_an_idle_shipper_leaves_the_server_alone_but_looks_after_it(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(shipper_module, "POLL_S", 0.01)
    monkeypatch.setattr(shipper_module, "ASK_EVERY_S", 3600.0)
    address = server.database()
    shipper = Shipper(tmp_path, address)
    asked = []
    ship_once = shipper.ship_once
    monkeypatch.setattr(shipper, "ship_once", lambda: asked.append(1) or ship_once())
    with running(shipper):
        fill(tmp_path, journey(5))
        until(lambda: len(shipped(address)) == len(journey(5)))
        time.sleep(0.2)
        count = len(asked)
        time.sleep(0.3)
        assert len(asked) == count
        fill(tmp_path, journey(6))
        until(lambda: shipped(address) == embedded(tmp_path))
        monkeypatch.setattr(shipper_module, "ASK_EVERY_S", 0.0)
        server.as_root("DELETE FROM event; DELETE FROM shipment", address.database)
        until(lambda: shipped(address) == embedded(tmp_path))


def test_batches_shrink_after_failures_and_grow_again(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("POLL_S", "RETRY_MIN_S", "RETRY_MAX_S"):
        monkeypatch.setattr(shipper_module, name, 0.01)
    address = server.database()
    fill(tmp_path, journey(300))  # 2,396 events
    sizes = []

    def take(self: MysqlStore, journal_id: str, last_seq: int, rows: list[Any]) -> None:
        sizes.append(len(rows))
        if len(rows) > 100:
            raise JournalError("too slow for so many")
        really(self, journal_id, last_seq, rows)

    really = MysqlStore.take_shipment
    monkeypatch.setattr(MysqlStore, "take_shipment", take)
    with running(Shipper(tmp_path, address)):
        until(lambda: len(shipped(address)) == len(journey(300)))
    assert shipped(address) == embedded(tmp_path)
    assert sizes[0] == 2000
    assert sizes[:7] == [2000, 1000, 500, 250, 125, 62, 69]


def test_what_somebody_wrote_into_the_journal_by_hand_goes_along(
    server: Any, tmp_path: Path, journey: Callable[[int], list[Event]]
) -> None:
    address = server.database()
    fill(tmp_path, journey(3))
    with SqliteStore(sqlite_path(tmp_path)) as store:
        store.rows("UPDATE event SET detail = :much, lane = 'a' || char(31) || 'b'",
                   {"much": "x" * 5000})  # fmt: skip
    assert ship_all(tmp_path, address) == len(journey(3))
    assert shipped(address) == embedded(tmp_path)
    assert {event.lane for event in shipped(address)} == {"a b"}
