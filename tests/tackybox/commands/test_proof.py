"""`tackybox proof`: certificates of a relay's deliveries, and of journals with gaps."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mysql_utilities.events import Kind
from mysql_utilities.mysql_store import MysqlAddress
from mysql_utilities.recorder import Recorder
from tackybox.commands import certificate
from tackybox.errors import DataError
from tackybox.item import digest_of
from tests.databases import as_setting
from tests.tackybox.commands.conftest import Relay, Result

Cli = Callable[..., Result]
DIGEST = f"{7:064x}"
ITEM = {
    "item": f"20260101T100000.000000Z_north_{DIGEST[:16]}",
    "digest": DIGEST,
    "sop_instance_uid": "1.2.3.4",
}
PACS = {"destination": "PACS", "peer_address": "PACS@10.1.2.3:104"}


def test_a_study_that_was_delivered_is_proved(delivered: Relay, tackybox: Cli) -> None:
    boxes = f"--spool {delivered.daughter.spool} --spool {delivered.mother.spool}"
    done = tackybox(f"proof {delivered.study} {boxes} --json")
    assert (done.code, done.err) == (0, "")
    certified = done.json
    assert certified["study_instance_uid"] == delivered.study
    assert (certified["images_on_record"], certified["images_proved"]) == (3, 3)
    assert {image["sop_instance_uid"] for image in certified["images"]} == set(delivered.uids)
    kept = {digest_of(path) for path in (delivered.daughter.spool / "kept").glob("*/*")}
    assert {image["content_sha256"] for image in certified["images"]} == kept
    for image in certified["images"]:
        digest = image["content_sha256"]
        assert image["received"]["evidence"] == "journal"
        assert [step["digest"] for step in image["at_mother"]][:1] == [digest]
        (archive,) = image["archives"]
        assert (archive["archive"], archive["status"]) == (delivered.peer.address, 0)
        assert archive["sent_digest"] == digest
        assert image["received"]["at"] < archive["sent_at"] <= archive["answered_at"]
    assert "PHANTOM" not in done.out.upper(), "no patient data"


def test_each_box_alone_says_what_it_knows(delivered: Relay, tackybox: Cli) -> None:
    of_mother = tackybox(f"proof {delivered.study} --images", **delivered.on_mother)
    assert of_mother.code == 0
    assert "3 of 3 images proved" in of_mother.out
    assert all(uid in of_mother.out for uid in delivered.uids)
    of_daughter = tackybox(f"proof {delivered.study}", **delivered.on_daughter)
    assert of_daughter.code == 1
    assert "0 of 3 images proved" in of_daughter.out
    assert "here is her receipt" in of_daughter.out


def test_a_server_proves_what_both_boxes_recorded(
    shipped: Relay, database: MysqlAddress, tackybox: Cli, tmp_path: Path
) -> None:
    other_box = {**shipped.on_mother, "TACKYBOX_SPOOL": str(tmp_path)}
    settings = {**other_box, "TACKYBOX_SQL": as_setting(database)}
    done = tackybox(f"proof {shipped.study} --sql --json", **settings)
    assert (done.code, done.err) == (0, "")
    assert set(done.json["boxes_on_record"]) == {"north", "main"}
    assert (done.json["images_on_record"], done.json["images_proved"]) == (3, 3)
    assert {image["sop_instance_uid"] for image in done.json["images"]} == set(shipped.uids)
    assert tackybox("proof 1.2.3.4.5 --sql", **settings).code == 66
    unset = tackybox(f"proof {shipped.study} --sql", **other_box)
    assert (unset.code, "needs TACKYBOX_SQL" in unset.err) == (64, True)


def test_a_signature_says_whose_certificate_it_is(
    delivered: Relay, tackybox: Cli, tmp_path: Path
) -> None:
    def verifies() -> bool:
        command = [
            "ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "main",
            "-n", "tackybox-certificate", "-s", f"{path}.sig",
        ]  # fmt: skip
        with path.open("rb") as signed:
            done = subprocess.run(command, stdin=signed, capture_output=True, check=False)
        return done.returncode == 0

    path, mother = tmp_path / "certificate.json", delivered.on_mother
    assert tackybox(f"proof {delivered.study} --out {path} --sign", **mother).code == 0
    public = Path(mother["TACKYBOX_HOST_KEY"]).with_suffix(".pub").read_text()
    (tmp_path / "allowed").write_text(f"main {public}")
    assert verifies()
    path.write_text(path.read_text().replace('"main"', '"mine"'))
    assert not verifies()
    assert tackybox(f"proof {delivered.study} --sign", **mother).code == 64


@pytest.fixture
def box(tmp_path: Path) -> Callable[..., Path]:
    """A mother's journal with one image in it, and what else is told."""

    def write(*events: tuple[Kind, dict[str, Any]]) -> Path:
        with Recorder(tmp_path / "spool" / "journal", "main") as recorder:
            recorder.record(Kind.LANDED, peer_address="north", **ITEM)
            recorder.record(
                Kind.QUEUED, destination="PACS", study_instance_uid="1.2.3", patient_id="SECRET",
                accession_number="ACC7", series_instance_uid="1.2.3.9",
                transfer_syntax_uid="1.2.840.10008.1.2.4.70", **ITEM,
            )  # fmt: skip
            for kind, fields in events:
                recorder.record(kind, **{**ITEM, **PACS, **fields})
        return tmp_path / "spool"

    return write


@pytest.mark.parametrize(
    ("events", "gap"),
    [
        ([], "PACS has not said that it has it: waiting"),
        ([(Kind.FORWARDING, {}), (Kind.DEFERRED, {"status_code": 0xA700})], "waiting"),
        ([(Kind.QUARANTINED, {"detail": "unreadable"})], "quarantined"),
        ([(Kind.STORED, {"status_code": 0})], "what was sent to PACS@10.1.2.3:104 is not"),
        (
            [(Kind.FORWARDING, {"digest": f"{8:064x}"}), (Kind.STORED, {"status_code": 0})],
            "with another digest",
        ),
        (
            [(Kind.LANDED, {"digest": f"{8:064x}"}), (Kind.FORWARDING, {}),
             (Kind.STORED, {"status_code": 0})],
            "its arrival at the mother is on record with another digest",
        ),
    ],
)  # fmt: skip
def test_a_gap_is_named(
    box: Callable[..., Path], tackybox: Cli, events: list[tuple[Kind, dict[str, Any]]], gap: str
) -> None:
    done = tackybox(f"proof 1.2.3 --json --spool {box(*events)}")
    assert done.code == 1
    (image,) = done.json["images"]
    assert any(gap in told for told in image["gaps"])
    assert "SECRET" not in done.out and "ACC7" not in done.out


def test_two_contents_under_one_uid_prove_neither(box: Callable[..., Path], tackybox: Cli) -> None:
    stored = [(Kind.FORWARDING, {}), (Kind.STORED, {"status_code": 0})]
    assert tackybox(f"proof 1.2.3 --spool {box(*stored)}").code == 0
    digest = f"{6:064x}"
    rival = {"item": f"20260101T110000.000000Z_north_{digest[:16]}", "digest": digest}
    header = {"study_instance_uid": "1.2.3", "series_instance_uid": "1.2.3.9"}
    events = [(Kind.QUEUED, header), *stored]
    spool = box(*((kind, {**fields, **rival}) for kind, fields in events))
    done = tackybox(f"proof 1.2.3 --json --spool {spool}")
    assert (done.code, len(done.json["images"])) == (1, 2)
    assert all("same SOP Instance UID" in one["gaps"][-1] for one in done.json["images"])


def test_a_conversion_is_on_the_certificate(box: Callable[..., Path], tackybox: Cli) -> None:
    spool = box(
        (Kind.CONVERTED, {"digest": f"{9:064x}", "transfer_syntax_uid": "1.2.840.10008.1.2"}),
        (Kind.FORWARDING, {}),
        (Kind.STORED, {"status_code": 0xB000, "detail": "converted"}),
    )
    done = tackybox(f"proof 1.2.3 --json --spool {spool}")
    assert done.code == 0
    (image,) = done.json["images"]
    (archive,) = image["archives"]
    assert image["transfer_syntax_uid"] == "1.2.840.10008.1.2.4.70"
    assert archive["sent_digest"] == f"{9:064x}"
    assert archive["sent_transfer_syntax_uid"] == "1.2.840.10008.1.2"


def test_a_certificate_as_a_file(box: Callable[..., Path], tackybox: Cli, tmp_path: Path) -> None:
    spool, path = box(), tmp_path / "certificate.json"
    assert tackybox(f"proof 1.2.3 --out {path} --spool {spool}").code == 1
    written = path.read_text()
    assert certificate.read(path)["images_on_record"] == 1
    assert tackybox(f"proof 1.2.3 --out {path} --spool {spool}").code == 64, "never overwritten"
    assert path.read_text() == written
    for old, new in ((DIGEST, f"{5:064x}"), ('"images_proved": 0', '"images_proved": 1')):
        path.write_text(written.replace(old, new))
        with pytest.raises(DataError, match="was changed"):
            certificate.read(path)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "nonsense", '{"tackybox_certificate": 1}', "[" * 100_000,
     '{"tackybox_certificate": 1, "study_instance_uid": "*", "images": []}'],
)  # fmt: skip
def test_what_is_no_certificate(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(DataError, match="no delivery certificate"):
        certificate.read(path)


def test_a_newer_version_is_said(tmp_path: Path) -> None:
    newer = {"tackybox_certificate": 2, "study_instance_uid": "1.2", "images": []}
    (tmp_path / "file").write_text(json.dumps(newer))
    with pytest.raises(DataError, match="version 2"):
        certificate.read(tmp_path / "file")


def test_what_is_not_on_record(box: Callable[..., Path], tackybox: Cli) -> None:
    spool = box()
    assert tackybox(f"proof 1.9.9 --spool {spool}").code == 66
    assert tackybox(f"proof ACC7 --spool {spool}").code == 66, "a study, by its UID"
