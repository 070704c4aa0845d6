"""The forwarder against real archives, and against one that misbehaves."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest

from tackybox.demo.stack import free_port
from tackybox.dimse.files import read_source
from tackybox.errors import DataError
from tackybox.item import digest_of
from tackybox.spool import Entry, Lane
from tests.mother.forwarder.images import series, wheel
from tests.peers import freeze, orthanc, storescp, wait_until, wheel_files

if TYPE_CHECKING:
    from tests.mother.forwarder.conftest import Forwarder, Scripted

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LE, IMPLICIT_LE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def sendable() -> list[Path]:
    found = []
    for path in wheel_files():
        try:
            read_source(path)
        except DataError:
            continue
        found.append(path)
    return found


def dataset_bytes(path: Path) -> bytes:
    return path.read_bytes()[read_source(path).dataset_offset :]


def test_all_wheel_files_arrive_with_their_bytes_or_stand_in_quarantine(
    forwarder: Forwarder, scripted: Scripted
) -> None:
    files = sendable()
    with scripted() as archive:
        forwarder.start(archive.address)
        entries = forwarder.put(files)
        forwarder.wait_empty()
        kept = {dataset_bytes(path) for path in archive.kept()}
    assert kept == {dataset_bytes(path) for path in files}
    assert not forwarder.quarantined()
    stored = forwarder.wait_events("STORED", len(entries))
    assert {event.item for event in stored} == {entry.item.id for entry in entries}
    assert {event.status_code for event in stored} == {0}
    assert all(event.peer_address == archive.address for event in stored)
    assert all(event.duration_s and event.size_bytes for event in stored)
    receipts = {(r.kind.value, r.item_name) for r in forwarder.receipts()}
    assert receipts == {("stored", entry.item.name) for entry in entries}


def test_high_overtakes_and_carries_its_priority(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    with scripted("--delay", "0.02") as archive:
        forwarder.put(series(tmp_path, 40), Lane.LOW)
        urgent = forwarder.put(series(tmp_path, 1, start=900), Lane.HIGH)[0]
        forwarder.start(archive.address, associations=1)
        forwarder.wait_empty()
        order = [entry["uid"] for entry in archive.asked("store")]
        priorities = {entry["uid"]: entry["priority"] for entry in archive.asked("store")}
    assert order.index(urgent.item.sop_instance_uid) < 10
    assert priorities[urgent.item.sop_instance_uid] == 1
    assert sorted(priorities.values()) == [1] + [2] * 40


def test_an_archive_that_comes_late_gets_all_and_no_store_is_tried_before(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    port = free_port()
    forwarder.start(f"SCRIPTED@127.0.0.1:{port}")
    forwarder.put(series(tmp_path, 20))
    (down,) = forwarder.wait_events("OUTLET_DOWN", 1)
    assert "nothing listens" in down.detail
    assert not forwarder.events("FORWARDING", "DEFERRED")
    with scripted(port=port) as archive:
        forwarder.wait_empty()
        assert len(archive.kept()) == 20
        assert len(archive.asked("echo")) < 5
        assert archive.asked("association")
    assert forwarder.wait_events("OUTLET_UP", 1)
    assert len(forwarder.wait_events("STORED", 20)) == 20
    assert not forwarder.events("DEFERRED")


def test_while_echo_fails_no_store_is_tried(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    port = free_port()
    with scripted(port=port) as archive:
        forwarder.start(archive.address)
        forwarder.put(series(tmp_path, 5))
        forwarder.wait_empty()
    forwarder.wait_events("OUTLET_DOWN", 1)
    attempts = len(forwarder.events("FORWARDING"))
    forwarder.put(series(tmp_path, 30, start=100))
    forwarder.wait_events("QUEUED", 35)
    assert len(forwarder.events("FORWARDING")) == attempts
    with scripted(port=port):
        forwarder.wait_empty()
    assert not forwarder.quarantined()


def test_refused_classes_and_only_those_stand_in_quarantine(
    forwarder: Forwarder, scripted: Scripted
) -> None:
    files = wheel("CT_small.dcm", "MR_small.dcm", "test-SR.dcm", "rtplan.dcm")
    with scripted("--refuse-class", MR) as archive:
        forwarder.start(archive.address)
        entries = forwarder.put(files)
        forwarder.wait_empty()
        assert len(archive.kept()) == 3
    mr = entries[1].item
    assert forwarder.quarantined() == {mr.sop_instance_uid: "sop-class-refused"}
    (event,) = forwarder.wait_events("QUARANTINED", 1)
    assert "does not accept MR Image Storage objects" in event.detail
    quarantine = [r for r in forwarder.receipts() if r.kind == "quarantined"]
    assert [(r.item_name, r.detail.split()[1]) for r in quarantine] == [
        (mr.name, "sop-class-refused")
    ]


def test_compressed_is_converted_where_it_can_be_and_else_says_what_would_do(
    forwarder: Forwarder, scripted: Scripted
) -> None:
    files = wheel("MR_small_RLE.dcm", "JPEG2000.dcm", "CT_small.dcm")
    with scripted("--only-transfer-syntax", IMPLICIT_LE) as archive:
        forwarder.start(archive.address)
        rle, jpeg, _ = forwarder.put(files)
        forwarder.wait_empty()
        kept = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in archive.kept()}
    assert set(forwarder.quarantined().values()) == {"transfer-syntax-refused"}
    assert set(forwarder.quarantined()) == {jpeg.item.sop_instance_uid}
    converted = pydicom.dcmread(kept[rle.item.sop_instance_uid])
    original = pydicom.dcmread(wheel("MR_small.dcm")[0])
    assert converted.file_meta.TransferSyntaxUID == IMPLICIT_LE
    assert (converted.pixel_array == original.pixel_array).all()
    events = forwarder.wait_events("CONVERTED", 2)
    assert "RLE Lossless to Implicit VR Little Endian" in {event.detail for event in events}
    assert digest_of(kept[rle.item.sop_instance_uid]) in {event.digest for event in events}
    (refused,) = forwarder.wait_events("QUARANTINED", 1)
    assert "it would accept Implicit VR Little Endian" in refused.detail
    assert not list((forwarder.spool.root / "tmp").rglob("*.dcm"))


def test_more_than_128_pairs_that_wait(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    paths = []
    for number in range(150):
        content = b"\x08\x00\x16\x00UI\x0a\x001.2.3.%03d\0" % number
        content += b"\x08\x00\x18\x00UI\x08\x001.2.%03d\0" % number
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(content)
    forwarder.put(paths)
    with scripted() as archive:
        forwarder.start(archive.address)
        forwarder.wait_empty()
        assert len(archive.kept()) == 150
        assert max(len(a["contexts"]) for a in archive.asked("association")) <= 128


def test_statuses_decide(forwarder: Forwarder, scripted: Scripted, tmp_path: Path) -> None:
    port = free_port()
    forwarder.put(series(tmp_path, 1))
    with scripted("--answer", "0xA700", port=port) as archive:
        forwarder.start(archive.address)
        event = forwarder.wait_events("DEFERRED", 1)[0]
        assert event.status_code == 0xA700
        assert "out of resources" in event.detail
    with scripted("--answer", "0xB007", port=port):
        forwarder.wait_empty()
    (stored,) = forwarder.wait_events("STORED", 1)
    assert stored.status_code == 0xB007
    assert "does not match its SOP class" in stored.detail


@pytest.mark.parametrize("status", ["0xC001", "0xA900", "0x0122", "0x0111"])
def test_a_status_about_the_item_is_quarantine(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path, status: str
) -> None:
    (entry,) = forwarder.put(series(tmp_path, 1))
    with scripted("--answer", status) as archive:
        forwarder.start(archive.address)
        forwarder.wait_empty()
    reason = f"status-{int(status, 0):04x}"
    assert forwarder.quarantined() == {entry.item.sop_instance_uid: reason}


def test_an_archive_that_is_full_is_left_in_peace(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    forwarder.put(series(tmp_path, 60))
    with scripted("--answer", "0xA700") as archive:
        forwarder.start(archive.address, backoff_cap_s=60, associations=1)
        forwarder.wait_events("OUTLET_DOWN", 1)
        assert len(archive.asked("store")) < 30
    assert "out of resources" in forwarder.events("OUTLET_DOWN")[0].detail


def test_an_item_that_makes_the_archive_abort_holds_up_nobody(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    entries = forwarder.put(series(tmp_path, 12))
    bad = entries[4].item.sop_instance_uid
    with scripted("--abort-on", bad) as archive:
        forwarder.start(archive.address)
        wait_until(lambda: len(archive.kept()) == 11, "all others are stored")
        for number in range(100, 140):
            if forwarder.quarantined():
                break
            forwarder.put(series(tmp_path, 1, number))
            time.sleep(1)
    assert forwarder.quarantined() == {bad: "archive-aborts"}
    assert len({e.item for e in forwarder.events("DEFERRED")}) == 1


def test_a_damaged_file_is_found_before_it_is_sent(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    digest, header, good = forwarder.put(series(tmp_path, 3))
    damage(digest, -1)
    damage(header, 140)
    with scripted() as archive:
        forwarder.start(archive.address)
        forwarder.wait_empty()
        assert [e["uid"] for e in archive.asked("store")] == [good.item.sop_instance_uid]
    assert forwarder.quarantined() == {
        digest.item.sop_instance_uid: "digest-differs",
        header.item.sop_instance_uid: "unreadable",
    }


def damage(entry: Entry, offset: int) -> None:
    content = bytearray(entry.path.read_bytes())
    content[offset] ^= 0xFF
    entry.path.write_bytes(content)


def test_several_archives_get_each_item_once_and_one_that_is_frozen_delays_only_itself(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    with scripted() as one, storescp(tmp_path / "scp") as two:
        forwarder.start(f"{one.address};{two.address}")
        freeze(two.process.pid)
        entries = forwarder.put(series(tmp_path, 15))
        wait_until(lambda: len(one.kept()) == 15, "the first archive has all")
        forwarder.wait_events("OUTLET_DOWN", 1)
        assert not [r for r in forwarder.receipts() if r.kind == "stored"]
        os.kill(two.process.pid, signal.SIGCONT)
        forwarder.wait_empty()
        assert len([p for p in two.directory.iterdir() if p.name != "peer.log"]) == 15
        assert len(one.asked("store")) == 15
    stored = {r.item_name for r in forwarder.receipts() if r.kind == "stored"}
    assert stored == {entry.item.name for entry in entries}


def test_alternatives_are_tried_in_order_and_the_first_is_found_again(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    port = free_port()
    with scripted() as second:
        forwarder.start(f"SCRIPTED@127.0.0.1:{port}|{second.address}")
        forwarder.put(series(tmp_path, 5))
        forwarder.wait_empty()
        assert len(second.kept()) == 5
        with scripted(port=port) as first:
            forwarder.wait_events("OUTLET_UP", 2)
            forwarder.put(series(tmp_path, 5, start=100))
            forwarder.wait_empty()
            assert len(first.kept()) == 5
        assert len(second.asked("store")) == 5
    assert {e.peer_address for e in forwarder.wait_events("STORED", 10)} == {
        first.address,
        second.address,
    }


def test_an_archive_that_refuses_a_further_association_gets_all_over_those_it_allows(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    forwarder.put(series(tmp_path, 40))
    with scripted("--associations", "2", "--delay", "0.1") as archive:
        forwarder.start(archive.address, associations=4)
        forwarder.wait_empty()
        assert len(archive.kept()) == 40
        assert len(archive.asked("store")) == 40
    assert len(forwarder.wait_events("STORED", 40)) == 40
    assert not forwarder.events("DEFERRED", "OUTLET_DOWN", "QUARANTINED")


def test_an_archive_that_serves_one_association_at_a_time_gets_all(
    forwarder: Forwarder, tmp_path: Path
) -> None:
    with storescp(tmp_path / "scp") as peer:
        forwarder.start(peer.address, associations=3)
        for start in (0, 100, 200):
            forwarder.put(series(tmp_path, 30, start=start))
            forwarder.wait_empty()
    assert len(forwarder.wait_events("STORED", 90)) == 90
    assert not forwarder.events("DEFERRED", "QUARANTINED")


def test_nothing_waits_in_the_hand_of_a_carrier_that_waits_for_its_association(
    forwarder: Forwarder, tmp_path: Path
) -> None:
    with storescp(tmp_path / "scp") as peer:  # one association at a time
        entries = forwarder.put(series(tmp_path, 300))
        forwarder.start(peer.address, associations=2)
        forwarder.wait_empty()
    stored = [event.item for event in forwarder.wait_events("STORED", 300)]
    late = [stored.index(entry.item.id) - place for place, entry in enumerate(entries)]
    assert max(late) < 20


def test_orthanc_takes_a_series(forwarder: Forwarder, tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc") as peer:
        forwarder.start(peer.address)
        entries = forwarder.put(series(tmp_path, 20))
        forwarder.wait_empty()
    assert len(forwarder.wait_events("STORED", 20)) == len(entries)
    assert not forwarder.quarantined()


def test_sigterm_finishes_what_is_in_hand_and_exits_0(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    with scripted("--delay", "0.3") as archive:
        forwarder.start(archive.address)
        forwarder.put(series(tmp_path, 20))
        wait_until(lambda: archive.asked("store"), "the first C-STORE")
        forwarder.daemon.signal(signal.SIGTERM)
        assert forwarder.daemon.wait() == 0
        asked = {e["uid"] for e in archive.asked("store")}
        kept = {str(pydicom.dcmread(path).SOPInstanceUID) for path in archive.kept()}
    assert asked == kept
    assert len(forwarder.items()) == 20 - len(kept)
    assert not list((forwarder.spool.root / "out").glob("*/active/*/*"))
    assert len(forwarder.receipts()) == len(kept)


def test_killed_and_started_again_delivers_all(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    with scripted("--delay", "0.01") as archive:
        forwarder.start(archive.address)
        entries = forwarder.put(series(tmp_path, 100))
        wait_until(lambda: len(archive.kept()) > 20, "some are stored")
        forwarder.daemon.signal(signal.SIGKILL)
        forwarder.daemon.wait()
        forwarder.daemon.restart()
        forwarder.wait_empty()
        assert len(archive.kept()) == 100
    stored = {r.item_name for r in forwarder.receipts() if r.kind == "stored"}
    assert stored == {entry.item.name for entry in entries}


def test_no_patient_data_in_the_log(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    files = wheel("CT_small.dcm", "MR_small.dcm")
    secrets = set()
    for path in files:
        dataset = pydicom.dcmread(path)
        secrets |= {str(dataset.PatientName), str(dataset.PatientID)}
    with scripted("--refuse-class", MR) as archive:
        forwarder.start(archive.address)
        forwarder.put(files)
        forwarder.wait_empty()
    log = forwarder.daemon.log.read_text()
    assert all(json.loads(line)["box"] for line in log.splitlines())
    assert not [secret for secret in secrets - {""} if secret in log]
