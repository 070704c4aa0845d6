"""The TCP side of an association that we request: pynetdicom's socket, made to end.

Promises: no call blocks for longer than the association's time-outs; a PDU or an answer longer than
any that is meant for us is refused before it is read; `failure` keeps why a connection broke.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from pynetdicom import AE
from pynetdicom.transport import T_CONNECT, AssociationSocket

_LONGEST_ANSWER_BYTES = 1 << 20  # far more than any answer to us needs
_TRANSPORT_CONNECTED = "Evt2"  # PS3.8 table 9-10
_TRANSPORT_CLOSED = "Evt17"


class RequestorAE(AE):
    """An application entity whose associations use BoundedSocket."""

    def _create_socket(self, assoc: Any, address: Any, tls_args: Any) -> AssociationSocket:
        del tls_args
        return BoundedSocket(assoc, address=address)


class BoundedSocket(AssociationSocket):
    """Sets the time-outs on the socket itself: those of pynetdicom don't reach a blocked send."""

    failure: OSError | None = None
    budget_bytes = _LONGEST_ANSWER_BYTES  # what may yet be received before the next request

    def expect_answer(self) -> None:
        """A request goes out: an answer may come in."""
        self.budget_bytes = _LONGEST_ANSWER_BYTES

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect within the connection time-out; the outcome goes into `primitive`."""
        try:
            sock = self._sock()
            sock.settimeout(self.assoc.connection_timeout)
            sock.connect(primitive.address_info.as_tuple)
            sock.settimeout(self.assoc.dimse_timeout)
            # A request is a few small PDUs and then a wait: Nagle's delay would be paid each time.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self.failure = error
            self._shutdown_socket()
            self.socket = None
            primitive.result = _TRANSPORT_CLOSED
        else:
            self._is_connected = True
            primitive.result = _TRANSPORT_CONNECTED
        self.provider_queue.put(primitive)
        self._ready.set()

    def send(self, bytestream: bytes) -> None:
        """Send all of a PDU within the time-out, or report the connection as closed."""
        try:
            self._sock().sendall(bytestream)
            self._acknowledge_at_once()
        except OSError as error:
            self.failure = self.failure or error
            self.event_queue.put(_TRANSPORT_CLOSED)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes, each piece of them within the time-out; raises OSError."""
        try:
            self.budget_bytes -= nr_bytes
            if self.budget_bytes < 0:
                raise OSError("more was sent than any answer needs")
            received = super().recv(nr_bytes)
            self._acknowledge_at_once()
            return received
        except OSError as error:
            self.failure = self.failure or error
            raise

    def _acknowledge_at_once(self) -> None:
        """Don't delay the next ACK; the kernel forgets this, so it is said again each time.

        DCMTK and others write an answer in two pieces and wait for the ACK of the first before
        they send the second: a delayed ACK costs 40 ms an image.
        """
        self._sock().setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _sock(self) -> socket.socket:
        if self.socket is None:
            raise ConnectionAbortedError("closed")
        return self.socket

    def _shutdown_socket(self) -> None:
        if self.socket is not None:
            with contextlib.suppress(OSError):  # was not connected
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()
