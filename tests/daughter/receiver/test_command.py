"""Command sets: what pynetdicom writes is read, what we write pynetdicom reads."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode, encode

from daughter.receiver import command
from daughter.receiver.command import Command
from tackybox.dimse import messages

CT = "1.2.840.10008.5.1.4.1.1.2"
uids = st.from_regex(r"[0-9][0-9.]{0,63}", fullmatch=True)


def encoded(message: C_STORE_RQ | C_ECHO_RQ) -> bytes:
    found = encode(message.command_set, True, True)
    assert found is not None
    return found


@given(uids, uids, st.integers(0, 0xFFFF), st.sampled_from([0, 1, 2]))
def test_a_c_store_request_of_pynetdicom_is_read(
    sop_class: str, instance: str, message_id: int, priority: int
) -> None:
    request = C_STORE()
    request.MessageID = message_id
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = instance
    request.Priority = priority
    request.DataSet = BytesIO(b"x")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    assert command.parse(encoded(message)) == Command(
        messages.C_STORE_RQ, message_id, True, priority, sop_class, instance
    )


def test_a_c_echo_request_has_no_data_set() -> None:
    request = C_ECHO()
    request.MessageID = 7
    request.AffectedSOPClassUID = "1.2.840.10008.1.1"
    message = C_ECHO_RQ()
    message.primitive_to_message(request)
    found = command.parse(encoded(message))
    assert (found.field, found.message_id, found.has_data_set) == (messages.C_ECHO_RQ, 7, False)


@given(uids, uids, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_our_answer_is_one_that_pynetdicom_reads(
    sop_class: str, instance: str, message_id: int, status: int
) -> None:
    request = Command(messages.C_STORE_RQ, message_id, True, 0, sop_class, instance)
    answer = decode(BytesIO(command.response(request, status)), True, True)
    assert (answer.CommandField, answer.Status) == (0x8001, status)
    assert answer.MessageIDBeingRespondedTo == message_id
    assert answer.CommandDataSetType == messages.NO_DATA_SET
    assert answer.AffectedSOPClassUID == sop_class
    assert answer.AffectedSOPInstanceUID == instance
    group_length = answer.CommandGroupLength
    assert group_length == len(command.response(request, status)) - 12


def test_what_can_be_no_uid_is_not_said_again() -> None:
    request = Command(messages.C_STORE_RQ, 1, True, 0, "é" * 64, "1" * 65)
    answer = decode(BytesIO(command.response(request, 0x0118)), True, True)
    assert "AffectedSOPInstanceUID" not in answer


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_a_value_error(data: bytes) -> None:
    try:
        command.parse(data)
    except ValueError:
        return


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0", b"\x08\0\x00\x00\x02\0\0\0xx", b"\0\0\x00\x01\xff\xff\xff\xff",
     b"\0\0\x00\x01\x02\0\0\0\x01\0"],
)  # fmt: skip
def test_what_is_no_command_set(data: bytes) -> None:
    with pytest.raises(ValueError, match="command set"):
        command.parse(data)
