"""Storage commitment as its provider (PS3.4 Annex J, Push Model): requests read, results told.

Promises: `read_request` takes any bytes and returns or raises DataError, within memory that is a
small multiple of theirs; `tell` ends within bounded time, as `tackybox.dimse.association` does.
The association for a result is opened by us, the SCP, so we propose that role (PS3.7 D.3.3.4); a
modality that accepts the context and says nothing of roles gets its result all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.association import Association, AssociationError, Failure, Pair, Timeouts
from tackybox.dimse.elements import Element, encode, parse
from tackybox.dimse.messages import event_report_request, uid_value, us_value
from tackybox.dimse.payload import Content
from tackybox.errors import DataError
from tackybox.item import is_uid

COMMITMENT = "1.2.840.10008.1.20.1"  # SOP class
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"  # its one, well-known instance
REQUEST_COMMITMENT = 1  # Action Type ID, PS3.4 table J.3.2-1
IMPLICIT_LE, EXPLICIT_LE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"

NO_SUCH_INSTANCE = 0x0112  # failure reasons, PS3.3 C.14.1.1
PROCESSING_FAILURE = 0x0110
CLASS_CONFLICT = 0x0119
DUPLICATE_TRANSACTION = 0x0131

_ALL_COMMITTED, _SOME_FAILED = 1, 2  # Event Type IDs, PS3.4 table J.3.3-1
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00081150, 0x00081155
_TRANSACTION_UID = 0x00081195
_FAILURE_REASON = 0x00081197
_FAILED, _REFERENCED = 0x00081198, 0x00081199

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


class TooManyError(DataError):
    """A request names more images than may be; exit code 65."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a modality is told: each reference is in one of the two."""

    transaction_uid: str
    committed: Sequence[Reference]
    failed: Sequence[tuple[Reference, int]]


def read_request(
    encoded: bytes, transfer_syntax_uid: str, most: int
) -> tuple[str, tuple[Reference, ...]]:
    """Transaction UID and references of an N-ACTION's data set, each reference once.

    Raises DataError, in words for people that quote nothing of it; TooManyError for more than
    `most`.
    """
    try:
        elements = parse(encoded, implicit=transfer_syntax_uid == IMPLICIT_LE, little_endian=True)
    except RecursionError as error:
        raise DataError("sequences in it are nested too deeply") from error
    found = {element.tag: element for element in elements}
    transaction_uid = _uid(found.get(_TRANSACTION_UID))
    items = found[_REFERENCED].items if _REFERENCED in found else ()
    if not items:
        raise DataError("it names no images (0008,1199)")
    if len(items) > most:
        raise TooManyError(f"it names more than {most} images")
    references = (
        (_uid(by_tag.get(_SOP_CLASS_UID)), _uid(by_tag.get(_SOP_INSTANCE_UID)))
        for by_tag in ({element.tag: element for element in item} for item in items)
    )
    return transaction_uid, tuple(dict.fromkeys(references))


def tell(
    result: Result,
    address: ArchiveAddress,
    *,
    calling_aet: str,
    timeouts: Timeouts,
    max_pdu_bytes: int,
) -> int:
    """Send `result` to the modality at `address` on an association of its own; its status.

    Raises AssociationError.
    """
    association, pair = _associate(address, calling_aet, timeouts, max_pdu_bytes)
    try:
        request = event_report_request(
            association.next_message_id(), COMMITMENT, COMMITMENT_INSTANCE,
            _SOME_FAILED if result.failed else _ALL_COMMITTED,
        )  # fmt: skip
        content = Content(data_set(result, implicit=pair.transfer_syntax_uid == IMPLICIT_LE))
        status = association.exchange(request, association.accepted[pair], content)
        association.release()
    finally:
        association.abort()
    return status


def require_listening(
    address: ArchiveAddress, *, calling_aet: str, timeouts: Timeouts, max_pdu_bytes: int
) -> None:
    """Raise AssociationError unless the modality at `address` would take a result from us now."""
    association, _ = _associate(address, calling_aet, timeouts, max_pdu_bytes)
    association.release()


def _associate(
    address: ArchiveAddress, calling_aet: str, timeouts: Timeouts, max_pdu_bytes: int
) -> tuple[Association, Pair]:
    """An association for results, and what was agreed on for them."""
    pairs = [Pair(COMMITMENT, EXPLICIT_LE), Pair(COMMITMENT, IMPLICIT_LE)]
    association = Association.open(
        address, pairs, calling_aet=calling_aet, timeouts=timeouts, max_pdu_bytes=max_pdu_bytes,
        as_provider=(COMMITMENT,),
    )  # fmt: skip
    accepted = [pair for pair in pairs if pair in association.accepted]
    if not accepted:
        raise AssociationError(
            Failure.REJECTED, f"{address} does not take results of storage commitment from us"
        )
    return association, accepted[0]


def data_set(result: Result, *, implicit: bool) -> bytes:
    """The N-EVENT-REPORT's data set (PS3.4 table J.3.3-1)."""
    elements = [Element(_TRANSACTION_UID, "UI", uid_value(result.transaction_uid))]
    if result.failed:
        failed = tuple(
            (*_referenced(reference), Element(_FAILURE_REASON, "US", us_value(reason)))
            for reference, reason in result.failed
        )
        elements.append(Element(_FAILED, "SQ", items=failed))
    if result.committed:
        elements.append(Element(_REFERENCED, "SQ", items=tuple(map(_referenced, result.committed))))
    return encode(elements, implicit=implicit)


def _referenced(reference: Reference) -> tuple[Element, ...]:
    sop_class_uid, sop_instance_uid = reference
    return (
        Element(_SOP_CLASS_UID, "UI", uid_value(sop_class_uid)),
        Element(_SOP_INSTANCE_UID, "UI", uid_value(sop_instance_uid)),
    )


def _uid(element: Element | None) -> str:
    """The UID in `element`; raises DataError."""
    uid = element.value.rstrip(b"\0 ").decode("ascii", "replace") if element else ""
    if not is_uid(uid):
        raise DataError("it lacks a UID that it must have, or has one that is none")
    return uid
