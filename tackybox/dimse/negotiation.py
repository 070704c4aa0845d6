"""The negotiation of an association as its requestor (PS3.8 chapter 7.1): bytes out, terms in.

pynetdicom encodes the A-ASSOCIATE-RQ and decodes what comes back; its threads are not used. Does
no input or output. A peer's answer may be any bytes: `read_answer` returns or raises
AssociationError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import negotiate_as_requestor

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.failures import AssociationError, Failure, rejection_in_words
from tackybox.dimse.messages import A_ABORT, PDU_HEAD
from tackybox.item import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_A_ASSOCIATE_AC = 0x02  # PDU types, PS3.8 9.3.1
_A_ASSOCIATE_RJ = 0x03
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_ACCEPTED = 0  # PS3.8 table 9-18
_TRANSFER_SYNTAXES_NOT_SUPPORTED = 4
_LEAST_PDU_BYTES = 64


class Pair(NamedTuple):
    """What one presentation context is about: a SOP class in one transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed upon.

    `accepted`: presentation context IDs. `known_classes`: SOP classes that the archive knows, in
    whatever transfer syntax. `max_pdu_bytes`: the longest PDU that we may send.
    """

    accepted: dict[Pair, int]
    known_classes: frozenset[str]
    max_pdu_bytes: int
    peer_implementation: str


class Negotiation:
    """One request for an association, for exactly `contexts`; as SCP of the SOP classes in
    `as_provider`, as SCU of all others."""

    def __init__(
        self,
        address: ArchiveAddress,
        contexts: Sequence[Pair],
        *,
        calling_aet: str,
        max_pdu_bytes: int,
        as_provider: Sequence[str] = (),
    ) -> None:
        self._address = address
        self._max_pdu_bytes = max_pdu_bytes
        self._contexts = [build_context(*pair) for pair in contexts]
        for number, context in enumerate(self._contexts):
            context.context_id = 2 * number + 1
        request = A_ASSOCIATE()
        request.application_context_name = UID(_APPLICATION_CONTEXT)
        request.calling_ae_title = calling_aet
        request.called_ae_title = address.aet
        request.presentation_context_definition_list = self._contexts
        request.user_information = [
            *user_information(max_pdu_bytes),
            *map(_provider_role, as_provider),
        ]
        self.request_pdu: bytes = A_ASSOCIATE_RQ(request).encode()

    def read_answer(self, kind: int, body: bytes) -> Terms:
        """The terms in the answering PDU; raises AssociationError if it is no acceptance."""
        if kind == _A_ASSOCIATE_RJ and len(body) >= 4:
            reason = rejection_in_words(*body[1:4])
            message = f"{self._address} rejected the association: {reason}"
            raise AssociationError(Failure.REJECTED, message)
        if kind == A_ABORT:
            message = f"{self._address} broke off the association request"
            raise AssociationError(Failure.ABORTED, message)
        if kind == _A_ASSOCIATE_AC:
            try:
                return self._terms(PDU_HEAD.pack(kind, len(body)) + body)
            except Exception as error:  # pynetdicom raises many classes for bad bytes
                raise self._malformed() from error
        raise self._malformed()

    def _malformed(self) -> AssociationError:
        message = f"{self._address} answered with something that can't be understood"
        return AssociationError(Failure.MALFORMED, message)

    def _terms(self, pdu: bytes) -> Terms:
        decoded = A_ASSOCIATE_AC()
        decoded.decode(pdu)
        answer = decoded.to_primitive()
        results = negotiate_as_requestor(
            self._contexts, answer.presentation_context_definition_results_list
        )
        announced_bytes = _told(answer, MaximumLengthNotification, "maximum_length_received") or 0
        limit_bytes = announced_bytes or self._max_pdu_bytes  # 0: no limit, PS3.8 D.1
        accepted = {
            Pair(str(result.abstract_syntax), str(result.transfer_syntax[0])): int(
                result.context_id or 0
            )
            for result in results
            if result.result == _ACCEPTED
        }
        unsupported = {
            str(result.abstract_syntax)
            for result in results
            if result.result == _TRANSFER_SYNTAXES_NOT_SUPPORTED
        }
        return Terms(
            accepted,
            frozenset({pair.sop_class_uid for pair in accepted} | unsupported),
            max(_LEAST_PDU_BYTES, min(limit_bytes, self._max_pdu_bytes)),
            str(
                _told(answer, ImplementationClassUIDNotification, "implementation_class_uid") or ""
            ),
        )


def user_information(max_pdu_bytes: int) -> list[Any]:
    """PS3.7 D.3.3: the longest PDU that we take, and who made us."""
    longest = MaximumLengthNotification()
    longest.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [longest, implementation, version]


def _provider_role(sop_class_uid: str) -> Any:
    """PS3.7 D.3.3.4: we, who request the association, are the SCP."""
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = UID(sop_class_uid)
    role.scu_role, role.scp_role = False, True
    return role


def _told(answer: Any, kind: type, attribute: str) -> Any:
    """What one of the answer's user information items says, None if it is not there."""
    found = (getattr(item, attribute) for item in answer.user_information if type(item) is kind)
    return next(found, None)
