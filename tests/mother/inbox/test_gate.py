"""The gate through a real sshd: what a daughter's key may do, what commit signs for."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tackybox.demo.stack import LOOPBACK, Daemon, Stack, free_port, python
from tackybox.item import Item, content_digest, part10_head
from tackybox.spool import Landing, Lane, Receipt, ReceiptKind, ReceiptLog, Spool
from tests.peers import require, wait_until

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
            },
            self.port,
        )  # fmt: skip

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
            [*self.ssh_words(key), LOOPBACK, request], input=stdin, capture_output=True,
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


def write_item(directory: Path, number: int, origin: str = "north") -> dict[str, Any]:
    """A sound item's file, and its line of a manifest."""
    uid, data = f"1.2.3.{number}", f"data set {number}".encode()
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


@pytest.mark.parametrize(
    "request_line",
    [
        "", "sh", "cat /etc/passwd", "commit; id", "receipts --after 1; id", "receipts",
        "receipts --after -1", "rsync --daemon", "rsync --server --sender -e. . /etc/passwd",
        "scp -t .", "/usr/lib/openssh/sftp-server",
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


def test_sigterm_ends_it_with_code_0_and_frees_the_port(gate: Gate) -> None:
    gate.daemon.signal(signal.SIGTERM)
    assert gate.daemon.wait() == 0
    gate.daemon.restart()
    assert gate.ssh("receipts --after 0").returncode == 0
