"""`tackybox trace`: the way of an image, as a person and as a program read it."""

import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder

STUDY, SERIES, ACCESSION, PATIENT = "1.2.3", "1.2.3.4", "ACC-7", "PATIENT-9"
ITEM = "20260101T100000.000000Z_north_0000000000000000"


@pytest.fixture
def spools(tmp_path: Path) -> list[Path]:
    """A daughter's and a mother's spool; image 0 is stored, image 1 waits at the mother."""
    north, mother = tmp_path / "north", tmp_path / "mother"
    with Recorder(north / "journal", "north") as recorder:
        for number in (0, 1):
            header = {
                "study_instance_uid": STUDY, "series_instance_uid": SERIES, "modality": "CT",
                "sop_instance_uid": f"{STUDY}.{number}", "accession_number": ACCESSION,
                "patient_id": PATIENT, "destination": "mother",
            }  # fmt: skip
            item = f"{ITEM}{number}"
            recorder.record(Kind.RECEIVED, item=item, calling_aet="CT1", size_bytes=2048)
            recorder.record(Kind.QUEUED, item=item, **header)
            recorder.record(Kind.PUSHED, item=item, destination="mother")
    with Recorder(mother / "journal", "mother") as recorder:
        for number in (0, 1):
            recorder.record(Kind.LANDED, item=f"{ITEM}{number}", peer_address="north")
        recorder.record(Kind.STORED, item=f"{ITEM}0", destination="PACS", status_code=0xB000)
        recorder.record(
            Kind.DEFERRED, item=f"{ITEM}1", destination="PACS", status_code=0xA700,
            detail="[red]out of resources\x1b[2J",
        )  # fmt: skip
    return [north, mother]


@pytest.fixture
def cli(tackybox):
    """The command line with one word per argument."""
    return lambda *words: tackybox(shlex.join(words))


def arguments(spools: list[Path]) -> list[str]:
    return [part for spool in spools for part in ("--spool", str(spool))]


@pytest.mark.parametrize("key", [STUDY, SERIES, ACCESSION, PATIENT])
def test_a_study_by_each_key(cli, spools, key):
    done = cli("trace", key, *arguments(spools))
    assert done.code == 0
    assert f"Study {STUDY}" in done.out
    assert "1 of 2 stored in PACS" in done.out
    assert "1 waiting for PACS" in done.out
    assert PATIENT not in done.out
    assert "out of resources" in done.out, "why it waits"
    assert "0xB000" not in done.out, "a summary has no single images' steps"


def test_an_image_with_every_step(cli, spools):
    done = cli("trace", f"{STUDY}.1", *arguments(spools))
    assert done.code == 0
    for expected in ("RECEIVED", "QUEUED", "PUSHED", "LANDED", "DEFERRED", "0xA700", "from CT1"):
        assert expected in done.out
    assert "[red]out of resources" in done.out, "markup in a detail is text"
    assert "\x1b" not in done.out


def test_images_of_a_study(cli, spools):
    done = cli("trace", STUDY, "--images", *arguments(spools))
    assert f"Image {STUDY}.0" in done.out
    assert f"Image {STUDY}.1" in done.out
    assert "0xB000" in done.out


def test_one_boxs_journal_shows_its_part(cli, spools):
    done = cli("trace", STUDY, *arguments(spools[:1]))
    assert done.code == 0
    assert "PUSHED" in done.out
    assert "STORED" not in done.out
    assert "2 of 2 at mother mother" in done.out


def test_json_has_everything(cli, spools):
    done = cli("trace", ACCESSION, "--json", *arguments(spools))
    histories = json.loads(done.out)
    assert [history["sop_instance_uid"] for history in histories] == [f"{STUDY}.0", f"{STUDY}.1"]
    assert {history["patient_id"] for history in histories} == {PATIENT}
    (waits,) = [s for s in histories[1]["standing"] if s["state"] == "waiting"]
    assert (waits["box"], waits["destination"]) == ("mother", "PACS")
    assert [e["kind"] for e in histories[0]["events"]] == [
        "RECEIVED", "QUEUED", "PUSHED", "LANDED", "STORED",
    ]  # fmt: skip


def test_what_is_not_on_record(cli, spools):
    done = cli("trace", "9.9.9", *arguments(spools))
    assert done.code == 66
    assert "nothing on record" in done.err
    assert done.out == ""


def test_a_directory_without_a_journal(cli, tmp_path):
    done = cli("trace", STUDY, "--spool", str(tmp_path / "nowhere"))
    assert done.code == 66
    assert "no journal" in done.err


def test_two_places_at_once_is_a_usage_error(cli, spools):
    assert cli("trace", STUDY, "--sql", *arguments(spools)).code == 64


def test_a_gap_that_may_concern_the_answer_is_said(cli, spools):
    with Recorder(spools[0] / "journal", "north") as recorder:
        recorder.record(Kind.GAP, detail="steps before noon are missing")
    done = cli("trace", STUDY, *arguments(spools))
    assert "! Steps may be missing: north" in done.out
    assert "steps before noon are missing" in done.out
    for history in json.loads(cli("trace", STUDY, "--json", *arguments(spools)).out):
        assert [gap["box"] for gap in history["gaps"]] == ["north"]
    unknown = cli("trace", "1.2.9", *arguments(spools))
    assert unknown.code == 66
    assert "steps before noon are missing" in unknown.err


def test_a_gap_before_the_first_step_concerns_nothing(cli, spools):
    with Recorder(spools[0] / "journal", "north") as recorder:
        recorder.record(Kind.GAP, at=datetime(2026, 1, 1, tzinfo=UTC), detail="long ago")
    done = cli("trace", STUDY, *arguments(spools))
    assert done.code == 0
    assert "missing" not in done.out


def test_a_clock_that_differs_is_said(cli, spools):
    wrong = datetime.now(UTC) - timedelta(days=1)
    with Recorder(spools[1] / "journal", "mother") as recorder:
        recorder.record(Kind.LANDED, item=f"{ITEM}0", peer_address="north", at=wrong)
    done = cli("trace", STUDY, *arguments(spools))
    assert "! Times are skewed: the clock of mother was at least" in done.out
    found = json.loads(cli("trace", STUDY, "--json", *arguments(spools)).out)
    assert [len(history["skews"]) for history in found].count(0) == 1
