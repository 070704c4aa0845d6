"""Messages as bytes: P-DATA-TF PDUs (PS3.8 9.3.5) and the command sets of requests.

A command set is Implicit VR Little Endian, group 0000 alone, its length first (PS3.7 6.3.1).
Promises: `parse_command` takes any bytes and returns or raises MalformedMessage; `Incoming` puts a
message together whatever way its fragments were spread over PDVs and PDUs, and keeps nothing of a
data set that comes with it, but hands it on to who wants it. What is encoded is right only for
valid UIDs. Does no input or output.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

P_DATA_TF = 0x04  # PDU types, PS3.8 9.3.1
A_RELEASE_RQ = 0x05
A_RELEASE_RP = 0x06
A_ABORT = 0x07
RELEASE_RQ_PDU = b"\x05\0\0\0\0\x04\0\0\0\0"
RELEASE_RP_PDU = b"\x06\0\0\0\0\x04\0\0\0\0"
ABORT_PDU = b"\x07\0\0\0\0\x04\0\0\0\0"  # source 0: the service user

PDU_HEAD = struct.Struct(">BxI")
PDV_HEAD = struct.Struct(">IBB")
_PDU_AND_PDV_HEAD = struct.Struct(">BxIIBB")
PDV_HEAD_BYTES = PDV_HEAD.size
_ELEMENT_HEAD = struct.Struct("<HHI")
IS_COMMAND = 0x01  # message control header, PS3.8 E.2
IS_LAST = 0x02

AFFECTED_SOP_CLASS_UID = 0x0002  # elements of group 0000, PS3.7 E.1
REQUESTED_SOP_CLASS_UID = 0x0003
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
MESSAGE_ID_RESPONDED_TO = 0x0120
PRIORITY = 0x0700
COMMAND_DATA_SET_TYPE = 0x0800
STATUS = 0x0900
AFFECTED_SOP_INSTANCE_UID = 0x1000
REQUESTED_SOP_INSTANCE_UID = 0x1001
EVENT_TYPE_ID = 0x1002
ACTION_TYPE_ID = 0x1008
C_STORE_RQ = 0x0001
C_GET_RQ = 0x0010
C_FIND_RQ = 0x0020
C_ECHO_RQ = 0x0030
N_EVENT_REPORT_RQ = 0x0100
N_ACTION_RQ = 0x0130
_C_CANCEL_RQ = 0x0FFF
RESPONSE = 0x8000
NO_DATA_SET = 0x0101
_DATA_SET = 0x0001


class MalformedMessage(ValueError):
    """The peer sent what is no message, or none that fits."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request's command set, and the Command Field that its response must have."""

    message_id: int
    command: bytes
    response_field: int


def echo_request(message_id: int, sop_class_uid: str) -> Request:
    """C-ECHO-RQ, PS3.7 table 9.3-12."""
    command = encode_command(
        (AFFECTED_SOP_CLASS_UID, uid_value(sop_class_uid)),
        (COMMAND_FIELD, us_value(C_ECHO_RQ)),
        (MESSAGE_ID, us_value(message_id)),
        (COMMAND_DATA_SET_TYPE, us_value(NO_DATA_SET)),
    )
    return Request(message_id, command, C_ECHO_RQ | RESPONSE)


def store_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, priority: int
) -> Request:
    """C-STORE-RQ, PS3.7 table 9.3-1."""
    command = encode_command(
        (AFFECTED_SOP_CLASS_UID, uid_value(sop_class_uid)),
        (COMMAND_FIELD, us_value(C_STORE_RQ)),
        (MESSAGE_ID, us_value(message_id)),
        (PRIORITY, us_value(priority)),
        (COMMAND_DATA_SET_TYPE, us_value(_DATA_SET)),
        (AFFECTED_SOP_INSTANCE_UID, uid_value(sop_instance_uid)),
    )
    return Request(message_id, command, C_STORE_RQ | RESPONSE)


def find_request(message_id: int, sop_class_uid: str) -> Request:
    """C-FIND-RQ, PS3.7 table 9.3-2; its identifier follows."""
    return _query_request(C_FIND_RQ, message_id, sop_class_uid)


def get_request(message_id: int, sop_class_uid: str) -> Request:
    """C-GET-RQ, PS3.7 table 9.3-6; its identifier follows."""
    return _query_request(C_GET_RQ, message_id, sop_class_uid)


def _query_request(field: int, message_id: int, sop_class_uid: str) -> Request:
    command = encode_command(
        (AFFECTED_SOP_CLASS_UID, uid_value(sop_class_uid)),
        (COMMAND_FIELD, us_value(field)),
        (MESSAGE_ID, us_value(message_id)),
        (PRIORITY, us_value(0)),
        (COMMAND_DATA_SET_TYPE, us_value(_DATA_SET)),
    )
    return Request(message_id, command, field | RESPONSE)


def store_response(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, status: int
) -> bytes:
    """C-STORE-RSP, PS3.7 table 9.3-2."""
    return encode_command(
        (AFFECTED_SOP_CLASS_UID, uid_value(sop_class_uid)),
        (COMMAND_FIELD, us_value(C_STORE_RQ | RESPONSE)),
        (MESSAGE_ID_RESPONDED_TO, us_value(message_id)),
        (COMMAND_DATA_SET_TYPE, us_value(NO_DATA_SET)),
        (STATUS, us_value(status)),
        (AFFECTED_SOP_INSTANCE_UID, uid_value(sop_instance_uid)),
    )


def cancel_command(message_id: int) -> bytes:
    """C-CANCEL-RQ for the request `message_id`, PS3.7 table 9.3-5; it has no response."""
    return encode_command(
        (COMMAND_FIELD, us_value(_C_CANCEL_RQ)),
        (MESSAGE_ID_RESPONDED_TO, us_value(message_id)),
        (COMMAND_DATA_SET_TYPE, us_value(NO_DATA_SET)),
    )


def event_report_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int
) -> Request:
    """N-EVENT-REPORT-RQ with a data set, PS3.7 table 10.3-1."""
    command = encode_command(
        (AFFECTED_SOP_CLASS_UID, uid_value(sop_class_uid)),
        (COMMAND_FIELD, us_value(N_EVENT_REPORT_RQ)),
        (MESSAGE_ID, us_value(message_id)),
        (COMMAND_DATA_SET_TYPE, us_value(_DATA_SET)),
        (AFFECTED_SOP_INSTANCE_UID, uid_value(sop_instance_uid)),
        (EVENT_TYPE_ID, us_value(event_type)),
    )
    return Request(message_id, command, N_EVENT_REPORT_RQ | RESPONSE)


def fragment_bytes(max_pdu_bytes: int) -> int:
    """The most that a PDV may carry: a PDU's length less the PDV's head; even (PS3.8 D.1)."""
    return (max_pdu_bytes - PDV_HEAD_BYTES) & ~1


def command_pdus(command: bytes, context_id: int, fragment_size: int) -> bytes:
    """The PDUs that carry `command`, in fragments of at most `fragment_size` bytes."""
    return b"".join(
        head + command[start : start + size]
        for start, size, head in _fragments(len(command), context_id, fragment_size, IS_COMMAND)
    )


def dataset_fragments(
    size_bytes: int, context_id: int, fragment_size: int
) -> Iterator[tuple[int, int, bytes]]:
    """Offset and size of each fragment of a data set, with the PDU's and the PDV's heads."""
    return _fragments(size_bytes, context_id, fragment_size, 0)


def _fragments(
    size_bytes: int, context_id: int, fragment_size: int, kind: int
) -> Iterator[tuple[int, int, bytes]]:
    """At least one fragment, which may be empty."""
    last_start = max(0, (size_bytes - 1) // fragment_size * fragment_size)
    head = _heads(fragment_size, context_id, kind)
    for start in range(0, last_start, fragment_size):
        yield start, fragment_size, head
    rest = size_bytes - last_start
    yield last_start, rest, _heads(rest, context_id, kind | IS_LAST)


def _heads(size: int, context_id: int, control: int) -> bytes:
    pdv_length = size + 2  # counts the context ID and the control header
    return _PDU_AND_PDV_HEAD.pack(P_DATA_TF, pdv_length + 4, pdv_length, context_id, control)


Take = Callable[["Incoming", bytes], None]


class Incoming:
    """One message on its way in: feed it P-DATA-TF bodies until `is_complete`.

    `context_id` is that of its command set. `take` gets each fragment of its data set, when the
    command set is known already; without it they are thrown away.
    """

    def __init__(self, take: Take | None = None) -> None:
        self.context_id = 0
        self._take_fragment = take
        self._command = bytearray()
        self._awaits_command = True
        self._awaits_data_set = False
        self._elements: dict[int, bytes] = {}

    @property
    def is_complete(self) -> bool:
        """Whether all of the message is there."""
        return not self._awaits_command and not self._awaits_data_set

    def feed(self, body: bytes) -> None:
        """Take the PDVs of one PDU; raises MalformedMessage."""
        offset = 0
        while offset < len(body):
            if len(body) - offset < PDV_HEAD_BYTES:
                raise MalformedMessage("a PDV is cut off")
            length, context_id, control = PDV_HEAD.unpack_from(body, offset)
            end = offset + 4 + length
            if length < 2 or end > len(body):
                raise MalformedMessage("a PDV's length is wrong")
            if self._awaits_command:
                self.context_id = context_id
            self._take(control, body[offset + PDV_HEAD_BYTES : end])
            offset = end

    def number(self, element: int) -> int:
        """The value of an element of VR US in the command set; raises MalformedMessage."""
        return _number(self._elements, element)

    def uid(self, element: int) -> str:
        """The value of an element of VR UI in the command set, "" if it is not there or none."""
        value = self._elements.get(element, b"").rstrip(b"\0 ")
        return value.decode("ascii", "replace") if len(value) <= 64 else ""

    def status_of(self, request: Request) -> int:
        """The Status of this message as the response to `request`; raises MalformedMessage."""
        found = self._elements
        if (
            _number(found, COMMAND_FIELD) != request.response_field
            or _number(found, MESSAGE_ID_RESPONDED_TO) != request.message_id
        ):
            raise MalformedMessage("it answers something else")
        return _number(found, STATUS)

    def _take(self, control: int, fragment: bytes) -> None:
        is_command, is_last = bool(control & IS_COMMAND), bool(control & IS_LAST)
        if self.is_complete or is_command != self._awaits_command:
            raise MalformedMessage("a fragment comes out of turn")
        if not is_command:
            self._awaits_data_set = not is_last
            if self._take_fragment is not None:
                self._take_fragment(self, fragment)
            return
        self._command += fragment
        if is_last:
            self._elements = parse_command(bytes(self._command))
            self._awaits_command = False
            kind = _number(self._elements, COMMAND_DATA_SET_TYPE)
            self._awaits_data_set = kind != NO_DATA_SET


def parse_command(command: bytes) -> dict[int, bytes]:
    """The values of a command set by element number; raises MalformedMessage."""
    elements: dict[int, bytes] = {}
    offset = 0
    while offset < len(command):
        if len(command) - offset < _ELEMENT_HEAD.size:
            raise MalformedMessage("a command set is cut off")
        group, element, length = _ELEMENT_HEAD.unpack_from(command, offset)
        offset += _ELEMENT_HEAD.size
        if group != 0 or length > len(command) - offset:
            raise MalformedMessage("a command set can't be read")
        elements[element] = command[offset : offset + length]
        offset += length
    return elements


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise MalformedMessage("a command set lacks what it must have")
    return int.from_bytes(value, "little")


def encode_command(*elements: tuple[int, bytes]) -> bytes:
    """A command set of `elements`, in their order, which must be that of their numbers."""
    body = b"".join(_ELEMENT_HEAD.pack(0, tag, len(value)) + value for tag, value in elements)
    return _ELEMENT_HEAD.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def uid_value(uid: str) -> bytes:
    """A UID as a value: of even length, by a NUL."""
    value = uid.encode("ascii")
    return value + b"\0" * (len(value) % 2)


def us_value(number: int) -> bytes:
    """A number as a value of VR US."""
    return struct.pack("<H", number)
