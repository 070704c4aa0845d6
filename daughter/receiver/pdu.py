"""The upper layer's PDUs after the negotiation, as an acceptor meets them (PS3.8 section 9.3).

P-DATA-TF is read in pieces, never as a whole: an item may be 200 MB. Those of the negotiation are
pynetdicom's (`scp`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

ASSOCIATE_RQ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = 0x01, 0x04, 0x05, 0x06, 0x07
_LAST_TYPE = ABORT

HEADER = struct.Struct(">BBL")  # type, reserved, length of what follows
PDV_HEADER = struct.Struct(">LBB")  # length of the rest, presentation context ID, message control
PDV_HEADER_BYTES = PDV_HEADER.size
PDV_LENGTH_BYTES = 4  # of it that its length does not count
IS_COMMAND, IS_LAST = 0x01, 0x02  # message control header, PS3.8 Annex E.2

RELEASE_RESPONSE = HEADER.pack(RELEASE_RP, 0, 4) + b"\0\0\0\0"


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
    return HEADER.pack(ABORT, 0, 4) + bytes((0, 0, 2, reason))


def p_data(context_id: int, command: bytes, longest_bytes: int) -> bytes:
    """P-DATA-TF PDUs with a whole command set; none longer than `longest_bytes`, 0 = no limit."""
    step = max(1, longest_bytes - PDV_HEADER_BYTES) if longest_bytes else len(command)
    return b"".join(_fragments(context_id, command, step))


def _fragments(context_id: int, command: bytes, step: int) -> Iterator[bytes]:
    for start in range(0, len(command), step):
        piece = command[start : start + step]
        control = IS_COMMAND | (IS_LAST if start + step >= len(command) else 0)
        length = len(piece) + PDV_HEADER_BYTES
        yield HEADER.pack(P_DATA_TF, 0, length)
        yield PDV_HEADER.pack(length - PDV_LENGTH_BYTES, context_id, control)
        yield piece
