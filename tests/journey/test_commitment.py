"""A modality asks the daughter for storage commitment: success only when the archives have it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mysql_utilities.events import Kind
from tackybox.demo.phantom import write_ct_study
from tackybox.demo.stack import LOOPBACK, Daemon, Daughter, Mother, Stack
from tests.journey.conftest import count, events, files
from tests.journey.test_relay import send
from tests.modality import Modality, references_of
from tests.peers import wait_until

QUICK = {"receipts_interval_s": 0.3, "backoff_cap_s": 1}


class Site:
    """A relay to one archive that can be stopped, and a modality beside it."""

    def __init__(self, stack: Stack, **settings: object) -> None:
        self.modality = Modality()
        address, self.archive_files = stack.start_archive("archive", "ARCHIVE")
        self.archive = stack.daemons[-1]
        self.mother: Mother = stack.start_mother("mother", address, backoff_cap_s=1)
        self.daughter: Daughter = stack.start_daughter(
            "north", self.mother.destination,
            **QUICK, commitment_peers=f"CT1@{LOOPBACK}:{self.modality.port}", **settings,
        )  # fmt: skip
        _, self.paths = write_ct_study(stack.workdir / "ct", 5)

    def open_requests(self) -> list[Path]:
        return list((self.daughter.spool / "commitment").glob("*.json"))


@pytest.fixture
def site(stack: Stack) -> Iterator[Site]:
    yield Site(stack)


def stop(daemon: Daemon, number: signal.Signals = signal.SIGTERM) -> None:
    daemon.signal(number)
    daemon.wait()


def test_success_comes_only_after_the_archive_has_the_images(site: Site) -> None:
    stop(site.archive)
    send(site.daughter, *site.paths)
    references = references_of(site.paths)
    with site.modality.listening() as modality:
        status, transaction_uid = modality.ask(site.daughter.port, references)
        assert status == 0
        wait_until(lambda: count(site.mother.spool, Kind.LANDED) == 5, "the mother has all")
        time.sleep(3)  # several looks of the answerer's
        assert modality.told == [] and len(site.open_requests()) == 1
        site.archive.restart()
        wait_until(lambda: modality.told, "the modality is told")
        assert len(files(site.archive_files)) == 5
        (told,) = modality.told
        assert (told.event_type, told.transaction_uid, told.failed) == (1, transaction_uid, {})
        assert sorted(told.committed) == sorted(uid for _, uid in references)
        wait_until(lambda: not site.open_requests(), "the request is closed")
    steps = [event for event in events(site.daughter.spool) if event.kind == Kind.ASKED]
    assert [step.calling_aet for step in steps] == ["CT1"]
    wait_until(lambda: count(site.daughter.spool, Kind.ANSWERED) == 1, "the journal says so")
