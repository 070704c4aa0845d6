"""The raw sender's bytes, read back by pynetdicom."""

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, P_DATA_TF

from bench.raw_sender import (
    announced_length,
    associate_request,
    pdus,
    status_of,
    store_command,
)

UIDS = st.from_regex(r"[1-9]\.[1-9][0-9]{0,60}", fullmatch=True)


def test_the_association_is_requested_as_pynetdicom_reads_it():
    request = A_ASSOCIATE_RQ()
    request.decode(associate_request("BENCH", "TACKYBOX", {CTImageStorage: 1, "1.2.3": 3}))
    assert request.calling_ae_title.strip() == "BENCH"
    assert request.called_ae_title.strip() == "TACKYBOX"
    contexts = request.presentation_context
    assert [(c.context_id, c.abstract_syntax) for c in contexts] == [
        (1, CTImageStorage),
        (3, "1.2.3"),
    ]


@given(length=st.integers(0, (1 << 32) - 1))
def test_the_announced_length_is_found(length: int):
    request = A_ASSOCIATE_RQ()
    request.decode(associate_request("BENCH", "TACKYBOX", {CTImageStorage: 1}))
    primitive = request.to_primitive()
    primitive.result = 0
    primitive.presentation_context_definition_results_list = []
    primitive.maximum_length_received = length
    answer = A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    assert announced_length(answer.encode()[6:]) == length


@given(uid=UIDS, number=st.integers(1, 65535), priority=st.integers(0, 2))
def test_the_command_is_a_store_request(uid: str, number: int, priority: int):
    encoded = store_command(CTImageStorage, uid, number, priority)
    command = decode(BytesIO(encoded), is_implicit_vr=True, is_little_endian=True)
    assert command.CommandGroupLength == len(encoded) - 12
    assert command.CommandField == 0x0001
    assert command.AffectedSOPClassUID == CTImageStorage
    assert uid == command.AffectedSOPInstanceUID
    assert (command.MessageID, command.Priority) == (number, priority)
    assert command.CommandDataSetType == 0


@given(content=st.binary(min_size=1, max_size=300), longest=st.integers(7, 400))
def test_fragments_make_the_message_again(content: bytes, longest: int):
    message = C_STORE_RQ()
    command = b"".join(pdus(1, store_command(CTImageStorage, "1.2", 1, 0), 0x01, 16384))
    stream = BytesIO(command + b"".join(pdus(1, content, 0, longest)))
    while head := stream.read(6):
        pdu = P_DATA_TF()
        length = int.from_bytes(head[2:], "big")
        assert length <= max(longest, 16384)
        pdu.decode(head + stream.read(length))
        is_whole = message.decode_msg(pdu.to_primitive())
    assert is_whole
    assert message.data_set.getvalue() == content


def test_a_status_is_found_wherever_it_stands():
    other = bytes.fromhex("0000000104000000aabbccdd".ljust(24, "0"))
    assert status_of(other + bytes.fromhex("000000090200000001a7")) == 0xA701
