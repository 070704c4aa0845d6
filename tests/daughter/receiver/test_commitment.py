"""A storage commitment request byte by byte: kept before Success, or a status says why not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from daughter.receiver import commitment
from mysql_utilities.events import Kind
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.dimse import messages
from tackybox.spool import CommitmentRequest, commitments, durable
from tests.daughter.receiver.dialogue import (
    CT,
    EXPLICIT_LE,
    IMPLICIT_LE,
    RELEASE_RQ,
    associate_rq,
    c_store,
    data_set,
    element,
    message,
    p_data,
    pdv,
    statuses,
    uid,
    us,
)
from tests.daughter.receiver.test_association import Box
from tests.modality import COMMITMENT, INSTANCE, request

CONTEXTS = ((COMMITMENT, IMPLICIT_LE), (CT, EXPLICIT_LE))
REFERENCES = [(CT, "1.2.3"), (CT, "1.2.4")]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path).open() as opened:
        yield opened


def n_action(
    *, sop_class: str = COMMITMENT, instance: str = INSTANCE, action: int = 1, has_data: bool = True
) -> bytes:
    """The command set of an N-ACTION-RQ (PS3.7 table 10.3-7)."""
    body = uid(0x0003, sop_class) + us(0x0100, 0x0130) + us(0x0110, 7)
    body += us(0x0800, 0 if has_data else 0x0101) + uid(0x1001, instance) + us(0x1008, action)
    return element(0, struct.pack("<L", len(body))) + body


def encoded(data: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_dataset(buffer, data)
    return buffer.getvalue()


GOOD = encoded(request(REFERENCES, "1.2.9"))


def ask(box: Box, command: bytes, data: bytes | None, context: int = 1) -> int:
    said = message(context, command)
    if data is not None:
        cuts = range(0, len(data), 1 << 19)
        pieces = [data[start : start + (1 << 19)] for start in cuts]
        said += b"".join(p_data(pdv(context, 0, piece)) for piece in pieces)
        said += p_data(pdv(context, messages.IS_LAST, b""))
    answers = box.talk(associate_rq(CONTEXTS), said, RELEASE_RQ)
    ((answered, message_id, status),) = statuses(answers)
    assert (answered, message_id) == (context, 7)
    return status


def kept(box: Box) -> list[CommitmentRequest]:
    requests = box.spool.commitments
    return [requests.read(name) for name in requests.names()]


def test_success_says_that_it_is_kept(box: Box) -> None:
    assert ask(box, n_action(), GOOD) == 0x0000
    (found,) = kept(box)
    assert (found.transaction_uid, found.references) == ("1.2.9", tuple(REFERENCES))
    assert (found.calling_aet, found.called_aet, found.peer_address) == (
        "SCANNER", "RELAY", "127.0.0.1",
    )  # fmt: skip
    assert not found.is_duplicate
    assert ask(box, n_action(), GOOD) == 0x0000
    assert kept(box) == [found]


def test_the_answer_names_what_was_asked(box: Box) -> None:
    answers = box.talk(associate_rq(CONTEXTS), message(1, n_action(), GOOD), RELEASE_RQ)
    answer = answers[1][12:]
    assert us(0x0100, 0x8130) in answer and us(0x1008, 1) in answer
    assert uid(0x0002, COMMITMENT) in answer and uid(0x1000, INSTANCE) in answer


@pytest.mark.parametrize(
    ("command", "data", "status"),
    [
        (n_action(sop_class=CT), GOOD, 0x0118),
        (n_action(instance="1.2.3"), GOOD, 0x0112),
        (n_action(action=2), GOOD, 0x0123),
        (n_action(has_data=False), None, 0x0115),
        (n_action(), b"", 0x0115),
        (n_action(), GOOD[:-3], 0x0115),
        (n_action(), encoded(request([], "1.2.9")), 0x0115),
        (n_action(), bytes(range(256)) * 4, 0x0115),
        (n_action(), b"\0" * (5 << 20), 0x0213),
    ],
)
def test_what_is_wrong_has_its_status_and_leaves_nothing(
    box: Box, command: bytes, data: bytes | None, status: int
) -> None:
    assert ask(box, command, data) == status
    assert kept(box) == []


def test_on_other_contexts_it_is_no_operation_and_here_nothing_else_is(box: Box) -> None:
    assert ask(box, n_action(), GOOD, context=3) == 0x0211
    answers = box.talk(
        associate_rq(CONTEXTS), message(1, c_store(5, "1.2.3"), data_set("1.2.3")), RELEASE_RQ
    )
    assert statuses(answers) == [(1, 5, 0x0211)]
    assert (box.stored(), kept(box)) == ([], [])


def test_too_many_references_too_many_requests_and_no_room(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment, "MOST_REFERENCES", 1)
    assert ask(box, n_action(), GOOD) == 0x0213
    monkeypatch.undo()
    monkeypatch.setattr(commitments, "MOST_OPEN", 1)
    assert ask(box, n_action(), encoded(request(REFERENCES, "1.2.8"))) == 0x0000
    assert ask(box, n_action(), GOOD) == 0x0213
    monkeypatch.undo()
    monkeypatch.setattr(box.acceptance, "has_room", lambda: False)
    assert ask(box, n_action(), GOOD) == 0x0213
    monkeypatch.undo()
    assert [one.transaction_uid for one in kept(box)] == ["1.2.8"]
    assert ask(box, n_action(), GOOD) == 0x0000


def test_what_cannot_be_made_durable_is_not_promised(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durable.os, "fsync", fail)
    assert ask(box, n_action(), GOOD) == 0x0213
    monkeypatch.undo()
    assert kept(box) == []
    assert list(box.spool.commitments.directory.iterdir()) == []


def test_only_so_many_are_read_at_a_time_and_a_broken_one_gives_its_place_back(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment, "_PLACES", commitment.threading.BoundedSemaphore(1))
    begun = associate_rq(CONTEXTS) + message(1, n_action(), GOOD)[:-20]
    theirs, _, thread = box.begin()
    with theirs:
        theirs.sendall(begun)
        assert theirs.recv(4096)
        while commitment._PLACES._value:
            pass
        assert ask(box, n_action(), GOOD) == 0x0213
    thread.join(30)
    assert ask(box, n_action(), GOOD) == 0x0000


def test_the_journal_has_who_asked_for_how_many(box: Box) -> None:
    ask(box, n_action(), GOOD)
    ask(box, n_action(action=9), GOOD)
    box.acceptance.recorder.flush()
    with SqliteStore(box.spool.journal / "events.sqlite") as store:
        asked, refused = [event for _, event in store.read_after(0)]
    assert (asked.kind, asked.calling_aet, asked.status_code) == (Kind.ASKED, "SCANNER", 0)
    assert asked.detail == "2 images; transaction 1.2.9"
    assert (refused.kind, refused.status_code) == (Kind.REFUSED, 0x0123)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=5)), max_size=5), st.data())
def test_mutilated_requests_are_answered_and_what_is_kept_can_be_read(
    box_of_all: Box, changes: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    mutilated = bytearray(GOOD)
    for position, piece in changes:
        mutilated[position : position + len(piece)] = piece
    length = data.draw(st.integers(0, len(mutilated)))
    status = ask(box_of_all, n_action(), bytes(mutilated[:length]))
    assert status in (0x0000, 0x0115, 0x0213)
    kept(box_of_all)


@pytest.fixture(scope="module")
def box_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box(tmp_path_factory.mktemp("fuzz")).open() as opened:
        opened.seats = 1000
        yield opened
