"""What archives promise beyond Success: storage commitment and C-FIND, real and scripted ones.

How they misbehave with it: tests/faults/test_archive.py.
"""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tackybox.demo.stack import free_port
from tackybox.rebuild import MADE_AGAIN
from tests.mother.forwarder.test_forwarder import series
from tests.peers import orthanc, wait_until

if TYPE_CHECKING:
    from tests.mother.forwarder.conftest import Forwarder, Scripted


def answered(forwarder: Forwarder) -> list[Path]:
    """What an archive has answered success for, and not proved."""
    found = (forwarder.spool.root / "out").glob("*/answered/*/*/*")
    return [path for path in found if path.is_file()]


def stored(forwarder: Forwarder) -> set[str]:
    """Names of the items whose daughter was told that they are stored."""
    return {receipt.item_name for receipt in forwarder.receipts() if receipt.kind == "stored"}


@pytest.mark.parametrize("with_port", [True, False], ids=["new association", "same association"])
def test_an_item_is_stored_when_the_archive_has_vouched_for_it(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path, with_port: bool
) -> None:
    port = free_port()
    options = ["--report-to", str(port)] if with_port else []
    with scripted("--commit", "truth", *options) as archive:
        proof = (
            {"report_port": port, "report_bind": "127.0.0.1"}
            if with_port
            else {"commitment": "required"}
        )
        forwarder.start(archive.address, **proof)
        entries = forwarder.put(series(tmp_path, 30))
        forwarder.wait_empty()
        asked = archive.asked("commit")
    assert stored(forwarder) == {entry.item.name for entry in entries}
    assert sorted(uid for one in asked for uid in one["uids"]) == sorted(
        entry.item.sop_instance_uid for entry in entries
    )
    committed = forwarder.wait_events("COMMITTED", 30)
    assert {event.item for event in committed} == {entry.item.id for entry in entries}
    transactions = {one["transaction"] for one in asked}
    assert {event.detail.rpartition(" ")[2] for event in committed} <= transactions
    for item in (entry.item.id for entry in entries):
        # How it came here was never recorded: the keeper of the journal makes that up for itself.
        noted = [e for e in forwarder.events() if e.item == item and MADE_AGAIN not in e.detail]
        steps = [str(event.kind) for event in noted]
        assert steps == ["QUEUED", "FORWARDING", "TAKEN", "COMMITTED", "STORED"]
    assert not list((forwarder.spool.root / "reports").iterdir())


def test_an_archive_that_never_reports_holds_nothing_up(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    port = free_port()
    with scripted("--commit", "never") as archive:
        forwarder.start(archive.address, report_port=port, proof_timeout_s=2)
        entries = forwarder.put(series(tmp_path, 5))
        wait_until(lambda: len(answered(forwarder)) == 5, "all are answered for")
        assert not stored(forwarder)
        forwarder.wait_empty()
        assert len(archive.asked("store")) == 5, "none is sent twice"
        assert len({one["transaction"] for one in archive.asked("commit")}) >= 3
    assert stored(forwarder) == {entry.item.name for entry in entries}
    (told,) = {event.detail for event in forwarder.wait_events("STORED", 5)}
    assert told == "on its answer alone: it has not reported on its commitment"
    assert not forwarder.events("COMMITTED")


def test_where_it_is_not_offered_success_is_enough(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    with scripted("--refuse-class", "1.2.840.10008.1.20.1") as archive:
        forwarder.start(archive.address, report_port=free_port())
        entries = forwarder.put(series(tmp_path, 3))
        forwarder.wait_empty()
    assert stored(forwarder) == {entry.item.name for entry in entries}
    details = {event.detail for event in forwarder.wait_events("STORED", 3)}
    assert "on its answer alone: it does not offer storage commitment" in details


def test_killed_before_the_report_it_asks_again(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    port, own = free_port(), free_port()
    with scripted("--commit", "never", port=port) as archive:
        forwarder.start(archive.address, report_port=own, commitment="required")
        entries = forwarder.put(series(tmp_path, 20))
        wait_until(lambda: len(answered(forwarder)) == 20, "all are answered for")
        wait_until(lambda: archive.asked("commit"), "it is asked")
        forwarder.daemon.signal(signal.SIGKILL)
        forwarder.daemon.wait()
    with scripted("--commit", "truth", "--report-to", str(own), port=port) as archive:
        forwarder.daemon.restart()
        forwarder.wait_empty()
        assert len(archive.asked("store")) == 20, "nothing is sent again"
    assert stored(forwarder) == {entry.item.name for entry in entries}


def test_orthanc_is_looked_into_by_c_find(forwarder: Forwarder, tmp_path: Path) -> None:
    modalities = {"relay": ["MOTHER", "127.0.0.1", 104]}
    with orthanc(tmp_path / "orthanc", DicomModalities=modalities) as peer:
        forwarder.start(peer.address, commitment="find")
        entries = forwarder.put(series(tmp_path, 10))
        forwarder.wait_empty()
    committed = forwarder.wait_events("COMMITTED", 10)
    assert {event.detail for event in committed} == {"a C-FIND lists it"}
    assert stored(forwarder) == {entry.item.name for entry in entries}


def test_what_orthanc_has_lost_is_sent_again(forwarder: Forwarder, tmp_path: Path) -> None:
    """It forgets the patient between its Success and our question."""
    port = free_port()
    modalities = {"relay": ["MOTHER", "127.0.0.1", port]}
    with orthanc(tmp_path / "orthanc", DicomModalities=modalities) as peer:
        base = f"http://127.0.0.1:{(peer.directory / 'http_port').read_text()}"
        # Not asked until the port is known: it waits in "answered".
        forwarder.start(peer.address, commitment="required", report_port=free_port())
        (entry,) = forwarder.put(series(tmp_path, 1))
        wait_until(lambda: len(answered(forwarder)) == 1, "it is answered for")
        forwarder.daemon.signal(signal.SIGTERM)
        forwarder.daemon.wait()
        (instance,) = json.load(urllib.request.urlopen(f"{base}/instances"))
        request = urllib.request.Request(f"{base}/instances/{instance}", method="DELETE")
        urllib.request.urlopen(request).close()
        forwarder.start(peer.address, commitment="required", report_port=port)
        forwarder.wait_empty()
        assert len(json.load(urllib.request.urlopen(f"{base}/instances"))) == 1
    assert stored(forwarder) == {entry.item.name}
    assert forwarder.wait_events("DEFERRED", 1)[0].status_code == 0x0112
