"""A database that is right, old, new, empty, read-only or away; a real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mysql_utilities.mysql_store import SCHEMA_VERSION, MysqlAddress
from tackybox.checks.clock import PeerClock
from tackybox.checks.database import database
from tackybox.checks.finding import Finding, Level
from tests.databases import Server, database_server


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with database_server(request.param, tmp_path_factory.mktemp("db")) as running:
        yield running


def finding(address: MysqlAddress) -> tuple[Finding, list[PeerClock]]:
    clocks: list[PeerClock] = []
    (found,) = database(address, "north", clocks)
    assert address.password not in f"{found}"
    return found, clocks


def test_a_good_one_names_product_and_versions_and_is_left_as_it_was(server: Server) -> None:
    address = server.database()
    found, (clock,) = finding(address)
    product = {"mariadb": "MariaDB", "mysql": "MySQL"}[server.flavour]
    assert found.level is Level.PASS
    assert found.seen.startswith(f"{product} {found.details['version']}, schema version")
    assert found.details["schema_version"] == SCHEMA_VERSION
    assert abs(clock.offset_s) <= clock.uncertainty_s + 1
    assert server.query(address, "SELECT COUNT(*) FROM event") == [["0"]]
    assert server.query(address, "SELECT COUNT(*) FROM shipment") == [["0"]]


def test_each_schema_that_is_not_ours_has_a_sentence(server: Server) -> None:
    empty = server.empty_database()
    found, clocks = finding(empty)
    assert (found.level, clocks) == (Level.FAIL, [])
    assert found.seen == "lacks the journal's tables: load tackybox.sql there"
    address = server.database()
    server.query(address, f"UPDATE schema_version SET version = {SCHEMA_VERSION - 1}")
    found, _ = finding(address)
    assert found.level is Level.FAIL
    assert found.seen.startswith(f"has schema version {SCHEMA_VERSION - 1}, needed is")
    server.query(address, f"UPDATE schema_version SET version = {SCHEMA_VERSION + 1}")
    found, _ = finding(address)
    assert found.level is Level.WARNING
    assert f"this box is made for schema version {SCHEMA_VERSION}" in found.seen
    assert "update this box" in found.remedy


def test_a_user_who_may_only_read(server: Server) -> None:
    address = server.database()
    reader = replace(address, user="reader", password="r3ader-€")
    server.as_root(
        f"CREATE USER 'reader'@'127.0.0.1' IDENTIFIED BY '{reader.password}';"
        f"GRANT SELECT ON {address.database}.* TO 'reader'@'127.0.0.1'"
    )
    found, _ = finding(reader)
    assert (found.level, found.seen) == (Level.FAIL, "does not let this user do that")


def test_a_wrong_password_and_a_server_that_is_away(server: Server) -> None:
    address = server.database()
    found, _ = finding(replace(address, password="not-that-one"))
    assert found.seen == "refuses this user or password"
    found, _ = finding(replace(address, port=1))
    assert (found.level, found.seen) == (Level.FAIL, "can't be reached")
    assert "the relay goes on without it" in found.remedy
