"""Byte-exact dialogues with an acceptor: requests in any fragmentation, and what came back."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence

from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from tackybox.dimse import messages

CT, VERIFICATION = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1"
EXPLICIT_LE, IMPLICIT_LE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CONTEXTS = ((CT, EXPLICIT_LE), (CT, IMPLICIT_LE), (VERIFICATION, IMPLICIT_LE))
"""What `associate_rq` proposes, as presentation contexts 1, 3 and 5."""
RELEASE_RQ = messages.RELEASE_RQ_PDU
ABORT = messages.ABORT_PDU


def associate_rq(
    contexts: Sequence[tuple[str, str]] = CONTEXTS, *, called: str = "RELAY", longest: int = 16384
) -> bytes:
    """An A-ASSOCIATE-RQ."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "SCANNER", called
    proposed = [build_context(*context) for context in contexts]
    for number, context in enumerate(proposed):
        context.context_id = 2 * number + 1
    request.presentation_context_definition_list = proposed
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = longest
    implementation.implementation_class_uid = "1.2.3"
    request.user_information = [length, implementation]
    return A_ASSOCIATE_RQ(request).encode()


def element(number: int, value: bytes) -> bytes:
    """An element of group 0000."""
    return struct.pack("<HHL", 0, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    return element(number, struct.pack("<H", value))


def uid(number: int, value: str) -> bytes:
    encoded = value.encode()
    return element(number, encoded + b"\0" * (len(encoded) % 2))


def c_store(message_id: int, instance: str, sop_class: str = CT) -> bytes:
    """The command set of a C-STORE-RQ."""
    body = (
        uid(0x0002, sop_class) + us(0x0100, 1) + us(0x0110, message_id) + us(0x0700, 0)
        + us(0x0800, 0) + uid(0x1000, instance)
    )  # fmt: skip
    return element(0, struct.pack("<L", len(body))) + body


def c_echo(message_id: int) -> bytes:
    """The command set of a C-ECHO-RQ."""
    body = uid(0x0002, VERIFICATION) + us(0x0100, 0x30) + us(0x0110, message_id)
    body += us(0x0800, 0x0101)
    return element(0, struct.pack("<L", len(body))) + body


def data_set(instance: str, size: int = 0) -> bytes:
    """A small data set in Explicit VR Little Endian, with `size` bytes of pixels."""
    value = instance.encode() + b"\0" * (len(instance) % 2)
    head = b"\x08\x00\x16\x00UI" + struct.pack("<H", len(CT) + 1) + CT.encode() + b"\0"
    head += b"\x08\x00\x18\x00UI" + struct.pack("<H", len(value)) + value
    pixels = bytes(range(256)) * (size // 256)
    return head + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", len(pixels)) + pixels


def pdv(context: int, control: int, data: bytes) -> bytes:
    return messages.PDV_HEAD.pack(len(data) + 2, context, control) + data


def p_data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return messages.PDU_HEAD.pack(messages.P_DATA_TF, len(body)) + body


def fragments(context: int, data: bytes, sizes: Sequence[int], command: int) -> list[bytes]:
    """PDVs of `data`, the first as long as `sizes` say, the last takes the rest."""
    cuts, position = [], 0
    for size in sizes:
        if position + size >= len(data):
            break
        cuts.append(pdv(context, command, data[position : position + size]))
        position += size
    return [*cuts, pdv(context, command | messages.IS_LAST, data[position:])]


def message(context: int, command: bytes, data: bytes | None = None) -> bytes:
    """A whole message, a PDU for the command and one for the data set."""
    whole = p_data(pdv(context, messages.IS_COMMAND | messages.IS_LAST, command))
    return whole if data is None else whole + p_data(pdv(context, messages.IS_LAST, data))


def talk(sock: socket.socket, *pieces: bytes, until_closed: bool = True) -> list[bytes]:
    """Send `pieces`, each with a write of its own; the PDUs that came back until the end."""
    sock.settimeout(30)
    try:
        for piece in pieces:
            sock.sendall(piece)
        if until_closed:
            sock.shutdown(socket.SHUT_WR)
    except OSError:  # it has heard enough
        pass
    return list(pdus(sock))


def pdus(sock: socket.socket) -> Iterator[bytes]:
    """PDUs until the peer closes."""
    received = bytearray()
    while True:
        while len(received) >= 6:
            end = 6 + int.from_bytes(received[2:6], "big")
            if len(received) < end:
                break
            yield bytes(received[:end])
            del received[:end]
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return
        if not piece:
            return
        received += piece


def statuses(answers: Sequence[bytes]) -> list[tuple[int, int, int]]:
    """(presentation context, message ID, status) of each response among `answers`."""
    found = []
    for answer in answers:
        if answer[0] == messages.P_DATA_TF:
            elements, position = {}, 12
            while position < len(answer):
                _, number, length = struct.unpack_from("<HHL", answer, position)
                elements[number] = answer[position + 8 : position + 8 + length]
                position += 8 + length
            message_id = int.from_bytes(elements[0x0120], "little")
            found.append((answer[10], message_id, int.from_bytes(elements[0x0900], "little")))
    return found
