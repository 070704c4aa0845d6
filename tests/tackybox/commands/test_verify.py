"""`tackybox verify`: a spool's items, and an archive's copies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from tackybox.demo.stack import LOOPBACK, free_port
from tackybox.spool import Outlet
from tests.tackybox.commands.conftest import Relay, Result

Cli = Callable[..., Result]


def test_a_sound_spool_in_all_its_places(tackybox, box):
    entries = [box.accept(number) for number in range(6)]
    box.hand_out(entries[0], "a_1", "b_1")  # two links, one item
    outlet, (entry,) = box.claim("a_1")
    outlet.sent(entry, "peer_1")
    box.hand_out(entries[1], "a_1")
    outlet, (entry,) = box.claim("a_1")
    outlet.defer(entry, 4e9)
    box.hand_out(entries[2], "a_1")
    outlet, (entry,) = box.claim("a_1")
    outlet.quarantine(entry, "status-a900")
    box.spool.quarantine(entries[3], "unreadable")
    result = tackybox(f"verify --spool {box.root}")
    assert result.code == 0
    assert result.out.startswith("6 items, ")
    assert "all as received" in result.out
    assert result.err == ""


def test_a_changed_byte_a_wrong_name_and_a_stranger_are_told(tackybox, box):
    changed, renamed, cut, sound = (box.accept(number) for number in range(4))
    data = bytearray(changed.path.read_bytes())
    data[-1] ^= 1
    changed.path.write_bytes(data)
    renamed.path.rename(renamed.path.with_name(renamed.item.name.replace("1.2.3.1", "1.2.3.77")))
    cut.path.write_bytes(cut.path.read_bytes()[:40])
    (Outlet(box.root, "a_1").root / "new" / "high" / "stranger").touch()
    result = tackybox(f"verify --json --spool {box.root}")
    assert result.code == 65
    faults = {fault["item"]: fault["problem"] for fault in result.json["faults"]}
    assert result.json["items"] == 4
    assert "the digest differs" in faults[changed.item.id]
    assert "another SOP instance" in faults[renamed.item.id]
    assert "not a Part-10 file" in faults[cut.item.id]
    assert "not an item's" in faults[""]
    assert sound.item.id not in faults
    people = tackybox(f"verify --spool {box.root}")
    assert people.code == 65
    assert changed.item.id in people.out
    assert "DOE" not in people.out


def test_where_there_is_no_spool(tackybox, tmp_path):
    result = tackybox(f"verify --spool {tmp_path}")
    assert (result.code, result.out) == (66, "")
    assert "is no spool" in result.err
    assert list(tmp_path.iterdir()) == []


def test_without_settings_and_without_spool(tackybox):
    result = tackybox("verify")
    assert (result.code, result.out) == (78, "")
    assert result.err.count("\n") == 1


# --- an archive's copies


@pytest.fixture
def certificate(delivered: Relay, tackybox: Cli, tmp_path: Path) -> Path:
    """The study's certificate, in a file."""
    path = tmp_path / "certificate.json"
    assert tackybox(f"proof {delivered.study} --out {path}", **delivered.on_mother).code == 0
    return path


@contextlib.contextmanager
def replaced(
    relay: Relay, uid: str, tackybox: Cli, change: Callable[[Dataset], None]
) -> Iterator[None]:
    """Have the archive hold a changed image for the block."""
    (kept,) = (relay.daughter.spool / "kept").glob(f"*/*_{uid}")
    changed = pydicom.dcmread(kept, force=True)
    change(changed)
    path = relay.peer.directory / "changed.dcm"
    changed.save_as(path)
    try:
        relay.lose(uid)
        assert tackybox(f"send {relay.peer.address} {path}").code == 0
        yield
    finally:
        relay.lose(uid)
        assert tackybox(f"send {relay.peer.address} {kept}").code == 0


def test_an_archive_that_has_what_it_was_sent(
    delivered: Relay, tackybox: Cli, certificate: Path
) -> None:
    archive = f"--archive {delivered.peer.address}"
    done = tackybox(f"verify {archive} --certificate {certificate} --json")
    assert (done.code, done.err) == (0, "")
    assert {one["sop_instance_uid"] for one in done.json} == set(delivered.uids)
    assert {one["verdict"] for one in done.json} == {"identical"}
    told = tackybox(f"verify {archive} --study {delivered.study}", **delivered.on_mother)
    assert told.code == 0
    assert "3 identical" in told.out


def test_an_image_that_an_archive_lacks_is_missing(
    delivered: Relay, tackybox: Cli, certificate: Path
) -> None:
    lost = delivered.uids[0]
    (kept,) = (delivered.daughter.spool / "kept").glob(f"*/*_{lost}")
    delivered.lose(lost)
    done = tackybox(f"verify --archive {delivered.peer.address} --certificate {certificate}")
    assert tackybox(f"send {delivered.peer.address} {kept}").code == 0
    assert done.code == 65
    assert "2 identical; 1 missing" in done.out
    assert lost in done.out


def test_what_an_archive_rewrote_is_named_by_tag_where_a_copy_is_left(
    delivered: Relay, tackybox: Cli, certificate: Path
) -> None:
    def rename(dataset: Dataset) -> None:
        dataset.PatientName, dataset.PatientID = "ROE^RICHARD", "OTHER-ID"

    line = f"verify --archive {delivered.peer.address} --certificate {certificate}"
    with replaced(delivered, delivered.uids[1], tackybox, rename):
        alone = tackybox(f"{line} --json")
        beside = tackybox(f"{line} --json --spool {delivered.daughter.spool}")
        shown = tackybox(f"{line} --spool {delivered.daughter.spool}")
    assert (alone.code, beside.code) == (65, 65)
    of = {one["sop_instance_uid"]: one for one in alone.json}[delivered.uids[1]]
    assert of["verdict"] == "differs; no copy here to compare it with"
    of = {one["sop_instance_uid"]: one for one in beside.json}[delivered.uids[1]]
    assert of["verdict"] == "same pixel data, attributes changed"
    assert of["tags"] == ["(0010,0010)", "(0010,0020)"]
    assert "(0010,0010)" in shown.out
    for done in (alone, beside, shown):
        assert "ROE" not in done.out and "OTHER-ID" not in done.out and "PHANTOM" not in done.out


def test_other_pixels_are_seen(delivered: Relay, tackybox: Cli, certificate: Path) -> None:
    def flip(dataset: Dataset) -> None:
        dataset.PixelData = dataset.PixelData[:-1] + bytes([dataset.PixelData[-1] ^ 1])

    line = f"verify --archive {delivered.peer.address} --certificate {certificate}"
    with replaced(delivered, delivered.uids[2], tackybox, flip):
        done = tackybox(f"{line} --json --spool {delivered.daughter.spool}")
    assert done.code == 65
    of = {one["sop_instance_uid"]: one for one in done.json}[delivered.uids[2]]
    assert (of["verdict"], of["tags"]) == ("other pixel data", [])


def test_an_archive_that_can_not_be_asked(
    delivered: Relay, tackybox: Cli, certificate: Path
) -> None:
    nowhere = f"PACS@{LOOPBACK}:{free_port()}"
    done = tackybox(f"verify --archive {nowhere} --certificate {certificate}")
    assert done.code == 69
    assert "nothing listens" in done.err


def test_a_certificate_that_was_changed_is_refused(
    delivered: Relay, tackybox: Cli, certificate: Path
) -> None:
    certificate.write_text(certificate.read_text().replace(delivered.uids[0], "1.2.3"))
    done = tackybox(f"verify --archive {delivered.peer.address} --certificate {certificate}")
    assert done.code == 65
    assert "was changed" in done.err


@pytest.mark.parametrize(
    "line",
    ["--study 1.2.3", "--certificate file", "--archive PACS@host:104",
     "--archive PACS@host:104 --study 1.2 --certificate file", "--archive nonsense --study 1.2"],
)  # fmt: skip
def test_what_can_not_be_verified(tackybox: Cli, line: str, tmp_path: Path) -> None:
    assert tackybox(f"verify {line} --spool {tmp_path}").code in (64, 66)
