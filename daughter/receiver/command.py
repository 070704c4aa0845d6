"""Requests as an SCP meets them, and the answers to them (PS3.7 sections 9.3 and 10.3).

Nothing that is read is checked but its shape: a UID may be any text.
"""

from __future__ import annotations

from dataclasses import dataclass

from tackybox.dimse.messages import (
    ACTION_TYPE_ID,
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    MESSAGE_ID,
    MESSAGE_ID_RESPONDED_TO,
    NO_DATA_SET,
    PRIORITY,
    REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID,
    RESPONSE,
    STATUS,
    MalformedMessage,
    encode_command,
    parse_command,
    uid_value,
    us_value,
)

C_CANCEL_RQ = 0x0FFF
_LONGEST_UID_BYTES = 64


@dataclass(frozen=True, slots=True)
class Command:
    """A request. `priority` and `action_type` are None where there is none.

    The UIDs are those of the affected instance, or of the requested one where only that is named.
    """

    field: int
    message_id: int
    has_data_set: bool
    priority: int | None
    sop_class_uid: str
    sop_instance_uid: str
    action_type: int | None = None

    @property
    def wants_answer(self) -> bool:
        """Whether it is a request that has a response."""
        return self.field != C_CANCEL_RQ and not self.field & RESPONSE


def parse(encoded: bytes) -> Command:
    """The request in a command set; raises MalformedMessage if it is not one."""
    elements = parse_command(encoded)
    message_id = _number(elements, MESSAGE_ID)
    if message_id is None:
        message_id = _number(elements, MESSAGE_ID_RESPONDED_TO)
    field, kind = _number(elements, COMMAND_FIELD), _number(elements, COMMAND_DATA_SET_TYPE)
    if field is None or kind is None or message_id is None:
        raise MalformedMessage("a command set lacks what it must have")
    return Command(
        field,
        message_id,
        kind != NO_DATA_SET,
        _number(elements, PRIORITY),
        _uid(elements.get(AFFECTED_SOP_CLASS_UID) or elements.get(REQUESTED_SOP_CLASS_UID, b"")),
        _uid(
            elements.get(AFFECTED_SOP_INSTANCE_UID) or elements.get(REQUESTED_SOP_INSTANCE_UID, b"")
        ),
        _number(elements, ACTION_TYPE_ID),
    )


def response(request: Command, status: int) -> bytes:
    """The command set that answers `request` (PS3.7 tables 9.3-2, 9.3-13 and 10.3-8)."""
    action_type = b"" if request.action_type is None else us_value(request.action_type)
    elements = (
        (AFFECTED_SOP_CLASS_UID, _echoed(request.sop_class_uid)),
        (COMMAND_FIELD, us_value(request.field | RESPONSE)),
        (MESSAGE_ID_RESPONDED_TO, us_value(request.message_id)),
        (COMMAND_DATA_SET_TYPE, us_value(NO_DATA_SET)),
        (STATUS, us_value(status)),
        (AFFECTED_SOP_INSTANCE_UID, _echoed(request.sop_instance_uid)),
        (ACTION_TYPE_ID, action_type),
    )
    return encode_command(*(element for element in elements if element[1]))


def _number(elements: dict[int, bytes], number: int) -> int | None:
    value = elements.get(number, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _uid(value: bytes) -> str:
    return value.rstrip(b" \0").decode("ascii", "replace")


def _echoed(uid: str) -> bytes:
    """Nothing if there is no UID, or one that none can be."""
    return uid_value(uid) if uid.isascii() and len(uid) <= _LONGEST_UID_BYTES else b""
