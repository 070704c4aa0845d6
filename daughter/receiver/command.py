"""Command sets of the DIMSE-C services that a storage SCP meets (PS3.7 sections 6.3.1 and 9.3).

Always in Implicit VR Little Endian. Nothing that is read is checked but its shape: a UID may be
any text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
IS_RESPONSE = 0x8000
NO_DATA_SET = 0x0101

_GROUP_LENGTH, _SOP_CLASS_UID, _COMMAND_FIELD, _MESSAGE_ID = 0x0000, 0x0002, 0x0100, 0x0110
_RESPONDED_TO, _PRIORITY, _DATA_SET_TYPE, _STATUS = 0x0120, 0x0700, 0x0800, 0x0900
_SOP_INSTANCE_UID = 0x1000
_ELEMENT = struct.Struct("<HHL")
_US, _UL = struct.Struct("<H"), struct.Struct("<L")
_LONGEST_UID_BYTES = 64


@dataclass(frozen=True, slots=True)
class Command:
    """A request. `priority` is None where there is none."""

    field: int
    message_id: int
    has_data_set: bool
    priority: int | None
    sop_class_uid: str
    sop_instance_uid: str


def parse(encoded: bytes) -> Command:
    """The request in a command set; raises ValueError if it is not one."""
    elements = _elements(encoded)
    try:
        field = _US.unpack(elements[_COMMAND_FIELD])[0]
        message_id = _US.unpack(elements.get(_MESSAGE_ID) or elements[_RESPONDED_TO])[0]
        data_set_type = _US.unpack(elements[_DATA_SET_TYPE])[0]
        priority = elements.get(_PRIORITY)
        return Command(
            field,
            message_id,
            data_set_type != NO_DATA_SET,
            _US.unpack(priority)[0] if priority else None,
            _uid(elements.get(_SOP_CLASS_UID, b"")),
            _uid(elements.get(_SOP_INSTANCE_UID, b"")),
        )
    except (KeyError, struct.error) as error:
        raise ValueError("a command set without what each must have") from error


def response(request: Command, status: int) -> bytes:
    """The command set that answers `request` (PS3.7 tables 9.3-2 and 9.3-13)."""
    elements = [
        _uid_element(_SOP_CLASS_UID, request.sop_class_uid),
        _us_element(_COMMAND_FIELD, request.field | IS_RESPONSE),
        _us_element(_RESPONDED_TO, request.message_id),
        _us_element(_DATA_SET_TYPE, NO_DATA_SET),
        _us_element(_STATUS, status),
        _uid_element(_SOP_INSTANCE_UID, request.sop_instance_uid),
    ]
    body = b"".join(elements)
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + _UL.pack(len(body)) + body


def _elements(encoded: bytes) -> dict[int, bytes]:
    """Values of group 0000 by element number."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(encoded):
        if len(encoded) - position < _ELEMENT.size:
            raise ValueError("a command set ends within an element")
        group, number, length = _ELEMENT.unpack_from(encoded, position)
        position += _ELEMENT.size
        if group != 0 or length > len(encoded) - position:
            raise ValueError("a command set holds what is no element of one")
        found[number] = encoded[position : position + length]
        position += length
    return found


def _uid(value: bytes) -> str:
    return value.rstrip(b" \0").decode("ascii", "replace")


def _us_element(number: int, value: int) -> bytes:
    return _ELEMENT.pack(0, number, 2) + _US.pack(value)


def _uid_element(number: int, uid: str) -> bytes:
    """Nothing at all if there is no UID, or one that no UID can be."""
    value = uid.encode("ascii", "replace")
    if not value or len(value) > _LONGEST_UID_BYTES:
        return b""
    value += b"\0" * (len(value) % 2)
    return _ELEMENT.pack(0, number, len(value)) + value
