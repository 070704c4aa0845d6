"""A long backlog costs a claim no more than a short one: windows and queues of thousands."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tackybox.spool import Entry, Lane, Outlet, Spool, State, renewal, window
from tackybox.spool import spool as spool_module

COUNT = 1500
SIZE = 128
PEER = "mother_2222"


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No slice ends and no pass for safety begins because the machine is busy."""
    monkeypatch.setattr(window, "WINDOW_ENTRIES", SIZE)
    monkeypatch.setattr(window, "_SLICE_S", 1e9)
    monkeypatch.setattr(window, "RESCAN_S", 1e9)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.open(tmp_path / "spool")


@pytest.fixture
def outlet(spool: Spool) -> Outlet:
    outlet = Outlet(spool.root, "one")
    for lane in outlet.root.glob("*/*/"):
        os.utime(lane, (1e9, 1e9))  # the last change is not of this moment
    return outlet


def fill(directory: Path, count: int = COUNT, suffix: str = "", first: int = 0) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        name = f"20260101T000000.{number:06d}Z_north_{'0' * 64}_1.2.3{suffix}"
        (directory / name).touch()


def numbers(entries: list[Entry]) -> list[int]:
    return [entry.item.arrived_at.microsecond for entry in entries]


def drain(outlet: Outlet, count: int) -> list[int]:
    """Claim and free `count` items; their numbers."""
    order: list[int] = []
    while len(order) < count and (entries := outlet.claim(16)):
        order += numbers(entries)
        for entry in entries:
            outlet.release(entry)
    return order


def test_a_queue_is_worked_off_with_a_pass_for_each_window(outlet: Outlet) -> None:
    fill(outlet.directory(State.NEW, Lane.LOW))
    assert drain(outlet, COUNT) == list(range(COUNT))
    # The other five directories, too, were seen to be empty.
    assert outlet.passes <= COUNT / (SIZE * 3 / 4) + 10


def test_what_is_put_back_again_and_again_costs_no_pass(outlet: Outlet) -> None:
    fill(outlet.directory(State.NEW, Lane.LOW))
    outlet.claim(1)
    outlet.claim(1)
    before = outlet.passes
    for _ in range(100):
        entries = outlet.claim(16)
        assert numbers(entries) == list(range(2, 18))
        for entry in reversed(entries):
            outlet.put_back(entry)
    assert outlet.passes - before <= 2


def test_many_that_are_deferred_cost_a_claim_no_pass(outlet: Outlet) -> None:
    later_s = int(time.time()) + 10_000
    fill(outlet.directory(State.DEFERRED, Lane.LOW), suffix=f"~1~{later_s}")
    fill(outlet.directory(State.NEW, Lane.LOW), 600, first=COUNT)
    assert drain(outlet, 600) == list(range(COUNT, COUNT + 600))
    assert outlet.claim(16) == []
    before = outlet.passes
    fill(outlet.directory(State.NEW, Lane.HIGH), 100, first=5000)
    for _ in range(100):
        (entry,) = outlet.claim(1)
        outlet.defer(entry, later_s - 500)
    assert outlet.passes - before <= 2 + 3


def test_a_high_item_goes_first_and_no_lower_lane_is_read_for_it(
    spool: Spool, outlet: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for top in (spool.root / "new", outlet.root / State.NEW):
        fill(top / Lane.LOW)
        fill(top / Lane.HIGH, 1, first=COUNT)
    read: list[str] = []
    names = window.names

    def noted(directory: Path) -> object:
        read.append(directory.name)
        return names(directory)

    monkeypatch.setattr(window, "names", noted)
    for take in (spool.arrivals, outlet.claim):
        (entry,) = take(16)
        assert entry.lane is Lane.HIGH
    assert set(read) == {Lane.HIGH}


def test_the_oldest_that_were_sent_come_first_whatever_their_lane(outlet: Outlet) -> None:
    sent = outlet.root / State.SENT / PEER
    for lane, first in ((Lane.LOW, 0), (Lane.HIGH, 100), (Lane.MEDIUM, 50)):
        fill(sent / lane, 400, first=first)
    order = []
    while entry := outlet.oldest_sent(PEER):
        order += numbers([entry])
        entry.path.unlink()
    assert order == sorted(order)
    assert len(order) == 1200
    assert not outlet.has_sent(PEER)


def test_has_sent_sees_what_comes_and_goes(outlet: Outlet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LARGE_BYTES", 1)
    assert not outlet.has_sent(PEER)
    fill(outlet.directory(State.NEW, Lane.LOW), 3)
    for _ in range(3):
        (entry,) = outlet.claim(1)
        sent = outlet.sent(entry, PEER)
        assert outlet.has_sent(PEER)
        outlet.release(sent)
        assert not outlet.has_sent(PEER)  # and the directory is a new one


def test_what_is_lost_is_found_in_its_place_until_it_waits_again(
    spool: Spool, outlet: Outlet
) -> None:
    fill(outlet.root / State.SENT / PEER / Lane.LOW)
    outlet.lose_sent(PEER)
    outlet.lose_sent(PEER)
    assert not outlet.has_sent(PEER)
    assert outlet.tally(State.SENT, Lane.LOW).count == COUNT
    half = []
    for peer, entry in outlet.lost():
        assert peer == PEER
        found = outlet.find(entry.item.name)
        assert found is not None
        outlet.send_again(found)
        half += numbers([entry])
        if len(half) == COUNT // 2:
            break  # killed here
    again = Outlet(spool.root, outlet.name)
    assert again.has_lost()
    for _, entry in again.lost():
        again.send_again(entry)
    assert not again.has_lost()
    assert again.tally(State.NEW, Lane.LOW).count == COUNT
    assert drain(again, COUNT) == list(range(COUNT))


def test_an_emptied_queue_gets_a_new_directory_and_goes_on(
    spool: Spool, outlet: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "LARGE_BYTES", 1)
    lane = outlet.directory(State.NEW, Lane.LOW)
    before = lane.stat().st_ino
    for first in (0, 100):
        fill(lane, 100, first=first)
        assert drain(outlet, 100) == list(range(first, first + 100))
        assert outlet.claim(1) == []
    assert lane.stat().st_ino != before
    assert list(lane.parent.glob(".*")) == []


def test_fan_out_of_many_to_several_outlets_shares_the_fsyncs(
    spool: Spool, outlet: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    sync = spool_module.fsync_directory

    def noted(directory: Path) -> None:
        synced.append(directory)
        sync(directory)

    monkeypatch.setattr(spool_module, "fsync_directory", noted)
    fill(spool.root / "new" / Lane.LOW, 200)
    outlets = [outlet, Outlet(spool.root, "two"), Outlet(spool.root, "three")]
    handed = []
    while entries := spool.arrivals(100):
        handed.append(sum(1 for _ in spool.fan_out(entries, outlets)))
    assert sum(handed) == 200
    assert len(synced) == 2 * len(handed)
    for one in outlets:
        assert one.tally(State.NEW, Lane.LOW).count == 200
        assert {entry.path.stat().st_nlink for entry in one.entries(State.NEW)} == {3}


def test_quarantine_is_counted_without_a_look_at_each(spool: Spool, outlet: Outlet) -> None:
    fill(spool.root / "quarantine" / "one" / "status-a900" / Lane.LOW, 30)
    fill(spool.root / "quarantine" / "_box" / "unreadable" / Lane.HIGH, 2, first=30)
    assert spool.count_quarantined() == {
        ("one", Lane.LOW): 30, ("one", Lane.HIGH): 0, ("one", Lane.MEDIUM): 0,
        ("_box", Lane.HIGH): 2, ("_box", Lane.LOW): 0, ("_box", Lane.MEDIUM): 0,
    }  # fmt: skip
    assert len(list(spool.quarantined())) == 32


def test_an_entry_s_name_is_enough(tmp_path: Path) -> None:
    fill(tmp_path / "low", 1, suffix="~3~77")
    (path,) = (tmp_path / "low").iterdir()
    assert Entry.named(path.parent, path.name) == Entry.at(path)
    assert Entry.at(path).due_s == 77
