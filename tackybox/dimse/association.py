"""One association as its requestor: open it, exchange DIMSE messages on it, end it.

Promises: every call returns or raises within a bounded time, also when the peer is frozen at any
point: a connection within `connect_s`, each read, each write and each wait for an answer within
`answer_s` of silence (`tackybox.dimse.transport`). Memory is bounded whatever the size of a data
set and whatever the peer announces. A failure is an AssociationError that says in words what went
wrong. One message is on its way at a time (PS3.7 D.3.3.3: no asynchronous operations).
Does not promise to notice a dead peer while nothing is exchanged: ask `is_open` before use.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.failures import AssociationError, Failure, aborted, rejection_in_words
from tackybox.dimse.messages import (
    A_ABORT,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    ABORT_PDU,
    P_DATA_TF,
    RELEASE_RP_PDU,
    RELEASE_RQ_PDU,
    Incoming,
    MalformedMessage,
    Request,
    Take,
    command_pdus,
    fragment_bytes,
)
from tackybox.dimse.negotiation import Negotiation, Pair, Terms
from tackybox.dimse.payload import Content, Payload
from tackybox.dimse.transport import Connection, OverlongError

__all__ = [
    "MAX_CONTEXTS",
    "VERIFICATION",
    "Association",
    "AssociationError",
    "Failure",
    "Pair",
    "Timeouts",
    "rejection_in_words",
]

VERIFICATION = "1.2.840.10008.1.1"  # SOP class of C-ECHO, PS3.4 Annex A
MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: odd presentation context IDs in one byte
_RELEASE_S = 5.0
_LAST_WORDS_S = 1.0
_ENDED_BY_PEER = frozenset({Failure.ABORTED, Failure.RELEASED, Failure.CLOSED})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a TCP connection, and for any sign of life after it.

    `open_s`: for the answer to an association request, if it is not `answer_s`.
    """

    connect_s: float = 10.0
    answer_s: float = 60.0
    open_s: float | None = None


class Association:
    """An association with an archive; use `Association.open`. For one thread at a time."""

    def __init__(self, connection: Connection, terms: Terms, answer_s: float) -> None:
        self._connection: Connection | None = connection
        self._answer_s = answer_s
        self._message_id = 0
        self._fragment_bytes = fragment_bytes(terms.max_pdu_bytes)
        self.peer_implementation = terms.peer_implementation
        self.accepted = terms.accepted
        self.known_classes = terms.known_classes

    @classmethod
    def open(
        cls,
        address: ArchiveAddress,
        contexts: Sequence[Pair],
        *,
        calling_aet: str,
        timeouts: Timeouts,
        max_pdu_bytes: int,
        as_provider: Sequence[str] = (),
    ) -> Association:
        """Request an association for exactly `contexts`, one presentation context each.

        At most MAX_CONTEXTS. Of the SOP classes in `as_provider` we propose to be the SCP. An
        association in which none was accepted has `accepted` empty and is not open. Raises
        AssociationError.
        """
        negotiation = Negotiation(
            address, contexts, calling_aet=calling_aet, max_pdu_bytes=max_pdu_bytes,
            as_provider=as_provider,
        )  # fmt: skip
        connection = _connect(address, timeouts)
        try:
            connection.allow_answer(timeouts.open_s or timeouts.answer_s)
            terms = negotiation.read_answer(*_ask(connection, negotiation.request_pdu, address))
        except AssociationError as error:
            if error.failure in (Failure.MALFORMED, Failure.TIMED_OUT):
                connection.say(ABORT_PDU)
            connection.close()
            raise
        except BaseException:
            connection.close()
            raise
        association = cls(connection, terms, timeouts.answer_s)
        if not association.accepted:
            association.abort()
        return association

    @property
    def is_open(self) -> bool:
        """Whether messages can be exchanged, as far as this side knows."""
        return self._connection is not None and self._connection.is_quiet

    def next_message_id(self) -> int:
        """A Message ID (0000,0110) that is not in use here."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def exchange(
        self,
        request: Request,
        context_id: int,
        payload: Payload | Content | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> int:
        """Send `request`, with the data set that belongs to it; the response's Status.

        `meanwhile` is called once while the answer is under way. After an AssociationError the
        association is over; whether the peer acted on the request is not known. Raises OSError if
        the data set's file can't be read.
        """
        with self._talking() as connection:
            self._send(connection, request.command, context_id, payload)
            if meanwhile is not None:
                meanwhile()
                connection.allow_answer(self._answer_s)
            return self._receive(connection, request)

    def send(self, command: bytes, context_id: int, dataset: bytes = b"") -> None:
        """Send one message, whose data set is in memory, and wait for nothing.

        For services whose answer is not one status. Raises AssociationError, as `exchange` does.
        """
        with self._talking() as connection:
            self._send(connection, command, context_id, Content(dataset) if dataset else None)

    def receive(self, take: Take, *, is_long: bool = False) -> Incoming:
        """The next message, a response or a request of the peer's; `take` gets its data set.

        It must be short, as answers are, unless `is_long`: then `take` alone bounds it. Raises
        AssociationError, as `exchange` does.
        """
        with self._talking() as connection:
            return self._read_message(connection, take, is_long)

    def require_open(self) -> None:
        """Raise AssociationError, with what the peer said last, if the association is over."""
        if self._connection is None:
            raise _closed()
        if not self._connection.is_quiet:
            error = self._last_words(self._connection)
            self._end(error)
            raise error

    def release(self) -> None:
        """End it in good order; at the latest after a few seconds by an abort."""
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.is_quiet:
                connection.send([RELEASE_RQ_PDU])
            connection.allow_answer(min(_RELEASE_S, self._answer_s))
            while (kind := connection.read_pdu()[0]) != A_RELEASE_RP:
                if kind == A_ABORT:
                    break
                if kind == A_RELEASE_RQ:  # both at once, PS3.8 7.2.2.7
                    connection.say(RELEASE_RP_PDU)
        except (OSError, EOFError):
            connection.say(ABORT_PDU)
        self._drop()

    def abort(self) -> None:
        """End it now."""
        if self._connection is not None:
            self._connection.say(ABORT_PDU)
            self._drop()

    @contextlib.contextmanager
    def _talking(self) -> Iterator[Connection]:
        """The connection, for one message; whatever goes wrong with it ends the association."""
        if self._connection is None:
            raise _closed()
        try:
            self._connection.allow_answer(self._answer_s)
            yield self._connection
        except AssociationError as error:
            self._end(error)
            raise
        except BaseException:  # a data set's file that can't be read: half a message is out
            self.abort()
            raise

    def _end(self, error: AssociationError) -> None:
        if error.failure in _ENDED_BY_PEER:
            self._drop()
        else:
            self.abort()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(
        self,
        connection: Connection,
        command: bytes,
        context_id: int,
        payload: Payload | Content | None,
    ) -> None:
        pdus = command_pdus(command, context_id, self._fragment_bytes)
        try:
            if payload is None:
                connection.send([pdus])
            else:
                payload.send(connection, pdus, context_id, self._fragment_bytes)
        except TimeoutError as error:
            raise self._timed_out() from error
        except EOFError as error:
            raise OSError(errno.EIO, str(error)) from error
        except OSError as error:
            if not _is_about_connection(error):
                raise
            raise self._last_words(connection) from error

    def _receive(self, connection: Connection, request: Request) -> int:
        message = self._read_message(connection)
        try:
            return message.status_of(request)
        except MalformedMessage as error:
            raise _misfit() from error

    def _read_message(
        self, connection: Connection, take: Take | None = None, is_long: bool = False
    ) -> Incoming:
        message = Incoming(take)
        try:
            while not message.is_complete:
                kind, body = connection.read_pdu()
                if kind != P_DATA_TF:
                    raise _ended(connection, kind, body)
                message.feed(body)
                if is_long:
                    connection.allow_answer(self._answer_s)
            return message
        except TimeoutError as error:
            raise self._timed_out() from error
        except OverlongError as error:
            raise AssociationError(Failure.MALFORMED, "the archive's answer is too long") from error
        except (EOFError, OSError) as error:
            raise _closed() from error
        except MalformedMessage as error:
            raise _misfit() from error

    def _last_words(self, connection: Connection) -> AssociationError:
        """Why the peer does not take any more: what it said before it hung up, if anything."""
        try:
            connection.allow_answer(_LAST_WORDS_S)
            kind, body = connection.read_pdu()
        except (OSError, EOFError):
            return _closed()
        return _ended(connection, kind, body)

    def _timed_out(self) -> AssociationError:
        return AssociationError(
            Failure.TIMED_OUT, f"the archive did not answer within {self._answer_s:g} s"
        )


def _connect(address: ArchiveAddress, timeouts: Timeouts) -> Connection:
    try:
        return Connection.open(address.host, address.port, timeouts.connect_s, timeouts.answer_s)
    except (socket.gaierror, UnicodeError) as error:
        message = f"the host name {address.host} of {address} is not known"
        raise AssociationError(Failure.UNKNOWN_HOST, message) from error
    except ConnectionRefusedError as error:
        raise AssociationError(Failure.REFUSED, f"nothing listens at {address}") from error
    except TimeoutError as error:
        raise _no_answer(address) from error
    except OSError as error:
        reason = error.strerror or "the connection broke"
        message = f"{address} can't be reached: {reason}"
        raise AssociationError(Failure.UNREACHABLE, message) from error


def _ask(connection: Connection, pdu: bytes, address: ArchiveAddress) -> tuple[int, bytes]:
    """The PDU that answers the association request."""
    try:
        connection.send([pdu])
        return connection.read_pdu()
    except TimeoutError as error:
        raise _no_answer(address) from error
    except OverlongError as error:
        message = f"{address} answered with something that can't be understood"
        raise AssociationError(Failure.MALFORMED, message) from error
    except (OSError, EOFError) as error:
        message = f"{address} broke off the association request"
        raise AssociationError(Failure.ABORTED, message) from error


def _no_answer(address: ArchiveAddress) -> AssociationError:
    return AssociationError(Failure.TIMED_OUT, f"{address} did not answer in time")


def _misfit() -> AssociationError:
    message = "the archive's answer does not fit the request"
    return AssociationError(Failure.MALFORMED, message)


def _closed() -> AssociationError:
    return AssociationError(Failure.CLOSED, "the connection to the archive was closed")


def _ended(connection: Connection, kind: int, body: bytes) -> AssociationError:
    """What a PDU means that is no P-DATA-TF, when an answer was expected."""
    if kind == A_RELEASE_RQ:
        connection.say(RELEASE_RP_PDU)
        return AssociationError(Failure.RELEASED, "the archive ended the association")
    if kind == A_ABORT:
        return aborted(body)
    return AssociationError(Failure.MALFORMED, "the archive's answer is not DICOM")


def _is_about_connection(error: OSError) -> bool:
    """Whether sending failed because of the peer, not because of the file."""
    return isinstance(error, ConnectionError) or error.errno in _NETWORK_ERRORS


_NETWORK_ERRORS = frozenset(
    {
        *(errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN),
        *(errno.ENETDOWN, errno.ENETRESET, errno.ENOTCONN, errno.EPROTO),
    }
)
