"""A bit flips on a disk or on the way, a file is cut short: noticed before anybody vouches for it.

What the mother has damaged is sent again from the daughter's good copy. What the daughter has
damaged before it was ever sent stands in quarantine, and nothing else waits for it.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mysql_utilities.events import Kind
from tackybox.demo.stack import Daemon
from tackybox.item import Item
from tackybox.spool import Landing, Lane
from tests.faults.conftest import Record
from tests.faults.ledger import digest_of_file
from tests.faults.processes import Process
from tests.faults.relay import Relay
from tests.faults.verdict import Verdict, events
from tests.peers import wait_until

_SOUND = 3  # images that nothing happens to, behind and between the damaged ones
_META_LENGTH_AT = 140
_HARMLESS = 1  # any bit may be one that means nothing, in the preamble, say
_GENEROUS_S = 30.0
_AT_THE_DAUGHTER = ("tmp/receiver", "new", "out/*/new", "out/*/active")
_AT_THE_MOTHER = ("arriving", "landing", "new", "out/*/new", "out/*/active")


def _flip(data: bytearray, bit: int) -> bytearray:
    data[bit // 8] ^= 1 << bit % 8
    return data


def _absurd_header(data: bytearray, _: random.Random) -> bytearray:
    data[_META_LENGTH_AT : _META_LENGTH_AT + 4] = b"\xff\xff\xff\xff"
    return data


def _other_sop_instance(data: bytearray, _: random.Random) -> bytearray:
    """One bit of the Media Storage SOP Instance UID: 2.25 becomes 2.35."""
    at = data.index(b"2.25", _META_LENGTH_AT)
    return _flip(data, 8 * (at + 2))


Damage = Callable[[bytearray, random.Random], bytearray]
DAMAGES: dict[str, Damage] = {
    "a bit of the pixels": lambda data, rng: _flip(data, 8 * len(data) - 1 - rng.randrange(8000)),
    "any bit": lambda data, rng: _flip(data, rng.randrange(8 * len(data))),
    "a bit of the UID in the file meta": _other_sop_instance,
    "truncated": lambda data, rng: data[: rng.randrange(1, len(data))],
    "empty": lambda data, rng: bytearray(),
    "not DICOM": lambda data, rng: bytearray(rng.randbytes(len(data))),
    "absurd header": _absurd_header,
}


def damage(paths: list[Path], rng: random.Random) -> int:
    """Damage one file in each way, where it stands, as a disk would; how many."""
    chosen = rng.sample(sorted(paths), len(DAMAGES))
    for path, how in zip(chosen, DAMAGES.values(), strict=True):
        path.write_bytes(how(bytearray(path.read_bytes()), rng))
    return len(chosen)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Two archives, so that the queues on the mother share their files."""
    with Relay(tmp_path_factory.mktemp("corruption"), archives=2) as relay:
        delivered(relay, sent(relay, 1))
        yield relay


def items(spool: Path, pattern: str) -> list[Path]:
    """The items' files at `pattern`; a finished draft has its lane before the name."""
    found = (path for path in spool.glob(pattern) if path.is_file())
    return [path for path in found if path.name.rpartition("~")[2][0].isdigit()]


@contextmanager
def ended(daemon: Daemon) -> Iterator[None]:
    """It is not there during the block."""
    daemon.signal(signal.SIGTERM)
    daemon.wait()
    yield
    daemon.restart()


def sent(relay: Relay, number: int = len(DAMAGES) + _SOUND) -> list[Path]:
    """So many new images, all answered 0x0000."""
    images = relay.images(number)
    assert relay.send(images) == [0] * number
    return images


def delivered(relay: Relay, images: list[Path]) -> None:
    """Every one of `images` is in every archive, and all is quiet."""
    wanted = {digest_of_file(path) for path in images}
    wait_until(
        lambda: all(wanted <= archive.contents() for archive in relay.archives),
        "all are archived",
        _GENEROUS_S,
    )
    relay.wait_quiet()


# --- at the daughter: there is no other copy


@pytest.mark.fault("corruption")
@pytest.mark.seeds(short=1, long=3)
@pytest.mark.parametrize("place", _AT_THE_DAUGHTER)
@pytest.mark.timeout(300)
def test_what_the_daughter_has_damaged_is_quarantined_and_the_queue_goes_on(
    relay: Relay, place: str, seed: int, record: Record, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(f"{place} {seed}")
    _only_one_place_in_short(request, place, _AT_THE_DAUGHTER, seed)
    before, images = relay.verdict(), relay.images(len(DAMAGES) + _SOUND)
    spool, known = relay.daughter.spool, quarantined(relay)
    with standing_at_the_daughter(relay, place, images):
        files = items(spool, "tmp/receiver/*" if place == "tmp/receiver" else f"{place}/*/*")
        faults = damage(files, rng)
    wait_until(lambda: not relay.in_flight(), "nothing waits any more", _GENEROUS_S)
    relay.wait_quiet()
    bad = quarantined(relay) - known
    wait_until(
        lambda: bad <= {event.digest for event in events(spool, Kind.QUARANTINED)},
        "all in quarantine are on record",
    )
    assert len(bad) >= faults - _HARMLESS
    record(verdict_since(relay, before), faults=faults)


@contextmanager
def standing_at_the_daughter(relay: Relay, place: str, images: list[Path]) -> Iterator[None]:
    """`images` were answered and stand in `place` of the daughter during the block."""
    spool, pusher, inbox = relay.daughter.spool, relay.daughter.pusher, relay.mother.inbox
    if place in ("new", "tmp/receiver"):
        with ended(pusher):
            assert relay.send(images) == [0] * len(images)
            if place == "new":
                yield
                return
            with ended(relay.daughter.receiver):  # as a power cut leaves them (decision 12)
                for path in items(spool, "new/*/*"):
                    path.rename(spool / "tmp" / "receiver" / f"{path.parent.name}~{path.name}")
                yield
        return
    relay.kill(inbox)
    # With what would still take an item over a connection that stands: it would be in doubt then.
    for words in (("sshd:", "@notty"), ("rsync", "--server"), ("mother.inbox.gate",)):
        for process in relay.processes(*words):
            process.signal(signal.SIGKILL)
    assert relay.send(images) == [0] * len(images)
    wait_until(lambda: len(items(spool, "out/*/new/*/*")) == len(images), "all are fanned out")
    with ended(pusher):
        if place == "out/*/active":  # as a kill leaves them
            for path in items(spool, "out/*/new/*/*"):
                path.rename(path.parents[2] / "active" / path.parent.name / path.name)
        yield
    inbox.restart()


def quarantined(relay: Relay) -> set[str]:
    """What stands in the daughter's quarantine, by the digest that it once had."""
    found = items(relay.daughter.spool, "quarantine/*/*/*/*")
    return {Item.parse(path.name).digest for path in found}


def verdict_since(relay: Relay, before: Verdict) -> Verdict:
    """Without what was damaged when there was no other copy, and stands there to be seen."""
    verdict, bad = relay.verdict().since(before), quarantined(relay)
    return replace(verdict, lost=[digest for digest in verdict.lost if digest not in bad])


# --- at the mother: the daughter has a good copy


@pytest.mark.fault("corruption")
@pytest.mark.seeds(short=1, long=3)
@pytest.mark.parametrize("place", _AT_THE_MOTHER)
@pytest.mark.timeout(300)
def test_what_the_mother_has_damaged_is_sent_again_from_the_good_copy(
    relay: Relay, place: str, seed: int, record: Record, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(f"{place} {seed}")
    _only_one_place_in_short(request, place, _AT_THE_MOTHER, seed + 1)
    before, images = relay.verdict(), relay.images(len(DAMAGES) + _SOUND)
    known = quarantined(relay)
    faults = STANDING[place](relay, images, rng)
    delivered(relay, images)
    wait_until(
        lambda: not items(relay.mother.spool, "quarantine/*/*/*/*"),
        "the good copies have taken the bad ones' places",
    )
    assert quarantined(relay) == known, "the daughter's own are as they were"
    record(verdict_since(relay, before), faults=faults)


def _damage_arriving(relay: Relay, images: list[Path], rng: random.Random) -> int:
    """rsync has written it all, and nobody has vouched for it yet."""
    refused = count(relay, Kind.MISMATCH)
    with waiting_commit(relay, images):
        faults = damage(items(relay.mother.spool, "arriving/north/*"), rng)
    wait_until(
        lambda: count(relay, Kind.MISMATCH) - refused >= faults - _HARMLESS, "they are refused"
    )
    return faults


def _damage_landing(relay: Relay, images: list[Path], rng: random.Random) -> int:
    """Taken by a commit that was killed before it had signed."""
    strip = relay.mother.spool / "landing" / "north" / "medium"
    refused = count(relay, Kind.MISMATCH)
    with waiting_commit(relay, images):
        for gate in relay.processes("mother.inbox.gate"):
            gate.signal(signal.SIGKILL)
        for path in items(relay.mother.spool, "arriving/north/*"):
            path.rename(strip / path.name)
        (strip / "no-item").write_bytes(b"?")
        faults = damage(items(relay.mother.spool, "landing/north/*/*"), rng)
    wait_until(
        lambda: count(relay, Kind.MISMATCH) - refused >= faults - _HARMLESS, "they are refused"
    )
    (strip / "no-item").unlink()
    return faults


@contextmanager
def waiting_commit(relay: Relay, images: list[Path]) -> Iterator[None]:
    """`images` were pushed in one batch, and the gate waits during the block to take them."""
    spool = relay.daughter.spool
    wait_until(lambda: _couriers(relay), "the daughter is connected")
    couriers = _couriers(relay)
    for courier in couriers:
        courier.signal(signal.SIGSTOP)
    assert relay.send(images) == [0] * len(images)
    wait_until(lambda: len(items(spool, "out/*/new/*/*")) == len(images), "all are fanned out")
    with Landing(relay.mother.spool, "north").exclusive(Lane):
        for courier in couriers:
            courier.signal(signal.SIGCONT)
        arriving = relay.mother.spool / "arriving"
        wait_until(lambda: len(items(arriving, "north/*")) == len(images), "all were pushed")
        yield


def _couriers(relay: Relay) -> list[Process]:
    """The children of the pusher that have a connection open."""
    connected = {p.parent_pid for p in relay.processes("ssh -F")}
    return [p for p in relay.children(relay.daughter.pusher) if p.pid in connected]


def _damage_new(relay: Relay, images: list[Path], rng: random.Random) -> int:
    spool = relay.mother.spool
    with ended(relay.mother.forwarder):
        assert relay.send(images) == [0] * len(images)
        wait_until(lambda: len(items(spool, "new/*/*")) == len(images), "all have landed")
        wait_until(lambda: _is_settled(relay, len(images)), "the daughter knows")
        return damage(items(spool, "new/*/*"), rng)


def _damage_queued(
    relay: Relay, images: list[Path], rng: random.Random, *, active: bool = False
) -> int:
    spool = relay.mother.spool
    archives = [d for d in relay.stack.daemons if d.name.startswith("archive-")]
    for daemon in archives:
        relay.kill(daemon)
    assert relay.send(images) == [0] * len(images)
    wait_until(lambda: len(items(spool, "out/*/new/*/*")) == 2 * len(images), "all are fanned out")
    wait_until(lambda: _is_settled(relay, len(images)), "the daughter knows")
    with ended(relay.mother.forwarder):
        waiting = items(spool, "out/*/new/*/*")
        faults = damage(list({path.stat().st_ino: path for path in waiting}.values()), rng)
        for path in waiting if active else ():
            path.rename(path.parents[2] / "active" / path.parent.name / path.name)
    for daemon in archives:
        daemon.restart()
    return faults


def _is_settled(relay: Relay, number: int) -> bool:
    return len(items(relay.daughter.spool, "out/*/sent/*/*/*")) == number


STANDING: dict[str, Callable[[Relay, list[Path], random.Random], int]] = {
    "arriving": _damage_arriving,
    "landing": _damage_landing,
    "new": _damage_new,
    "out/*/new": _damage_queued,
    "out/*/active": lambda relay, images, rng: _damage_queued(relay, images, rng, active=True),
}


def count(relay: Relay, kind: Kind) -> int:
    return len(events(relay.mother.spool, kind))


def _only_one_place_in_short(
    request: pytest.FixtureRequest, place: str, places: Sequence[str], seed: int
) -> None:
    if request.config.getoption("--faults") == "short" and places[seed % len(places)] != place:
        pytest.skip("the long selection has the other places")
