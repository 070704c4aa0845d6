"""A mother loses her volume; a box loses its journal. What is not stored yet arrives all the same,
and the journal says again what the spool can tell, and that the rest is missing."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mysql_utilities.errors import JournalError
from mysql_utilities.events import Kind
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.demo.stack import Daemon
from tackybox.item import Item
from tackybox.rebuild import MADE_AGAIN
from tests.faults.conftest import Record
from tests.faults.relay import Relay
from tests.faults.verdict import events
from tests.peers import wait_until

pytestmark = [pytest.mark.fault("volume_lost"), pytest.mark.timeout(400)]

IMAGES = 30
_PAGE_BYTES = 4096


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with Relay(tmp_path / "relay") as running:
        yield running


def items_in(spool: Path, pattern: str) -> set[str]:
    """Item ids of the files that match `pattern`."""
    return {Item.parse(path.name.partition("~")[0]).id for path in spool.glob(pattern)}


def archive_of(relay: Relay) -> Daemon:
    return next(daemon for daemon in relay.stack.daemons if daemon.name == "archive-1")


def fill(relay: Relay, count: int = IMAGES) -> None:
    """`count` images that a mother has signed for and that no archive takes."""
    relay.kill(archive_of(relay))
    sent = relay.send(relay.images(count))
    assert sent == [0] * count
    wait_until(
        lambda: len(items_in(relay.daughter.spool, "out/*/sent/*/*/*_*")) >= count,
        "the mother has signed for all",
    )
    wait_until(
        lambda: len(items_in(relay.mother.spool, "out/*/*/*/*_*")) >= count, "all wait there"
    )


# --- the mother's volume


def emptied(spool: Path) -> None:
    """As `rm -rf` does under daemons that go on: what they make or remove meanwhile may stay."""
    for path in spool.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def replaced(spool: Path) -> None:
    spool.rename(spool.with_name("lost"))
    spool.mkdir()


@pytest.mark.long_fault
@pytest.mark.parametrize("lose", [emptied, replaced])
@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "running"])
def test_all_that_was_not_stored_arrives_again(
    relay: Relay, record: Record, lose: Callable[[Path], None], *, stopped: bool
) -> None:
    relay.send(relay.images(10))
    relay.wait_quiet()
    fill(relay)
    mother = relay.mother
    before = (mother.spool / "identity").read_text()
    if stopped:
        relay.kill(mother.inbox)
        relay.kill(mother.forwarder)
    lose(mother.spool)
    with relay.sending(relay.images(10)) as scanners:
        scanners.wait_done()
    relay.heal()
    relay.wait_quiet(90)
    assert (mother.spool / "identity").read_text() != before
    again = events(relay.daughter.spool, Kind.REQUEUED)
    assert len({event.item for event in again}) >= IMAGES
    # Her journal is lost with it: what she had stored before is on record at the daughter alone.
    found = relay.verdict(journal=False)
    record(found, faults=1)
    assert found.answered == IMAGES + 20
    released = {event.item for event in events(relay.daughter.spool, Kind.RELEASED)}
    assert len(released) == IMAGES + 20


# --- a box's journal


def _files(journal: Path) -> list[Path]:
    return [journal / f"events.sqlite{suffix}" for suffix in ("", "-wal", "-shm")]


def deleted(journal: Path, _: random.Random) -> None:
    for path in _files(journal):
        path.unlink(missing_ok=True)


def directory_deleted(journal: Path, _: random.Random) -> None:
    shutil.rmtree(journal, ignore_errors=True)  # with what daemons make there meanwhile


def truncated(journal: Path, chance: random.Random) -> None:
    """To somewhere within; the log of what is newer is lost as well."""
    main, *others = _files(journal)
    for path in others:
        path.unlink(missing_ok=True)
    with main.open("r+b") as file:
        file.truncate(chance.randrange(1, max(2, main.stat().st_size)))


def garbage(journal: Path, chance: random.Random) -> None:
    for path in _files(journal):
        if path.exists():
            path.write_bytes(chance.randbytes(max(_PAGE_BYTES, path.stat().st_size)))


def page_overwritten(journal: Path, chance: random.Random) -> None:
    """One page that is in use; the log, which may hold a newer one, is written into the file."""
    main = _files(journal)[0]
    with SqliteStore(main) as store:
        store.rows("PRAGMA wal_checkpoint(TRUNCATE)", {})
    pages = main.stat().st_size // _PAGE_BYTES
    with main.open("r+b") as file:
        file.seek(chance.randrange(pages) * _PAGE_BYTES)
        file.write(chance.randbytes(_PAGE_BYTES))


Damage = Callable[[Path, random.Random], None]
DAMAGES: list[Damage] = [deleted, directory_deleted, truncated, garbage, page_overwritten]


def keeper_of(relay: Relay, box: str) -> tuple[Path, list[Daemon]]:
    """A box's spool, and its daemons; the first one has the keeper of the journal."""
    if box == "daughter":
        return relay.daughter.spool, [relay.daughter.pusher, relay.daughter.receiver]
    return relay.mother.spool, [relay.mother.forwarder, relay.mother.inbox]


def known(spool: Path) -> set[str]:
    """Items of which the journal knows how they came."""
    return {event.item for event in events(spool, Kind.RECEIVED, Kind.LANDED)}


def is_settled(spool: Path) -> bool:
    """Whether the journal that is there is the one that the spool has noted."""
    noted = spool / "journal-identity"
    with SqliteStore(spool / "journal" / "events.sqlite", create=False) as store:
        return noted.exists() and noted.read_text().split()[0] == store.journal_id


def is_told(spool: Path, standing: set[str]) -> bool:
    """Whether there is a sound journal that tells of the gap, and of all that stands there."""
    try:
        return is_settled(spool) and bool(events(spool, Kind.GAP)) and standing <= known(spool)
    except JournalError:
        return False


def lose_journal(
    relay: Relay, record: Record, box: str, damage: Damage, chance: random.Random, *, running: bool
) -> None:
    """Damage the journal of `box` while all wait for the archive, and see what it says then."""
    fill(relay)
    spool, daemons = keeper_of(relay, box)
    wait_until(lambda: is_settled(spool), "the journal is noted")
    standing = items_in(spool, "out/*/new/*/*_*") | items_in(spool, "out/*/sent/*/*/*_*")
    assert len(standing) == IMAGES
    wait_until(lambda: standing <= known(spool), "all is on record")
    if not running:
        for daemon in daemons:
            relay.kill(daemon)
    damage(spool / "journal", chance)
    if running:
        more = relay.images(5)
        assert relay.send(more) == [0] * len(more), "the relay goes on"
        if damage not in (deleted, directory_deleted):
            # An hour's check, or the next start, finds what no write meets.
            relay.kill(daemons[0])
    for daemon in daemons:
        if daemon.process is not None and daemon.process.poll() is not None:
            daemon.restart()
    # The archive is still away: all of it stands there until it is found.
    wait_until(lambda: is_told(spool, standing), "the journal is made again", 60)
    made = [event for event in events(spool) if MADE_AGAIN in event.detail]
    assert {event.item for event in made} >= standing
    assert all(event.event_id for event in made)
    (gap, *_) = [e for e in events(spool, Kind.GAP) if "steps between" in e.detail]
    assert str(gap.at.year) in gap.detail
    relay.heal()
    relay.wait_quiet(90)
    record(relay.verdict(), faults=1)


@pytest.mark.parametrize("damage", [page_overwritten], ids=lambda damage: damage.__name__)
def test_a_damaged_journal_is_made_again(
    relay: Relay, record: Record, damage: Damage, seed: int
) -> None:
    lose_journal(relay, record, "daughter", damage, random.Random(seed), running=False)


@pytest.mark.long_fault
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize("box", ["daughter", "mother"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.seeds(short=1, long=1)
def test_every_damage_on_either_box(
    relay: Relay, record: Record, damage: Damage, box: str, seed: int, *, running: bool
) -> None:
    lose_journal(relay, record, box, damage, random.Random(seed), running=running)
