"""The TCP side of an association that we request.

Promises: nothing blocks without end. A connection takes at most `connect_s` for each address that
the host name has; a write or a read in which nothing moves ends after `answer_s` with TimeoutError,
and an answer that trickles in after twice that.
A PDU longer than any that is meant for us is refused before it is read. What is written goes out
at once, and what comes in is acknowledged at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Sequence

from tackybox.dimse.messages import PDU_HEAD

_LONGEST_ANSWER_BYTES = 1 << 20  # far more than any answer to us needs
_READ_BYTES = 1 << 16


class OverlongError(OSError):
    """More was sent than any answer to us needs."""


class Connection:
    """A connected socket; for one thread at a time."""

    def __init__(self, sock: socket.socket, answer_s: float) -> None:
        self._sock = sock
        self._received = bytearray()
        self._answer_s = 0.0
        # The kernel's own time-outs: a call waits as long as it must, without a poll() before.
        sock.settimeout(None)
        self._limit(socket.SO_SNDTIMEO, answer_s)
        self.allow_answer(answer_s)
        # A request is a few small PDUs and then a wait: Nagle's delay would be paid each time.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def open(cls, host: str, port: int, connect_s: float, answer_s: float) -> Connection:
        """Connect; raises OSError (socket.gaierror for a name that is not known)."""
        sock = socket.create_connection((host, port), timeout=connect_s)
        try:
            return cls(sock, answer_s)
        except BaseException:
            sock.close()
            raise

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send all of `parts`, at most 1024 of them, in one write if the kernel takes it."""
        left = sum(map(len, parts))
        while left:
            try:
                sent = self._sock.sendmsg(parts)
            except BlockingIOError as error:
                raise TimeoutError from error
            left -= sent
            if left:
                parts = _behind(parts, sent)

    def send_file(self, head: bytes, fd: int, offset: int, size_bytes: int) -> None:
        """Send `head` and so much of a file, which stays in the kernel; EOFError if it is short."""
        end = offset + size_bytes
        try:
            while head:
                head = head[self._sock.send(head, socket.MSG_MORE) :]
            while offset < end:
                sent = os.sendfile(self._sock.fileno(), fd, offset, end - offset)
                if not sent:
                    raise EOFError("the file has become shorter")
                offset += sent
        except BlockingIOError as error:
            raise TimeoutError from error

    def allow_answer(self, answer_s: float) -> None:
        """From now on an answer may come in, for so many seconds."""
        self._budget_bytes = _LONGEST_ANSWER_BYTES
        self._until_s = time.monotonic() + answer_s
        if answer_s != self._answer_s:
            self._limit(socket.SO_RCVTIMEO, answer_s)
            self._answer_s = answer_s

    def read_pdu(self) -> tuple[int, bytes]:
        """The next PDU: its type, and what comes behind its head.

        Raises OSError (TimeoutError, OverlongError, …), EOFError if the peer has hung up.
        """
        self._read(PDU_HEAD.size)
        kind, length = PDU_HEAD.unpack_from(self._received)
        end = PDU_HEAD.size + length
        self._budget_bytes -= end
        if self._budget_bytes < 0:
            raise OverlongError("more was sent than any answer needs")
        self._read(end)
        body = bytes(self._received[PDU_HEAD.size : end])
        del self._received[:end]
        return kind, body

    @property
    def is_quiet(self) -> bool:
        """Whether the peer has said nothing that was not read yet, and has not hung up."""
        if self._received:
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def say(self, pdu: bytes) -> None:
        """Send a short PDU if it can go out without waiting."""
        with contextlib.suppress(OSError):
            self._sock.send(pdu, socket.MSG_DONTWAIT)

    def close(self) -> None:
        """End the connection now."""
        with contextlib.suppress(OSError):  # is not connected any more
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _read(self, size: int) -> None:
        """Read until `size` bytes are there."""
        while len(self._received) < size:
            # Don't delay the next ACK; the kernel forgets this, so it is said again each time.
            # DCMTK and others write an answer in two pieces and wait for the ACK of the first
            # before they send the second: a delayed ACK costs 40 ms an image.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            try:
                piece = self._sock.recv(_READ_BYTES)
            except BlockingIOError as error:
                raise TimeoutError from error
            if not piece:
                raise EOFError("the peer has hung up")
            self._received += piece
            if len(self._received) < size and time.monotonic() > self._until_s:
                raise TimeoutError

    def _limit(self, option: int, limit_s: float) -> None:
        microseconds = max(1, int(limit_s * 1_000_000))
        timeval = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        self._sock.setsockopt(socket.SOL_SOCKET, option, timeval)


def _behind(parts: Sequence[bytes | memoryview], count: int) -> list[bytes | memoryview]:
    """What is left of `parts` behind the first `count` bytes."""
    for index, part in enumerate(parts):
        if count < len(part):
            return [memoryview(part)[count:], *parts[index + 1 :]]
        count -= len(part)
    return []
