"""Storage commitment as its user: does the archive vouch for what it answered Success for?

The Storage Commitment Push Model (PS3.4 Annex J): an N-ACTION names instances under a Transaction
UID, and the archive says with an N-EVENT-REPORT, now or later, on this association or on one that
it opens (`tackybox.dimse.reporting`), for which of them it takes the responsibility.
Promises: a report is read whole or not at all, it never is longer than an answer may be; what in
it is not ours to know is passed over. Does not promise that an archive reports at all.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.association import Association, AssociationError, Failure, Pair, Timeouts
from tackybox.dimse.messages import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    MESSAGE_ID,
    MESSAGE_ID_RESPONDED_TO,
    NO_DATA_SET,
    RESPONSE,
    STATUS,
    Incoming,
    MalformedMessage,
    encode_command,
    uid_value,
    us_value,
)
from tackybox.item import is_uid

PUSH_MODEL = "1.2.840.10008.1.20.1"  # SOP class, PS3.4 J.3.1
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # the well-known one, PS3.4 J.3.5
MOST_INSTANCES = 500  # in one request
SYNTAXES = (str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian))
N_EVENT_REPORT_RQ = 0x0100  # PS3.7 E.1
PROCESSING_FAILURE = 0x0110

# Failure Reason (0008,1197), PS3.3 table C.14-1
NO_SUCH_INSTANCE = 0x0112
RESOURCE_LIMITATION = 0x0213
DUPLICATE_TRANSACTION = 0x0131
_REASONS = {
    PROCESSING_FAILURE: "it failed while it looked, and does not say why",
    NO_SUCH_INSTANCE: "it does not have the object",
    0x0119: "it has another kind of object under this SOP Instance UID",
    0x0122: "it vouches for no objects of this kind (SOP class)",
    DUPLICATE_TRANSACTION: "it takes our request for one that it has had",
    RESOURCE_LIMITATION: "it has too few resources at the moment",
}

_REQUESTED_SOP_CLASS_UID = 0x0003
_REQUESTED_SOP_INSTANCE_UID = 0x1001
_EVENT_TYPE_ID = 0x1002
_ACTION_TYPE_ID = 0x1008
_N_ACTION_RQ = 0x0130
_REQUEST_COMMITMENT = 1  # Action Type ID
_HAS_DATA_SET = 0x0001


@dataclass(frozen=True, slots=True)
class Report:
    """What an archive says about one request: SOP Instance UIDs, and why not (Failure Reason)."""

    transaction_uid: str
    committed: frozenset[str]
    failed: dict[str, int]


def reason_in_words(reason: int) -> str:
    """What a Failure Reason means, behind "the archive does not vouch for it: "."""
    return _REASONS.get(reason, f"reason 0x{reason:04X}")


class CommitmentAssociation:
    """An association on which is asked; `note` gets each report that comes on it.

    For one thread at a time. `is_offered`: whether the archive has the service at all.
    """

    def __init__(self, association: Association, note: Callable[[Report], None]) -> None:
        self._association = association
        self._note = note
        self._context_id = association.accepted.get(_CONTEXT, 0)
        self.is_offered = bool(association.accepted)

    @classmethod
    def open(
        cls,
        address: ArchiveAddress,
        note: Callable[[Report], None],
        *,
        calling_aet: str,
        timeouts: Timeouts,
        max_pdu_bytes: int,
    ) -> CommitmentAssociation:
        """Raises AssociationError."""
        association = Association.open(
            address,
            [_CONTEXT],
            calling_aet=calling_aet,
            timeouts=timeouts,
            max_pdu_bytes=max_pdu_bytes,
        )
        return cls(association, note)

    @property
    def is_open(self) -> bool:
        """Whether it can be asked on, or a report may come."""
        return self._association.is_open

    def ask(self, transaction_uid: str, instances: Iterable[tuple[str, str]]) -> int:
        """Ask for `instances`, (SOP class, SOP instance) each; the status of the answer.

        Success says only that the archive will look. Raises AssociationError.
        """
        message_id = self._association.next_message_id()
        command = encode_command(
            (_REQUESTED_SOP_CLASS_UID, uid_value(PUSH_MODEL)),
            (COMMAND_FIELD, us_value(_N_ACTION_RQ)),
            (MESSAGE_ID, us_value(message_id)),
            (COMMAND_DATA_SET_TYPE, us_value(_HAS_DATA_SET)),
            (_REQUESTED_SOP_INSTANCE_UID, uid_value(PUSH_MODEL_INSTANCE)),
            (_ACTION_TYPE_ID, us_value(_REQUEST_COMMITMENT)),
        )
        self._association.send(command, self._context_id, encode(transaction_uid, instances))
        while True:
            message = self._receive()
            if message is None:
                continue
            with_id = message.number(MESSAGE_ID_RESPONDED_TO) == message_id
            if message.number(COMMAND_FIELD) == _N_ACTION_RQ | RESPONSE and with_id:
                return message.number(STATUS)
            raise self._misfit()

    def listen(self, for_s: float) -> None:
        """Take reports that come within `for_s`; returns early where the association ends."""
        until_s = time.monotonic() + for_s
        while True:
            if not self._association.is_open:
                try:
                    if self._receive() is not None:
                        raise self._misfit()
                except AssociationError:
                    return
            elif time.monotonic() >= until_s:
                return
            else:
                time.sleep(_LISTEN_AGAIN_S)

    def close(self) -> None:
        """Release it; bounded, never raises for what the archive does."""
        self._association.release()

    def _receive(self) -> Incoming | None:
        """The next message; None if it was a report, which is noted and answered."""
        dataset = bytearray()
        message = self._association.receive(lambda _, fragment: dataset.extend(fragment))
        try:
            if message.number(COMMAND_FIELD) != N_EVENT_REPORT_RQ:
                return message
            report, response = answer_report(message, bytes(dataset), SYNTAXES[0])
        except MalformedMessage as error:
            raise self._misfit() from error
        if report is not None:
            self._note(report)
        self._association.send(response, self._context_id)
        return None

    def _misfit(self) -> AssociationError:
        self._association.abort()
        message = "the archive's answer does not fit a request for commitment"
        return AssociationError(Failure.MALFORMED, message)


def answer_report(
    message: Incoming, dataset: bytes, transfer_syntax_uid: str
) -> tuple[Report | None, bytes]:
    """The report in an N-EVENT-REPORT-RQ, None if it can't be read, and the response to it.

    Raises MalformedMessage if not even a response can be made.
    """
    report = None
    if message.uid(AFFECTED_SOP_CLASS_UID) == PUSH_MODEL:
        report = decode(dataset, transfer_syntax_uid)
    event_type = message.number(_EVENT_TYPE_ID)
    response = encode_command(
        (AFFECTED_SOP_CLASS_UID, uid_value(PUSH_MODEL)),
        (COMMAND_FIELD, us_value(N_EVENT_REPORT_RQ | RESPONSE)),
        (MESSAGE_ID_RESPONDED_TO, us_value(message.number(MESSAGE_ID))),
        (COMMAND_DATA_SET_TYPE, us_value(NO_DATA_SET)),
        (STATUS, us_value(PROCESSING_FAILURE if report is None else 0x0000)),
        (AFFECTED_SOP_INSTANCE_UID, uid_value(PUSH_MODEL_INSTANCE)),
        (_EVENT_TYPE_ID, us_value(event_type)),
    )
    return report, response


def encode(transaction_uid: str, instances: Iterable[tuple[str, str]]) -> bytes:
    """The data set of an N-ACTION (PS3.4 table J.3-1), in Implicit VR Little Endian."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    references = []
    for sop_class_uid, sop_instance_uid in instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID = sop_class_uid
        reference.ReferencedSOPInstanceUID = sop_instance_uid
        references.append(reference)
    dataset.ReferencedSOPSequence = references
    encoded = DicomBytesIO()
    encoded.is_implicit_VR, encoded.is_little_endian = True, True
    write_dataset(encoded, dataset)
    return encoded.getvalue()


def decode(encoded: bytes, transfer_syntax_uid: str) -> Report | None:
    """The report in the data set of an N-EVENT-REPORT (PS3.4 table J.3-2); None if it is none."""
    try:
        is_implicit = transfer_syntax_uid == SYNTAXES[0]
        dataset = read_dataset(io.BytesIO(encoded), is_implicit, is_little_endian=True)
        transaction_uid = str(dataset.get("TransactionUID", ""))
        failed = {
            uid: int(reference.get("FailureReason") or PROCESSING_FAILURE)
            for uid, reference in _references(dataset, "FailedSOPSequence")
        }
        committed = {uid for uid, _ in _references(dataset, "ReferencedSOPSequence")}
    except Exception:  # pydicom raises many classes for bad bytes, and quotes them
        return None
    if not is_uid(transaction_uid):
        return None
    return Report(transaction_uid, frozenset(committed - failed.keys()), failed)


def _references(dataset: Dataset, keyword: str) -> list[tuple[str, Any]]:
    found = (
        (str(one.get("ReferencedSOPInstanceUID", "")), one) for one in dataset.get(keyword, [])
    )
    return [(uid, one) for uid, one in found if is_uid(uid)]


_CONTEXT = Pair(PUSH_MODEL, SYNTAXES[0])
_LISTEN_AGAIN_S = 0.02
