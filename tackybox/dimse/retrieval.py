"""C-GET as its user (PS3.4 C.4.3, PS3.7 9.1.3): one SOP instance at a time, on one association.

The archive sends the instance by C-STORE on the same association, so that it need not know how to
reach us. Promises: memory stays flat whatever comes, because the data set is handed on as it comes
in; every wait is bounded, and so is what is taken. An instance that was not asked for is refused.
Does not promise that an archive gives what it has: some offer no C-GET, or not of every class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from pydicom.uid import ImplicitVRLittleEndian

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.association import (
    MAX_CONTEXTS,
    Association,
    AssociationError,
    Failure,
    Pair,
    Timeouts,
)
from tackybox.dimse.messages import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_STORE_RQ,
    COMMAND_FIELD,
    MESSAGE_ID,
    Incoming,
    MalformedMessage,
    get_request,
    store_response,
)
from tackybox.dimse.query import Level, QueryError, identifier
from tackybox.dimse.scu import DEFAULT_MAX_PDU_BYTES

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"  # PS3.4 C.6.2.1
_CONTEXT = Pair(STUDY_ROOT_GET, str(ImplicitVRLittleEndian))
_PENDING = frozenset({0xFF00, 0xFF01})
_MOST_MESSAGES = 1000  # about one instance
_LONGEST_BYTES = 1 << 33
_LONGEST_ANSWER_BYTES = 1 << 20
_DOES_NOT_MATCH = 0xA900  # PS3.4 table B.2-1

Sink = Callable[[bytes], None]


class Retrieval:
    """An association for C-GET, kept open until `close`; for one thread at a time."""

    def __init__(self, association: Association, address: ArchiveAddress) -> None:
        self._association = association
        self._address = address
        self._syntaxes = {
            number: pair.transfer_syntax_uid for pair, number in association.accepted.items()
        }

    @classmethod
    def open(
        cls,
        address: ArchiveAddress,
        contexts: Sequence[Pair],
        *,
        calling_aet: str,
        timeouts: Timeouts | None = None,
    ) -> Retrieval:
        """For instances of `contexts`, fewer than MAX_CONTEXTS, the ones liked most first.

        Raises AssociationError; QueryError if the archive offers no C-GET to us.
        """
        association = Association.open(
            address,
            [_CONTEXT, *contexts][:MAX_CONTEXTS],
            calling_aet=calling_aet,
            timeouts=timeouts or Timeouts(),
            max_pdu_bytes=DEFAULT_MAX_PDU_BYTES,
            as_provider=tuple(dict.fromkeys(pair.sop_class_uid for pair in contexts)),
        )
        if _CONTEXT not in association.accepted:
            association.release()
            raise QueryError(f"{address} does not offer C-GET (Study Root) to {calling_aet}")
        return cls(association, address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether an instance can be asked for."""
        return self._association.is_open

    def get(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        begin: Callable[[str], Sink],
    ) -> int:
        """Ask for one instance; the status of the last answer (PS3.4 table C.4-3).

        If it comes, `begin` is called with its transfer syntax UID, and what it returns with each
        piece of its data set. Raises AssociationError; the association is over then.
        """
        request = get_request(self._association.next_message_id(), STUDY_ROOT_GET)
        asked = identifier(Level.IMAGE, study_instance_uid, series_instance_uid, sop_instance_uid)
        self._association.send(request.command, self._association.accepted[_CONTEXT], asked)
        try:
            for _ in range(_MOST_MESSAGES):
                taker = _Taker(sop_instance_uid, self._syntaxes, begin)
                message = self._association.receive(taker.take, is_long=True)
                if message.number(COMMAND_FIELD) == C_STORE_RQ:
                    self._answer(message, sop_instance_uid)
                elif (status := message.status_of(request)) not in _PENDING:
                    return status
            raise MalformedMessage("it never ends")
        except MalformedMessage as error:
            self._association.abort()
            words = f"{self._address} answered C-GET with something that does not fit"
            raise AssociationError(Failure.MALFORMED, words) from error

    def close(self) -> None:
        """Release the association; bounded, never raises for what the archive does."""
        self._association.release()

    def _answer(self, message: Incoming, sop_instance_uid: str) -> None:
        uid, sop_class_uid = (
            message.uid(element) for element in (AFFECTED_SOP_INSTANCE_UID, AFFECTED_SOP_CLASS_UID)
        )
        status = 0x0000 if uid == sop_instance_uid else _DOES_NOT_MATCH
        response = store_response(message.number(MESSAGE_ID), sop_class_uid, uid, status)
        self._association.send(response, message.context_id)


class _Taker:
    """Hands the data set of one message on, if it is the instance that was asked for."""

    def __init__(
        self, sop_instance_uid: str, syntaxes: dict[int, str], begin: Callable[[str], Sink]
    ) -> None:
        self._wanted = sop_instance_uid
        self._syntaxes = syntaxes
        self._begin = begin
        self._sink: Sink | None = None
        self._size_bytes = 0

    def take(self, message: Incoming, piece: bytes) -> None:
        """One piece of `message`'s data set; raises MalformedMessage if it is too much."""
        is_store = message.number(COMMAND_FIELD) == C_STORE_RQ
        self._size_bytes += len(piece)
        if self._size_bytes > (_LONGEST_BYTES if is_store else _LONGEST_ANSWER_BYTES):
            raise MalformedMessage("it is too long")
        if is_store and message.uid(AFFECTED_SOP_INSTANCE_UID) == self._wanted:
            if self._sink is None:
                syntax = self._syntaxes.get(message.context_id)
                if syntax is None:
                    raise MalformedMessage("it comes on a context that was not accepted")
                self._sink = self._begin(syntax)
            self._sink(piece)
