"""The gate through a real sshd: what a daughter's key may do, what commit signs for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mother.inbox.gate as gate_module
import mother.inbox.serving as serving_module
from tackybox.demo.stack import LOOPBACK, Daemon, Stack, free_port, python
from tackybox.item import Item, content_digest, part10_head
from tackybox.keys import PublicKey
from tackybox.roster import Roster
from tackybox.spool import Landing, Lane, Receipt, ReceiptKind, ReceiptLog, Spool
from tackybox.spool.landing import last_seen
from tackybox.spool.spool import Space
from tests.peers import pids_of, require, wait_until

SYNTAX = "1.2.840.10008.1.2.1"


class Gate:
    """A mother's inbox, and a daughter's way to it with plain ssh and rsync."""

    def __init__(self, workdir: Path) -> None:
        self.stack = Stack(workdir)
        self.workdir = workdir
        self.spool = workdir / "mother"
        self.port = free_port()
        self.key = self.stack.daughter_key("north")
        self.daemon: Daemon = self.stack.start(
            "inbox",
            python("mother.inbox"),
            {
                "name": "mother", "aet": "MOTHER", "spool": self.spool,
                "archives": "PACS@127.0.0.1:104", "ssh_port": self.port, "ssh_bind": LOOPBACK,
                "host_key": self.stack.key("mother-host"), "min_free_mib": 1,
                "daughters": workdir / "keys" / "daughters",
                "enrolments": workdir / "keys" / "enrolments",
            },
            self.port,
        )  # fmt: skip
        self.roster = Roster(workdir / "keys" / "daughters", workdir / "keys" / "enrolments")

    def invite(self, name: str, hours: float = 1.0) -> Path:
        """The private key of a new invitation, once sshd lets it in."""
        code = self.stack.key(f"{name}-code")
        self.roster.invite(name, public(code), datetime.now(UTC) + timedelta(hours=hours))
        wait_until(lambda: self.ssh("", key=code).returncode == 64, "the code is let in")
        return code

    def ssh_words(self, key: Path | None = None) -> list[str]:
        return [
            "ssh", "-p", str(self.port), "-i", str(key or self.key), "-o", "IdentitiesOnly=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
        ]  # fmt: skip

    def ssh(
        self, request: str, stdin: str = "", key: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.ssh_words(key), LOOPBACK, "--", request], input=stdin, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip

    def rsync(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        words = " ".join(self.ssh_words())
        return subprocess.run(
            ["rsync", "-e", words, *arguments], capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip

    def commit(self, *items: dict[str, Any]) -> list[dict[str, str]]:
        done = self.ssh("commit", json.dumps({"items": items}) + "\n")
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines[0] == {
            "protocol": 1, "spool": Spool.open(self.spool).identity, "at": lines[0]["at"],
        }  # fmt: skip
        assert abs(datetime.fromisoformat(lines[0]["at"]) - datetime.now(UTC)).total_seconds() < 60
        return list(lines[1]["answers"])

    def receipts(self, cursor: int = 0) -> list[tuple[int, Receipt]]:
        done = self.ssh(f"receipts --after {cursor}")
        assert done.returncode == 0, done.stderr
        found = []
        for line in done.stdout.splitlines()[1:]:
            behind, tab, text = line.partition("\t")
            if tab:
                found.append((int(behind), Receipt.from_line(text)))
        return found


def public(private: Path) -> PublicKey:
    """The public half of a key that the stack has made."""
    return PublicKey.parse(private.with_suffix(".pub").read_text())


def write_item(
    directory: Path, number: int, origin: str = "north", padding_bytes: int = 0
) -> dict[str, Any]:
    """A sound item's file, and its line of a manifest."""
    uid, data = f"1.2.3.{number}", f"data set {number}".encode() + bytes(padding_bytes)
    digest = content_digest(SYNTAX)
    digest.update(data)
    item = Item(datetime.now(UTC), origin, digest.hexdigest(), uid)
    head = part10_head(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid=uid,
        transfer_syntax_uid=SYNTAX, calling_aet="CT", called_aet="RELAY",
    )  # fmt: skip
    directory.mkdir(exist_ok=True)
    (directory / item.name).write_bytes(head + data)
    return {"name": item.name, "lane": "high", "size_bytes": len(head + data)}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    running = Gate(tmp_path)
    with running.stack:
        yield running


def push(gate: Gate, directory: Path) -> None:
    done = gate.rsync(*(str(path) for path in directory.iterdir()), f"{LOOPBACK}:.")
    assert done.returncode == 0, done.stderr


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


def test_keys_are_let_in_and_shut_out_while_it_runs(gate: Gate) -> None:
    south = gate.stack.daughter_key("south")
    wait_until(lambda: gate.ssh("receipts --after 0", key=south).returncode == 0, "let in")
    (gate.workdir / "keys" / "daughters" / "south.pub").unlink()
    wait_until(lambda: gate.ssh("receipts --after 0", key=south).returncode == 255, "shut out")
    (gate.workdir / "keys" / "daughters" / "west.pub").write_text('command="sh" ssh-ed25519 AAAA')
    time.sleep(1.5)
    assert gate.ssh("receipts --after 0").returncode == 0
    assert "not understood" in gate.daemon.log.read_text()


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


def test_receipts_wait_for_a_commit_that_is_being_verified(gate: Gate) -> None:
    gate.ssh("receipts --after 0")
    with Landing(gate.spool, "north").exclusive():
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


def test_a_code_lets_in_one_key_and_counts_no_more(gate: Gate) -> None:
    code, west = gate.invite("west"), gate.stack.key("west")
    done = gate.ssh("join", f"{public(west)} a comment\n", key=code)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"protocol": 1, "joined": "west"}
    assert gate.roster.holds("west", public(west).fingerprint)
    wait_until(lambda: gate.ssh("receipts --after 0", key=west).returncode == 0, "let in")
    again = gate.ssh("join", f"{public(gate.key)}\n", key=code)
    assert again.returncode == 255
    assert "Permission denied" in again.stderr
    assert public(west).fingerprint in gate.daemon.log.read_text()


def test_of_two_sessions_with_one_code_the_second_to_speak_is_refused(gate: Gate) -> None:
    code, keys = gate.invite("west"), [gate.stack.key("west-1"), gate.stack.key("west-2")]
    sessions = [
        subprocess.Popen(
            [*gate.ssh_words(code), LOOPBACK, "join"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in keys
    ]  # fmt: skip
    wait_until(
        lambda: gate.daemon.log.read_text().count("Accepted publickey for") >= 3, "both are in"
    )
    first, second = (
        session.communicate(f"{public(key)}\n", timeout=60)
        for session, key in zip(sessions, keys, strict=True)
    )
    assert [session.returncode for session in sessions] == [0, 66]
    assert "joined" in first[0]
    assert "this code was used" in second[1]
    assert gate.roster.holds("west", public(keys[0]).fingerprint)


@pytest.mark.parametrize(
    "line", ["", "\n", "not a key\n", 'command="sh" ssh-ed25519 AAAA\n', "ssh-ed25519 AAAA\n"]
)
def test_what_is_no_key_does_not_use_the_code_up(gate: Gate, line: str) -> None:
    code = gate.invite("west")
    done = gate.ssh("join", line, key=code)
    assert done.returncode == 65
    assert done.stderr.startswith("tackybox: what was sent is ")
    assert gate.ssh("join", f"{public(gate.stack.key('west'))}\n", key=code).returncode == 0


@pytest.mark.parametrize("request_line", ["commit", "receipts --after 0", "join x", "sh"])
def test_a_code_admits_nothing_but_join(gate: Gate, request_line: str, tmp_path: Path) -> None:
    code = gate.invite("north")
    assert gate.ssh(request_line, key=code).returncode == 64
    write_item(tmp_path / "out", 1)
    words = " ".join(gate.ssh_words(code))
    pushed = subprocess.run(
        ["rsync", "-e", words, "-r", f"{tmp_path / 'out'}/", f"{LOOPBACK}:."], check=False,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert pushed.returncode != 0
    assert not list((gate.spool / "arriving").rglob("*_*"))


def test_a_code_that_runs_out_is_shut_out_and_forgotten(gate: Gate) -> None:
    code = gate.stack.key("code")
    gate.roster.invite("west", public(code), datetime.now(UTC) + timedelta(seconds=3))
    wait_until(lambda: not list((gate.workdir / "keys" / "enrolments").iterdir()), "forgotten")
    wait_until(lambda: gate.ssh("join", key=code).returncode == 255, "shut out")


def test_a_revoked_key_is_refused_over_a_connection_that_is_open(gate: Gate) -> None:
    control = gate.workdir / "control"
    words = [*gate.ssh_words(), "-o", f"ControlPath={control}"]
    master = subprocess.Popen(
        [*words, "-o", "ControlMaster=yes", "-N", LOOPBACK], stdin=subprocess.DEVNULL
    )
    try:
        wait_until(control.exists, "the connection is open")
        over_it = [*words, LOOPBACK, "receipts --after 0"]
        assert subprocess.run(over_it, capture_output=True, check=False).returncode == 0
        gate.daemon.signal(signal.SIGSTOP)  # the gate alone: the inbox would end it meanwhile
        gate.roster.revoke("north")
        refused = subprocess.run(over_it, capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stdout) == (77, "")
        assert refused.stderr == "tackybox: this key was revoked\n"
    finally:
        gate.daemon.signal(signal.SIGCONT)
        master.terminate()
        master.wait(30)


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
