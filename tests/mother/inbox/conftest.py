"""A gate behind a real sshd, and a daughter's way to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tackybox.demo.stack import LOOPBACK, Daemon, Stack, free_port, python
from tackybox.item import Item, content_digest, part10_head
from tackybox.keys import PublicKey
from tackybox.roster import Roster
from tackybox.spool import Receipt, Spool
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
