"""The spool: every move, and what a kill or a restart finds."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tackybox.errors import SpoolError
from tackybox.item import part10_head
from tackybox.spool import Entry, Lane, Outlet, Space, Spool, State

SYNTAX = "1.2.840.10008.1.2.1"


def accept(spool: Spool, number: int, lane: Lane = Lane.MEDIUM) -> Entry:
    """A small item made durable through the real path."""
    uid = f"1.2.3.{number}"
    with (
        spool.workspace("receiver") as workspace,
        spool.draft(workspace, "north", SYNTAX) as draft,
    ):
        draft.write_head(
            part10_head(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid=uid,
                transfer_syntax_uid=SYNTAX, calling_aet="CT", called_aet="RELAY",
            )
        )  # fmt: skip
        draft.write_dataset(str(number).encode())
        return draft.accept(lane, uid)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.open(tmp_path / "spool")


def fan_out(spool: Spool, *names: str) -> list[Outlet]:
    outlets = [Outlet(spool.root, name) for name in names]
    while entries := spool.arrivals(1000):
        assert list(spool.fan_out(entries, outlets)) == entries
    return outlets


def test_an_accepted_item_is_the_bytes_under_its_own_digest(spool: Spool) -> None:
    entry = accept(spool, 1, Lane.HIGH)
    assert entry.path.parent == spool.root / "new" / "high"
    assert entry.path.read_bytes().endswith(b"1")
    assert Entry.at(entry.path) == entry
    assert not list((spool.root / "tmp" / "receiver").iterdir())


def test_a_draft_that_is_not_accepted_leaves_nothing(spool: Spool) -> None:
    with spool.workspace("receiver") as workspace:
        with spool.draft(workspace, "north", SYNTAX) as draft:
            draft.write_dataset(b"half")
        assert not list(workspace.iterdir())
    assert spool.arrivals(10) == []


def test_a_restart_sweeps_what_a_killed_receiver_left(spool: Spool) -> None:
    with spool.workspace("receiver") as workspace:
        (workspace / "partial").write_bytes(b"half an image")
    with spool.workspace("receiver") as workspace:
        assert not list(workspace.iterdir())


def test_a_second_receiver_on_one_spool_says_so(spool: Spool) -> None:
    with (
        spool.workspace("receiver"),
        pytest.raises(SpoolError, match="already is the receiver"),
        spool.workspace("receiver"),
    ):
        pass


def test_a_spool_keeps_its_identity_and_a_new_one_has_another(tmp_path: Path) -> None:
    first = Spool.open(tmp_path / "a").identity
    assert Spool.open(tmp_path / "a").identity == first
    assert Spool.open(tmp_path / "b").identity != first


def test_a_daemon_does_not_make_the_directory(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="is not there; make the directory, or mount a volume"):
        Spool.open(tmp_path / "spool", "daughter")
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Space(10 << 20, 1 << 30, 5000, 10_000), ""),
        (Space(10 << 20, 1 << 30, 0, 0), ""),  # inodes are made as they are needed
        (Space((10 << 20) - 1, 1 << 30, 5000, 10_000), "less than 10 MiB free"),
        (Space(10 << 20, 1 << 30, 199, 10_000), "only 199 inodes free"),
        (Space(10 << 20, 1 << 30, 1000, 10_000_000), ""),
        (Space(10 << 20, 1 << 30, 999, 10_000_000), "only 999 inodes free"),
    ],
)
def test_what_is_short(space: Space, words: str) -> None:
    assert space.shortage(10 << 20) == words
    assert space.is_low(10 << 20) == bool(words)


def test_a_spool_that_cannot_be_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="can't be used"):
        Spool.open(tmp_path / "file")
    with pytest.raises(SpoolError, match="can't be used"):
        Spool.open(tmp_path / "missing" / "spool")


def test_who_works_in_a_workspace_is_known(spool: Spool) -> None:
    assert spool.has_part("receiver")  # nobody ever did: it can't be told
    with spool.workspace("receiver"):
        assert spool.has_part("receiver")
    assert not spool.has_part("receiver")
    with spool.workspace("receiver"):  # having looked keeps nobody out
        assert spool.has_part("receiver")


def test_each_outlet_has_a_link_and_the_last_done_completes(spool: Spool) -> None:
    accept(spool, 1)
    one, two = fan_out(spool, "one", "two")
    (mine,) = one.claim(10)
    (yours,) = two.claim(10)
    assert mine.path.samefile(yours.path)
    assert not list((spool.root / "new" / "medium").iterdir())
    done = one.done(mine)
    assert not spool.is_complete(done)
    done = two.done(yours)
    assert spool.is_complete(done)
    spool.complete(done)
    assert not list(spool.root.glob("out/*/*/*/*_*"))


def test_a_quarantined_copy_keeps_the_item_from_being_complete(spool: Spool) -> None:
    accept(spool, 1)
    one, two = fan_out(spool, "one", "two")
    two.quarantine(two.claim(1)[0], "status-a900")
    done = one.done(one.claim(1)[0])
    assert not spool.is_complete(done)
    (held,) = spool.quarantined()
    assert (held.outlet, held.reason) == ("two", "status-a900")
    spool.retry(held)
    assert spool.is_complete(two.done(two.claim(1)[0]))


def test_an_interrupted_fan_out_is_made_again_without_a_second_copy(spool: Spool) -> None:
    entry = accept(spool, 1)
    one, two = Outlet(spool.root, "one"), Outlet(spool.root, "two")
    os.link(entry.path, one.directory(State.NEW, Lane.MEDIUM) / entry.item.name)
    (mine,) = one.claim(1)
    assert list(spool.fan_out([entry], [one, two])) == [entry]
    assert one.claim(10) == []
    assert spool.is_complete(two.done(two.claim(1)[0])) is False
    assert spool.is_complete(one.done(mine))


def _tried_later(outlet: Outlet) -> None:
    outlet.defer(outlet.claim(1)[0], 5)


def _refused(outlet: Outlet) -> None:
    outlet.quarantine(outlet.claim(1)[0], "status-a900")


@pytest.mark.parametrize("meanwhile", [_tried_later, _refused])
def test_an_interrupted_fan_out_finds_what_went_on_meanwhile(
    spool: Spool, meanwhile: Callable[[Outlet], None]
) -> None:
    """A second link would be delivered, and then could not be moved where the first one stands."""
    entry = accept(spool, 1)
    one, two = Outlet(spool.root, "one"), Outlet(spool.root, "two")
    os.link(entry.path, one.directory(State.NEW, Lane.MEDIUM) / entry.item.name)
    meanwhile(one)
    assert list(spool.fan_out([entry], [one, two])) == [entry]
    assert len(list(spool.root.glob(f"*/**/{entry.item.name}*"))) == 2


def test_higher_lanes_are_claimed_first_and_each_in_order_of_arrival(spool: Spool) -> None:
    low = [accept(spool, n, Lane.LOW) for n in range(3)]
    (outlet,) = fan_out(spool, "one")
    assert [e.item for e in outlet.claim(2)] == [e.item for e in low[:2]]
    high = accept(spool, 9, Lane.HIGH)
    fan_out(spool, "one")
    assert [e.item for e in outlet.claim(2)] == [high.item]
    assert [e.item for e in outlet.claim(2)] == [low[2].item]


def test_a_deferred_item_waits_until_due_and_counts_its_attempts(spool: Spool) -> None:
    accept(spool, 1)
    (outlet,) = fan_out(spool, "one")
    outlet.defer(outlet.claim(1)[0], time.time() + 1000)
    assert outlet.claim(1) == []
    later = next(outlet.entries(State.DEFERRED))
    assert later.attempts == 1
    later.path.rename(later.path.with_name(f"{later.item.name}~1~5"))
    (again,) = Outlet(spool.root, "one").claim(1)
    assert again.attempts == 1
    assert outlet.defer(again, 7).attempts == 2


def test_who_only_helps_takes_nothing_that_was_tried(spool: Spool) -> None:
    for number in range(3):
        accept(spool, number)
    (outlet,) = fan_out(spool, "one")
    tried = outlet.defer(outlet.claim(1)[0], 1)
    helper = Outlet(spool.root, "one", helps=True)
    taken = [entry.item for _ in range(4) for entry in helper.claim(4)]
    assert len(taken) == 2
    assert [entry.item for entry in outlet.claim(4)] == [tried.item]


def test_what_a_killed_worker_had_in_hand_waits_again(spool: Spool) -> None:
    accept(spool, 1)
    (outlet,) = fan_out(spool, "one")
    outlet.defer(outlet.claim(1)[0], 5)
    (entry,) = outlet.claim(1)
    fresh = Outlet(spool.root, "one")
    assert fresh.recover() == 1
    assert fresh.claim(1)[0].attempts == entry.attempts == 1


def test_two_workers_of_one_outlet_are_refused(spool: Spool) -> None:
    with (
        spool.work_outlet("one"),
        pytest.raises(SpoolError, match="worker of an outlet"),
        spool.work_outlet("one"),
    ):
        pass


def test_sent_items_are_found_and_sent_again(spool: Spool) -> None:
    entry = accept(spool, 1)
    (outlet,) = fan_out(spool, "one")
    outlet.sent(outlet.claim(1)[0], "mother_2222")
    assert outlet.peers() == ["mother_2222"]
    found = outlet.find(entry.item.name)
    assert found is not None and found.item == entry.item
    outlet.send_again(found)
    assert [e.item for e in outlet.claim(1)] == [entry.item]


def test_a_bookmark_survives_and_a_damaged_one_counts_as_none(spool: Spool) -> None:
    outlet = Outlet(spool.root, "one")
    assert outlet.bookmark("m") == ("", 0)
    outlet.set_bookmark("m", "abc", 12)
    assert Outlet(spool.root, "one").bookmark("m") == ("abc", 12)
    (outlet.root / "receipts-m").write_text("garbage")
    assert outlet.bookmark("m") == ("", 0)


def test_foreign_files_are_passed_over(spool: Spool) -> None:
    (spool.root / "new" / "high" / "notes.txt").touch()
    (spool.root / "new" / "high" / "2026 my copy").touch()
    accept(spool, 1, Lane.HIGH)
    assert len(spool.arrivals(10)) == 1


def test_a_ring_wakes_and_is_heard_once(spool: Spool) -> None:
    assert not spool.bell.wait(0)
    spool.bell.ring()
    spool.bell.ring()
    assert spool.bell.wait(10)
    assert not spool.bell.wait(0)


class Moves(RuleBasedStateMachine):
    """However items are moved, each link stands in exactly one place, and none gets lost."""

    entries: Bundle[Entry] = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.spool = Spool.open(Path(self.directory.name) / "s")
        self.outlets = [Outlet(self.spool.root, name) for name in ("one", "two")]
        self.accepted: set[str] = set()
        self.completed: set[str] = set()

    @rule(lane=st.sampled_from(list(Lane)))
    def arrive(self, lane: Lane) -> None:
        self.accepted.add(accept(self.spool, len(self.accepted), lane).item.name)

    @rule(which=st.integers(1, 2))
    def fan_out(self, which: int) -> None:
        assert all(self.spool.fan_out(self.spool.arrivals(2), self.outlets[:which]))

    @rule(
        outlet=st.integers(0, 1),
        move=st.sampled_from(["done", "defer", "back", "quarantine", "kill"]),
    )
    def work(self, outlet: int, move: str) -> None:
        worker = self.outlets[outlet]
        for entry in worker.claim(1):
            match move:
                case "done":
                    done = worker.done(entry)
                    if self.spool.is_complete(done):
                        self.spool.complete(done)
                        self.completed.add(entry.item.name)
                case "defer":
                    worker.defer(entry, 0)
                case "back":
                    worker.put_back(entry)
                case "quarantine":
                    worker.quarantine(entry, "unreadable")
                case "kill":
                    self.outlets[outlet] = Outlet(self.spool.root, worker.name)
                    self.outlets[outlet].recover()

    @rule()
    def retry(self) -> None:
        for held in list(self.spool.quarantined()):
            self.spool.retry(held)

    @rule(outlet=st.integers(0, 1))
    def send_again(self, outlet: int) -> None:
        worker = self.outlets[outlet]
        for entry in list(worker.entries(State.DONE)):
            assert self.spool.send_again(worker.name, entry.item.name)
            assert not self.spool.send_again(worker.name, entry.item.name)

    @invariant()
    def nothing_is_lost_and_nothing_is_twice_in_an_outlet(self) -> None:
        root = self.spool.root
        on_disk = [p for p in root.rglob("*_*_*_*") if p.is_file()]
        assert {p.name.partition("~")[0] for p in on_disk} == self.accepted - self.completed
        for name in ("one", "two"):
            here = [
                p.name.partition("~")[0]
                for p in on_disk
                if root / "out" / name in p.parents or root / "quarantine" / name in p.parents
            ]
            assert len(here) == len(set(here))

    def teardown(self) -> None:
        self.directory.cleanup()


TestMoves = Moves.TestCase
TestMoves.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_what_a_kill_left_of_a_bookmark_or_of_a_probe_is_swept(spool: Spool) -> None:
    outlet = Outlet(spool.root, "one")
    outlet.set_bookmark("m", "abc", 12)
    (outlet.root / f".receipts-m.{'0f' * 16}").write_text("half")
    old, young = (spool.root / "new" / f".probe-{age}" for age in ("old", "young"))
    for probe in (old, young):
        probe.touch()
    os.utime(old, (time.time() - 120, time.time() - 120))
    with spool.work_outlet("one"), spool.workspace("receiver"):
        pass
    assert not list(outlet.root.glob(".*"))
    assert outlet.bookmark("m") == ("abc", 12)
    assert [path.name for path in (spool.root / "new").glob(".*")] == [young.name]


def test_what_fails_again_and_again_is_not_all_that_is_tried(spool: Spool) -> None:
    """As when an archive takes none of many items and would take the others."""
    for number in range(30):
        accept(spool, number)
    (outlet,) = fan_out(spool, "one")
    bad = {entry.item for entry in outlet.claim(20)}
    good = 0
    for entry in outlet.entries(State.ACTIVE):
        outlet.defer(entry, 1)
    for _ in range(20):
        (entry,) = outlet.claim(1)
        if entry.item in bad:
            outlet.defer(entry, 1)
        else:
            good += 1
    assert good == 10


def test_what_is_put_back_untried_does_not_go_before_what_never_was(spool: Spool) -> None:
    for number in range(4):
        accept(spool, number)
    (outlet,) = fan_out(spool, "one")
    for entry in outlet.claim(2):
        outlet.defer(entry, 1)
    for _ in range(2):
        for entry in outlet.claim(4):
            outlet.put_back(entry)
    assert len(list(outlet.entries(State.DEFERRED))) == 2
    assert len(list(outlet.entries(State.NEW))) == 2
