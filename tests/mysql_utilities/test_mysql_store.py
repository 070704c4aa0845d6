"""The server's address, and a server that is wrong, silent or hostile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysql_utilities.errors import JournalError, JournalSchemaError
from mysql_utilities.events import Event, Kind
from mysql_utilities.mysql_store import MysqlAddress, MysqlStore


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u:p@db:3307/tackybox", MysqlAddress("db", 3307, "u", "p", "tackybox")),
        ("u:p@db/tackybox", MysqlAddress("db", 3306, "u", "p", "tackybox")),
        ("u:p@w@rd:x/y@10.0.0.1/t", MysqlAddress("10.0.0.1", 3306, "u", "p@w@rd:x/y", "t")),
        ("u:p%40%3a%e2%82%ac@[::1]:33/t", MysqlAddress("::1", 33, "u", "p@:€", "t")),
        ("u:@db/t", MysqlAddress("db", 3306, "u", "", "t")),
    ],
)
def test_an_address_is_read(text: str, expected: MysqlAddress) -> None:
    assert MysqlAddress.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "db", "u:SECRET@db", "u:SECRET@db/", ":SECRET@db/t", "u:SECRET@db:0/t",
        "u:SECRET@db:99999/t", "u:SECRET@db:x/t", "u:SECRET@/t", "u:SECRET@d b/t",
        "u:SECRET@db/a/b", "u:SECRET@[::1/t", "u:SECRET@db/a%00b",
    ],
)  # fmt: skip
def test_a_wrong_address_is_named_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match=r"database") as caught:
        MysqlAddress.parse(text)
    assert "SECRET" not in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = MysqlAddress.parse(text)
    except ValueError:
        return
    assert address.host and address.user and address.database


def test_no_way_of_printing_shows_the_password() -> None:
    address = MysqlAddress.parse("u:SECRET@db:3306/t")
    assert "SECRET" not in f"{address} {address!r}"


def listen(answer: bytes) -> tuple[socket.socket, MysqlAddress]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            peer.sendall(answer)
            peer.close()

    threading.Thread(target=serve, daemon=True).start()
    return listener, MysqlAddress("127.0.0.1", listener.getsockname()[1], "u", "SECRET", "t")


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 100, b"\xff" * 100, b"HTTP/1.1 400 Bad\r\n\r\n",
     b"\x05\x00\x00\x00\x0a8.4\x00", b"\x01\x00\x00\x00\xff"],
)  # fmt: skip
def test_what_is_no_database_is_a_journal_error(answer: bytes) -> None:
    listener, address = listen(answer)
    with listener, pytest.raises(JournalError) as caught:
        MysqlStore(address, timeout_s=1)
    assert "SECRET" not in str(caught.value)


def test_nobody_listening_is_a_journal_error() -> None:
    with socket.socket() as bound:  # and never listening
        bound.bind(("127.0.0.1", 0))
        address = MysqlAddress("127.0.0.1", bound.getsockname()[1], "u", "SECRET", "t")
        with pytest.raises(JournalError, match="can't be reached"):
            MysqlStore(address, timeout_s=1)


def test_a_server_without_our_tables_says_what_to_load(server: Any) -> None:
    with pytest.raises(JournalSchemaError, match=r"load tackybox\.sql"):
        MysqlStore(server.empty_database())


def test_an_older_schema_says_what_to_load(server: Any) -> None:
    address = server.database()
    server.as_root("DELETE FROM schema_version", address.database)
    with pytest.raises(JournalSchemaError, match=r"version 0.*load tackybox\.sql"):
        MysqlStore(address)


def test_a_wrong_password_is_said_without_it(server: Any) -> None:
    good = server.database()
    bad = MysqlAddress(good.host, good.port, good.user, "SECRET", good.database)
    with pytest.raises(JournalError, match="refuses this user or password") as caught:
        MysqlStore(bad)
    assert "SECRET" not in str(caught.value)


def test_a_frozen_server_ends_in_time(server: Any) -> None:
    with MysqlStore(server.database(), timeout_s=1) as store:
        server.freeze()
        try:
            with pytest.raises(JournalError, match="stopped answering"):
                store.read_after(0)
        finally:
            server.thaw()


def test_values_are_values(server: Any, journey: Callable[[int], list[Event]]) -> None:
    """Whatever a peer puts into a field comes back as it was, and is never taken as SQL."""
    hostile = ["'; DROP TABLE event; --", "\\", "\\'", "%s %(item)s", '"', "𝄞🩻", "a\u2028b", "''"]
    events = [
        Event(kind=Kind.QUEUED, box=text, item=text, detail=text, patient_id=text, status_code=-1,
              size_bytes=2**63 - 1, duration_s=123456789.123456)
        for text in hostile
    ]  # fmt: skip
    with MysqlStore(server.database()) as store:
        assert store.insert_events(events) == len(events)
        assert store.insert_events(events + journey(3)) == len(journey(3))
        found = [event for _, event in store.read_after(0)]
    assert found[: len(events)] == events
    assert len(found) == len(events) + len(journey(3))
