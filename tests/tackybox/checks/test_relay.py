"""A test study goes the whole way, or it is said where it stands and why; real daemons."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest

from mysql_utilities.events import Kind
from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK, Daemon, free_port
from tackybox.spool import Spool
from tests.journey.conftest import events
from tests.peers import wait_until
from tests.tackybox.checks.conftest import Relay


def hops(report: dict) -> list[str]:
    return [hop["hop"] for hop in report["hops"]]


def stop(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    daemon.wait()


def test_from_the_daughter_to_the_archive_and_marked_as_a_test(relay: Relay) -> None:
    code, report = relay.relay(relay.daughter.receiver)
    assert (code, report["ok"], report["problem"]) == (0, True, "")
    assert hops(report) == [
        "received", "queued for mother", "landed at mother", "stored, by receipt of mother",
    ]  # fmt: skip
    after_s = [hop["after_s"] for hop in report["hops"]]
    assert after_s == sorted(after_s) and after_s[0] > 0
    assert "ARCHIVE_127.0.0.1" in report["hops"][-1]["detail"]
    kept = [pydicom.dcmread(path) for path in relay.archived.iterdir()]
    assert len(kept) == report["images"] == report["sent"] == 3
    assert {str(one.PatientName) for one in kept} == {"TACKYBOX^TEST"}
    assert {one.PatientID for one in kept} == {"TACKYBOX-TEST"}
    assert {one.StudyInstanceUID for one in kept} == {report["study_instance_uid"]}
    assert all("no patient" in one.StudyDescription for one in kept)
    received = [e for e in events(relay.daughter.spool) if e.kind is Kind.RECEIVED]
    assert {(e.calling_aet, e.peer_address) for e in received} == {("TACKYBOX", LOOPBACK)}
    _, again = relay.relay(relay.daughter.receiver)
    assert again["ok"] and again["study_instance_uid"] != report["study_instance_uid"]


def test_from_the_mother_to_her_archive(relay: Relay) -> None:
    code, report = relay.relay(relay.mother.forwarder)
    assert (code, hops(report)) == (0, ["received", "queued for archive", "stored in archive"])
    assert report["hops"][-1]["detail"] == f"ARCHIVE@{LOOPBACK}:{relay.archive.port}"
    assert len(list(relay.archived.iterdir())) == 3
    assert not [path for path in (relay.mother.spool / "new").rglob("*_*") if path.is_file()]


def test_an_archive_that_is_down(relay: Relay) -> None:
    stop(relay.archive)
    code, report = relay.relay(relay.mother.forwarder, "--timeout-s", "3")
    assert (code, report["ok"]) == (1, False)
    assert hops(report) == ["received", "queued for archive"]
    assert "nothing listens at ARCHIVE@" in report["problem"]
    code, report = relay.relay(relay.daughter.receiver, "--timeout-s", "15")
    assert (code, hops(report)[-1]) == (1, "landed at mother")
    assert "3 of 3 images stand at 'landed at mother" in report["problem"]
    assert f"tackybox trace {report['study_instance_uid']}" in report["remedy"]
    relay.archive.restart()
    wait_until(lambda: len(list(relay.archived.iterdir())) == 6, "what was said to go on goes on")


def test_an_archive_that_refuses_them(relay: Relay) -> None:
    stop(relay.archive)
    command = [
        *relay.archive.command[:1], "-m", "tests.scripted_archive", "--answer", "0xA900",
        "--port", str(relay.archive.port), "--dir", str(relay.archived),
        "--log", str(relay.stack.workdir / "refusals"),
    ]  # fmt: skip
    relay.stack.start("refusing", command, {}, relay.archive.port)
    for daemon in (relay.mother.forwarder, relay.daughter.receiver):
        began_s = time.monotonic()
        code, report = relay.relay(daemon)
        assert (code, time.monotonic() - began_s < 60) == (1, True)
        assert "in quarantine" in report["problem"] and "status-a900" in report["problem"]
        assert "quarantine list" in report["remedy"]


def test_a_mother_that_is_down(relay: Relay) -> None:
    stop(relay.mother.inbox)
    code, report = relay.relay(relay.daughter.receiver, "--timeout-s", "8")
    assert (code, hops(report)) == (1, ["received", "queued for mother"])
    assert "nothing listens at that port" in report["problem"]


def test_a_pusher_and_a_receiver_that_do_not_run(relay: Relay) -> None:
    stop(relay.daughter.pusher)
    code, report = relay.relay(relay.daughter.receiver, "--timeout-s", "3")
    assert (code, hops(report), report["remedy"]) == (1, ["received"], "is the pusher running?")
    stop(relay.daughter.receiver)
    code, report = relay.relay(relay.daughter.receiver)
    assert (code, report["sent"], hops(report)) == (1, 0, [])
    assert "nothing listens at TACKYBOX@" in report["problem"]


def test_a_receiver_without_room(relay: Relay) -> None:
    stop(relay.daughter.receiver)
    relay.daughter.receiver.settings["min_free_mib"] = 1 << 29
    relay.daughter.receiver.restart()
    code, report = relay.relay(relay.daughter.receiver)
    assert (code, report["sent"]) == (1, 0)
    assert "3 of 3 images were not received: status 0xA700, our receiver is" in report["problem"]


def test_a_receiver_elsewhere_that_rejects_us(relay: Relay) -> None:
    other = {"receiver": f"{LOOPBACK}:{relay.daughter.port}", "aet": "STRANGER"}
    code, report = relay.relay(relay.daughter.receiver, **other)
    assert (code, report["sent"]) == (1, 0)
    assert "run it in the receiver's container" in report["remedy"]
    code, report = relay.relay(relay.daughter.receiver, receiver=f"{LOOPBACK}:{free_port()}")
    assert (code, report["sent"]) == (1, 0)
    assert "is the receiver running?" in report["remedy"]


def test_a_receiver_that_writes_to_another_spool(relay: Relay) -> None:
    (relay.stack.workdir / "elsewhere").mkdir()
    code, report = relay.relay(
        relay.daughter.receiver, "--timeout-s", "2", spool=relay.stack.workdir / "elsewhere"
    )
    assert (code, report["sent"], hops(report)) == (1, 3, [])
    assert "does the receiver that answered use this spool?" in report["remedy"]


def test_with_release_landed_it_says_that_the_archive_is_not_heard_of(relay: Relay) -> None:
    stop(relay.daughter.pusher)
    relay.daughter.pusher.settings["release"] = "landed"
    relay.daughter.pusher.restart()
    code, report = relay.relay(relay.daughter.receiver, release="landed")
    assert (code, hops(report)[-1]) == (1, "landed at mother")
    assert "no archive is heard of here" in report["problem"]
    assert report["remedy"] == f"on the mother, tackybox trace {report['study_instance_uid']} tells"


def test_a_mother_without_room(relay: Relay) -> None:
    code, report = relay.relay(relay.mother.forwarder, min_free_mib=1 << 29)
    assert (code, report["sent"]) == (1, 0)
    assert "below its low-space watermark" in report["problem"]
    assert not list(relay.mother.spool.rglob("*_*_*_*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user's: run as root")
def test_another_users_spool_is_left_alone(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool")
    os.chown(spool.root / "identity", 65534, 65534)
    settings = {"name": "m", "aet": "M", "archives": "P@127.0.0.1:9", "spool": spool.root}
    done = subprocess.run(
        [sys.executable, "-m", "tackybox", "check", "--relay"], env=child_environment(settings),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (74, "")
    assert done.stderr.endswith("number 65534, this is number 0; run it as that user\n")
