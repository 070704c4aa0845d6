"""Reports on storage commitment: what is read from them, and who is let in with one."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import AE, build_context, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from tackybox.demo.stack import LOOPBACK, free_port
from tackybox.dimse.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    SYNTAXES,
    Report,
    decode,
    encode,
)
from tackybox.dimse.reporting import Host, serve
from tackybox.errors import UnavailableError
from tackybox.service import Stop
from tests.peers import wait_until

CT = "1.2.840.10008.5.1.4.1.1.2"


class Listener:
    """Our port, and what was reported at it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.reports: list[Report] = []
        self.failure: Exception | None = None

    def keep(self, report: Report) -> None:
        if self.failure is not None:
            raise self.failure
        self.reports.append(report)

    def associate(self, calling: str = "PACS", called: str = "MOTHER"):
        contexts = [build_context(StorageCommitmentPushModel), build_context(Verification)]
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        return AE(calling).associate(
            LOOPBACK, self.port, contexts=contexts, ae_title=called, ext_neg=[role]
        )

    def report(self, dataset: Dataset, calling: str = "PACS") -> int | None:
        assoc = self.associate(calling)
        status, _ = assoc.send_n_event_report(dataset, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        if assoc.is_established:
            assoc.release()
        return status.get("Status")


@pytest.fixture
def listener() -> Iterator[Listener]:
    found, stop = Listener(), Stop()
    host = Host("MOTHER", {"PACS"}, 16_384)
    args = (host, LOOPBACK, found.port, found.keep, stop)
    thread = threading.Thread(target=serve, args=args)
    thread.start()
    wait_until(lambda: socket.socket().connect_ex((LOOPBACK, found.port)) == 0, "it listens")
    yield found
    stop.set()
    thread.join()


def report(*committed: str, transaction: str = "1.2.3") -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = transaction
    dataset.ReferencedSOPSequence = [Dataset() for _ in committed]
    for one, uid in zip(dataset.ReferencedSOPSequence, committed, strict=True):
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = CT, uid
    return dataset


def test_what_is_asked_can_be_read() -> None:
    encoded = encode("1.2.3", [(CT, "1.2.3.4"), (CT, "1.2.3.5")])
    assert decode(encoded, SYNTAXES[0]) == Report("1.2.3", frozenset({"1.2.3.4", "1.2.3.5"}), {})


@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
def test_any_bytes_are_a_report_or_none(junk: bytes, syntax: str) -> None:
    decode(junk, syntax)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_report_with_a_wrong_byte_names_only_uids(place: int, value: int) -> None:
    encoded = bytearray(encode("1.2.3", [(CT, "1.2.3.4"), (CT, "1.2.3.5")]))
    encoded[place % len(encoded)] = value
    found = decode(bytes(encoded), SYNTAXES[0])
    assert found is None or all(set(uid) <= set("0123456789.") for uid in found.committed)


def test_what_is_both_committed_and_failed_is_failed() -> None:
    dataset = report("1.2.3.4")
    dataset.FailedSOPSequence = report("1.2.3.4").ReferencedSOPSequence
    dataset.FailedSOPSequence[0].FailureReason = 0x0112
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = True, True
    write_dataset(file, dataset)
    assert decode(file.getvalue(), SYNTAXES[0]) == Report("1.2.3", frozenset(), {"1.2.3.4": 0x0112})


def test_reports_are_taken_and_c_echo_is_answered(listener: Listener) -> None:
    assert listener.report(report("1.2.3.4")) == 0x0000
    assert listener.reports == [Report("1.2.3", frozenset({"1.2.3.4"}), {})]
    assoc = listener.associate()
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()


def test_who_is_not_known_is_turned_away(listener: Listener) -> None:
    for calling, called in (("STRANGER", "MOTHER"), ("PACS", "OTHER")):
        assoc = listener.associate(calling, called)
        assert assoc.is_rejected
    assert not listener.reports


def test_what_can_not_be_kept_is_not_answered_with_success(listener: Listener) -> None:
    listener.failure = OSError(28, "No space left on device")
    assert listener.report(report("1.2.3.4")) != 0x0000
    listener.failure = None
    assert listener.report(report("1.2.3.4")) == 0x0000


def test_a_report_without_a_transaction_uid_is_answered_with_a_failure(listener: Listener) -> None:
    assert listener.report(report("1.2.3.4", transaction="../etc")) == 0x0110
    assert not listener.reports


def test_garbage_and_silence_keep_nobody_out(listener: Listener) -> None:
    held = [socket.create_connection((LOOPBACK, listener.port)) for _ in range(8)]
    for number, sock in enumerate(held):
        junk = (
            b"\x01\0" + struct.pack(">I", 0xFFFFFFF0),
            b"\x01\0\0\0\0\x08garbage!",
            b"GET /\r\n\r\n",
        )
        sock.sendall(junk[number % 3]) if number < 6 else None
    assert listener.report(report("1.2.3.4")) == 0x0000
    for sock in held:
        sock.close()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        host = Host("MOTHER", {"PACS"}, 16_384)
        with pytest.raises(UnavailableError, match=str(taken.getsockname()[1])):
            serve(host, LOOPBACK, taken.getsockname()[1], lambda _: None, Stop())
