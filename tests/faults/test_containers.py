"""Containers that are killed, taken down and upgraded in mid-transfer: all arrives.

The tests themselves stand in tests/containers, where the boxes of the compose files are. They hold
what every sender was told against what the archive keeps, byte for byte; this row runs those of
them that disturb a transfer, and counts.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.faults.conftest import Counts
from tests.tree import ROOT

pytestmark = [pytest.mark.fault("containers"), pytest.mark.timeout(3600)]

TESTS = (
    "tests/containers/test_relay.py::test_a_service_killed_in_mid_transfer_loses_nothing",
    "tests/containers/test_relay.py::test_all_taken_down_in_mid_transfer_and_up_again",
    "tests/containers/test_upgrade.py::test_up_and_back_loses_nothing",
)
NO_ENGINE = (
    "no container engine with our images answers; run container/with-engine.sh make faults, "
    "after make test-containers"
)


@pytest.mark.long_fault
def test_restarted_and_upgraded_in_mid_transfer(tmp_path: Path, counts: Counts) -> None:
    _require_engine()
    results = tmp_path / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1"]
    command += [f"--junitxml={results}", *TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    cases = ElementTree.parse(results).getroot().findall(".//testcase")
    passed = [case for case in cases if not case.findall("failure") and not case.findall("error")]
    passed = [case for case in passed if case.find("skipped") is None]
    counts.faults = len(passed)
    found = [case.findall(".//property[@name='answered']") for case in passed]
    counts.answered = sum(int(one.attrib["value"]) for some in found for one in some)
    assert done.returncode == 0, done.stdout[-4000:]
    assert len(passed) == len(cases) > len(TESTS), done.stdout[-4000:]


def _require_engine() -> None:
    for words in (["info"], ["compose", "version"], ["image", "inspect", "tackybox/receiver"]):
        try:
            done = subprocess.run(["docker", *words], capture_output=True, check=False, timeout=60)
        except FileNotFoundError:
            pytest.skip("docker is not installed; make test-containers installs it")
        if done.returncode:
            pytest.skip(NO_ENGINE)
