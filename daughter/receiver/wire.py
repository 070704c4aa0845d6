"""One TCP connection from a modality: bytes in through one buffer that never grows, messages out.

Promises: a read or a write ends within `silence_s` of silence, with TimeoutError; a peer that is
gone is a `Gone`. What is received is acknowledged at once and what is sent goes out at once: many
senders (DCMTK's, as shipped) write a PDU in two pieces and hold the second back until the first is
acknowledged, and a delayed acknowledgement costs 40 ms an image.
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import struct
import time

_BUFFER_BYTES = 1 << 18
_LINGER_S = 2.0
_DISCARD_BYTES = 1 << 16


class Gone(Exception):
    """The peer has closed the connection, or it broke."""


class Wire:
    """Reads from and writes to `sock`; for one thread, but for `wake`."""

    def __init__(self, sock: socket.socket, silence_s: float) -> None:
        self._sock = sock
        sock.setblocking(True)
        # The kernel's own time-outs: Python's would cost a poll before each read.
        seconds, rest = divmod(silence_s, 1.0)
        limit = struct.pack("@ll", int(seconds), int(rest * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, limit)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Untouched pages cost nothing: a connection that asks for little takes little.
        self._buffer = memoryview(mmap.mmap(-1, _BUFFER_BYTES))
        self._start = self._end = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes; raises Gone or TimeoutError."""
        pieces: list[bytes] = []
        while count:
            piece = bytes(self.piece(count))
            if len(piece) == count and not pieces:
                return piece
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def piece(self, most: int) -> memoryview:
        """At least one and at most `most` of the next bytes, valid until the next call.

        Raises Gone or TimeoutError.
        """
        if self._start == self._end:
            self._fill()
        start = self._start
        self._start = min(self._end, start + most)
        return self._buffer[start : self._start]

    def has_more(self) -> bool:
        """Whether something was received that nobody has read yet."""
        return self._start < self._end

    def _fill(self) -> None:
        # The kernel forgets this at each answer of ours, so it is said again.
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            count = self._sock.recv_into(self._buffer)
        except BlockingIOError as error:
            raise TimeoutError("the peer is silent") from error
        except OSError as error:
            raise Gone from error
        if not count:
            raise Gone
        self._start, self._end = 0, count

    def send(self, message: bytes) -> None:
        """Send all of `message`; raises Gone or TimeoutError."""
        try:
            self._sock.sendall(message)
        except BlockingIOError as error:
            raise TimeoutError("the peer reads no more") from error
        except OSError as error:
            raise Gone from error

    def wake(self) -> None:
        """Have whoever reads be told Gone; from any thread."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def close(self, *, farewell: bool = False) -> None:
        """Close; after a `farewell` wait a moment for the peer to, so that it can read it."""
        if farewell:
            with contextlib.suppress(OSError, Gone):
                self._linger()
        with contextlib.suppress(OSError):
            self._sock.close()

    def _linger(self) -> None:
        """Take what still comes and forget it: closing upon unread bytes would destroy our last
        words on their way (PS3.8 9.2, ARTIM)."""
        self._sock.settimeout(_LINGER_S)
        self._sock.shutdown(socket.SHUT_WR)
        until_s = time.monotonic() + _LINGER_S
        while time.monotonic() < until_s and self._sock.recv_into(self._buffer, _DISCARD_BYTES):
            pass
