"""The receiver's side of a negotiation: an A-ASSOCIATE-RQ in, the answer to it out (PS3.8 7.1).

Promises: every storage SOP class, known, private or unknown, is accepted in the first transfer
syntax that is offered with it, and storage commitment as its provider; who is not let in gets the
reason that PS3.8 table 9-21 gives for it. pynetdicom reads the request, negotiates its contexts and
writes the answer; it sees no socket and none of what comes after, which `association` reads itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom import build_context, sop_class
from pynetdicom._globals import DEFAULT_TRANSFER_SYNTAXES
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import negotiate_unrestricted

from tackybox.config import DaughterConfig
from tackybox.dimse.commitment_provider import COMMITMENT, EXPLICIT_LE, IMPLICIT_LE
from tackybox.item import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

VERIFICATION = "1.2.840.10008.1.1"
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_STORAGE_ARC = "1.2.840.10008.5.1.4.1.1."

# Result, source and reason (PS3.8 table 9-21).
_CALLING_AET = (0x01, 0x01, 0x03)
_CALLED_AET = (0x01, 0x01, 0x07)
_PROTOCOL_VERSION = (0x01, 0x02, 0x02)
_LOCAL_LIMIT = (0x02, 0x03, 0x02)


def _tell_storage_from_other_services() -> None:
    """Teach pynetdicom which standard classes are storage: it takes each one it lacks for it."""
    # Palettes, protocols, templates (PS3.4 Annex GG) are.
    sop_class._STORAGE_CLASSES.update(sop_class._NON_PATIENT_OBJECT_CLASSES)
    for uid, (name, kind, _, _, keyword) in UID_dictionary.items():
        is_storage = uid.startswith(_STORAGE_ARC) or (
            "Storage" in name and not name.startswith("Storage Commitment")
        )
        if kind.endswith("SOP Class") and not is_storage and not hasattr(sop_class, keyword):
            setattr(sop_class, keyword, sop_class.SOPClass(uid))


_tell_storage_from_other_services()


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context: what it is about, in which transfer syntax."""

    abstract_syntax: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """An association: `answer` is the A-ASSOCIATE-AC. `longest_bytes` is the longest P-DATA-TF
    that the peer takes, 0 = any."""

    answer: bytes
    contexts: dict[int, Context]
    calling_aet: str
    called_aet: str
    longest_bytes: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """No association: `answer` is the A-ASSOCIATE-RJ, `why` is for people."""

    answer: bytes
    calling_aet: str
    why: str


class Door:
    """Lets in only the modalities that are configured, from where they are configured."""

    def __init__(self, config: DaughterConfig) -> None:
        self._config = config
        self._supported = [build_context(VERIFICATION, DEFAULT_TRANSFER_SYNTAXES)]
        if config.commitment_timeout_s:
            self._supported.append(build_context(COMMITMENT, [EXPLICIT_LE, IMPLICIT_LE]))

    def answer(self, request: bytes, address: str, called_address: str) -> Accepted | Rejected:
        """The answer to an A-ASSOCIATE-RQ that came from `address` to our `called_address`.

        Raises ValueError if `request` is not one.
        """
        asked, primitive = _read(request)
        calling_aet = asked.calling_ae_title.strip()
        called_aet = asked.called_ae_title.strip()
        allowed = self._config.modalities.allows(calling_aet, address)
        if not allowed and not self._is_this_box(calling_aet, address, called_address):
            why = "unknown calling AE title"
            if self._config.modalities.knows_aet(calling_aet):
                why = "calling AE title from an address that is not its own"
            return _rejected(_CALLING_AET, calling_aet, why)
        if self._config.require_called_aet and called_aet != self._config.aet:
            return _rejected(_CALLED_AET, calling_aet, "another called AE title")
        if not asked.protocol_version & 0x0001:
            return _rejected(_PROTOCOL_VERSION, calling_aet, "another version of the protocol")
        return self._accepted(primitive, calling_aet, called_aet)

    @staticmethod
    def full(calling_aet: str) -> Rejected:
        """The answer to one whom we would let in if there were room."""
        return _rejected(_LOCAL_LIMIT, calling_aet, "as many associations as are allowed")

    def _is_this_box(self, calling_aet: str, address: str, called_address: str) -> bool:
        """Whether `tackybox check` calls: who is on this machine could write its spool anyhow."""
        return calling_aet == self._config.aet and _is_from_here(address, called_address)

    def _accepted(self, asked: Any, calling_aet: str, called_aet: str) -> Accepted:
        proposed = {
            UID(item.sop_class_uid or ""): (item.scu_role, item.scp_role)
            for item in asked.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
        }
        contexts, roles = negotiate_unrestricted(
            asked.presentation_context_definition_list, self._supported, proposed
        )
        answer = A_ASSOCIATE()
        answer.application_context_name = UID(_APPLICATION_CONTEXT)
        answer.calling_ae_title = asked.calling_ae_title
        answer.called_ae_title = asked.called_ae_title
        answer.result = 0x00
        answer.result_source = 0x01
        answer.presentation_context_definition_results_list = contexts
        answer.user_information = [*self._about_us(), *roles, *_commitment_role(contexts, proposed)]
        return Accepted(
            A_ASSOCIATE_AC(answer).encode(),
            {
                int(context.context_id or 0): Context(
                    str(context.abstract_syntax), str(context.transfer_syntax[0])
                )
                for context in contexts
                if context.result == 0x00
            },
            calling_aet,
            called_aet,
            int(asked.maximum_length_received or 0),
        )

    def _about_us(self) -> list[Any]:
        longest = MaximumLengthNotification()
        longest.maximum_length_received = self._config.max_pdu_bytes
        implementation = ImplementationClassUIDNotification()
        implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        version = ImplementationVersionNameNotification()
        version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        return [longest, implementation, version]


def _commitment_role(
    contexts: list[Any], proposed: dict[UID, tuple[Any, Any]]
) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Storage commitment's roles, if they were proposed: the peer asks, we provide. pynetdicom
    leaves them out (PS3.7 D.3.3.4)."""
    is_accepted = any(one.abstract_syntax == COMMITMENT and one.result == 0 for one in contexts)
    if not is_accepted or not proposed.get(UID(COMMITMENT), (False, False))[0]:
        return []
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = UID(COMMITMENT)
    role.scu_role, role.scp_role = True, False
    return [role]


def _read(request: bytes) -> tuple[Any, Any]:
    """The PDU in `request`, checked as far as pynetdicom does, and its primitive."""
    asked: Any = A_ASSOCIATE_RQ()
    try:
        asked.decode(request)
        primitive = asked.to_primitive()
        if not all(context.transfer_syntax for context in asked.presentation_context):
            raise ValueError("a presentation context without a transfer syntax")
    except Exception as error:  # pynetdicom raises many classes for bad bytes, and quotes them
        raise ValueError("what came is no A-ASSOCIATE-RQ") from error
    return asked, primitive


def _rejected(reason: tuple[int, int, int], calling_aet: str, why: str) -> Rejected:
    answer = A_ASSOCIATE()
    answer.result, answer.result_source, answer.diagnostic = reason
    return Rejected(A_ASSOCIATE_RJ(answer).encode(), calling_aet, why)


def _is_from_here(address: str, called_address: str) -> bool:
    """Whether a caller from `address` is on this machine: on loopback, or at what it calls."""
    place = ip_address(address.partition("%")[0])
    place = getattr(place, "ipv4_mapped", None) or place
    return place.is_loopback or address == called_address
