"""Fan-out: every accepted item gets its place in each queue, in its lane, or in quarantine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mysql_utilities.events import Event, Kind
from mysql_utilities.recorder import Recorder
from mysql_utilities.sqlite_store import SqliteStore
from tackybox import fanout
from tackybox.config import LaneRule
from tackybox.errors import SpoolError
from tackybox.service import Stop
from tackybox.spool import Lane, Outlet, Spool, State
from tests.tackybox.test_item import dataset, write


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.open(tmp_path / "spool")


def arrive(spool: Spool, number: int, lane: Lane = Lane.LOW) -> Path:
    """A CT's item, whose digest nobody checks here."""
    name = f"20260101T000000.{number:06d}Z_north_{'0' * 64}_1.2.3"
    return write(spool.root / "new" / lane / name, dataset())


def run(spool: Spool, outlets: list[str], rules: list[LaneRule]) -> list[Event]:
    """Fan out until nothing is left; the events."""
    stop = Stop()
    with Recorder(spool.journal, "north") as recorder:
        fanout.run(spool, outlets, rules, recorder, stop, wait=lambda _: stop.set())
    with SqliteStore(spool.journal / "events.sqlite") as store:
        return [event for _, event in store.read_after(0)]


def waiting(spool: Spool, outlet: str, lane: Lane) -> int:
    return Outlet(spool.root, outlet).tally(State.NEW, lane).count


def test_each_outlet_gets_a_link_and_an_event_with_the_header(spool: Spool) -> None:
    for number in range(3):
        arrive(spool, number)
    events = run(spool, ["one", "two"], [])
    assert [waiting(spool, outlet, Lane.LOW) for outlet in ("one", "two")] == [3, 3]
    assert sorted((e.kind, e.destination) for e in events) == sorted(
        [(Kind.QUEUED, "one"), (Kind.QUEUED, "two")] * 3
    )
    assert {(e.modality, e.study_instance_uid, e.lane) for e in events} == {("CT", "1.2.4", "low")}


def test_the_first_rule_that_fits_chooses_the_lane(spool: Spool) -> None:
    arrive(spool, 1)
    rules = [LaneRule("medium", modality="MG"), LaneRule("high", calling_aet="CT 1")]
    run(spool, ["one"], rules)
    assert waiting(spool, "one", Lane.HIGH) == 1


def test_what_can_not_be_read_stands_in_quarantine_and_the_rest_goes_on(spool: Spool) -> None:
    arrive(spool, 1).write_bytes(b"no Part 10 at all")
    arrive(spool, 2)
    events = run(spool, ["one"], [])
    assert waiting(spool, "one", Lane.LOW) == 1
    (held,) = spool.quarantined()
    assert (held.outlet, held.reason) == ("_box", "unreadable")
    assert [e.kind for e in events] == [Kind.QUARANTINED, Kind.QUEUED]
    spool.retry(held)
    assert spool.arrivals(5)


def test_a_ring_comes_after_the_links(spool: Spool) -> None:
    arrive(spool, 1)
    outlet = Outlet(spool.root, "one")
    outlet.bell.wait(0)
    run(spool, ["one"], [])
    assert outlet.bell.wait(5)
    assert len(outlet.claim(5)) == 1


def test_two_fan_outs_of_one_spool_are_refused(spool: Spool) -> None:
    with spool.workspace("fanout"), pytest.raises(SpoolError, match="already is the fanout"):
        run(spool, ["one"], [])


def test_a_copy_sent_again_takes_the_place_of_the_one_that_waits_or_is_done(spool: Spool) -> None:
    """A second file under a name that a queue has was once the end of fan-out, for everybody."""
    run_once = ["one", "two", "three"]
    path = arrive(spool, 1)
    run(spool, run_once, [])
    [taken] = Outlet(spool.root, "two").claim(1)
    Outlet(spool.root, "two").done(taken)
    path.write_bytes(next(spool.root.glob("out/one/new/low/*")).read_bytes())
    fresh = path.stat().st_ino
    run(spool, run_once, [])
    found = [p.stat() for p in spool.root.glob("out/*/new/low/*")]
    assert [(file.st_ino, file.st_nlink) for file in found] == [(fresh, 3)] * 3
    assert not list(spool.root.glob("out/*/done/*/*")), "what was done was another copy"


def test_the_daughter_is_told_before_an_unreadable_item_is_put_away(spool: Spool) -> None:
    path = arrive(spool, 1)
    path.write_bytes(b"no DICOM")
    told: list[tuple[bool, str]] = []
    stop = Stop()
    with Recorder(spool.journal, "mother") as recorder:
        fanout.run(
            spool, ["one"], [], recorder, stop, wait=lambda _: stop.set(),
            tell=lambda entry, reason: told.append((entry.path.exists(), reason)),
        )  # fmt: skip
    assert told == [(True, "unreadable")]
    assert len(list(spool.root.glob("quarantine/_box/unreadable/low/*"))) == 1
