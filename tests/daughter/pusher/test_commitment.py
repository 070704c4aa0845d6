"""Open requests are answered when they can be, tried again while it matters, and given up aloud."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daughter.pusher import commitment
from daughter.pusher.commitment import Answerer
from mysql_utilities.events import Event, Kind
from mysql_utilities.recorder import Recorder
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.config import DaughterConfig
from tackybox.config.addresses import ArchiveAddress, parse_mothers
from tackybox.demo.stack import LOOPBACK
from tackybox.errors import SpoolError
from tackybox.service import Stop
from tackybox.spool import STORED_BY, CommitmentRequest, Spool
from tests.modality import Modality, Told

CT = "1.2.840.10008.5.1.4.1.1.2"
OUTLET = "mother_2222"


class Box:
    """A daughter's spool and journal, and her answerer; nothing waits."""

    def __init__(self, root: Path, modality: Modality, **settings: Any) -> None:
        self.spool = Spool.open(root)
        self.recorder = Recorder(self.spool.journal, "north")
        self.modality = modality
        place = ArchiveAddress(modality.aet, LOOPBACK, modality.port)
        base = {"commitment_peers": (place,), "backoff_cap_s": 0.0}
        self.config = DaughterConfig(
            name="north", aet="RELAY", spool=root,
            destinations=parse_mothers("relay@mother:2222"), **base | settings,
        )  # fmt: skip
        self.recorder.record(Kind.OUTLET_UP)
        self.start()

    def start(self) -> None:
        """A new process, as far as the answerer can tell."""
        self.answerer = Answerer(self.config, self.spool, self.recorder)

    def look(self) -> list[Told]:
        """Let the answerer look once; what the modality has been told by now."""
        assert self.recorder.flush()
        self.answerer.look(Stop())
        return self.modality.told

    def came(self, uid: str, *, stored: bool, sop_class_uid: str = CT) -> None:
        fields = {"item": f"i{uid}", "digest": f"d{uid}", "sop_instance_uid": uid}
        self.recorder.record(Kind.RECEIVED, sop_class_uid=sop_class_uid, **fields)
        self.recorder.record(Kind.QUEUED, destination=OUTLET, **fields)
        if stored:
            detail = f"{STORED_BY}PACS"
            self.recorder.record(Kind.RELEASED, destination=OUTLET, detail=detail, **fields)

    def ask(self, *uids: str, age_s: float = 0.0, transaction_uid: str = "1.2.9") -> None:
        self.spool.commitments.keep(
            CommitmentRequest(
                transaction_uid,
                "CT1",
                "NORTH",
                LOOPBACK,
                datetime.now(UTC) - timedelta(seconds=age_s),
                tuple((CT, uid) for uid in uids),
            )
        )

    def is_open(self) -> bool:
        return bool(self.spool.commitments.names())

    def steps(self, kind: Kind) -> list[Event]:
        assert self.recorder.flush()
        with SqliteStore(self.spool.journal / "events.sqlite") as store:
            return [event for _, event in store.read_after(0) if event.kind == kind]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LEAST_WAIT_S", "_MOST_WAIT_S", "_WAIT_PER_COST"):
        monkeypatch.setattr(commitment, name, 0.0)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "spool", Modality())
    yield made
    made.recorder.close()


def test_success_when_the_last_image_is_stored_and_not_before(box: Box) -> None:
    box.came("1.2.1", stored=True)
    box.came("1.2.2", stored=False)
    box.ask("1.2.1", "1.2.2")
    with box.modality.listening():
        assert box.look() == [] and box.is_open()
        box.came("1.2.2", stored=True)
        assert box.look() == [Told(1, "1.2.9", ("1.2.1", "1.2.2"), {})]
    assert not box.is_open()
    (step,) = box.steps(Kind.ANSWERED)
    assert (step.calling_aet, step.status_code) == ("CT1", 0)
    assert step.detail == "2 committed, 0 failed; transaction 1.2.9"


def test_what_is_not_stored_when_time_is_up_has_failed(box: Box) -> None:
    box.came("1.2.1", stored=True)
    box.came("1.2.2", stored=False)
    box.came("1.2.3", stored=True, sop_class_uid="1.2.840.10008.5.1.4.1.1.4")
    box.ask("1.2.1", "1.2.2", "1.2.3", "1.2.4", age_s=90_000)
    with box.modality.listening():
        failed = {"1.2.2": 0x0110, "1.2.3": 0x0119, "1.2.4": 0x0112}
        assert box.look() == [Told(2, "1.2.9", ("1.2.1",), failed)]


@pytest.mark.parametrize(("age_s", "is_told"), [(0, False), (590, False), (610, True)])
def test_an_unknown_image_may_follow_for_ten_minutes(box: Box, age_s: float, is_told: bool) -> None:
    box.ask("1.2.4", age_s=age_s)
    with box.modality.listening():
        assert box.look() == ([Told(2, "1.2.9", (), {"1.2.4": 0x0112})] if is_told else [])


def test_a_quarantined_one_fails_at_once(box: Box) -> None:
    box.came("1.2.2", stored=False)
    box.recorder.record(
        Kind.QUARANTINED, item="i1.2.2", digest="d1.2.2", sop_instance_uid="1.2.2",
        destination=OUTLET,
    )  # fmt: skip
    box.ask("1.2.2")
    with box.modality.listening():
        assert box.look() == [Told(2, "1.2.9", (), {"1.2.2": 0x0110})]


def test_another_request_with_the_same_transaction_fails_and_the_first_stands(box: Box) -> None:
    box.came("1.2.1", stored=True)
    box.came("1.2.2", stored=False)
    box.ask("1.2.2")
    box.ask("1.2.1")
    with box.modality.listening():
        assert box.look() == [Told(2, "1.2.9", (), {"1.2.1": 0x0131})]
        box.came("1.2.2", stored=True)
        assert box.look()[1:] == [Told(1, "1.2.9", ("1.2.2",), {})]


def test_a_modality_that_is_away_is_told_when_it_is_back(box: Box) -> None:
    box.came("1.2.1", stored=True)
    box.ask("1.2.1")
    for _ in range(3):
        assert box.look() == []
        box.start()
    assert box.is_open() and box.steps(Kind.ANSWERED) == []
    with box.modality.listening():
        assert len(box.look()) == 1
    assert not box.is_open()


@pytest.mark.parametrize("status", [0x0110, 0x0213])
def test_a_failure_that_may_pass_is_tried_again(box: Box, status: int) -> None:
    box.came("1.2.1", stored=True)
    box.ask("1.2.1")
    with box.modality.listening():
        box.modality.status = status
        assert len(box.look()) == 1 and box.is_open()
        box.modality.status = 0x0000
        assert len(box.look()) == 2 and not box.is_open()


def test_any_other_failure_is_the_end_and_the_journal_says_so(box: Box) -> None:
    box.came("1.2.1", stored=True)
    box.ask("1.2.1")
    with box.modality.listening():
        box.modality.status = 0x0115
        assert len(box.look()) == 1 and not box.is_open()
    (step,) = box.steps(Kind.UNANSWERED)
    assert step.status_code == 0x0115
    assert "it answered 0115" in step.detail


def test_a_modality_that_stays_away_is_given_up_aloud(box: Box) -> None:
    box.came("1.2.1", stored=True)
    box.ask("1.2.1", age_s=2 * 86_400 - 60)
    box.look()
    assert box.is_open()
    box.ask("1.2.1", age_s=2 * 86_400 + 60, transaction_uid="1.2.8")
    box.look()
    assert len(box.spool.commitments.names()) == 1
    (step,) = box.steps(Kind.UNANSWERED)
    assert step.detail.startswith("given up: nothing listens at CT1@127.0.0.1:")


def test_a_modality_that_answers_no_roles_is_told_all_the_same(tmp_path: Path) -> None:
    box = Box(tmp_path / "spool", Modality(takes_roles=False))
    box.came("1.2.1", stored=True)
    box.ask("1.2.1")
    with box.modality.listening():
        assert len(box.look()) == 1
    box.recorder.close()


def test_without_a_place_of_its_own_the_answer_goes_where_the_request_came_from(
    tmp_path: Path,
) -> None:
    modality = Modality()
    box = Box(tmp_path / "spool", modality, commitment_peers=None, commitment_port=modality.port)
    box.came("1.2.1", stored=True)
    box.ask("1.2.1")
    with modality.listening():
        assert len(box.look()) == 1
    box.recorder.close()


def test_a_large_answer_arrives_whole(box: Box) -> None:
    uids = [f"1.2.{number}" for number in range(1, 3001)]
    box.ask(*uids, age_s=90_000)
    with box.modality.listening():
        (told,) = box.look()
    assert list(told.failed) == uids


def test_a_journal_that_is_gone_delays_the_answer_and_then_it_is_failure(box: Box) -> None:
    box.came("1.2.1", stored=True)
    box.recorder.close()
    for path in box.spool.journal.glob("events.sqlite*"):
        path.unlink()
    box.ask("1.2.1", age_s=3600)
    box.answerer.look(Stop())
    assert box.is_open()
    box.ask("1.2.1", age_s=90_000, transaction_uid="1.2.8")
    with box.modality.listening():
        box.answerer.look(Stop())
    assert box.modality.told == [Told(2, "1.2.8", (), {"1.2.1": 0x0110})]


def test_a_file_that_is_damaged_is_given_up_aloud(box: Box) -> None:
    box.ask("1.2.1")
    (name,) = box.spool.commitments.names()
    (box.spool.commitments.directory / name).write_bytes(b"{}")
    assert box.look() == [] and not box.is_open()
    assert len(box.steps(Kind.UNANSWERED)) == 1


def test_a_clock_that_was_set_back_opens_no_request_for_ever(box: Box) -> None:
    box.came("1.2.1", stored=True)
    box.ask("1.2.1", age_s=-86_400)
    with box.modality.listening():
        assert len(box.look()) == 1


def test_two_answerers_of_one_spool(box: Box) -> None:
    stop = Stop()
    stop.set()
    with (
        commitment.sole_worker(box.spool.commitments.directory, "answerer"),
        pytest.raises(SpoolError, match="already"),
    ):
        box.answerer.run(stop)
    box.answerer.run(stop)


def test_a_look_is_followed_by_a_wait_that_grows(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "_LEAST_WAIT_S", 60.0)
    looked: list[int] = []
    real = commitment.findings

    def counted(*arguments: Any) -> Any:
        looked.append(1)
        return real(*arguments)

    monkeypatch.setattr(commitment, "findings", counted)
    box.ask("1.2.1")
    for _ in range(5):
        box.look()
    assert len(looked) == 1
