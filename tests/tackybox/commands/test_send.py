"""`tackybox send` to DCMTK's storescp: every file of the wheels, byte for byte, or a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tackybox.__main__ import run
from tackybox.demo.stack import Stack, free_port
from tackybox.dimse.files import read_source
from tackybox.errors import NotFoundError, UsageError
from tests.peers import storescp, wheel_files

ODD_LENGTH = {"SCImageStorage_Deflated.dcm", "image_dfl.dcm", "rtplan_truncated.dcm"}


def dataset(path: Path) -> bytes:
    return path.read_bytes()[read_source(path).dataset_offset :]


def send(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = run(["send", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_wheel_file_arrives_with_its_bytes_or_has_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = wheel_files()
    # -pm: storescp takes SOP classes that it does not know; each file gets a name of its own.
    with storescp(tmp_path / "scp", "+xa", "-pm", "+B", "-uf", "-fe", ".dcm", "+uf") as peer:
        code, report = send(capsys, peer.address, *files, "--associations", 3)
        kept = {p.read_bytes() for p in peer.directory.glob("*.dcm")}
    # DCMTK breaks off upon a data set of odd length, which the standard does not allow.
    aborted = {Path(f["path"]).name for f in report["files"] if "aborted" in f["message"]}
    assert code == 69
    assert aborted == ODD_LENGTH
    assert len(report["files"]) == len(files) == 110
    tails = [content[132:] for content in kept]
    for file in report["files"]:
        path = Path(file["path"])
        if not file["delivered"]:
            assert file["message"]
            continue
        assert file["status"] == 0
        assert any(tail.endswith(dataset(path)) for tail in tails), path.name
    assert report["skipped"] == 5
    assert report["delivered"] == 94  # the eight colour palettes' class is refused


def test_every_wheel_file_that_can_be_sent_is_kept_by_our_own_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Stack(tmp_path / "stack") as stack:
        address, directory = stack.start_archive("archive", "ARCHIVE")
        code, report = send(capsys, address, *wheel_files())
    kept = {dataset(path) for path in directory.iterdir()}
    assert (code, report["delivered"], report["refused"], report["skipped"]) == (65, 105, 0, 5)
    sent = [Path(file["path"]) for file in report["files"] if file["delivered"]]
    assert kept == {dataset(path) for path in sent}


def test_more_pairs_than_one_association_can_carry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b"\x08\x00\x18\x00UI\x08\x001.2.%03d\0"
    for number in range(140):
        head = b"\x08\x00\x16\x00UI\x0a\x001.2.3.%03d\0" % number
        (tmp_path / f"{number}.dcm").write_bytes(head + content % number)
    with storescp(tmp_path / "scp", "+xa", "-pm", "+B", "-uf") as peer:
        code, report = send(capsys, peer.address, *tmp_path.glob("*.dcm"))
    assert (code, report["delivered"]) == (0, 140)


def test_what_is_no_dicom_is_reported_and_65(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    source = next(path for path in wheel_files() if path.name == "CT_small.dcm")
    (folder / "image").write_bytes(source.read_bytes())
    with storescp(tmp_path / "scp") as peer:
        code, report = send(capsys, peer.address, folder)
    assert (code, report["delivered"], report["skipped"]) == (65, 1, 1)
    assert report["files"][1]["message"] == "not a DICOM file"


def test_a_peer_that_is_not_there_is_69(capsys: pytest.CaptureFixture[str]) -> None:
    file = next(path for path in wheel_files() if path.name == "CT_small.dcm")
    code, report = send(capsys, f"NOBODY@127.0.0.1:{free_port()}", file)
    assert (code, report["delivered"]) == (69, 0)
    assert "nothing listens" in report["files"][0]["message"]


def test_a_class_that_is_refused_is_65_and_the_table_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next(path for path in wheel_files() if path.name == "JPEG2000.dcm")
    with storescp(tmp_path / "scp", "+x=") as peer:
        assert run(["send", peer.address, str(file)]) == 65
    out = capsys.readouterr().out
    assert "does not accept" in out
    assert "0 of 1 files delivered" in out


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(NotFoundError):
        run(["send", "A@127.0.0.1:1", "/nowhere"])


def test_a_bad_peer() -> None:
    with pytest.raises(UsageError):
        run(["send", "nonsense", "/"])
