"""The relay beside a database that is stopped, frozen, started or not there: images flow on, and
afterwards the server holds what the boxes' own journals hold."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mysql_utilities.events import Event
from mysql_utilities.mysql_store import MysqlAddress, MysqlStore
from tackybox.config import child_environment
from tackybox.demo.phantom import write_ct_study
from tackybox.demo.stack import LOOPBACK, Daughter, Mother, Stack
from tests.databases import Server, as_setting, database_server
from tests.journey.conftest import digests, events, files, waiting
from tests.peers import require, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with database_server("mariadb", tmp_path_factory.mktemp("mariadb")) as running:
        yield running


@dataclass
class Relay:
    """A daughter, a mother and an archive, whose journals go to `address`."""

    stack: Stack
    address: MysqlAddress
    archive: Path = field(init=False)
    mother: Mother = field(init=False)
    daughter: Daughter = field(init=False)

    def __post_init__(self) -> None:
        sql = as_setting(self.address)
        pacs, self.archive = self.stack.start_archive("archive", "ARCHIVE")
        self.mother = self.stack.start_mother("mother", pacs, sql=sql)
        self.daughter = self.stack.start_daughter(
            "north", self.mother.destination, sql=sql, receipts_interval_s=0.3
        )

    @contextlib.contextmanager
    def sending(self, paths: list[Path]) -> Iterator[None]:
        """Images flow during the block; at its end all must have been taken."""
        command = [require("storescu", "dcmtk"), "-aec", self.daughter.aet, LOOPBACK]
        with subprocess.Popen(
            [*command, str(self.daughter.port), *map(str, paths)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as sender:  # fmt: skip
            yield
            said, _ = sender.communicate(timeout=120)
            assert sender.returncode == 0, said

    def archived(self) -> int:
        return len(files(self.archive))

    def wait_archived(self, paths: list[Path], what: str) -> None:
        wait_until(lambda: self.archived() == len(paths), what)
        assert digests(files(self.archive)) == digests(paths)
        spools = (self.daughter.spool, self.mother.spool)
        wait_until(lambda: not any(map(waiting, spools)), f"spools are empty: {what}")

    def on_boxes(self) -> dict[str, Event]:
        boxes = (self.daughter.spool, self.mother.spool)
        return {event.event_id: event for spool in boxes for event in events(spool)}

    def on_server(self) -> dict[str, Event]:
        with MysqlStore(self.address) as store:
            return {event.event_id: event for _, event in store.read_after(0, 1_000_000)}

    def wait_shipped(self, images: int) -> None:
        """Wait until both boxes' journals are on the server, every field of every event."""
        # RECEIVED, QUEUED, PUSHED, RELEASED there; LANDED, QUEUED, FORWARDING, STORED here.
        wait_until(lambda: len(self.on_boxes()) >= 8 * images, "every step is in the journals")
        wait_until(
            lambda: len(self.on_server()) >= len(self.on_boxes()), "all is shipped", timeout_s=100
        )
        assert self.on_server() == self.on_boxes()

    def trace(self, key: str, *options: str) -> str:
        settings = self.daughter.receiver.settings
        done = subprocess.run(
            [sys.executable, "-m", "tackybox", "trace", key, *options],
            env=child_environment(settings), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_images_flow_while_the_database_is_frozen_stopped_and_started(
    stack: Stack, server: Server
) -> None:
    relay = Relay(stack, server.database())
    _, paths = write_ct_study(stack.workdir / "ct", 120)
    with relay.sending(paths[:40]):
        wait_until(lambda: len(relay.on_server()) > 20, "the first events are on the server")
        server.freeze()
    with relay.sending(paths[40:60]):
        pass
    relay.wait_archived(paths[:60], "all are archived while it is frozen")
    assert server.is_frozen
    with relay.sending(paths[60:80]):
        wait_until(lambda: relay.archived() > 60, "images flow")
        server.thaw()
        server.stop()
    with relay.sending(paths[80:100]):
        pass
    relay.wait_archived(paths[:100], "all are archived while it is stopped")
    with relay.sending(paths[100:]):
        wait_until(lambda: relay.archived() > 100, "images flow")
        server.start()
    relay.wait_archived(paths, "all are archived")
    relay.wait_shipped(len(paths))


def test_a_database_that_comes_later_gets_everything(stack: Stack, server: Server) -> None:
    address = server.database()
    server.stop()
    try:
        relay = Relay(stack, address)
        study, paths = write_ct_study(stack.workdir / "ct", 20)
        with relay.sending(paths):
            pass
        relay.wait_archived(paths, "all are archived without a database")
    finally:
        server.start()
    relay.wait_shipped(len(paths))

    spools = [f"--spool={spool}" for spool in (relay.daughter.spool, relay.mother.spool)]
    for form in ("--json", "--images"):
        assert relay.trace(study, "--sql", form) == relay.trace(study, *spools, form)
