"""The journal on a MySQL or MariaDB server (schema: tackybox.sql).

Contract: every wait on the server has a limit (connect, read, write, row lock); inserts are
idempotent by event_id; every value is bound or escaped by the driver. TLS is used where the
server offers it, without checking its certificate.

Not promised: that a value of an error message came through: messages of the server may quote
data, so errors here say only what kind it was and its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import pymysql
from pymysql.constants import ER

from mysql_utilities.errors import JournalError, JournalSchemaError
from mysql_utilities.events import FIELDS, Event
from mysql_utilities.multi_row import insert_statements
from mysql_utilities.statements import for_pymysql, statements

SCHEMA_VERSION = 3
"""The version of tackybox.sql that this code needs at least."""

_SQL = statements("mysql.sql")
_FORM = "write user:password@host:port/database"
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]")
_DATABASE = re.compile(r"[^\x00-\x1f/\\.]{1,64}")
_SCHEMA_ERRORS = frozenset({ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR, ER.VIEW_INVALID})
_MEANINGS = {
    1020: "is busy (a record changed)",
    1021: "has no disk space left",
    1040: "has too many connections",
    1044: "does not let this user into this database",
    1045: "refuses this user or password",
    1049: "has no such database",
    1114: "has no disk space left",
    1142: "does not let this user do that",
    1205: "is busy (a lock was waited for too long)",
    1213: "is busy (deadlock)",
    1290: "is read-only now",
    1792: "is read-only now",
    1836: "is read-only now",
    2003: "can't be reached",
    2006: "has gone away",
    2013: "stopped answering",
}


@dataclass(frozen=True, slots=True)
class MysqlAddress:
    """Where the server is and who we are there; `repr` and `str` never show the password."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def parse(cls, text: str) -> MysqlAddress:
        """From `user:password@host:port/database`; the port may be left out (3306), IPv6 is in
        brackets, user, password and database may be percent-encoded. Raises ValueError, whose
        message never holds any of the text."""
        login, at, place = text.strip().rpartition("@")
        user, _, password = login.partition(":")
        server, slash, database = place.partition("/")
        match = re.fullmatch(r"(?P<host>[^\[\]:]+|\[[^\]]*\])(?::(?P<port>\d{1,5}))?", server)
        if not (at and slash and user):
            raise ValueError(f"not a database's address; {_FORM}")
        if match is None or not _HOST.fullmatch(match["host"]):
            raise ValueError(f"the host or the port of the database is wrong; {_FORM}")
        port = int(match["port"] or 3306)
        if not 1 <= port <= 65535:
            raise ValueError("the port of the database is not between 1 and 65535")
        name = unquote(database)
        if not _DATABASE.fullmatch(name):
            raise ValueError(f"the database's name is missing or wrong; {_FORM}")
        return cls(match["host"].strip("[]"), port, unquote(user), unquote(password), name)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself: MySQL or MariaDB, its version, its time (UTC)."""

    product: str
    version: str
    now: datetime


class MysqlStore:
    """One connection to the server; for one thread and one process. `schema_version` is that of
    the tackybox.sql that was loaded there last.

    Raises JournalSchemaError if tackybox.sql (or a newer one) must be loaded there, JournalError
    for everything that may pass.
    """

    def __init__(self, address: MysqlAddress, *, timeout_s: float = 10.0) -> None:
        self.address = address
        self._connection = self._connect(timeout_s)
        try:
            self._execute("SET SESSION innodb_lock_wait_timeout = 5", {})
            self._check_schema()
        except BaseException:
            self.close()
            raise

    def _connect(self, timeout_s: float) -> pymysql.Connection[Any]:
        try:
            return pymysql.connect(
                host=self.address.host,
                port=self.address.port,
                user=self.address.user,
                password=self.address.password.encode("utf-8"),
                database=self.address.database,
                charset="utf8mb4",
                connect_timeout=max(1, round(timeout_s)),
                read_timeout=timeout_s,
                write_timeout=timeout_s,
                sql_mode="STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
                init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
                program_name="tackybox",
            )
        except Exception as error:  # what answers may be anything, and PyMySQL trusts it
            raise self._in_our_words(error) from None

    def _check_schema(self) -> None:
        self.schema_version = int(self.rows(_SQL["schema_version"], {})[0][0])
        if self.schema_version < SCHEMA_VERSION:
            raise JournalSchemaError(
                f"the database {self.address} has schema version {self.schema_version}, needed is"
                f" {SCHEMA_VERSION}: load tackybox.sql there"
            )

    def server(self) -> Server:
        """What answers here."""
        ((version, now),) = self.rows(_SQL["server"], {})
        product = "MariaDB" if "MariaDB" in str(version) else "MySQL"
        return Server(product, str(version).partition("-")[0], now.replace(tzinfo=UTC))

    def try_insert(self, event: Event) -> None:
        """Inserts an event and takes it back: raises JournalError if this user may not."""
        with self._translated():
            self._connection.begin()
            try:
                self._execute(_SQL["begin_shipment"], {"journal_id": "try"})
                self._insert([event.to_row()])
            finally:
                if self._connection.open:
                    self._connection.rollback()

    def insert_events(self, events: Iterable[Event]) -> int:
        """Inserts all or nothing, with a commit; returns how many were new."""
        with self.transaction():
            return self._insert([event.to_row() for event in events])

    def _insert(self, rows: Iterable[tuple[Any, ...]]) -> int:
        with self._connection.cursor() as cursor:
            inserts = insert_statements(rows, lambda text: cursor.mogrify("%s", (text,)))
            return sum(cursor.execute(statement) for statement in inserts)

    def shipped_through(self, journal_id: str) -> tuple[int, str]:
        """Sequence number and event_id up to which the server was given this journal; (0, "")
        if it never was. Within `transaction()`; locks out other shippers of this journal."""
        self._execute(_SQL["begin_shipment"], {"journal_id": journal_id})
        ((seq, event_id),) = self.rows(_SQL["shipped_through"], {"journal_id": journal_id})
        return int(seq), str(event_id)

    def take_shipment(self, journal_id: str, last_seq: int, rows: list[tuple[Any, ...]]) -> None:
        """Inserts clean rows and notes that the journal is here up to the last of them, which
        bears `last_seq`. Within `transaction()`."""
        self._insert(rows)
        event_id = rows[-1][FIELDS.index("event_id")]
        self._execute(
            _SQL["note_shipment"],
            {"journal_id": journal_id, "last_seq": last_seq, "last_event_id": event_id},
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits at the end, rolls back on any error."""
        with self._translated():
            self._connection.begin()
            try:
                yield
                self._connection.commit()
            except BaseException:
                if self._connection.open:
                    self._connection.rollback()
                raise

    def read_after(self, seq: int, max_rows: int = 500) -> list[tuple[int, Event]]:
        """Up to `max_rows` (id, event) in the order of their arrival. Unlike the embedded
        journal's, an id may appear later than a higher one (parallel transactions)."""
        rows = self.rows(_SQL["read_after"], {"seq": seq, "max_rows": max_rows})
        return [(row[0], Event.from_row(row[1:])) for row in rows]

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of one statement with `:name` parameters."""
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(for_pymysql(statement), dict(parameters))
            return list(cursor.fetchall())

    def _execute(self, statement: str, parameters: Mapping[str, Any]) -> None:
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(for_pymysql(statement), dict(parameters))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (pymysql.err.MySQLError, OSError, RuntimeError, UnicodeError) as error:
            raise self._in_our_words(error) from None

    def _in_our_words(self, error: Exception) -> JournalError:
        first = error.args[0] if error.args else None
        code = first if isinstance(error, pymysql.err.MySQLError) else None
        where = f"the database {self.address}"
        if code in _SCHEMA_ERRORS:
            return JournalSchemaError(
                f"{where} lacks the journal's tables: load tackybox.sql there"
            )
        if isinstance(code, int):
            return JournalError(f"{where} {_MEANINGS.get(code, f'answered error {code}')}")
        return JournalError(f"{where} does not speak as expected ({type(error).__name__})")

    def close(self) -> None:
        """Lets go at once; says goodbye only if that does not wait."""
        if self._connection.open:
            self._connection._force_close()  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
