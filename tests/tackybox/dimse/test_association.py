"""The transfer phase against peers that answer in every way they may, and in many they may not."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from tackybox.config.addresses import ArchiveAddress
from tackybox.demo.stack import LOOPBACK
from tackybox.dimse.association import Failure, Pair, Timeouts
from tackybox.dimse.messages import ABORT_PDU, RELEASE_RP_PDU, RELEASE_RQ_PDU
from tackybox.dimse.payload import SMALL_BYTES, Payload
from tackybox.dimse.scu import Source, StorageAssociation, StoreResult, echo
from tests.peers import wait_until

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
PAIR = Pair(CT, EXPLICIT_LE)
Act = Callable[["FakeArchive"], None]


class FakeArchive:
    """The acceptor's end of one association; reads PDUs strictly, answers as it is told."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")
        self.longest_bytes = 0

    def pdu(self) -> tuple[int, bytes]:
        head = self.file.read(6)
        if len(head) < 6:
            raise EOFError
        body = self.file.read(int.from_bytes(head[2:], "big"))
        self.longest_bytes = max(self.longest_bytes, len(body))
        return head[0], body

    def accept(self, max_pdu_bytes: int) -> None:
        assert self.pdu()[0] == 1
        answer = A_ASSOCIATE()
        answer.application_context_name = UID("1.2.840.10008.3.1.1.1")
        answer.calling_ae_title, answer.called_ae_title = "TEST", "FAKE"
        answer.result, answer.result_source = 0, 1
        context = build_context(CT, EXPLICIT_LE)
        context.context_id, context.result = 1, 0
        answer.presentation_context_definition_results_list = [context]
        longest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
        longest.maximum_length_received = max_pdu_bytes
        implementation.implementation_class_uid = UID("1.2.3.4")
        answer.user_information = [longest, implementation]
        self.sock.sendall(A_ASSOCIATE_AC(answer).encode())

    def message(self) -> tuple[int, bytes]:
        """One C-STORE-RQ: its Message ID, and the data set."""
        parts, is_over = {1: bytearray(), 0: bytearray()}, {1: False, 0: False}
        while not all(is_over.values()):
            kind, body = self.pdu()
            assert kind == 4
            while body:
                length, context_id, control = struct.unpack_from(">IBB", body)
                assert context_id == 1 and not is_over[control & 1]
                parts[control & 1] += body[6 : 4 + length]
                is_over[control & 1] = bool(control & 2)
                body = body[4 + length :]
        at = parts[1].index(b"\0\0\x10\x01\x02\0\0\0") + 8
        return int.from_bytes(parts[1][at : at + 2], "little"), bytes(parts[0])

    def answer(self, message_id: int, pieces: int = 1, status: int = 0) -> bytes:
        """A C-STORE-RSP in so many PDUs."""
        command = b"".join(
            struct.pack("<HHIH", 0, element, 2, value)
            for element, value in (
                (0x0100, 0x8001), (0x0120, message_id), (0x0800, 0x0101), (0x0900, status),
            )
        )  # fmt: skip
        size = -(-len(command) // pieces)
        cut = [command[at : at + size] for at in range(0, len(command), size)]
        return b"".join(
            struct.pack(">BxIIBB", 4, len(c) + 6, len(c) + 2, 1, 1 | 2 * (n == len(cut))) + c
            for n, c in enumerate(cut, start=1)
        )


@contextlib.contextmanager
def archive(act: Act, max_pdu_bytes: int = 16384) -> Iterator[ArchiveAddress]:
    """An archive that accepts one association and then acts; what it finds wrong is raised."""
    raised: list[BaseException] = []
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                fake = FakeArchive(connection)
                try:
                    fake.accept(max_pdu_bytes)
                    act(fake)
                except (OSError, EOFError):
                    pass
                except BaseException as error:
                    raised.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        yield ArchiveAddress("FAKE", LOOPBACK, server.getsockname()[1])
        thread.join()
    assert not raised, raised


def opened(address: ArchiveAddress, *, answer_s: float = 30, **options: Any) -> StorageAssociation:
    return StorageAssociation.open(
        address, [PAIR], calling_aet="TEST", timeouts=Timeouts(30, answer_s, 30), **options
    )


def source(directory: Path, size_bytes: int = 1000) -> Source:
    path = directory / "file"
    path.write_bytes(b"head" + bytes(range(256)) * (size_bytes // 256) + b"x" * (size_bytes % 256))
    return Source(path, 4, CT, "1.2.3", EXPLICIT_LE)


def stored(act: Act, directory: Path) -> StoreResult:
    """What comes of one C-STORE that `act` answers."""
    with archive(act) as address:
        association = opened(address, answer_s=2)
        result = association.store(source(directory))
        assert association.is_open == (result.status is not None)
        association.close()
    return result


@pytest.mark.parametrize("pieces", [1, 2, 7])
@pytest.mark.parametrize("at_a_time", [1, 5, 1000])
def test_an_answer_may_come_in_any_pieces(tmp_path: Path, pieces: int, at_a_time: int) -> None:
    def act(peer: FakeArchive) -> None:
        for status in (0xB000, 0):
            message_id, _ = peer.message()
            pdus = peer.answer(message_id, pieces, status)
            for at in range(0, len(pdus), at_a_time):
                peer.sock.sendall(pdus[at : at + at_a_time])
        assert peer.pdu()[0] == 5
        peer.sock.sendall(RELEASE_RP_PDU)

    with archive(act) as address:
        association = opened(address)
        assert association.store(source(tmp_path)).status == 0xB000
        assert association.store(source(tmp_path)).status == 0
        association.close()


@pytest.mark.parametrize("size_bytes", [0, 1, 16378, 16379, SMALL_BYTES, SMALL_BYTES + 1, 3 << 20])
@pytest.mark.parametrize("max_pdu_bytes", [0, 1027, 16384, 1 << 30])
def test_every_byte_goes_out_in_pdus_that_the_archive_takes(
    tmp_path: Path, size_bytes: int, max_pdu_bytes: int
) -> None:
    found: list[FakeArchive] = []

    def act(peer: FakeArchive) -> None:
        found.append(peer)
        message_id, dataset = peer.message()
        digest = hashlib.sha256(wanted.path.read_bytes()[4:]).digest()
        assert hashlib.sha256(dataset).digest() == digest
        peer.sock.sendall(peer.answer(message_id))

    wanted = source(tmp_path, size_bytes)
    with archive(act, max_pdu_bytes) as address:
        association = opened(address, max_pdu_bytes=100_000)
        assert association.store(wanted).status == 0
        association.abort()
    assert found[0].longest_bytes <= min(max_pdu_bytes or 100_000, 100_000)


def read_and(send: Callable[[FakeArchive, int], None]) -> Act:
    def act(peer: FakeArchive) -> None:
        message_id, _ = peer.message()
        send(peer, message_id)
        with contextlib.suppress(EOFError):
            peer.pdu()

    return act


@pytest.mark.parametrize(
    ("send", "failure", "words"),
    [
        (lambda p, _: p.sock.sendall(ABORT_PDU), Failure.ABORTED, "aborted the association"),
        (
            lambda p, _: p.sock.sendall(b"\x07\0\0\0\0\x04\0\0\x02\x02"),
            Failure.ABORTED,
            "unexpected PDU",
        ),
        (lambda p, _: p.sock.shutdown(socket.SHUT_RDWR), Failure.CLOSED, "closed"),
        (lambda p, _: None, Failure.TIMED_OUT, "did not answer within 2 s"),
        (lambda p, n: p.sock.sendall(p.answer(n)[:9]), Failure.TIMED_OUT, "did not answer"),
        (lambda p, n: p.sock.sendall(p.answer(n + 1)), Failure.MALFORMED, "does not fit"),
        (lambda p, _: p.sock.sendall(b"HTTP/1.1 400 Bad"), Failure.MALFORMED, ""),
        (lambda p, _: p.sock.sendall(b"\x09\0\0\0\0\x02ab"), Failure.MALFORMED, "not DICOM"),
        (lambda p, _: p.sock.sendall(b"\x04\0\0\0\0\x02ab"), Failure.MALFORMED, ""),
        (lambda p, _: p.sock.sendall(b"\x04\0\xff\xff\xff\xff"), Failure.MALFORMED, "too long"),
        (lambda p, _: p.sock.sendall(b"\x04\0\0\0\0\0" * 300_000), Failure.MALFORMED, "too long"),
    ],
)
def test_what_is_no_answer_is_a_failure_and_the_association_is_over(
    tmp_path: Path, send: Callable[[FakeArchive, int], None], failure: Failure, words: str
) -> None:
    result = stored(read_and(send), tmp_path)
    assert (result.status, result.failure) == (None, failure)
    assert words in result.message


@pytest.mark.parametrize("when", ["idle", "in the middle"])
def test_an_archive_that_wants_to_end_the_association_gets_its_answer(
    tmp_path: Path, when: str
) -> None:
    answered, said = [], threading.Event()

    def act(peer: FakeArchive) -> None:
        if when != "idle":
            peer.message()
        peer.sock.sendall(RELEASE_RQ_PDU)
        said.set()
        answered.append(peer.pdu()[0])

    with archive(act) as address:
        association = opened(address)
        if when == "idle":
            assert said.wait(30)
            wait_until(lambda: not association.is_open, "it is noticed")
        result = association.store(source(tmp_path))
        assert (result.status, result.failure) == (None, Failure.RELEASED)
        assert not association.is_open
    assert answered == [6]


def test_both_may_want_to_end_it_at_once(tmp_path: Path) -> None:
    def act(peer: FakeArchive) -> None:
        assert peer.pdu()[0] == 5
        peer.sock.sendall(RELEASE_RQ_PDU)
        assert peer.pdu()[0] == 6
        peer.sock.sendall(RELEASE_RP_PDU)

    with archive(act) as address:
        association = opened(address)
        association.close()
        assert not association.is_open


def test_a_file_that_shrinks_is_an_error_and_never_looks_complete(tmp_path: Path) -> None:
    """The archive is left with a data set whose last fragment never came."""
    completed: list[int] = []

    def act(peer: FakeArchive) -> None:
        peer.message()
        completed.append(1)

    wanted = source(tmp_path, 3 * SMALL_BYTES)
    with archive(act) as address:
        association = opened(address)
        payload = Payload(wanted.path, wanted.dataset_offset)
        with wanted.path.open("r+b") as file:
            file.truncate(2 * SMALL_BYTES)
        with pytest.raises(OSError, match="shorter"):
            association.store(wanted, payload=payload)
        assert not association.is_open
    assert not completed


def test_what_is_done_meanwhile_is_done_once_when_all_is_sent(tmp_path: Path) -> None:
    received, done = threading.Event(), []

    def act(peer: FakeArchive) -> None:
        message_id, _ = peer.message()
        received.set()
        peer.sock.sendall(peer.answer(message_id))
        peer.pdu()

    def meanwhile() -> None:
        assert received.wait(30)
        done.append(1)

    with archive(act) as address:
        association = opened(address)
        assert association.store(source(tmp_path), meanwhile=meanwhile).status == 0
        association.abort()
    assert done == [1]


def test_an_acceptance_that_can_not_be_read_is_a_failure(tmp_path: Path) -> None:
    def garbage(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"\x02\0\0\0\0\x50" + b"\xff" * 80)

    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                garbage(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        address = ArchiveAddress("FAKE", LOOPBACK, server.getsockname()[1])
        result = echo(address, calling_aet="TEST", timeouts=Timeouts(5, 2))
        thread.join()
    assert result.failure is Failure.MALFORMED
    assert "can't be understood" in result.message
