"""Whom the gate lets in: keys, invitations by a code, and those that were revoked."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tackybox.demo.stack import LOOPBACK
from tests.mother.inbox.conftest import Gate, public, write_item
from tests.peers import wait_until


def test_keys_are_let_in_and_shut_out_while_it_runs(gate: Gate) -> None:
    south = gate.stack.daughter_key("south")
    wait_until(lambda: gate.ssh("receipts --after 0", key=south).returncode == 0, "let in")
    (gate.workdir / "keys" / "daughters" / "south.pub").unlink()
    wait_until(lambda: gate.ssh("receipts --after 0", key=south).returncode == 255, "shut out")
    (gate.workdir / "keys" / "daughters" / "west.pub").write_text('command="sh" ssh-ed25519 AAAA')
    time.sleep(1.5)
    assert gate.ssh("receipts --after 0").returncode == 0
    assert "not understood" in gate.daemon.log.read_text()


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
