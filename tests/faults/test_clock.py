"""A box's clock jumps by a day while images are on their way, or is an hour off for ever: all
arrives, what waits waits no longer than it may, nothing expires, and the trace says so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mysql_utilities.events import Event, Kind
from mysql_utilities.reports import histories
from mysql_utilities.skew import Skew, skews
from tackybox.demo.stack import Daemon, Daughter, Mother
from tests.faults.clock import Clock
from tests.faults.conftest import Record
from tests.faults.relay import Relay
from tests.faults.verdict import events
from tests.peers import wait_until

pytestmark = [pytest.mark.fault("clock"), pytest.mark.timeout(400)]

DAY_S = 86_400
HOUR_S = 3600
IMAGES = 40


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with Relay(tmp_path / "relay") as running:
        yield running


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def box_of(relay: Relay, name: str) -> Daughter | Mother:
    return relay.daughter if name == "daughter" else relay.mother


def archive_of(relay: Relay) -> Daemon:
    return next(daemon for daemon in relay.stack.daemons if daemon.name == "archive-1")


def on_record(relay: Relay, *kinds: Kind) -> list[Event]:
    return [one for box in (relay.daughter, relay.mother) for one in events(box.spool, *kinds)]


def proved(relay: Relay) -> list[Skew]:
    return skews(histories(event for event in on_record(relay) if event.item))


def trace(relay: Relay, paths: list[Path]) -> str:
    """What a person is shown of the study that the images at `paths` belong to."""
    study = paths[0].stem.rpartition(".")[0]
    spools = [f"--spool={box.spool}" for box in (relay.daughter, relay.mother)]
    command = [sys.executable, "-m", "tackybox", "trace", study, *spools]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def nothing_expired(relay: Relay) -> bool:
    return not on_record(relay, Kind.QUARANTINED, Kind.REFUSED, Kind.MISMATCH, Kind.REQUEUED)


@pytest.mark.long_fault
@pytest.mark.parametrize("by_s", [-DAY_S, DAY_S])
@pytest.mark.parametrize("box", ["daughter", "mother"])
def test_a_jump_in_mid_transfer(
    relay: Relay, clock: Clock, record: Record, box: str, by_s: int
) -> None:
    clock.give_to(relay, box_of(relay, box))
    paths = relay.images(IMAGES)
    with relay.sending(paths, pause_s=0.05) as scanners:
        scanners.wait_answered(IMAGES // 4)
        clock.jump(by_s)
        scanners.wait_done()
    relay.wait_quiet()
    record(relay.verdict(), faults=1)
    assert nothing_expired(relay)
    assert any(abs(skew.ahead_s) > DAY_S - HOUR_S for skew in proved(relay))
    assert "! Times are skewed" in trace(relay, paths)


@pytest.mark.parametrize("by_s", [-DAY_S, pytest.param(DAY_S, marks=pytest.mark.long_fault)])
def test_what_is_deferred_waits_no_longer_than_the_longest_wait(
    relay: Relay, clock: Clock, record: Record, by_s: int
) -> None:
    clock.give_to(relay, relay.mother)
    archive = archive_of(relay)
    good = list(archive.command)
    relay.kill(archive)
    archive.command = [*good, "--answer", "0xA700"]
    archive.restart()
    paths = relay.images(5)
    assert relay.send(paths) == [0] * len(paths)
    wait_until(lambda: events(relay.mother.spool, Kind.DEFERRED), "one is deferred")
    relay.kill(archive)
    clock.jump(by_s)
    archive.command = good
    archive.restart()
    relay.wait_quiet(40)
    record(relay.verdict(), faults=1)
    assert nothing_expired(relay)


@pytest.mark.long_fault
@pytest.mark.parametrize("by_s", [-DAY_S, DAY_S])
@pytest.mark.parametrize("box", ["daughter", "mother"])
def test_a_jump_while_a_mother_is_away(
    relay: Relay, clock: Clock, record: Record, box: str, by_s: int
) -> None:
    clock.give_to(relay, box_of(relay, box))
    relay.kill(relay.mother.inbox)
    before, after = relay.images(10), relay.images(10)
    assert relay.send(before) == [0] * len(before)
    clock.jump(by_s)
    assert relay.send(after, priority=1) == [0] * len(after)
    relay.heal()
    relay.wait_quiet()
    record(relay.verdict(), faults=2)
    assert nothing_expired(relay)


@pytest.mark.long_fault
@pytest.mark.parametrize("by_s", [-HOUR_S, HOUR_S])
def test_boxes_an_hour_apart(relay: Relay, clock: Clock, record: Record, by_s: int) -> None:
    clock.jump(by_s)
    clock.give_to(relay, relay.mother)
    paths = relay.images(IMAGES)
    assert relay.send(paths) == [0] * len(paths)
    relay.wait_quiet()
    record(relay.verdict(), faults=1)
    assert nothing_expired(relay)
    (skew,) = proved(relay)
    assert (skew.box, skew.other) == ("mother", "north")
    assert abs(skew.ahead_s - by_s) < HOUR_S / 10
    way = "behind" if by_s < 0 else "ahead of"
    assert f"{way} that of north" in trace(relay, paths)


@pytest.mark.long_fault
@pytest.mark.parametrize("by_s", [-HOUR_S, HOUR_S])
def test_items_that_a_box_has_keep_their_order(
    relay: Relay, clock: Clock, record: Record, by_s: int
) -> None:
    """Within each side of the jump by arrival; the high lane goes first on either."""
    clock.give_to(relay, relay.daughter)
    archive = archive_of(relay)
    relay.kill(archive)
    before = relay.images(10)
    assert relay.send(before) == [0] * len(before)
    clock.jump(by_s)
    high = relay.images(5)
    assert relay.send(high, priority=1) == [0] * len(high)
    after = relay.images(10)
    assert relay.send(after) == [0] * len(after)
    wait_until(
        lambda: len(list(relay.mother.spool.glob("out/*/new/*/*_*"))) == 25, "all wait there"
    )
    relay.restart(relay.mother.forwarder, associations=1)
    archive.restart()
    relay.wait_quiet()
    record(relay.verdict(), faults=1)
    took = [str(line["uid"]) for line in relay.archives[0].log_lines() if line["kind"] == "kept"]
    want = [[path.stem for path in paths] for paths in (before, high, after)]
    assert took[:5] == want[1]
    for part in (want[0], want[2]):
        assert [uid for uid in took if uid in part] == part
