"""Associations byte by byte: every fragmentation PS3.8 allows, and what it does not."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daughter.receiver.acceptance import Acceptance
from daughter.receiver.association import Association
from daughter.receiver.scp import Door
from daughter.receiver.wire import Wire
from mysql_utilities.recorder import Recorder
from tackybox.config import DaughterConfig
from tackybox.config.addresses import parse_mothers
from tackybox.config.modalities import parse_modalities
from tackybox.dimse import archive, messages
from tackybox.item import read_header
from tackybox.spool import Spool
from tests.daughter.receiver.dialogue import (
    ABORT,
    RELEASE_RQ,
    associate_rq,
    c_echo,
    c_store,
    data_set,
    element,
    fragments,
    message,
    p_data,
    pdus,
    pdv,
    statuses,
    talk,
    us,
)

COMMAND, LAST = messages.IS_COMMAND, messages.IS_LAST
ACCEPTED, REJECTED, RELEASED = 0x02, 0x03, messages.A_RELEASE_RP


class Box:
    """A spool, and associations with it over a pair of sockets, each in a thread."""

    def __init__(self, directory: Path, silence_s: float = 20.0) -> None:
        self.spool = Spool.open(directory / "spool")
        self.silence_s = silence_s
        self.config = DaughterConfig(
            name="north", aet="RELAY", spool=directory / "spool",
            destinations=parse_mothers("relay@127.0.0.1:2222"), modalities=parse_modalities("any"),
        )  # fmt: skip
        self.seats = 10

    @contextlib.contextmanager
    def open(self) -> Iterator[Box]:
        with (
            self.spool.workspace("receiver") as self.workspace,
            Recorder(self.spool.journal, "north") as recorder,
        ):
            self.acceptance = Acceptance(self.spool, self.workspace, "north", 1, recorder)
            yield self

    def begin(self) -> tuple[socket.socket, Association, threading.Thread]:
        ours, theirs = connected()
        association = Association(
            Wire(ours, self.silence_s), Door(self.config), self.acceptance,
            ("127.0.0.1", "127.0.0.1"), self._enter, self.config.max_pdu_bytes,
        )  # fmt: skip
        thread = threading.Thread(target=association.run)
        thread.start()
        return theirs, association, thread

    def _enter(self) -> bool:
        self.seats -= 1
        return self.seats >= 0

    def talk(self, *pieces: bytes) -> list[bytes]:
        """Say `pieces` on a connection of their own; the PDUs of the answer."""
        theirs, _, thread = self.begin()
        with theirs:
            answers = talk(theirs, *pieces)
        thread.join(30)
        assert not thread.is_alive()
        assert not list(self.workspace.iterdir()), "something half received stays"
        return answers

    def stored(self) -> list[bytes]:
        """The data sets in the spool."""
        files = sorted(self.spool.root.glob("new/*/*"), key=lambda path: path.name)
        return [path.read_bytes()[read_header(path).dataset_offset :] for path in files]


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path).open() as opened:
        yield opened


def kinds(answers: list[bytes]) -> list[int]:
    return [answer[0] for answer in answers]


def abort_reason(answers: list[bytes]) -> int:
    """The reason of the provider's A-ABORT that is the last answer."""
    assert answers[-1][:9] == b"\x07\0\0\0\0\x04\0\0\x02", answers[-1]
    return answers[-1][9]


def test_store_echo_release(box: Box) -> None:
    data = data_set("1.2.3", 70_000)
    answers = box.talk(
        associate_rq(), message(1, c_store(1, "1.2.3"), data), message(5, c_echo(2)), RELEASE_RQ
    )
    assert kinds(answers) == [ACCEPTED, messages.P_DATA_TF, messages.P_DATA_TF, RELEASED]
    assert statuses(answers) == [(1, 1, 0), (5, 2, 0)]
    assert box.stored() == [data]


def test_byte_by_byte(box: Box) -> None:
    whole = associate_rq() + message(1, c_store(1, "1.2.3"), data_set("1.2.3")) + RELEASE_RQ
    answers = box.talk(*(whole[n : n + 1] for n in range(len(whole))))
    assert statuses(answers) == [(1, 1, 0)]
    assert box.stored() == [data_set("1.2.3")]


cuts = st.lists(st.integers(0, 400), max_size=8)


@settings(deadline=None, max_examples=60)
@given(cuts, cuts, st.lists(st.integers(1, 5), min_size=1, max_size=20), cuts)
def test_any_fragmentation_is_the_same_message(
    command_cuts: list[int], data_cuts: list[int], gathering: list[int], writes: list[int]
) -> None:
    """PDVs of any length, empty ones too, any number of them in a PDU, any TCP segments."""
    data = data_set("1.2.3", 1024)
    pdvs = [
        *fragments(1, c_store(1, "1.2.3"), command_cuts, COMMAND),
        *fragments(1, data, data_cuts, 0),
    ]
    stream = associate_rq()
    while pdvs:
        count = gathering[len(stream) % len(gathering)]
        stream += p_data(*pdvs[:count])
        pdvs = pdvs[count:]
    stream += RELEASE_RQ
    pieces = []
    for size in writes:
        pieces.append(stream[:size])
        stream = stream[size:]
    with tempfile.TemporaryDirectory() as directory, Box(Path(directory)).open() as box:
        answers = box.talk(*filter(None, pieces), stream)
        assert kinds(answers) == [ACCEPTED, messages.P_DATA_TF, RELEASED]
        assert statuses(answers) == [(1, 1, 0)]
        assert box.stored() == [data]


def test_messages_on_several_contexts_may_be_mixed(box: Box) -> None:
    one, other = data_set("1.2.3", 2048), data_set("1.2.4", 4096)
    implicit = b"\x08\x00\x18\x00\x06\x00\x00\x001.2.5\x00"
    answers = box.talk(
        associate_rq(),
        p_data(pdv(1, COMMAND | LAST, c_store(1, "1.2.3")), pdv(1, 0, one[:100])),
        p_data(pdv(3, COMMAND | LAST, c_store(2, "1.2.5")), pdv(1, 0, one[100:900])),
        p_data(pdv(5, COMMAND | LAST, c_echo(3)), pdv(3, LAST, implicit)),
        p_data(pdv(1, LAST, one[900:])),
        message(1, c_store(4, "1.2.4"), other),
        RELEASE_RQ,
    )
    assert statuses(answers) == [(5, 3, 0), (3, 2, 0), (1, 1, 0), (1, 4, 0)]
    assert sorted(box.stored()) == sorted([implicit, one, other])


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (messages.PDU_HEAD.pack(0x99, 4) + b"\0" * 4, 1),
        (messages.PDU_HEAD.pack(0, 4) + b"\0" * 4, 1),
        (associate_rq(), 2),
        (messages.PDU_HEAD.pack(0x02, 4) + b"\0" * 4, 2),
        (messages.PDU_HEAD.pack(messages.A_RELEASE_RP, 4) + b"\0" * 4, 2),
        (messages.PDU_HEAD.pack(messages.P_DATA_TF, 0xFFFFFFFF), 6),
        (messages.PDU_HEAD.pack(messages.P_DATA_TF, 3) + b"\0" * 3, 6),
        (p_data(messages.PDV_HEAD.pack(1, 1, 0)), 6),  # shorter than its own header
        (p_data(messages.PDV_HEAD.pack(100, 1, 0)), 6),  # longer than its PDU
        (p_data(pdv(7, COMMAND | LAST, c_echo(1))), 6),  # a context that was not proposed
        (p_data(pdv(1, LAST, b"data before a command")), 2),
        (p_data(pdv(1, COMMAND | LAST, b"no command set")), 6),
        (p_data(pdv(1, COMMAND | LAST, c_store(1, "1.2")), pdv(1, COMMAND, b"more")), 2),
    ],
)
def test_a_breach_of_the_protocol_is_an_abort_with_its_reason(
    box: Box, wrong: bytes, reason: int
) -> None:
    answers = box.talk(associate_rq(), wrong)
    assert kinds(answers) == [ACCEPTED, messages.A_ABORT]
    assert abort_reason(answers) == reason
    assert box.stored() == []


def test_a_command_set_without_end_is_not_gathered(box: Box) -> None:
    piece = p_data(pdv(1, COMMAND, b"\0" * 30_000))
    assert abort_reason(box.talk(associate_rq(), piece, piece, piece)) == 6


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (RELEASE_RQ, 2),
        (message(1, c_echo(1)), 2),
        (b"GET / HTTP/1.1\r\n\r\n", 6),
        (b"\x47\0\0\0\0\x10" + b"x" * 16, 1),
        (b"\x01\0\0\0\0\x10" + b"x" * 16, 6),
        (messages.PDU_HEAD.pack(1, 0xFFFFFFF0), 6),
    ],
)
def test_what_is_no_request_for_an_association(box: Box, first: bytes, expected: int) -> None:
    answers = box.talk(first)
    assert kinds(answers) == [messages.A_ABORT]
    assert abort_reason(answers) == expected


@pytest.mark.parametrize("end", [ABORT, b""])
@pytest.mark.parametrize(
    "middle",
    [
        b"",
        p_data(pdv(1, COMMAND, c_store(1, "1.2.3")[:20])),
        p_data(pdv(1, COMMAND | LAST, c_store(1, "1.2.3"))),
        p_data(pdv(1, COMMAND | LAST, c_store(1, "1.2.3")), pdv(1, 0, data_set("1.2.3", 5120))),
    ],
)
def test_an_end_in_the_middle_leaves_nothing(box: Box, middle: bytes, end: bytes) -> None:
    assert kinds(box.talk(associate_rq(), middle, end)) == [ACCEPTED]
    assert box.stored() == []


def test_an_abort_in_the_middle_of_a_pdu_is_no_abort(box: Box) -> None:
    """It is data: what follows counts as what the PDU's length says it is."""
    data = data_set("1.2.3", 512)
    half = p_data(pdv(1, COMMAND | LAST, c_store(1, "1.2.3"))) + p_data(pdv(1, LAST, data))[:-4]
    assert kinds(box.talk(associate_rq(), half, ABORT)) == [
        ACCEPTED,
        messages.P_DATA_TF,
        messages.A_ABORT,
    ]


def test_a_release_in_mid_message_is_granted_and_nothing_kept(box: Box) -> None:
    begun = p_data(pdv(1, COMMAND | LAST, c_store(1, "1.2.3")), pdv(1, 0, data_set("1.2.3")))
    assert kinds(box.talk(associate_rq(), begun, RELEASE_RQ)) == [ACCEPTED, RELEASED]
    assert box.stored() == []


def test_requests_that_we_don_t_serve(box: Box) -> None:
    find = us(0x0100, 0x20) + us(0x0110, 1) + us(0x0800, 0)
    cancel = us(0x0100, 0x0FFF) + us(0x0120, 1) + us(0x0800, 0x0101)
    response = us(0x0100, 0x8001) + us(0x0120, 1) + us(0x0800, 0x0101) + us(0x0900, 0)
    answers = box.talk(
        associate_rq(),
        message(1, find, b"a query"),
        message(1, cancel),
        message(1, response),
        message(1, c_echo(2)),  # C-ECHO, not on its own context
        message(5, c_store(3, "1.2.3"), data_set("1.2.3")),  # C-STORE on that of C-ECHO
        message(1, c_store(4, "1.2.3"), data_set("1.2.3")),
        RELEASE_RQ,
    )
    assert statuses(answers) == [(1, 1, 0x0211), (1, 2, 0x0211), (5, 3, 0x0211), (1, 4, 0)]
    assert len(box.stored()) == 1


@pytest.mark.parametrize("longest", [64, 70, 3])
def test_a_peer_that_takes_short_pdus_only_gets_them(box: Box, longest: int) -> None:
    answers = box.talk(associate_rq(longest=longest), message(5, c_echo(1)), RELEASE_RQ)
    short = [answer for answer in answers if answer[0] == messages.P_DATA_TF]
    assert len(short) > 1
    assert all(len(answer) <= max(longest, 64) + 6 for answer in short)
    assert [answer[11] & LAST for answer in short] == [0] * (len(short) - 1) + [LAST]


def test_silence_ends_an_association(tmp_path: Path) -> None:
    with Box(tmp_path, silence_s=0.3).open() as box:
        for said in (b"", associate_rq(), associate_rq() + message(1, c_store(1, "1"), b"")[:-3]):
            theirs, _, thread = box.begin()
            with theirs:
                theirs.sendall(said)
                assert abort_reason(list(pdus(theirs))) == 0
            thread.join(30)
            assert not thread.is_alive()


def test_when_all_seats_are_taken(box: Box) -> None:
    box.seats = 0
    answers = box.talk(associate_rq(), message(5, c_echo(1)))
    assert answers == [b"\x03\0\0\0\0\x04\0\x02\x03\x02"]


def test_who_is_told_to_stop_answers_what_is_in_hand(box: Box) -> None:
    data = data_set("1.2.3", 2048)
    whole = message(1, c_store(1, "1.2.3"), data)
    theirs, association, thread = box.begin()
    with theirs:
        theirs.sendall(associate_rq() + whole[:-5])
        while association.is_idle:
            pass
        association.stop()
        answers = talk(theirs, whole[-5:], until_closed=False)
    thread.join(30)
    assert kinds(answers) == [ACCEPTED, messages.P_DATA_TF, messages.A_ABORT]
    assert box.stored() == [data]


def test_who_is_idle_stops_at_once(box: Box) -> None:
    theirs, association, thread = box.begin()
    with theirs:
        theirs.sendall(associate_rq())
        assert theirs.recv(1)
        association.stop()
        thread.join(30)
        assert not thread.is_alive()


# Each turn is something that is answered with one PDU, but for an abort.
DIALOGUES: dict[str, list[bytes]] = {
    "plain": [message(1, c_store(1, "1.2.3"), data_set("1.2.3", 4096)), RELEASE_RQ],
    "several": [
        *(message(1, c_store(n, f"1.2.{n}"), data_set(f"1.2.{n}", 300)) for n in range(1, 6)),
        message(5, c_echo(9)),
        RELEASE_RQ,
    ],
    "split": [
        b"".join(p_data(one) for one in fragments(1, c_store(1, "1.2.3"), [1, 7, 30], COMMAND))
        + p_data(*fragments(1, data_set("1.2.3", 2048), [1, 100, 3, 900], 0)),
        RELEASE_RQ,
    ],
    "command and data in one PDU": [
        p_data(pdv(1, COMMAND | LAST, c_store(1, "1.2.3")), pdv(1, LAST, data_set("1.2.3", 512))),
        RELEASE_RQ,
    ],
    "an empty last fragment": [
        p_data(pdv(1, COMMAND | LAST, c_store(1, "1.2.3")), pdv(1, 0, data_set("1.2.3")))
        + p_data(pdv(1, LAST, b"")),
        RELEASE_RQ,
    ],
    "an abort": [message(1, c_store(1, "1.2.3"), data_set("1.2.3")), ABORT],
    "a group length that lies": [
        message(1, element(0, b"\xff\0\0\0") + c_store(1, "1.2.3")[12:], data_set("1.2.3")),
        RELEASE_RQ,
    ],
    "only an echo": [message(5, c_echo(1)), RELEASE_RQ],
    "nothing": [RELEASE_RQ],
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_the_same_dialogue_with_pynetdicoms_own_path(name: str, box: Box, tmp_path: Path) -> None:
    """Same answers, same bytes stored, as a pynetdicom SCP gives them."""
    turns = DIALOGUES[name]
    ours = box.talk(associate_rq(), *turns)
    server = archive.start("RELAY", tmp_path / "theirs")
    try:
        with socket.create_connection(server.server_address[:2]) as sock:
            sock.settimeout(30)
            said_back = pdus(sock)
            theirs = []
            for turn in (associate_rq(), *turns):
                sock.sendall(turn)
                if turn != ABORT:  # pynetdicom answers none that a release has overtaken
                    theirs.append(next(said_back))
    finally:
        server.shutdown()
    assert statuses(ours) == statuses(theirs)
    kept = list((tmp_path / "theirs").glob("*.dcm"))
    stored = [path.read_bytes()[read_header(path).dataset_offset :] for path in kept]
    assert sorted(box.stored()) == sorted(stored)
