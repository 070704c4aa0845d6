"""A database in any trouble costs the relay nothing, and has every event once when it is over.

tests/journey/test_database.py has frozen, stopped, started and absent in one journey;
tests/mysql_utilities/test_shipper.py a server that was wiped, restored or killed in mid-batch. Here
each trouble of the row is there while images flow from the first to the last, with the ledger.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mysql_utilities.events import Event
from mysql_utilities.mysql_store import MysqlAddress, MysqlStore
from tests.databases import PASSWORD, SCHEMA, Server, as_setting, database_server
from tests.faults.conftest import Record
from tests.faults.proxy import Proxy
from tests.faults.relay import Relay
from tests.faults.verdict import events
from tests.peers import wait_until

pytestmark = [pytest.mark.fault("database"), pytest.mark.timeout(400)]

IMAGES = 30
VERSION_1 = Path(__file__).parents[1] / "mysql_utilities" / "schema_version_1.sql"


@dataclass
class Database:
    """A server, an address on it, and what stands before its port."""

    server: Server
    address: MysqlAddress
    proxy: Proxy | None = None

    def run(self, sql: str) -> None:
        self.server.as_root(sql.format(name=self.address.database))

    @property
    def setting(self) -> str:
        port = self.proxy.port if self.proxy else self.address.port
        return as_setting(
            MysqlAddress(
                self.address.host, port, self.address.user, self.address.password,
                self.address.database,
            )
        )  # fmt: skip

    def holds(self) -> list[Event]:
        with MysqlStore(self.address) as store:
            return [event for _, event in store.read_after(0, 1_000_000)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with database_server("mariadb", tmp_path_factory.mktemp("mariadb")) as running:
        yield running


@contextlib.contextmanager
def stopped(database: Database) -> Iterator[None]:
    database.server.stop()
    try:
        yield
    finally:
        database.server.start()


@contextlib.contextmanager
def frozen(database: Database) -> Iterator[None]:
    database.server.freeze()
    try:
        yield
        assert database.server.is_frozen
    finally:
        database.server.thaw()


@contextlib.contextmanager
def slow(database: Database) -> Iterator[None]:
    assert database.proxy is not None
    database.proxy.delay_s, database.proxy.rate_bytes_s = 0.4, 20_000
    yield
    database.proxy.delay_s, database.proxy.rate_bytes_s = 0.0, 0


def _between(trouble: str, cure: str) -> Callable[[Database], AbstractContextManager[None]]:
    """What an administrator's statements bring about, and mend."""

    @contextlib.contextmanager
    def between(database: Database) -> Iterator[None]:
        database.run(trouble)
        try:
            yield
        finally:
            database.run(cure)

    return between


full = _between(
    # What InnoDB says when its tablespace can't grow (ER_RECORD_FILE_FULL).
    "CREATE TRIGGER {name}.no_room BEFORE INSERT ON {name}.event FOR EACH ROW "
    "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'",
    "DROP TRIGGER {name}.no_room",
)
wrong_password = _between(
    # Sessions that are open stay so: they are ended, as a restart of the server would.
    "ALTER USER 'tackybox'@'127.0.0.1' IDENTIFIED BY 'another'; KILL USER 'tackybox'@'127.0.0.1'",
    f"ALTER USER 'tackybox'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
)
privileges_missing = _between(
    "REVOKE INSERT ON {name}.* FROM 'tackybox'@'127.0.0.1'; KILL USER 'tackybox'@'127.0.0.1'",
    "GRANT ALL ON {name}.* TO 'tackybox'@'127.0.0.1'",
)
newer_schema = _between(
    "ALTER TABLE {name}.event ADD COLUMN colour VARCHAR(9) NULL; "
    "INSERT INTO {name}.schema_version VALUES (99, UTC_TIMESTAMP(6))",
    "DO 0",  # it stays so: an older box beside a newer schema
)


@contextlib.contextmanager
def older_schema(database: Database) -> Iterator[None]:
    database.run("DROP DATABASE {name}; CREATE DATABASE {name}")
    database.server.load(database.address, VERSION_1)
    database.run("TRUNCATE {name}.event")  # rows that another test's upgrade is to keep
    yield
    database.server.load(database.address, SCHEMA)


@contextlib.contextmanager
def wiped(database: Database) -> Iterator[None]:
    database.run("DROP DATABASE {name}; CREATE DATABASE {name}")
    yield
    database.server.load(database.address, SCHEMA)


Trouble = Callable[[Database], AbstractContextManager[None]]
TROUBLES: dict[str, Trouble] = {
    "stopped": stopped, "frozen": frozen, "slow": slow, "full": full, "wiped": wiped,
    "older schema": older_schema, "newer schema": newer_schema, "wrong password": wrong_password,
    "privileges missing": privileges_missing,
}  # fmt: skip


def through_trouble(
    tmp_path: Path, server: Server, record: Record, trouble: Trouble, *, from_the_start: bool
) -> None:
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy(server.port)) if trouble is slow else None
        database = Database(server, server.database(), proxy)
        in_trouble = contextlib.ExitStack()
        stack.enter_context(in_trouble)
        if from_the_start:
            in_trouble.enter_context(trouble(database))
        sql = {"sql": database.setting}
        relay = stack.enter_context(
            Relay(tmp_path / "relay", daughter_settings=sql, mother_settings=sql)
        )
        with relay.sending(relay.images(IMAGES), pause_s=0.02) as scanners:
            scanners.wait_answered(IMAGES // 3)
            if not from_the_start:
                in_trouble.enter_context(trouble(database))
            scanners.wait_done()
        relay.wait_quiet()
        record(relay.verdict(), faults=1)
        in_trouble.close()
        wait_until(lambda: is_complete(relay, database), "every event is on the server, once", 120)


def is_complete(relay: Relay, database: Database) -> bool:
    """Whether the server holds each event of both boxes as they have it, and none twice."""
    held = database.holds()
    there = {event.event_id: event for event in held}
    is_doubled = len(there) < len(held)
    assert not is_doubled
    here = {e.event_id: e for box in (relay.daughter, relay.mother) for e in events(box.spool)}
    return len(here) >= 8 * IMAGES and there == here


def test_images_flow_and_every_event_is_shipped_afterwards(
    tmp_path: Path, server: Server, record: Record
) -> None:
    through_trouble(tmp_path, server, record, full, from_the_start=False)


@pytest.mark.long_fault
@pytest.mark.parametrize("from_the_start", [True, False], ids=["from the start", "in mid-transfer"])
@pytest.mark.parametrize("name", TROUBLES)
def test_every_trouble(
    tmp_path: Path, server: Server, record: Record, name: str, *, from_the_start: bool
) -> None:
    through_trouble(tmp_path, server, record, TROUBLES[name], from_the_start=from_the_start)
