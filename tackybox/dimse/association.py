"""One association as its requestor: open it, exchange DIMSE messages on it, end it.

Promises: every call returns or raises within a bounded time, also when the peer is frozen at any
point: a connection within `connect_s`, each read, each write and each wait for an answer within
`answer_s` of silence. Memory is bounded whatever the size of a data set and whatever the peer
announces. A failure is an AssociationError that says in words what went wrong.
Does not promise to notice a dead peer while nothing is exchanged: ask `is_open` before use.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from pynetdicom import build_context
from pynetdicom.association import Association as PynetdicomAssociation
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, A_RELEASE

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.transport import BoundedSocket, RequestorAE
from tackybox.errors import UnavailableError
from tackybox.item import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

VERIFICATION = "1.2.840.10008.1.1"  # SOP class of C-ECHO, PS3.4 Annex A
MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: odd presentation context IDs in one byte
_QUEUED_PDUS = 32
_TRANSFER_SYNTAXES_NOT_SUPPORTED = 4  # PS3.8 table 9-18
_POLL_S = 0.0005
_RELEASE_S = 5.0
_ABORT_S = 1.0


class Pair(NamedTuple):
    """What one presentation context is about: a SOP class in one transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a TCP connection, and for any sign of life after it."""

    connect_s: float = 10.0
    answer_s: float = 60.0


class Failure(StrEnum):
    """Why there is no association, or none any more."""

    UNKNOWN_HOST = "unknown host"
    REFUSED = "connection refused"
    UNREACHABLE = "unreachable"
    REJECTED = "rejected"
    ABORTED = "aborted"
    RELEASED = "released"
    CLOSED = "connection closed"
    TIMED_OUT = "timed out"
    MALFORMED = "malformed answer"


class AssociationError(UnavailableError):
    """There is no association, or none any more; exit code 69. The message is for people."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class Association:
    """An association with an archive, requested with `contexts`; use `Association.open`."""

    def __init__(
        self, inner: PynetdicomAssociation, timeouts: Timeouts, max_pdu_bytes: int
    ) -> None:
        self._inner = inner
        self._answer_s = timeouts.answer_s
        self._message_id = 0
        announced_bytes = inner.acceptor.maximum_length or max_pdu_bytes  # 0: no limit, PS3.8 D.1
        self._max_pdu_bytes = max(64, min(announced_bytes, max_pdu_bytes))
        self.peer_implementation = str(inner.acceptor.implementation_class_uid or "")
        self.accepted = {
            Pair(str(context.abstract_syntax), str(context.transfer_syntax[0])): int(
                context.context_id or 0
            )
            for context in inner.accepted_contexts
        }
        self.known_classes = {pair.sop_class_uid for pair in self.accepted} | {
            str(context.abstract_syntax)
            for context in inner.rejected_contexts
            if context.result == _TRANSFER_SYNTAXES_NOT_SUPPORTED
        }

    @classmethod
    def open(
        cls,
        address: ArchiveAddress,
        contexts: Sequence[Pair],
        *,
        calling_aet: str,
        timeouts: Timeouts,
        max_pdu_bytes: int,
    ) -> Association:
        """Request an association for exactly `contexts`, one presentation context each.

        At most MAX_CONTEXTS. An association in which none was accepted has `accepted` empty and
        is not open. Raises AssociationError.
        """
        try:
            inner = _entity(calling_aet, timeouts).associate(
                address.host,
                address.port,
                contexts=[build_context(*pair) for pair in contexts],
                ae_title=address.aet,
                max_pdu=max_pdu_bytes,
            )
        except socket.gaierror as error:
            message = f"the host name {address.host} of {address} is not known"
            raise AssociationError(Failure.UNKNOWN_HOST, message) from error
        if inner.is_established:
            _pause_reactor(inner)
            return cls(inner, timeouts, max_pdu_bytes)
        try:
            if getattr(inner.acceptor.primitive, "result", None) == 0:
                return cls(inner, timeouts, max_pdu_bytes)  # accepted, but no context was
            raise _why_not(inner, address)
        finally:
            _end(inner)

    @property
    def is_open(self) -> bool:
        """Whether messages can be exchanged, as far as this side knows."""
        return self._ended() is None

    def next_message_id(self) -> int:
        """A Message ID (0000,0110) that is not in use here."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def exchange(self, request: Any, message: Any, context_id: int) -> Any:
        """Send `request` (a pynetdicom primitive) as `message`; the response primitive.

        After an AssociationError the association is over; whether the peer acted on the request
        is not known. Raises OSError if the file of a C-STORE can't be read.
        """
        message.primitive_to_message(request)
        if isinstance(self._inner.dul.socket, BoundedSocket):
            self._inner.dul.socket.expect_answer()
        try:
            self._send(message, context_id)
            response = self._receive()
            if (
                type(response) is not type(request)
                or not response.is_valid_response
                or response.MessageIDBeingRespondedTo != request.MessageID
            ):
                raise AssociationError(
                    Failure.MALFORMED, "the archive's answer does not fit the request"
                )
        except BaseException:
            self.abort()
            raise
        return response

    def release(self) -> None:
        """End it in good order; at the latest after a few seconds by an abort."""
        if self.is_open:
            self._inner.acse_timeout = min(_RELEASE_S, self._answer_s)
            self._inner.release()
        _end(self._inner)

    def abort(self) -> None:
        """End it now."""
        _end(self._inner)

    def _send(self, message: Any, context_id: int) -> None:
        self._raise_if_ended()
        dul = self._inner.dul
        for pdu in message.encode_msg(context_id, self._max_pdu_bytes):
            dul.send_pdu(pdu)
            self._wait_until_queued(at_most=_QUEUED_PDUS)
        self._wait_until_queued(at_most=0)

    def _wait_until_queued(self, at_most: int) -> None:
        """Wait until not more PDUs are queued; pynetdicom by itself queues a whole data set."""
        pending = self._inner.dul.to_provider_queue
        size, deadline_s = pending.qsize(), time.monotonic() + self._answer_s
        while size > at_most:
            self._raise_if_ended()
            time.sleep(_POLL_S)
            if pending.qsize() < size:
                deadline_s = time.monotonic() + self._answer_s
            elif time.monotonic() > deadline_s:
                raise self._timed_out()
            size = pending.qsize()

    def _receive(self) -> Any:
        deadline_s = time.monotonic() + self._answer_s
        while time.monotonic() < deadline_s:
            ended = self._ended()  # before looking: an answer may come with the end behind it
            with contextlib.suppress(queue.Empty):
                _, response = self._inner.dimse.msg_queue.get(timeout=0 if ended else 0.05)
                if response is not None:
                    return response
            if ended:
                raise ended
        raise self._timed_out()

    def _timed_out(self) -> AssociationError:
        return AssociationError(
            Failure.TIMED_OUT, f"the archive did not answer within {self._answer_s:g} s"
        )

    def _raise_if_ended(self) -> None:
        if ended := self._ended():
            raise ended

    def _ended(self) -> AssociationError | None:
        dul = self._inner.dul
        if isinstance(getattr(dul.socket, "failure", None), TimeoutError):
            return self._timed_out()
        notice = dul.peek_next_pdu()
        if notice is None and dul.is_alive() and self._inner.is_established:
            return None
        if isinstance(notice, A_RELEASE):
            return AssociationError(Failure.RELEASED, "the archive ended the association")
        return _aborted(notice)


def _entity(calling_aet: str, timeouts: Timeouts) -> RequestorAE:
    ae = RequestorAE(calling_aet)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = timeouts.connect_s
    ae.acse_timeout = timeouts.answer_s
    ae.dimse_timeout = timeouts.answer_s
    ae.network_timeout = None  # the socket's own time-outs and ours bound everything
    return ae


def _pause_reactor(inner: PynetdicomAssociation) -> None:
    """Keep pynetdicom's own loop from taking messages that we wait for."""
    inner._reactor_checkpoint.clear()
    deadline_s = time.monotonic() + _ABORT_S
    while not inner._is_paused and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)


def _end(inner: PynetdicomAssociation) -> None:
    """Stop all of it: as politely as can still be done, and by closing the socket."""
    dul = inner.dul
    notice = dul.peek_next_pdu()
    if isinstance(notice, A_RELEASE) and notice.result is None and dul.is_alive():
        inner.acse.send_release(is_response=True)
        dul.join(_ABORT_S)
    elif dul.is_alive() and inner.is_established:
        inner.abort(block=False)
        dul.join(_ABORT_S)
    if dul.socket is not None:
        dul.socket._shutdown_socket()
    inner.is_established = False
    inner._kill = True
    inner._reactor_checkpoint.set()
    dul.kill_dul()


def _why_not(inner: PynetdicomAssociation, address: ArchiveAddress) -> AssociationError:
    failure = getattr(inner.dul.socket, "failure", None)
    answer = inner.acceptor.primitive
    if inner.is_rejected and answer is not None:
        reason = rejection_in_words(answer.result, answer.result_source, answer.diagnostic)
        return AssociationError(Failure.REJECTED, f"{address} rejected the association: {reason}")
    if isinstance(failure, ConnectionRefusedError):
        return AssociationError(Failure.REFUSED, f"nothing listens at {address}")
    if isinstance(failure, TimeoutError):
        return AssociationError(Failure.TIMED_OUT, f"{address} did not answer in time")
    if failure is not None and not isinstance(failure, (ConnectionResetError, BrokenPipeError)):
        reason = failure.strerror or "the connection broke"
        return AssociationError(Failure.UNREACHABLE, f"{address} can't be reached: {reason}")
    if inner._sent_abort:  # pynetdicom gave up waiting
        return AssociationError(Failure.TIMED_OUT, f"{address} did not answer in time")
    return AssociationError(Failure.ABORTED, f"{address} broke off the association request")


def _aborted(notice: Any) -> AssociationError:
    """PS3.8 table 9-26: who aborted, and why if it says."""
    if isinstance(notice, A_ABORT):
        return AssociationError(Failure.ABORTED, "the archive aborted the association")
    if isinstance(notice, A_P_ABORT) and notice.provider_reason:
        reasons = {
            1: "unrecognised PDU",
            2: "unexpected PDU",
            4: "unrecognised PDU parameter",
            5: "unexpected PDU parameter",
            6: "invalid PDU parameter value",
        }
        reason = reasons.get(notice.provider_reason, "no reason given")
        return AssociationError(Failure.ABORTED, f"the archive aborted the association: {reason}")
    return AssociationError(Failure.CLOSED, "the connection to the archive was closed")


_REJECTION_REASONS = {  # PS3.8 table 9-21: (source, reason)
    (1, 1): "it gives no reason",
    (1, 2): "it does not know DICOM's application context",
    (1, 3): "it does not know our (the calling) AE title",
    (1, 7): "it does not know the called AE title as its own",
    (2, 1): "its protocol machine gives no reason",
    (2, 2): "it does not support this protocol version",
    (3, 1): "it is congested at the moment",
    (3, 2): "it has as many associations as it allows",
}


def rejection_in_words(result: int | None, source: int | None, reason: int | None) -> str:
    """An A-ASSOCIATE-RJ as PS3.8 table 9-21 has it, for people."""
    words = _REJECTION_REASONS.get(
        (source or 0, reason or 0), f"reason {reason} of source {source}"
    )
    return f"{words} ({'transient' if result == 2 else 'permanent'})"
