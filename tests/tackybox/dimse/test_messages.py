"""Messages as bytes: what we send is what pynetdicom would, and any bytes come in unharmed."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_STORE

from tackybox.dimse.messages import (
    PDU_HEAD,
    Incoming,
    MalformedMessage,
    command_pdus,
    dataset_fragments,
    echo_request,
    fragment_bytes,
    parse_command,
    store_request,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"


def pdus(message: object, primitive: object, context_id: int, max_pdu_bytes: int) -> list[bytes]:
    """What pynetdicom makes of a message: the PDVs, as bodies of PDUs."""
    message.primitive_to_message(primitive)  # type: ignore[attr-defined]
    return [
        struct.pack(">IB", len(data) + 1, number) + data
        for pdu in message.encode_msg(context_id, max_pdu_bytes)  # type: ignore[attr-defined]
        for number, data in pdu.presentation_data_value_list
    ]


def bodies(stream: bytes) -> list[bytes]:
    """The bodies of a stream of P-DATA-TF PDUs."""
    found = []
    while stream:
        kind, length = PDU_HEAD.unpack_from(stream)
        assert kind == 4
        found.append(stream[6 : 6 + length])
        stream = stream[6 + length :]
    return found


def answer(message_id: int, status: int) -> bytes:
    """The command set of a C-STORE-RSP as pynetdicom encodes it."""
    response = C_STORE()
    response.MessageIDBeingRespondedTo = message_id
    response.AffectedSOPClassUID = CT
    response.AffectedSOPInstanceUID = "1.2.3"
    response.Status = status
    return b"".join(body[6:] for body in pdus(C_STORE_RSP(), response, 1, 16384))


@given(
    st.integers(1, 0xFFFF),
    st.from_regex(r"[1-9](\.[1-9][0-9]{0,7}){1,7}", fullmatch=True),
    st.sampled_from([0, 1, 2]),
    st.integers(64, 400),
)
def test_requests_are_encoded_as_pynetdicom_does(
    message_id: int, uid: str, priority: int, max_pdu_bytes: int
) -> None:
    store = C_STORE()
    store.MessageID, store.Priority = message_id, priority
    store.AffectedSOPClassUID, store.AffectedSOPInstanceUID = CT, uid
    echo = C_ECHO()
    echo.MessageID, echo.AffectedSOPClassUID = message_id, VERIFICATION
    for ours, message, primitive in (
        (store_request(message_id, CT, uid, priority), C_STORE_RQ(), store),
        (echo_request(message_id, VERIFICATION), C_ECHO_RQ(), echo),
    ):
        theirs = b"".join(body[6:] for body in pdus(message, primitive, 3, 16384))
        expected, found = parse_command(theirs), parse_command(ours.command)
        has_data_set = expected.pop(0x0800) != found.pop(0x0800)
        assert not has_data_set or ours.response_field == 0x8001  # any value but 0101 says so
        assert found == expected
        split = bodies(command_pdus(ours.command, 3, fragment_bytes(max_pdu_bytes)))
        assert b"".join(body[6:] for body in split) == ours.command
        assert all(len(body) <= max_pdu_bytes for body in split)


@given(st.integers(0, 5000), st.integers(64, 2000))
def test_fragments_are_the_whole_data_set_and_only_the_last_says_so(
    size_bytes: int, max_pdu_bytes: int
) -> None:
    fragments = list(dataset_fragments(size_bytes, 5, fragment_bytes(max_pdu_bytes)))
    at = 0
    for start, size, heads in fragments:
        kind, pdu_length, pdv_length, context_id, control = struct.unpack(">BxIIBB", heads)
        assert (kind, start, context_id) == (4, at, 5)
        assert pdu_length == pdv_length + 4 == size + 6 <= max_pdu_bytes
        at += size
        assert (control == 2) == (at == size_bytes and (start, size, heads) == fragments[-1])
    assert at == size_bytes


@given(st.data(), st.integers(1, 0xFFFF), st.integers(0, 0xFFFF))
def test_an_answer_is_understood_however_it_is_split(
    data: st.DataObject, message_id: int, status: int
) -> None:
    command = answer(message_id, status)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(command) - 1), max_size=6)))
    pieces = [command[a:b] for a, b in zip([0, *cuts], [*cuts, len(command)], strict=True)]
    values = [
        struct.pack(">IBB", len(piece) + 2, 1, 1 | 2 * (number == len(pieces)))
        for number, piece in enumerate(pieces, start=1)
    ]
    message, body = Incoming(), b""
    for head, piece in zip(values, pieces, strict=True):
        assert not message.is_complete
        body += head + piece
        if data.draw(st.booleans()):
            message.feed(body)
            body = b""
    message.feed(body)
    assert message.is_complete
    assert message.status_of(store_request(message_id, CT, "1.2.3", 0)) == status
    with pytest.raises(MalformedMessage):
        message.status_of(store_request(message_id % 0xFFFF + 1, CT, "1.2.3", 0))
    with pytest.raises(MalformedMessage):
        message.status_of(echo_request(message_id, VERIFICATION))


def test_a_data_set_that_comes_with_an_answer_is_passed_over() -> None:
    command = bytearray(answer(1, 0))
    at = command.index(b"\0\0\x00\x08\x02\0\0\0") + 8
    command[at : at + 2] = b"\x01\x00"
    message = Incoming()
    message.feed(struct.pack(">IBB", len(command) + 2, 1, 3) + command)
    assert not message.is_complete
    message.feed(struct.pack(">IBB", 6, 1, 0) + b"data")
    assert not message.is_complete
    message.feed(struct.pack(">IBB", 6, 1, 2) + b"more")
    assert message.is_complete
    assert message.status_of(store_request(1, CT, "1.2.3", 0)) == 0


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_read_or_refused(found: list[bytes]) -> None:
    message = Incoming()
    with suppress(MalformedMessage):
        for body in found:
            message.feed(body)
        message.status_of(store_request(1, CT, "1.2.3", 0))


@given(st.binary(max_size=80))
def test_any_command_set_is_read_or_refused(command: bytes) -> None:
    with suppress(MalformedMessage):
        assert all(0 <= element <= 0xFFFF for element in parse_command(command))
