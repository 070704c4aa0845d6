"""`tackybox demo`, as a person runs it: options, proof, exit codes, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tackybox.demo import evidence
from tackybox.dimse.files import read_source
from tests.peers import pids_of, require, storescp, wait_until, wheel_files


@pytest.fixture(autouse=True)
def tools() -> None:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")


def demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tackybox", "demo", *map(str, arguments)],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip


def file(name: str) -> Path:
    return next(path for path in wheel_files() if path.name == name)


def test_without_paths_real_files_and_a_ct_study_arrive_identical(tmp_path: Path) -> None:
    done = demo("--workdir", tmp_path / "w")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical, byte for byte" in done.stdout
    assert "200 of 200 stored" in done.stdout
    assert len(list((tmp_path / "w" / "archive").iterdir())) > 250


def test_named_files_through_two_mothers_as_json(tmp_path: Path) -> None:
    paths = [file("CT_small.dcm"), file("MR_small.dcm")]
    done = demo("--json", "--mothers", 2, "--workdir", tmp_path / "w", *paths)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["success"] is True
    assert (report["sent"], report["identical"]) == (2, [2, 2])
    for archive in ("archive", "archive-2"):
        kept = evidence.compare(map(read_source, paths), tmp_path / "w" / archive)
        assert kept.is_proof


def test_an_archive_of_ones_own(tmp_path: Path) -> None:
    with storescp(tmp_path / "scp") as peer:
        done = demo("--archive", peer.address, file("CT_small.dcm"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert [p for p in peer.directory.iterdir() if p.suffix != ".log"]


def test_keep_says_how_to_send_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tackybox", "demo", "--keep", "--workdir", tmp_path / "w",
             file("CT_small.dcm")],
            stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    wait_until(lambda: "Ctrl-C" in (tmp_path / "out").read_text(), "it keeps running")
    said = (tmp_path / "out").read_text()
    line = next(line.strip() for line in said.splitlines() if "storescu" in line)
    require("storescu", "dcmtk")
    command = line.replace("FILE.dcm", str(file("MR_small.dcm"))).split()
    assert subprocess.run(command, check=False, timeout=30).returncode == 0
    archive = tmp_path / "w" / "archive"
    wait_until(lambda: len(list(archive.iterdir())) == 2, "what was sent by hand arrives, too")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not pids_of(str(tmp_path / "w"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--mothers", "0"], 64),
        (["--archive", "nonsense"], 64),
        (["/does/not/exist.dcm"], 66),
        ([__file__], 65),
    ],
)
def test_what_it_can_not_do_is_one_line_and_its_code(arguments: list[str], code: int) -> None:
    done = demo(*arguments)
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_workdir_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    assert demo("--workdir", tmp_path).returncode == 64


def test_evidence_tells_missing_and_different(tmp_path: Path) -> None:
    source = read_source(file("CT_small.dcm"))
    proof = evidence.compare([source], tmp_path)
    assert (proof.is_proof, proof.missing) == (False, (source.path,))
    data = source.path.read_bytes()
    (tmp_path / "same.dcm").write_bytes(data)
    assert evidence.compare([source], tmp_path).is_proof
    (tmp_path / "same.dcm").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert not evidence.compare([source], tmp_path).is_proof
