"""Why there is no association, or none any more, in words for people."""

from __future__ import annotations

from enum import StrEnum

from tackybox.errors import UnavailableError


class Failure(StrEnum):
    """Why there is no association, or none any more."""

    UNKNOWN_HOST = "unknown host"
    REFUSED = "connection refused"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"
    ABORTED = "aborted"
    RELEASED = "released"
    CLOSED = "connection closed"
    TIMED_OUT = "timed out"
    MALFORMED = "malformed answer"


class AssociationError(UnavailableError):
    """There is no association, or none any more; exit code 69. The message is for people."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


_ABORT_REASONS = {  # PS3.8 table 9-26, where the source is the service provider
    1: "unrecognised PDU",
    2: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
_SERVICE_PROVIDER = 2


def aborted(body: bytes) -> AssociationError:
    """What an A-ABORT PDU says, whose bytes behind the head are `body` (PS3.8 9.3.8)."""
    message = "the archive aborted the association"
    if len(body) >= 4 and body[2] == _SERVICE_PROVIDER and body[3]:
        message += f": {_ABORT_REASONS.get(body[3], 'no reason given')}"
    return AssociationError(Failure.ABORTED, message)


_REJECTION_REASONS = {  # PS3.8 table 9-21: (source, reason)
    (1, 1): "it gives no reason",
    (1, 2): "it does not know DICOM's application context",
    (1, 3): "it does not know our (the calling) AE title",
    (1, 7): "it does not know the called AE title as its own",
    (2, 1): "its protocol machine gives no reason",
    (2, 2): "it does not support this protocol version",
    (3, 1): "it is congested at the moment",
    (3, 2): "it has as many associations as it allows",
}


def rejection_in_words(result: int | None, source: int | None, reason: int | None) -> str:
    """An A-ASSOCIATE-RJ as PS3.8 table 9-21 has it, for people."""
    words = _REJECTION_REASONS.get(
        (source or 0, reason or 0), f"reason {reason} of source {source}"
    )
    return f"{words} ({'transient' if result == 2 else 'permanent'})"
