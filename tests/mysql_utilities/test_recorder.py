"""What record() returned for is never lost, whatever becomes of its process or of SQLite."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mysql_utilities import pending
from mysql_utilities import recorder as recorder_module
from mysql_utilities.drain import pending_dir, sqlite_path
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event, Kind
from mysql_utilities.recorder import Recorder
from mysql_utilities.sqlite_store import SqliteStore

ENDLESS = """
import sys
from pathlib import Path
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), "north")
number = 0
while True:
    recorder.record(Kind.RECEIVED, item=f"{sys.argv[2]}-{number}")
    print(number, flush=True)
    number += 1
"""
SOME = """
import sys
from pathlib import Path
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
with Recorder(Path(sys.argv[1]), "north") as recorder:
    for number in range(int(sys.argv[3])):
        recorder.record(Kind.RECEIVED, item=f"{sys.argv[2]}-{number}")
"""


def events(journal_dir: Path) -> list[Event]:
    with SqliteStore(sqlite_path(journal_dir), create=False) as store:
        return [event for _, event in store.read_after(0, 1_000_000)]


def items(journal_dir: Path) -> list[str]:
    return [event.item for event in events(journal_dir) if event.item]


def start(program: str, *arguments: object, out: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=out, cwd=Path(__file__).parents[2])


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("after_lines", [1, 400, 5000])
def test_a_killed_process_loses_nothing(tmp_path: Path, after_lines: int) -> None:
    process = start(ENDLESS, tmp_path, "killed")
    assert process.stdout is not None
    for _ in range(after_lines):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = after_lines + len(process.stdout.read().splitlines())
    process.wait(30)
    with Recorder(tmp_path, "north") as recorder:
        assert recorder.flush(30)
    found = items(tmp_path)
    assert len(found) == len(set(found))
    assert {f"killed-{number}" for number in range(told)} <= set(found)
    assert not list(pending_dir(tmp_path).iterdir())


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    processes = [start(SOME, tmp_path, name, 3000) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with Recorder(tmp_path, "north") as recorder:
        assert recorder.flush(30)
    assert sorted(items(tmp_path)) == sorted(f"{n}-{i}" for n in "abc" for i in range(3000))


def test_a_forked_child_has_a_file_of_its_own(tmp_path: Path) -> None:
    with Recorder(tmp_path, "north") as recorder:
        recorder.record(Kind.RECEIVED, item="before")
        child = os.fork()
        if child == 0:
            recorder.record(Kind.RECEIVED, item="child")
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        recorder.record(Kind.RECEIVED, item="after")
    with Recorder(tmp_path, "north") as other:
        assert other.flush(30)
    assert sorted(items(tmp_path)) == ["after", "before", "child"]


def test_a_locked_database_holds_nobody_up(tmp_path: Path) -> None:
    with Recorder(tmp_path, "north") as recorder:
        recorder.record(Kind.RECEIVED, item="first")
        assert recorder.flush(30)
        other = sqlite3.connect(sqlite_path(tmp_path), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for number in range(100):
            recorder.record(Kind.RECEIVED, item=f"{number}")
        assert not recorder.flush(0.5)
        other.execute("ROLLBACK")
        other.close()
        until(lambda: recorder.flush(5))
    assert len(items(tmp_path)) == 101


@pytest.mark.parametrize("from_byte", [0, 4096], ids=["whole", "all but its head"])
def test_a_damaged_database_is_set_aside_and_said(tmp_path: Path, from_byte: int) -> None:
    with Recorder(tmp_path, "north") as recorder:
        for _ in range(1000):
            recorder.record(Kind.RECEIVED, item="old")
    with sqlite_path(tmp_path).open("r+b") as file:
        file.seek(from_byte)
        file.write(b"this is no database" * 20_000)
    recorders = [Recorder(tmp_path, "north") for _ in range(3)]
    for number, recorder in enumerate(recorders):
        recorder.record(Kind.RECEIVED, item=f"new-{number}")
        recorder.close(30)
    assert sorted(items(tmp_path)) == ["new-0", "new-1", "new-2"]
    (gap,) = [event for event in events(tmp_path) if event.kind is Kind.GAP]
    (aside,) = tmp_path.glob("events.sqlite.damaged-*Z")
    assert aside.name in gap.detail


def test_a_deleted_database_is_begun_anew(tmp_path: Path) -> None:
    with Recorder(tmp_path, "north") as recorder:
        recorder.record(Kind.RECEIVED, item="old")
        assert recorder.flush(30)
        for path in tmp_path.glob("events.sqlite*"):
            path.unlink()
        recorder.record(Kind.RECEIVED, item="new")
        assert recorder.flush(30)
    assert items(tmp_path) == ["new"]
    assert [event.kind for event in events(tmp_path)] == [Kind.GAP, Kind.RECEIVED]


def test_a_cut_last_line_costs_only_itself(tmp_path: Path) -> None:
    pending_dir(tmp_path).mkdir(parents=True)
    lines = [Event(kind=Kind.RECEIVED, box="b", item=item).to_json() for item in "abc"]
    (pending_dir(tmp_path) / "dead.jsonl").write_text("\n".join(lines)[:-20])
    (pending_dir(tmp_path) / "junk.jsonl").write_bytes(b"\xff\x00" * 1_000_000)
    with Recorder(tmp_path, "north") as recorder:
        assert recorder.flush(30)
    assert items(tmp_path) == ["a", "b"]
    assert any("unreadable" in e.detail for e in events(tmp_path) if e.kind is Kind.GAP)


def test_a_file_in_use_is_left_to_its_owner(tmp_path: Path) -> None:
    with Recorder(tmp_path, "a") as first, Recorder(tmp_path, "b") as second:
        first.record(Kind.RECEIVED, item="1")
        second.record(Kind.RECEIVED, item="2")
        assert first.flush(30) and second.flush(30)
        assert len(list(pending_dir(tmp_path).iterdir())) == 2
        first.record(Kind.RECEIVED, item="3")
    assert sorted(items(tmp_path)) == ["1", "2", "3"]


def test_events_that_come_too_fast_move_to_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_ROTATE_BYTES", 1)
    with Recorder(tmp_path, "north") as recorder:
        for number in range(20_000):
            recorder.record(Kind.RECEIVED, item=f"{number}")
        assert recorder.flush(60)
    assert len(items(tmp_path)) == 20_000
    assert not list(pending_dir(tmp_path).iterdir())


@pytest.mark.parametrize("kept_rows", [0, 7, 2000])
def test_what_is_kept_in_memory_and_what_is_read_again_is_each_event_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_rows: int
) -> None:
    monkeypatch.setattr(pending, "KEPT_ROWS", kept_rows)
    monkeypatch.setattr(recorder_module, "_GATHER_BUSY_S", 0.01)
    monkeypatch.setattr(recorder_module, "_RETRY_MIN_S", 0.01)

    really = SqliteStore.insert_rows

    def fails(self: SqliteStore, rows: object) -> int:
        raise JournalError("not now")

    def record(thread: int) -> None:
        for number in range(1500):
            recorder.record(Kind.RECEIVED, item=f"{thread}-{number:04}")

    with Recorder(tmp_path, "north") as recorder:
        recorder.record(Kind.OUTLET_UP)
        assert recorder.flush(30)
        threads = [threading.Thread(target=record, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            monkeypatch.setattr(SqliteStore, "insert_rows", fails)
            time.sleep(0.03)
            monkeypatch.setattr(SqliteStore, "insert_rows", really)
            time.sleep(0.03)
        for thread in threads:
            thread.join()
        assert recorder.flush(30)
    for thread in range(3):
        mine = [item for item in items(tmp_path) if item.startswith(f"{thread}-")]
        assert mine == [f"{thread}-{number:04}" for number in range(1500)]


FULL = """
import resource, sys
from pathlib import Path
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
recorder = Recorder(Path(sys.argv[1]), "north")
for number in range(2000):
    recorder.record(Kind.RECEIVED, item=f"full-{number}")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
recorder.record(Kind.RECEIVED, item="room again")
recorder.close()
"""


def test_no_room_to_write_is_counted_and_said(tmp_path: Path) -> None:
    """A limit on file size stands for a full disk: write() is cut short, then fails."""
    assert start(FULL, tmp_path, 30_000).wait(60) == 0
    with Recorder(tmp_path, "north") as recorder:
        assert recorder.flush(30)
    found = events(tmp_path)
    kept = [event for event in found if event.item.startswith("full-")]
    lost = sum(
        int(event.detail.split()[0])
        for event in found
        if event.kind is Kind.GAP and "could not be noted" in event.detail
    )
    assert len(kept) + lost == 2000
    assert lost > 0
    assert "room again" in {event.item for event in found}


def test_it_never_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with (
        caplog.at_level(logging.ERROR),
        Recorder(tmp_path / "file" / "journal", "north") as recorder,
    ):
        recorder.record(Kind.RECEIVED, item="nowhere to go")
        recorder.record("NO SUCH KIND")  # type: ignore[arg-type]
        recorder.record(Kind.RECEIVED, no_such_field=1)
        recorder.record(Kind.RECEIVED, size_bytes="many", patient_id="SECRET")
        recorder.flush(0.1)
    recorder.record(Kind.RECEIVED, item="closed already")
    assert caplog.records
    assert "SECRET" not in caplog.text
