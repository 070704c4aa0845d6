"""`tackybox reconcile`: a whole relay, an Orthanc that loses images, and journals written here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from mysql_utilities.events import Kind
from mysql_utilities.mysql_store import MysqlAddress
from mysql_utilities.recorder import Recorder
from tackybox.config.addresses import ArchiveAddress
from tackybox.demo.stack import LOOPBACK, free_port
from tackybox.dimse.query import STUDY_ROOT_FIND
from tackybox.item import Item
from tackybox.spool import Outlet, State
from tests.databases import as_setting
from tests.peers import wait_until
from tests.tackybox.commands.conftest import Filled, Relay, Result

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


def test_by_the_server_s_records(shipped: Relay, database: MysqlAddress, tackybox: Cli) -> None:
    lost = shipped.uids[0]
    settings = {**shipped.on_mother, "TACKYBOX_SQL": as_setting(database)}
    ask = f"reconcile --study {shipped.study} --sql --json"
    done = tackybox(ask, **settings)
    assert (done.code, done.err) == (0, "")
    (row,) = done.json["rows"]
    assert (row["site"], row["archive"]) == ("north", shipped.peer.address)
    assert (row["images"], row["stored"], row["listed"], row["not_yet"]) == (3, 3, 3, 0)
    shipped.lose(lost)
    done = tackybox(f"{ask} --send", **settings)
    assert (done.code, done.json["sent"]["asked"]) == (1, {"north": 1})
    assert [one["sop_instance_uid"] for one in done.json["rows"][0]["missing"]] == [lost]
    wait_until(lambda: shipped.has(lost), "the daughter has sent it again")


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


@pytest.fixture
def listed() -> Iterator[tuple[ArchiveAddress, set[str]]]:
    """An archive that lists the images in a set, of whatever study."""
    uids: set[str] = set()

    def answers(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        asked, found = event.identifier, Dataset()
        found.QueryRetrieveLevel = asked.QueryRetrieveLevel
        if asked.QueryRetrieveLevel == "SERIES":
            found.SeriesInstanceUID = "1.2.9.1"
            yield 0xFF00, found
            return
        for uid in sorted(uids):
            found.SOPInstanceUID = uid
            yield 0xFF00, found

    ae = AE("A")
    ae.add_supported_context(STUDY_ROOT_FIND)
    server: Any = ae.start_server(
        (LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answers)]
    )
    yield ArchiveAddress("A", LOOPBACK, server.server_address[1]), uids
    server.shutdown()


@dataclass(frozen=True)
class TwoArchives:
    """A mother of A, which has taken two images, and of B, which is down."""

    box: Filled
    first: ArchiveAddress
    second: ArchiveAddress
    items: list[Item]
    environment: dict[str, str]


@pytest.fixture
def two(tmp_path: Path, listed: tuple[ArchiveAddress, set[str]]) -> TwoArchives:
    box, first = Filled(tmp_path / "two"), listed[0]
    second = ArchiveAddress("B", LOOPBACK, free_port())
    entries = [box.accept(number) for number in range(2)]
    with Recorder(box.spool.journal, "main") as recorder:
        for entry in entries:
            box.hand_out(entry, first.name, second.name)
            fields = {
                "item": entry.item.id, "digest": entry.item.digest,
                "sop_instance_uid": entry.item.sop_instance_uid,
            }  # fmt: skip
            recorder.record(Kind.LANDED, peer_address="north", **fields)
            for outlet in (first.name, second.name):
                recorder.record(
                    Kind.QUEUED, destination=outlet, study_instance_uid="1.2.9",
                    series_instance_uid="1.2.9.1", **fields,
                )  # fmt: skip
            recorder.record(
                Kind.STORED, destination=first.name, peer_address=str(first), status_code=0,
                **fields,
            )  # fmt: skip
    outlet, claimed = box.claim(first.name, 2)
    for entry in claimed:
        outlet.done(entry)
    environment = {
        "TACKYBOX_NAME": "main", "TACKYBOX_AET": "MAIN", "TACKYBOX_SPOOL": str(box.root),
        "TACKYBOX_ARCHIVES": f"{first};{second}",
    }  # fmt: skip
    return TwoArchives(box, first, second, [entry.item for entry in entries], environment)


def test_what_waits_for_one_archive_is_not_missing_there(
    two: TwoArchives, listed: tuple[ArchiveAddress, set[str]], tackybox: Cli
) -> None:
    listed[1].update(item.sop_instance_uid for item in two.items)
    done = tackybox("reconcile --study 1.2.9 --json", **two.environment)
    assert done.code == 0, "B was never asked: it has not said that it has anything"
    by_outlet = {row["outlet"]: row for row in done.json["rows"]}
    first, second = by_outlet[two.first.name], by_outlet[two.second.name]
    assert (first["stored"], first["listed"], first["not_yet"]) == (2, 2, 0)
    assert (second["stored"], second["listed"], second["not_yet"]) == (0, 0, 2)
    assert tackybox(f"reconcile --archive {two.second}", **two.environment).code == 0
    assert tackybox(f"reconcile --archive {two.first}", **two.environment).code == 0


def test_an_archive_by_another_address_is_to_have_everything(
    two: TwoArchives, listed: tuple[ArchiveAddress, set[str]], tackybox: Cli
) -> None:
    other = f"OTHER@{LOOPBACK}:{listed[0].port}"
    listed[1].add(two.items[0].sop_instance_uid)
    done = tackybox(f"reconcile --archive {other} --json", **two.environment)
    assert done.code == 1
    assert [len(row["missing"]) for row in done.json["rows"] if row["archive"] == other] == [1]


def test_what_the_mother_still_has_is_queued_again_there(
    two: TwoArchives, listed: tuple[ArchiveAddress, set[str]], tackybox: Cli
) -> None:
    kept, lost = two.items
    listed[1].add(kept.sop_instance_uid)
    done = tackybox("reconcile --send --json", **two.environment)
    assert (done.code, done.json["sent"]) == (1, {"queued": 1, "asked": {}, "gone": 0})
    outlet = Outlet(two.box.root, two.first.name)
    assert [entry.item for entry in outlet.entries(State.NEW)] == [lost]
    assert [entry.item for entry in outlet.entries(State.DONE)] == [kept]
    assert not two.box.spool.is_complete(next(outlet.entries(State.DONE)))
