"""Whose key is gone is out, with all that runs for her; others go on."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from mother.inbox import sessions
from tackybox.demo.stack import LOOPBACK
from tests.mother.inbox.conftest import Gate, write_item
from tests.peers import wait_until


def start_slow_rsync(gate: Gate, key: Path, file: Path) -> subprocess.Popen[bytes]:
    """A push that would take half an hour."""
    words = " ".join(gate.ssh_words(key))
    return subprocess.Popen(
        ["rsync", "--bwlimit=10", "-e", words, str(file), f"{LOOPBACK}:{file.name}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def runs_for(gate: Gate, name: str) -> list[int]:
    """Processes at the mother that run for a daughter."""
    place = str(gate.workdir / "keys" / "daughters")
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and sessions._session(int(path.name))[1::2] == (name, place):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def test_a_revoked_daughter_is_out_within_seconds_and_another_is_not(
    gate: Gate, tmp_path: Path
) -> None:
    south = gate.stack.daughter_key("south")
    wait_until(lambda: gate.ssh("receipts --after 0", key=south).returncode == 0, "south is in")
    large = tmp_path / "large"
    large.write_bytes(bytes(20 << 20))
    line = write_item(tmp_path / "out", 1)
    assert gate.rsync(str(tmp_path / "out" / line["name"]), f"{LOOPBACK}:.").returncode == 0
    commit = subprocess.Popen(
        [*gate.ssh_words(), LOOPBACK, "commit"], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert commit.stdout is not None
    assert "protocol" in commit.stdout.readline()
    hers, others = (start_slow_rsync(gate, key, large) for key in (gate.key, south))
    try:
        for name in ("north", "south"):
            temporary = f".{large.name}.*"
            arriving = gate.spool / "arriving" / name
            wait_until(lambda at=arriving, t=temporary: list(at.glob(t)), "rsync writes")
        gate.roster.revoke("north")
        revoked_at = datetime.now(UTC)
        commit.communicate(json.dumps({"items": [line]}) + "\n", timeout=60)
        assert commit.returncode != 0
        assert hers.wait(60) != 0
        wait_until(lambda: not runs_for(gate, "north"), "nothing runs for her")
        assert (datetime.now(UTC) - revoked_at).total_seconds() < 15
        assert not list((gate.spool / "new").rglob(line["name"]))
        assert (gate.spool / "arriving" / "north" / line["name"]).exists()
        wait_until(lambda: "session ended" in gate.daemon.log.read_text(), "it is logged")
        assert others.poll() is None
        assert runs_for(gate, "south")
    finally:
        for process in (hers, others, commit):
            process.kill()
            process.wait()


def test_a_replaced_key_ends_what_runs_for_the_old_one(gate: Gate) -> None:
    old = subprocess.Popen(
        [*gate.ssh_words(), LOOPBACK, "receipts --after 0"], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert old.stdout is not None
    assert "protocol" in old.stdout.readline()
    (gate.workdir / "keys" / "daughters" / "north.pub").write_bytes(
        gate.stack.key("newer").with_suffix(".pub").read_bytes()
    )
    assert old.wait(30) != 0
    old.communicate()
    wait_until(
        lambda: gate.ssh("receipts --after 0", key=gate.stack.key("newer")).returncode == 0,
        "the new key is let in",
    )
