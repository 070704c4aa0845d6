"""Drafts: what a killed process left is an item if it was finished, and syncs are shared."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from tackybox.item import digest_of, part10_head
from tackybox.spool import Lane, Spool
from tackybox.spool import durable as durable_module
from tackybox.spool.durable import SharedSync

SYNTAX = "1.2.840.10008.1.2.1"
HEAD = part10_head(
    sop_class_uid="1.2.3", sop_instance_uid="1.2.3.4", transfer_syntax_uid=SYNTAX,
    calling_aet="A", called_aet="B",
)  # fmt: skip


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.open(tmp_path / "spool")


def killed_before_the_last_rename(spool: Spool) -> Path:
    """A finished draft as a power cut or a kill leaves it; its path in the workspace."""
    with (
        spool.workspace("receiver") as workspace,
        spool.draft(workspace, "north", SYNTAX) as draft,
    ):
        draft.write_head(HEAD)
        draft.write_dataset(b"a data set")
        entry = draft.accept(Lane.HIGH, "1.2.3.4")
        path = workspace / f"{Lane.HIGH}~{entry.item.name}"
        entry.path.rename(path)
    return path


def test_an_accepted_draft_is_an_item_and_its_workspace_is_empty(spool: Spool) -> None:
    with spool.workspace("receiver") as workspace:
        with spool.draft(workspace, "north", SYNTAX) as draft:
            draft.write_head(HEAD)
            draft.write_dataset(b"a data " * 50_000)
            draft.write_dataset(memoryview(b"set"))
            entry = draft.accept(Lane.LOW, "1.2.3.4")
        assert not list(workspace.iterdir())
    assert entry.path == spool.root / "new" / "low" / entry.item.name
    assert digest_of(entry.path) == entry.item.digest
    assert entry.path.stat().st_size == draft.size_bytes == len(HEAD) + 350_003


@pytest.mark.parametrize("has_thread", [True, False], ids=["beside", "no thread to be had"])
def test_a_large_one_is_hashed_as_well(
    spool: Spool, has_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = threading.active_count()
    if not has_thread:
        monkeypatch.setattr(threading.Thread, "start", refused)
    with spool.workspace("receiver") as workspace:
        with spool.draft(workspace, "north", SYNTAX) as draft:
            draft.write_head(HEAD)
            for number in range(40):
                draft.write_dataset(bytes([number]) * 100_000)
            assert (threading.active_count() > threads) == has_thread
            entry = draft.accept(Lane.LOW, "1.2.3.4")
        assert digest_of(entry.path) == entry.item.digest
        with spool.draft(workspace, "north", SYNTAX) as draft:  # and nothing is left of one that
            for _ in range(40):  # was given up
                draft.write_dataset(bytes(100_000))
        assert not list(workspace.iterdir())
    assert threading.active_count() == threads


def refused(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_finished_draft_that_a_killed_process_left_becomes_an_item(spool: Spool) -> None:
    left = killed_before_the_last_rename(spool)
    with spool.workspace("receiver") as workspace:
        assert not list(workspace.iterdir())
    (entry,) = spool.arrivals(10)
    assert (entry.lane, left.name) == (Lane.HIGH, f"high~{entry.item.name}")


def test_one_that_a_power_cut_has_torn_stands_in_quarantine(spool: Spool) -> None:
    left = killed_before_the_last_rename(spool)
    left.write_bytes(left.read_bytes()[:-3])
    with spool.workspace("receiver") as workspace:
        assert not list(workspace.iterdir())
    assert spool.arrivals(10) == []
    (torn,) = spool.quarantined()
    assert (torn.reason, torn.entry.lane) == ("digest-differs", Lane.HIGH)


@pytest.mark.parametrize("name", ["0123abcd", "high~nonsense", "higher~x", "~", "a~b~c"])
def test_anything_else_that_was_left_is_removed(spool: Spool, name: str) -> None:
    (spool.root / "tmp" / "receiver").mkdir()
    (spool.root / "tmp" / "receiver" / name).write_bytes(b"half")
    with spool.workspace("receiver") as workspace:
        assert not list(workspace.iterdir())
    assert spool.arrivals(10) == [] and not list(spool.quarantined())


@pytest.mark.parametrize("failing", ["fsync", "fsync_directory"])
def test_a_draft_that_can_t_be_flushed_is_discarded(
    spool: Spool, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.EIO, "disk")

    with spool.workspace("receiver") as workspace:
        with spool.draft(workspace, "north", SYNTAX) as draft:
            draft.write_head(HEAD)
            target = os if failing == "fsync" else durable_module
            monkeypatch.setattr(target, failing, fail)
            with pytest.raises(OSError, match="disk"):
                draft.accept(Lane.HIGH, "1.2.3.4")
            monkeypatch.undo()
        assert not list(workspace.iterdir())
    assert spool.arrivals(10) == []


class Disk:
    """Counts fsyncs of a directory; each waits for `released`, some fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: tuple[int, ...] = ()) -> None:
        self.released = threading.Event()
        self.begun = threading.Semaphore(0)
        self.count = 0
        self.failing = failing
        monkeypatch.setattr(durable_module, "fsync_directory", self._fsync)

    def _fsync(self, _: Path) -> None:
        self.count += 1
        number = self.count
        self.begun.release()
        assert self.released.wait(30)
        if number in self.failing:
            raise OSError(errno.EIO, "disk")


@pytest.mark.parametrize("slow_s", [0.0, 1e9])
def test_one_fsync_serves_all_that_asked_before_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_s: float
) -> None:
    monkeypatch.setattr(durable_module, "_SLOW_FSYNC_S", slow_s)
    disk, sync = Disk(monkeypatch), SharedSync(tmp_path)
    files = [os.open(tmp_path / str(n), os.O_CREAT | os.O_WRONLY) for n in range(9)]
    first = threading.Thread(target=sync.sync, args=(files[0],))
    first.start()
    assert disk.begun.acquire(timeout=30)
    others = [threading.Thread(target=sync.sync, args=(fd,)) for fd in files[1:]]
    for thread in others:
        thread.start()
    while sync._asked < len(files):
        pass
    disk.released.set()
    for thread in (first, *others):
        thread.join(30)
        assert not thread.is_alive()
    assert disk.count == 2  # the first one's, and one for all others
    for fd in files:
        os.close(fd)


def test_who_shares_an_fsync_that_failed_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, sync = Disk(monkeypatch, failing=(2,)), SharedSync(tmp_path)
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    outcomes: list[str] = []

    def ask() -> None:
        try:
            sync.sync(fd)
            outcomes.append("durable")
        except OSError as error:
            outcomes.append(os.strerror(error.errno or 0))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    threads[0].start()
    assert disk.begun.acquire(timeout=30)
    for thread in threads[1:]:
        thread.start()
    while sync._asked < len(threads):
        pass
    disk.released.set()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["Input/output error"] * 4 + ["durable"]
    assert disk.count == 2
    ask()
    assert outcomes[-1] == "durable"
    os.close(fd)


def test_a_later_fsync_does_not_make_good_one_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, sync = Disk(monkeypatch, failing=(1,)), SharedSync(tmp_path)
    disk.released.set()
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    slow_to_wake = sync._ask()
    with pytest.raises(OSError, match="disk"):
        sync.sync(fd)  # it was for both
    sync.sync(fd)
    with pytest.raises(OSError, match="could not be flushed"):
        sync._sync_entries(slow_to_wake)
    assert disk.count == 2
    os.close(fd)
