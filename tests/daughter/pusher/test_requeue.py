"""What a mother has lost waits again, each with its event, also over a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daughter.pusher.requeue import Requeue
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.spool import Lane, Outlet, Spool, State
from tests.peers import wait_until

PEER = "mother_2222"
COUNT = 400  # more than are moved at a time


@pytest.fixture
def outlet(tmp_path: Path) -> Outlet:
    outlet = Outlet(Spool.open(tmp_path / "spool").root, "one")
    sent = outlet.root / State.SENT / PEER / Lane.LOW
    sent.mkdir(parents=True)
    for number in range(COUNT):
        (sent / f"20260101T000000.{number:06d}Z_north_{'0' * 64}_1.2.3").touch()
    return outlet


@pytest.fixture
def recorder(outlet: Outlet) -> Iterator[Recorder]:
    with Recorder(outlet.root.parents[1] / "journal", "north") as recorder:
        yield recorder


def wait_all(outlet: Outlet) -> None:
    wait_until(lambda: outlet.tally(State.NEW, Lane.LOW).count == COUNT, "all wait again")
    wait_until(lambda: not outlet.has_lost(), "nothing is lost any more")


def details(outlet: Outlet, recorder: Recorder) -> list[str]:
    assert recorder.flush(30)
    with SqliteStore(outlet.root.parents[1] / "journal" / "events.sqlite") as store:
        return [e.detail for _, e in store.read_after(0) if e.kind == Kind.REQUEUED]


def test_all_that_is_lost_waits_again_with_the_reason(outlet: Outlet, recorder: Recorder) -> None:
    requeue = Requeue(outlet, recorder)
    outlet.lose_sent(PEER)
    requeue.begin(PEER, "her disk is gone")
    wait_all(outlet)
    wait_until(lambda: len(details(outlet, recorder)) == COUNT, "each has its event")
    assert set(details(outlet, recorder)) == {"her disk is gone"}
    requeue.check()
    assert outlet.bell.wait(10) or outlet.claim(1)


def test_a_restart_goes_on_where_a_killed_process_was(outlet: Outlet, recorder: Recorder) -> None:
    outlet.lose_sent(PEER)
    for _, entry in zip(range(100), (e for _, e in outlet.lost()), strict=False):
        outlet.send_again(entry)
    Requeue(Outlet(outlet.root.parents[1], "one"), recorder)
    wait_all(outlet)
    wait_until(lambda: len(details(outlet, recorder)) == COUNT - 100, "each has its event")


def test_a_disk_that_fails_is_told(
    outlet: Outlet, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(entry: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(outlet, "send_again", fail)
    outlet.lose_sent(PEER)
    requeue = Requeue(outlet, recorder)

    def told() -> bool:
        try:
            requeue.check()
        except OSError:
            return True
        return False

    wait_until(told, "the failure is told")
