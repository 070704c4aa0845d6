"""One SOP Instance UID again: the same bytes, other bytes, before and after it was delivered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from tackybox.config import child_environment
from tests.faults.conftest import Record
from tests.faults.ledger import digest_of_file
from tests.faults.relay import Relay

pytestmark = pytest.mark.fault("duplicates")


def tackybox(relay: Relay, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The operator's command on the mother."""
    command = [sys.executable, "-m", "tackybox", *arguments, "--spool", str(relay.mother.spool)]
    return subprocess.run(
        command, env=child_environment({}), capture_output=True, text=True, check=False, timeout=60
    )


def with_other_bytes(path: Path) -> Path:
    """The same image, and other pixels."""
    dataset = pydicom.dcmread(path)
    pixels = bytearray(dataset.PixelData)
    pixels[-1] ^= 0xFF
    dataset.PixelData = bytes(pixels)
    other = path.with_name(f"other-{path.name}")
    dataset.save_as(other, enforce_file_format=True)
    return other


def test_a_uid_that_comes_again(tmp_path: Path, record: Record) -> None:
    with Relay(tmp_path) as relay:
        archive = relay.archives[0]
        (first, second, third) = relay.images(3)
        other = with_other_bytes(second)
        # Twice the same bytes, and two contents under one UID, close together.
        assert relay.send([first, first, second, other]) == [0] * 4
        relay.wait_quiet()
        record(relay.verdict(), faults=2)
        assert archive.deliveries()[digest_of_file(first)] == 2
        assert archive.contents() == {digest_of_file(path) for path in (first, second, other)}

        # Sent again after all of it was delivered: a deliberate re-send goes through.
        assert relay.send([first, other, third]) == [0] * 3
        relay.wait_quiet()
        record(relay.verdict(), faults=2)
        assert archive.deliveries()[digest_of_file(first)] == 3
        assert archive.deliveries()[digest_of_file(other)] == 2

        traced = json.loads(tackybox(relay, "trace", second.stem, "--json").stdout)
        assert sorted(len(one["same_uid_other_content"]) for one in traced) == [1, 1, 2]
        assert "with 2 contents bear the SOP Instance UID" in tackybox(
            relay, "trace", second.stem
        ).stdout.replace("\n", " ")
        for path in (first, third):
            traced = json.loads(tackybox(relay, "trace", path.stem, "--json").stdout)
            assert not any(one["same_uid_other_content"] for one in traced)
        status = tackybox(relay, "status", "--json")
        attention = json.loads(status.stdout)["attention"]
        assert status.returncode == 1
        assert [line for line in attention if second.stem in line], attention
