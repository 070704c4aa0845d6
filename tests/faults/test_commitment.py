"""A modality that asks for storage commitment is told success only for what every archive has."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pydicom import dcmread

from mysql_utilities.events import Kind
from tackybox.demo.stack import LOOPBACK, Daemon
from tests.faults.conftest import Record
from tests.faults.ledger import digest_of_file
from tests.faults.relay import Relay
from tests.journey.conftest import count
from tests.modality import Modality, Told, references_of
from tests.peers import wait_until

pytestmark = pytest.mark.fault("commitment")
_LOOKS_S = 2.0  # in which the answerer looks at a young request several times


class Site:
    """A relay to two archives, and a modality that notes each promise that was not yet true."""

    def __init__(self, workdir: Path, **settings: object) -> None:
        self.modality = Modality(on_told=self._check)
        place = f"CT1@{LOOPBACK}:{self.modality.port}"
        self.relay = Relay(
            workdir, archives=2, daughter_settings={"commitment_peers": place, **settings}
        )
        self.digests: dict[str, set[str]] = {}
        self.broken: list[str] = []

    def archive(self, number: int) -> Daemon:
        return next(d for d in self.relay.stack.daemons if d.name == f"archive-{number}")

    def send(self, paths: Sequence[Path]) -> None:
        assert set(self.relay.send(paths)) == {0}
        for path in paths:
            uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            self.digests.setdefault(uid, set()).add(digest_of_file(path))

    def ask(self, paths: Sequence[Path]) -> str:
        status, transaction_uid = self.modality.ask(self.relay.daughter.port, references_of(paths))
        assert status == 0
        return transaction_uid

    def told(self, transaction_uid: str) -> list[Told]:
        return [one for one in self.modality.told if one.transaction_uid == transaction_uid]

    def wait_told(self, transaction_uid: str) -> Told:
        wait_until(lambda: self.told(transaction_uid), "the modality is told")
        return self.told(transaction_uid)[-1]

    def landed(self) -> int:
        return count(self.relay.mother.spool, Kind.LANDED)

    def _check(self, told: Told) -> None:
        """Whether at this moment every archive has what is called committed."""
        for archive in self.relay.archives:
            there = archive.contents()
            for uid in told.committed:
                if not self.digests.get(uid, {"never sent"}) <= there:
                    self.broken.append(f"{uid} is not at {archive.address}")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**settings: object) -> Site:
        made.append(Site(tmp_path / "relay", **settings))
        return made[-1]

    yield make
    for site in made:
        site.relay.stop()


def stop(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    daemon.wait()


@pytest.mark.long_fault
def test_success_comes_only_after_the_last_archive_has_the_images(
    make: Callable[..., Site], record: Record
) -> None:
    site = make()
    stop(site.archive(2))
    paths = site.relay.images(4)
    site.send(paths)
    with site.modality.listening() as modality:
        transaction_uid = site.ask(paths)
        wait_until(lambda: len(site.relay.archives[0].contents()) == 4, "the first archive has all")
        time.sleep(_LOOKS_S)
        assert modality.told == []
        site.relay.heal()
        told = site.wait_told(transaction_uid)
    assert (told.event_type, sorted(told.committed), told.failed) == (1, sorted(site.digests), {})
    assert site.broken == []
    site.relay.wait_quiet()
    record(site.relay.verdict(), faults=1)


@pytest.mark.long_fault
@pytest.mark.parametrize("release", ["stored", "landed"])
def test_whatever_of_the_daughter_is_killed_the_modality_is_told(
    make: Callable[..., Site], record: Record, release: str
) -> None:
    site = make(release=release)
    stop(site.archive(1))
    paths = site.relay.images(4)
    site.send(paths)
    with site.modality.listening() as modality:
        transaction_uid = site.ask(paths)
        for daemon in (site.relay.daughter.receiver, site.relay.daughter.pusher):
            site.relay.kill(daemon)
            daemon.restart()
        wait_until(lambda: site.landed() == 4, "the mother has all")
        time.sleep(_LOOKS_S)
        assert modality.told == []
        site.relay.kill(site.relay.daughter.pusher)
        site.archive(1).restart()
        site.relay.heal()
        assert site.wait_told(transaction_uid).failed == {}
    assert site.broken == []
    site.relay.wait_quiet()
    record(site.relay.verdict(), faults=4)


@pytest.mark.long_fault
def test_another_content_under_the_same_uid_must_be_stored_too(
    make: Callable[..., Site], record: Record
) -> None:
    site = make()
    paths = site.relay.images(2)
    site.send(paths)
    site.relay.wait_quiet()
    stop(site.archive(1))
    other = dcmread(paths[0])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(paths[0].with_name("other.dcm"), enforce_file_format=True)
    site.send([paths[0].with_name("other.dcm")])
    with site.modality.listening() as modality:
        transaction_uid = site.ask(paths)
        time.sleep(_LOOKS_S)
        assert modality.told == []
        site.relay.heal()
        assert site.wait_told(transaction_uid).failed == {}
    site.relay.wait_quiet()
    record(site.relay.verdict(), faults=1)


@pytest.mark.long_fault
@pytest.mark.parametrize("release", ["stored", "landed"])
def test_what_an_archive_refuses_has_failed_and_the_rest_is_committed(
    make: Callable[..., Site], record: Record, release: str
) -> None:
    site = make(release=release)
    good, bad = site.relay.images(2), site.relay.images(1)
    site.send(good)
    site.relay.wait_quiet()
    refusing = site.archive(2)
    stop(refusing)
    refusing.command = [*refusing.command, "--answer", "0xC000"]
    refusing.restart()
    site.send(bad)
    with site.modality.listening():
        told = site.wait_told(site.ask([*good, *bad]))
    assert (told.event_type, len(told.committed)) == (2, 2)
    assert told.failed == {references_of(bad)[0][1]: 0x0110}
    assert site.broken == []
    site.relay.wait_quiet()
    record(site.relay.verdict(), faults=1)


@pytest.mark.long_fault
def test_a_modality_that_is_away_is_told_when_it_is_back(
    make: Callable[..., Site], record: Record
) -> None:
    site = make()
    paths = site.relay.images(2)
    site.send(paths)
    transaction_uid = site.ask(paths)
    site.relay.wait_quiet()
    time.sleep(_LOOKS_S)
    assert list((site.relay.daughter.spool / "commitment").iterdir())
    with site.modality.listening():
        assert site.wait_told(transaction_uid).failed == {}
    requests = site.relay.daughter.spool / "commitment"
    wait_until(lambda: not list(requests.iterdir()), "the request is closed")
    record(site.relay.verdict(), faults=1)


@pytest.mark.long_fault
@pytest.mark.seeds(short=1, long=3)
def test_random_kills_while_many_ask(make: Callable[..., Site], record: Record, seed: int) -> None:
    site, chance = make(), random.Random(seed)
    daughter, mother = site.relay.daughter, site.relay.mother
    victims = [daughter.receiver, daughter.pusher, daughter.pusher, mother.inbox, mother.forwarder]
    victims += [site.archive(1), site.archive(2)]
    asked = []
    with site.modality.listening():
        for _ in range(12):
            paths = site.relay.images(chance.randint(1, 4), seed=seed)
            site.send(paths)
            asked.append(site.ask(paths))
            site.relay.kill(chance.choice(victims))
            time.sleep(chance.uniform(0.0, 0.5))
            site.relay.heal()
        for transaction_uid in asked:
            assert site.wait_told(transaction_uid).failed == {}
    assert site.broken == []
    site.relay.wait_quiet()
    record(site.relay.verdict(), faults=12)
