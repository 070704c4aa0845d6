"""What a commit says of items that have arrived, on a disk that fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mother.inbox.commit import Announced, Commit
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox.spool import Landing, Lane, ReceiptLog, Spool
from tackybox.spool import landing as landing_module
from tests.journey.conftest import events
from tests.mother.inbox.conftest import write_item


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.open(tmp_path / "mother")


@pytest.fixture
def commit(spool: Spool) -> Iterator[Commit]:
    with Recorder(spool.journal, "mother") as recorder:
        landing, receipts = Landing(spool.root, "north"), ReceiptLog(spool.root, "north")
        yield Commit("north", landing, receipts, recorder, lambda: None, lambda: None)


def arrived(spool: Spool, count: int) -> list[Announced]:
    arriving = spool.root / "arriving" / "north"
    return [Announced.parse(write_item(arriving, number), "north") for number in range(count)]


def fails(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """fsync of the file `name` fails, once: a second one would succeed and mean nothing."""
    real, failed = landing_module.fsync_file, []

    def fsync_file(path: Path) -> None:
        if path.name == name and not failed:
            failed.append(path)
            raise OSError(code, os.strerror(code))
        real(path)

    monkeypatch.setattr(landing_module, "fsync_file", fsync_file)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_what_there_was_no_room_to_keep_is_asked_for_again_and_no_fault_of_its_own(
    spool: Spool, commit: Commit, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    first, second = arrived(spool, 2)
    fails(monkeypatch, first.item.name, code)
    kinds = [answer["kind"] for answer in commit.commit([first, second])]
    assert kinds == ["missing", "landed"]
    assert not list(spool.root.rglob(first.item.name)), "its file is not trusted again"
    assert Kind.MISMATCH not in [event.kind for event in events(spool.root)]
    assert [a["kind"] for a in commit.commit(arrived(spool, 1))] == ["landed"], "sent again"


def test_what_the_disk_could_not_keep_is_a_mismatch(
    spool: Spool, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = arrived(spool, 2)
    fails(monkeypatch, first.item.name, errno.EIO)
    assert [a["kind"] for a in commit.commit([first, second])] == ["mismatch", "landed"]
    assert not list(spool.root.rglob(first.item.name))


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ENOSPC])
def test_what_was_signed_and_left_over_is_never_discarded(
    spool: Spool, commit: Commit, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (one,) = arrived(spool, 1)
    path = spool.root / "arriving" / "north" / one.item.name
    content = path.read_bytes()
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(Landing, "admit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        commit.commit([one])
    (left,) = spool.root.rglob(one.item.name)
    assert left.is_relative_to(spool.root / "landing")
    fails(monkeypatch, one.item.name, code)
    commit.finish_left_over()
    if code == errno.ENOSPC:  # nothing is wrong with it
        assert left.exists()
    else:
        (held,) = spool.quarantined()
        assert (held.reason, held.entry.item) == ("digest-differs", one.item)
        kinds = [str(receipt.kind) for _, receipt in ReceiptLog(spool.root, "north").read_after(0)]
        assert kinds == ["landed", "quarantined"]
        path.write_bytes(content)  # she sends it again
        assert [a["kind"] for a in commit.commit([one])] == ["landed"]
    commit.finish_left_over()
    (entry,) = spool.arrivals(10)
    assert entry.item == one.item
    assert not list(spool.quarantined())


def test_what_is_left_over_and_was_not_signed_is_discarded_if_it_is_bad(
    spool: Spool, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = arrived(spool, 1)
    Landing(spool.root, "north").take(one.item, one.lane)
    fails(monkeypatch, one.item.name, errno.EIO)
    commit.finish_left_over()
    assert not list(spool.root.rglob(one.item.name))
    assert not list(ReceiptLog(spool.root, "north").read_after(0))


def test_a_lane_does_not_wait_for_the_commit_of_another(spool: Spool, commit: Commit) -> None:
    first, second = arrived(spool, 2)
    urgent, other = replace(first, lane=Lane.HIGH), replace(second, lane=Lane.LOW)
    with ThreadPoolExecutor(1) as pool:
        with Landing(spool.root, "north").exclusive((Lane.LOW,)):
            waiting = pool.submit(commit.commit, [other])
            assert [a["kind"] for a in commit.commit([urgent])] == ["landed"]
            assert not waiting.done()
        assert [a["kind"] for a in waiting.result(60)] == ["landed"]


def test_an_item_that_is_named_twice_is_taken_once_and_signed_for_in_both_answers(
    spool: Spool, commit: Commit
) -> None:
    (one,) = arrived(spool, 1)
    assert [a["kind"] for a in commit.commit([one, one])] == ["landed", "landed"]
    assert len(list(spool.root.rglob(one.item.name))) == 1
    signed = [receipt.item_name for _, receipt in ReceiptLog(spool.root, "north").read_after(0)]
    assert signed == [one.item.name]
