"""A sender that is no bottleneck: every byte is made before the clock starts.

    python -m bench.raw_sender HOST PORT AET FILE...

Negotiates, makes each file's C-STORE request and data set into the PDUs of the length that the
peer announced, prints "ready", waits for a line on its standard input, then sends them one after
the other, each when the one before was answered, with TCP_NODELAY. Prints one JSON line: `seconds`
from the first byte sent to the last answer, and the `statuses`. Speaks just enough of PS3.7 and
PS3.8 for a peer that behaves.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom.filereader import read_file_meta_info

_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_OWN_LONGEST_PDU = 16384
_PDU_HEAD_BYTES = 6
_PDV_HEAD_BYTES = 6  # length, context id, message control header
_ASSOCIATE_AC, _P_DATA, _RELEASE_RP = 0x02, 0x04, 0x06
_COMMAND, _LAST = 0x01, 0x02
_SUCCESS = 0
_TIMEOUT_S = 120.0


class RawAssociation:
    """An association with `aet` at `address` that proposes `sop_classes`; a context manager."""

    def __init__(
        self,
        address: tuple[str, int],
        aet: str,
        sop_classes: Sequence[str],
        calling: str = "BENCH",
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._socket = socket.create_connection(address, timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._contexts = {uid: 2 * n + 1 for n, uid in enumerate(sop_classes)}
        self._message_id = 0
        self._socket.sendall(associate_request(calling, aet, self._contexts))
        kind, body = self._pdu()
        if kind != _ASSOCIATE_AC:
            raise ConnectionError(f"no association: PDU {kind}")
        self.longest_pdu_bytes = announced_length(body)

    def __enter__(self) -> RawAssociation:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def message(self, path: Path, priority: int = 0) -> bytes:
        """All PDUs that store the Part-10 file at `path`."""
        content = path.read_bytes()
        meta = read_file_meta_info(path)
        self._message_id = self._message_id % 65535 + 1
        command = store_command(
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            self._message_id,
            priority,
        )
        context = self._contexts[str(meta.MediaStorageSOPClassUID)]
        dataset = memoryview(content)[144 + int.from_bytes(content[140:144], "little") :]
        longest = self.longest_pdu_bytes or 1 << 20
        return b"".join(
            [
                *pdus(context, command, _COMMAND, longest),
                *pdus(context, dataset, 0, longest),
            ]
        )

    def store(self, message: bytes) -> int:
        """Send what `message` made; the status of the answer."""
        self._socket.sendall(message)
        answer = b""
        while True:
            kind, body = self._pdu()
            if kind != _P_DATA:
                raise ConnectionError(f"PDU {kind} instead of an answer")
            while body:
                length = int.from_bytes(body[:4], "big")
                control, answer = body[5], answer + body[6 : 4 + length]
                body = body[4 + length :]
                if control & _LAST:
                    return status_of(answer)

    def release(self) -> None:
        """End it in good order."""
        with self._socket:
            self._socket.sendall(b"\x05\0\0\0\0\x04\0\0\0\0")
            while self._pdu()[0] != _RELEASE_RP:
                pass

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self._socket.close()

    def _pdu(self) -> tuple[int, bytes]:
        kind, _, length = struct.unpack(">BBI", self._exactly(_PDU_HEAD_BYTES))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < count:
            piece = self._socket.recv(count - len(pieces))
            if not piece:
                raise ConnectionError("the peer has closed")
            pieces += piece
        return bytes(pieces)


def associate_request(calling: str, called: str, contexts: dict[str, int]) -> bytes:
    """An A-ASSOCIATE-RQ PDU (PS3.8 table 9-11)."""
    items = _item(0x10, _APPLICATION_CONTEXT.encode())
    for uid, number in contexts.items():
        syntaxes = _item(0x30, uid.encode()) + _item(0x40, _EXPLICIT_LITTLE.encode())
        items += _item(0x20, bytes([number, 0, 0, 0]) + syntaxes)
    user = _item(0x51, struct.pack(">I", _OWN_LONGEST_PDU)) + _item(0x52, b"2.25.1")
    items += _item(0x50, user)
    fixed = struct.pack(
        ">HH16s16s32x", 1, 0, *(aet.encode().ljust(16) for aet in (called, calling))
    )
    return struct.pack(">BBI", 0x01, 0, len(fixed + items)) + fixed + items


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def announced_length(body: bytes) -> int:
    """The maximum length in an A-ASSOCIATE-AC (PS3.8 D.1); 0 is no limit."""
    at = 68
    while at < len(body):
        kind, length = body[at], int.from_bytes(body[at + 2 : at + 4], "big")
        if kind == 0x50:
            at += 4  # into the user information
            continue
        if kind == 0x51:
            return int.from_bytes(body[at + 4 : at + 8], "big")
        at += 4 + length
    return 0


def store_command(sop_class: str, sop_instance: str, message_id: int, priority: int) -> bytes:
    """A C-STORE-RQ command set (PS3.7 table 9.3-1), Implicit VR Little Endian."""

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    def uid(text: str) -> bytes:
        return text.encode() + b"\0" * (len(text) % 2)

    body = element(0x0002, uid(sop_class))
    for number, value in ((0x0100, 1), (0x0110, message_id), (0x0700, priority), (0x0800, 0)):
        body += element(number, struct.pack("<H", value))
    body += element(0x1000, uid(sop_instance))
    return element(0x0000, struct.pack("<I", len(body))) + body


def pdus(
    context: int, content: bytes | memoryview, control: int, longest_bytes: int
) -> Iterator[bytes]:
    """`content` as P-DATA-TF PDUs of one fragment each (PS3.8 table 9-22)."""
    room = longest_bytes - _PDV_HEAD_BYTES
    for start in range(0, len(content), room):
        piece = content[start : start + room]
        last = _LAST if start + room >= len(content) else 0
        size = len(piece) + 2
        yield struct.pack(">BBIIBB", _P_DATA, 0, size + 4, size, context, control | last)
        yield bytes(piece)


def status_of(command: bytes) -> int:
    """The Status (0000,0900) of a command set."""
    at = 0
    while at + 8 <= len(command):
        _, number, length = struct.unpack_from("<HHI", command, at)
        if number == 0x0900:
            return int.from_bytes(command[at + 8 : at + 10], "little")
        at += 8 + length
    raise ConnectionError("an answer without a status")


def main() -> int:
    """Send the files that the command line names."""
    host, port, aet, *names = sys.argv[1:]
    paths = [Path(name) for name in names]
    metas = [read_file_meta_info(path) for path in paths]
    classes = sorted({str(meta.MediaStorageSOPClassUID) for meta in metas})
    with RawAssociation((host, int(port)), aet, classes) as association:
        messages = [association.message(path) for path in paths]
        print("ready", flush=True)
        sys.stdin.readline()
        began_s = time.monotonic()
        statuses = [association.store(message) for message in messages]
        seconds = time.monotonic() - began_s
    print(json.dumps({"seconds": seconds, "statuses": statuses}), flush=True)
    return int(any(status != _SUCCESS for status in statuses))


if __name__ == "__main__":
    sys.exit(main())
