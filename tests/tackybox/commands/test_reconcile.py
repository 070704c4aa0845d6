"""`tackybox reconcile`: a whole relay, an Orthanc that loses images, and journals written here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox.demo.stack import LOOPBACK, free_port
from tests.peers import wait_until
from tests.tackybox.commands.conftest import Relay, Result

Cli = Callable[..., Result]


def test_an_archive_that_has_all(delivered: Relay, tackybox: Cli) -> None:
    mother = delivered.on_mother
    done = tackybox("reconcile --json", **mother)
    assert (done.code, done.err) == (0, "")
    (row,) = done.json["rows"]
    assert row["study_instance_uid"] == delivered.study
    assert (row["site"], row["archive"]) == ("north", delivered.peer.address)
    assert (row["images"], row["stored"], row["listed"], row["not_yet"]) == (3, 3, 3, 0)
    assert row["missing"] == []
    told = tackybox(f"reconcile --study {delivered.study}", **mother)
    assert told.code == 0
    assert "Gaps" not in told.out


def test_what_an_archive_lost_comes_again_from_the_daughter(
    delivered: Relay, tackybox: Cli
) -> None:
    lost, mother = delivered.uids[1], delivered.on_mother
    delivered.lose(lost)
    seen = tackybox("reconcile", **mother)
    assert seen.code == 1
    assert lost in seen.out and delivered.study in seen.out
    assert not delivered.has(lost), "it only looks"
    done = tackybox("reconcile --send --json", **mother)
    assert done.code == 1
    assert done.json["sent"] == {"queued": 0, "asked": {"north": 1}, "gone": 0}
    assert [one["sop_instance_uid"] for one in done.json["rows"][0]["missing"]] == [lost]
    wait_until(lambda: delivered.has(lost), "the daughter has sent it again")
    wait_until(lambda: tackybox("reconcile", **mother).code == 0, "nothing is missing")
    history = tackybox(f"trace {lost} --images", **mother)
    assert "north is asked for it" in history.out


def test_on_the_daughter_with_an_archive_that_she_reaches(delivered: Relay, tackybox: Cli) -> None:
    lost, daughter = delivered.uids[2], delivered.on_daughter
    unnamed = tackybox("reconcile", **daughter)
    assert unnamed.code == 64
    assert "--archive" in unnamed.err
    delivered.lose(lost)
    done = tackybox(f"reconcile --archive {delivered.peer.address} --send --json", **daughter)
    assert (done.code, done.json["sent"]["queued"]) == (1, 1)
    wait_until(lambda: delivered.has(lost), "it was sent again")


# --- journals that are written here

ITEM = "{at:%Y%m%dT%H%M%S.%f}Z_north_{digest:.16}"


@pytest.fixture
def mother(tmp_path: Path) -> Path:
    """A mother's spool whose journal knows of three images: two stored, one waiting."""
    now = datetime.now(UTC)
    with Recorder(tmp_path / "spool" / "journal", "main") as recorder:
        for number in range(3):
            digest = f"{number:064x}"
            item = ITEM.format(at=now + timedelta(microseconds=number), digest=digest)
            fields = {"item": item, "digest": digest, "sop_instance_uid": f"1.2.3.{number}"}
            recorder.record(Kind.LANDED, peer_address="north", **fields)
            recorder.record(
                Kind.QUEUED, destination="PACS", study_instance_uid="1.2.3",
                series_instance_uid="1.2.3.9", **fields,
            )  # fmt: skip
            if number:
                address = f"PACS@{LOOPBACK}:{free_port()}"
                recorder.record(
                    Kind.STORED, destination="PACS", peer_address=address, status_code=0, **fields
                )
    return tmp_path / "spool"


def test_an_archive_that_is_down_is_no_archive_that_lacks_images(
    mother: Path, tackybox: Cli
) -> None:
    done = tackybox(f"reconcile --study 1.2.3 --spool {mother} --json")
    assert done.code == 69
    for row in done.json["rows"]:
        assert "nothing listens" in row["problem"]
        assert (row["missing"], row["listed"], row["not_yet"]) == ([], 0, 1)
    assert "Not asked: nothing listens" in tackybox(f"reconcile --spool {mother}").out


def test_what_is_not_on_record(mother: Path, tackybox: Cli) -> None:
    assert tackybox(f"reconcile --spool {mother} --study 1.9").code == 66
    assert tackybox(f"reconcile --spool {mother} --day 2001-01-01").code == 66
    assert tackybox(f"reconcile --spool {mother} --day yesterday").code == 64
    assert tackybox(f"reconcile --spool {mother} --send").code == 64
