"""What an acceptor says of PDUs that are wrong or out of place (PS3.8 sections 9.2 and 9.3)."""

from __future__ import annotations

from enum import IntEnum

from tackybox.dimse.messages import A_ABORT, PDU_HEAD

ASSOCIATE_RQ = 0x01
_LAST_TYPE = A_ABORT
_SERVICE_PROVIDER = 2


class Reason(IntEnum):
    """Why a service provider aborts (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_VALUE = 6


class Violation(Exception):
    """The peer breaks the protocol: the association is aborted (PS3.8 table 9-10, AA-8)."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


def unexpected(kind: int) -> Violation:
    """For a PDU of `kind` where it has no place."""
    is_known = 0 < kind <= _LAST_TYPE
    return Violation(Reason.UNEXPECTED_PDU if is_known else Reason.UNRECOGNISED_PDU)


def abort(reason: Reason) -> bytes:
    """An A-ABORT of the service provider (PS3.8 section 9.3.8)."""
    return PDU_HEAD.pack(A_ABORT, 4) + bytes((0, 0, _SERVICE_PROVIDER, reason))
