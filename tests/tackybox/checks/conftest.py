"""A relay whose every part can be stopped, and the command line as a person calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tackybox.config import child_environment
from tackybox.demo.stack import Daemon, Daughter, Mother, Stack
from tests.peers import require


@dataclass
class Relay:
    """One of each: archive, mother, daughter."""

    stack: Stack
    archive: Daemon
    archived: Path
    mother: Mother
    daughter: Daughter

    def relay(self, daemon: Daemon, *more: str, **settings: object) -> tuple[int, dict[str, Any]]:
        """`tackybox check --relay` with the settings of `daemon`: exit code and JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "tackybox", "check", "--relay", "--json", *more],
            env=child_environment(daemon.settings | settings), capture_output=True, text=True,
            check=False, timeout=150,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    with Stack(tmp_path / "stack") as stack:
        stack.daughter_key("north")
        address, archived = stack.start_archive("archive", "ARCHIVE")
        archive = stack.daemons[-1]
        quick = {"backoff_cap_s": 1, "rescan_interval_s": 0.5}
        mother = stack.start_mother("mother", address, **quick)
        daughter = stack.start_daughter(
            "north", mother.destination, receipts_interval_s=0.3, backoff_cap_s=1,
            modalities="CT1@10.4.0.7",
        )  # fmt: skip
        yield Relay(stack, archive, archived, mother, daughter)
