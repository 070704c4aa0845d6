"""The gate through a real sshd: what a daughter's key may do, what commit signs for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import mother.inbox.gate as gate_module
import mother.inbox.serving as serving_module
from tackybox.demo.stack import LOOPBACK
from tackybox.item import Item
from tackybox.spool import Landing, Lane, Receipt, ReceiptKind, ReceiptLog, Spool
from tackybox.spool.landing import last_seen
from tackybox.spool.spool import Space
from tests.mother.inbox.conftest import Gate, push, write_item
from tests.peers import pids_of, wait_until


def test_what_is_pushed_and_committed_has_a_receipt_and_waits_for_the_forwarder(
    gate: Gate, tmp_path: Path
) -> None:
    lines = [write_item(tmp_path / "out", number) for number in range(3)]
    push(gate, tmp_path / "out")
    answers = gate.commit(*lines)
    assert [a["kind"] for a in answers] == ["landed"] * 3
    new = gate.spool / "new" / "high"
    assert sorted(p.name for p in new.iterdir()) == sorted(line["name"] for line in lines)
    assert not list((gate.spool / "arriving" / "north").iterdir())
    kinds = [(r.kind, r.item_name) for _, r in gate.receipts()]
    assert kinds == [(ReceiptKind.LANDED, line["name"]) for line in lines]
    assert gate.receipts(gate.receipts()[-1][0]) == []


def test_a_mismatch_is_refused_by_name_and_the_others_land(gate: Gate, tmp_path: Path) -> None:
    good, bad, absent = (write_item(tmp_path / "out", number) for number in range(3))
    path = tmp_path / "out" / bad["name"]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (tmp_path / "out" / absent["name"]).unlink()
    push(gate, tmp_path / "out")
    answers = {a["name"]: a["kind"] for a in gate.commit(good, bad, absent)}
    assert answers == {good["name"]: "landed", bad["name"]: "mismatch", absent["name"]: "missing"}
    assert len(list((gate.spool / "new" / "high").iterdir())) == 1
    assert not list((gate.spool / "landing" / "north" / "high").iterdir())


def test_what_a_killed_commit_left_is_signed_for_once(gate: Gate, tmp_path: Path) -> None:
    line = write_item(tmp_path / "out", 1)
    push(gate, tmp_path / "out")
    landing = Landing(gate.spool, "north")
    assert landing.take(Item.parse(line["name"]), Lane.HIGH)
    assert gate.commit(line) == [{"name": line["name"], "kind": "missing"}]
    assert [r.item_name for _, r in gate.receipts()] == [line["name"]]
    assert len(list((gate.spool / "new" / "high").iterdir())) == 1


def test_an_inbox_that_starts_lets_go_on_what_a_cut_commit_had_taken(
    gate: Gate, tmp_path: Path
) -> None:
    """Its daughter was told "landed", has nothing more to send, and her key is gone."""
    line = write_item(tmp_path / "out", 1)
    push(gate, tmp_path / "out")
    assert Landing(gate.spool, "north").take(Item.parse(line["name"]), Lane.HIGH)
    gate.daemon.signal(signal.SIGKILL)
    gate.daemon.wait()
    (gate.workdir / "keys" / "daughters" / "north.pub").unlink()
    gate.daemon.restart()
    assert [path.name for path in (gate.spool / "new" / "high").iterdir()] == [line["name"]]
    assert [r.item_name for _, r in ReceiptLog(gate.spool, "north").read_after(0)] == [line["name"]]


@pytest.mark.parametrize(
    "request_line",
    [
        "", "sh", "cat /etc/passwd", "commit; id", "receipts --after 1; id", "receipts",
        "receipts --after -1", "rsync --daemon", "rsync --server --sender -e. . /etc/passwd",
        "scp -t .", "/usr/lib/openssh/sftp-server", "join", "--help", "--", "--spool=/tmp",
    ],
)  # fmt: skip
def test_everything_else_is_refused(gate: Gate, request_line: str) -> None:
    done = gate.ssh(request_line)
    assert done.returncode != 0
    assert "root:" not in done.stdout


def test_rsync_may_only_write_and_only_into_its_own_folder(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (gate.spool / "arriving" / "south").mkdir(parents=True)
    (gate.spool / "arriving" / "north").mkdir(exist_ok=True)
    assert gate.rsync(f"{LOOPBACK}:identity", str(tmp_path / "stolen")).returncode != 0
    gate.rsync(str(tmp_path / "secret"), f"{LOOPBACK}:../south/")
    assert not list((gate.spool / "arriving" / "south").iterdir())
    gate.rsync("--delete", "-r", f"{tmp_path}/keys/", f"{LOOPBACK}:/")
    assert (gate.spool / "identity").exists()


@pytest.mark.parametrize(
    "line",
    [
        "not json", "{}", '{"items": 5}', '{"items": [{"name": "../../identity"}]}',
        '{"items": [{"name": "x", "lane": "high", "size_bytes": 1}]}',
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused_with_a_sentence(gate: Gate, line: str) -> None:
    done = gate.ssh("commit", line + "\n")
    assert done.returncode == 65
    assert done.stderr.startswith("tackybox: ")
    assert (gate.spool / "identity").exists()


def test_a_daughter_cannot_sign_in_anothers_name(gate: Gate, tmp_path: Path) -> None:
    line = write_item(tmp_path / "out", 1, origin="south")
    push(gate, tmp_path / "out")
    done = gate.ssh("commit", json.dumps({"items": [line]}) + "\n")
    assert done.returncode == 65
    assert not (gate.spool / "receipts" / "south").exists()


def test_a_cursor_behind_the_end_is_an_error_of_data(gate: Gate) -> None:
    assert gate.ssh("receipts --after 999").returncode == 65


def test_receipts_wait_for_a_commit_that_is_being_written(gate: Gate) -> None:
    gate.ssh("receipts --after 0")
    log = ReceiptLog(gate.spool, "north")
    with log.exclusive():
        waiting = subprocess.Popen(
            [*gate.ssh_words(), LOOPBACK, "receipts --after 0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        time.sleep(1)
        log.append_locked([Receipt.now(ReceiptKind.LANDED, "late")])
    out, _ = waiting.communicate(timeout=30)
    assert "late" in out


@pytest.mark.parametrize("lane", Lane)
def test_receipts_wait_for_a_commit_that_is_being_verified(gate: Gate, lane: Lane) -> None:
    gate.ssh("receipts --after 0")
    with Landing(gate.spool, "north").exclusive((lane,)):
        waiting = subprocess.Popen(
            [*gate.ssh_words(), LOOPBACK, "receipts --after 0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert waiting.stdout is not None
        assert "protocol" in waiting.stdout.readline()
        ReceiptLog(gate.spool, "north").append([Receipt.now(ReceiptKind.LANDED, "late")])
    out, _ = waiting.communicate(timeout=30)
    assert "late" in out


def test_what_an_rsync_works_on_is_not_cleared_for_room(gate: Gate, tmp_path: Path) -> None:
    write_item(tmp_path / "out", 1)
    landing = Landing(Spool.open(gate.spool).root, "north")
    (landing.arriving / ".half").touch()
    waiting = subprocess.Popen(
        ["rsync", "-e", " ".join(gate.ssh_words()), "--files-from=-", f"{tmp_path / 'out'}/",
         f"{LOOPBACK}:."], stdin=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: pids_of("rsync --server", str(landing.arriving)), "rsync is there")
    assert landing.clear() == 0
    waiting.communicate(timeout=30)
    wait_until(lambda: landing.clear() == 1, "when it has ended it is cleared")


def test_what_cut_pushes_left_makes_room_below_the_watermark(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool.open(gate.spool)
    half = Landing(spool.root, "south").arriving / ".half"
    half.touch()
    spaces = [Space(100, 1000, 0, 0), Space(900, 1000, 0, 0)]
    monkeypatch.setattr(spool, "space", lambda: spaces.pop(0))
    assert not gate_module._is_low(spool, 500, "north")
    assert (spaces, half.exists()) == ([], False)
    monkeypatch.setattr(spool, "space", lambda: Space(100, 1000, 0, 0))
    assert gate_module._is_low(spool, 500, "north")


def test_the_forwarder_is_rung_for(gate: Gate, tmp_path: Path) -> None:
    line = write_item(tmp_path / "out", 1)
    bell = Spool.open(gate.spool).bell
    bell.wait(0)
    push(gate, tmp_path / "out")
    assert not bell.wait(0)
    gate.commit(line)
    assert bell.wait(0)


def test_sigterm_ends_it_with_code_0_and_frees_the_port(gate: Gate) -> None:
    gate.daemon.signal(signal.SIGTERM)
    assert gate.daemon.wait() == 0
    gate.daemon.restart()
    assert gate.ssh("receipts --after 0").returncode == 0


def test_the_request_is_never_taken_for_an_option_of_the_gate(gate: Gate, tmp_path: Path) -> None:
    done = gate.ssh(f"--spool={tmp_path / 'other'}")
    assert (done.returncode, done.stdout) == (64, "")
    assert not (tmp_path / "other").exists()


def test_when_she_was_last_there_is_noted(gate: Gate) -> None:
    assert last_seen(gate.spool, "north") is None
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert gate.ssh("receipts --after 0").returncode == 0
    seen = last_seen(gate.spool, "north")
    assert seen is not None
    assert before < seen < datetime.now(UTC) + timedelta(seconds=1)


def test_a_daughter_who_is_connected_is_seen_though_she_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_fd, write_fd = os.pipe()
    asked = []

    class Caller:
        def check(self) -> None:
            asked.append(None)
            if len(asked) == 3:
                os.write(write_fd, b"line\n")

    monkeypatch.setattr(serving_module, "_SEEN_INTERVAL_S", 0.01)
    with os.fdopen(read_fd) as stdin, os.fdopen(write_fd, "w") as other_end:
        monkeypatch.setattr("sys.stdin", stdin)
        assert serving_module._next_line(Caller()) == "line\n"
        other_end.close()
        assert serving_module._next_line(Caller()) == ""
    assert len(asked) == 3
