"""One association from its first byte to its last, as its acceptor (PS3.8 section 9, PS3.7 9.3).

pynetdicom negotiates (`scp`); from there on this reads the PDUs itself, straight from the socket
into the spool, because pynetdicom's way from a PDU to a handler costs several times as much
(docs/decisions/0012). Promises: memory does not grow with the data set; a PDU, a PDV or a command
set that is longer than it may be, or out of place, ends the association with an A-ABORT that says
why; messages on several presentation contexts may be mixed; each C-STORE is answered when it is
durable, each failure with its status; whatever ends the association, nothing half received stays.
"""

from __future__ import annotations

from collections.abc import Callable

from daughter.receiver import command, pdu
from daughter.receiver.acceptance import Acceptance, Offer, Reception
from daughter.receiver.command import Command
from daughter.receiver.commitment import Petition, Petitioner
from daughter.receiver.pdu import Reason, Violation
from daughter.receiver.scp import VERIFICATION, Accepted, Context, Door, Rejected
from daughter.receiver.wire import Gone, Wire
from tackybox.dimse.commitment_provider import COMMITMENT
from tackybox.dimse.messages import (
    A_ABORT,
    A_RELEASE_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    IS_COMMAND,
    IS_LAST,
    N_ACTION_RQ,
    P_DATA_TF,
    PDU_HEAD,
    PDV_HEAD,
    PDV_HEAD_BYTES,
    RELEASE_RP_PDU,
    MalformedMessage,
    command_pdus,
    fragment_bytes,
)
from tackybox.spool import Blank

_LONGEST_COMMAND_BYTES = 1 << 16
# An A-ASSOCIATE-RQ of 128 contexts with all transfer syntaxes stays below this; and a P-DATA-TF
# that is longer than we announced costs us nothing.
_LONGEST_PDU_BYTES = 1 << 20
_LEAST_PDU_BYTES = 64  # of a peer that says it takes less no PDU could be made

_NOT_STORAGE = frozenset({VERIFICATION, COMMITMENT})
_PDV_LENGTH_BYTES = 4  # of its head that its length does not count

_SUCCESS = 0x0000
_PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.12
_UNRECOGNISED_OPERATION = 0x0211  # PS3.7 C.5.23


class _Message:
    """What has come of one message on one presentation context."""

    def __init__(self, context_id: int, context: Context) -> None:
        self.context_id = context_id
        self.context = context
        self.command = bytearray()
        self.request: Command | None = None  # once its command set is complete
        self.reception: Reception | Petition | None = None  # of a C-STORE, an N-ACTION


class Association:
    """An association over `wire` with who is at `peer_address`; for one thread.

    `enter` is asked for a place once the caller is known, and says whether there is one.
    """

    def __init__(
        self,
        wire: Wire,
        door: Door,
        acceptance: Acceptance,
        addresses: tuple[str, str],
        enter: Callable[[], bool],
        longest_bytes: int,
    ) -> None:
        self._wire = wire
        self._door = door
        self._acceptance = acceptance
        self._peer_address, self._our_address = addresses
        self._enter = enter
        self._longest_bytes = max(longest_bytes, _LONGEST_PDU_BYTES)
        self._accepted: Accepted | None = None
        self._fragment_bytes = 0  # that the peer takes at a time
        self._messages: dict[int, _Message] = {}
        self._blank: Blank | None = None  # for the next data set
        self._is_stopping = False

    @property
    def is_idle(self) -> bool:
        """Whether no message is in hand."""
        return not self._messages and not self._wire.has_more()

    def stop(self) -> None:
        """End it when the message in hand is answered; from any thread."""
        self._is_stopping = True
        if self.is_idle:
            self._wire.wake()

    def give_up(self) -> bool:
        """End it if there is no association yet; whether that was so. From any thread."""
        if self._accepted is not None or self._is_stopping:
            return False
        self._is_stopping = True
        self._wire.wake()
        return True

    def run(self) -> None:
        """Serve it to its end, however it ends."""
        farewell = False
        try:
            farewell = self._negotiate() and self._transfer()
        except Violation as violation:
            farewell = self._abort(violation.reason)
        except TimeoutError:
            farewell = self._abort(Reason.NOT_SPECIFIED)
        except Gone:
            if self._is_stopping:
                farewell = self._abort(Reason.NOT_SPECIFIED)
        finally:
            for message in self._messages.values():
                if message.reception is not None:
                    message.reception.close()
            if self._blank is not None:
                self._blank.discard()
            self._wire.close(farewell=farewell)

    def _abort(self, reason: Reason) -> bool:
        """Say so if anyone still hears it; whether it could be said."""
        try:
            self._wire.send(pdu.abort(reason))
        except (Gone, TimeoutError):
            return False
        return True

    # --- the negotiation: Sta2 and Sta3 of PS3.8 table 9-10

    def _negotiate(self) -> bool:
        """Answer the request; whether there is an association now."""
        kind, length = self._header()
        if kind == A_ABORT:
            return False
        if kind != pdu.ASSOCIATE_RQ:
            raise pdu.unexpected(kind)
        request = PDU_HEAD.pack(kind, length) + self._wire.take(length)
        try:
            answer = self._door.answer(request, self._peer_address, self._our_address)
            if isinstance(answer, Accepted) and not self._enter():
                answer = self._door.full(answer.calling_aet)
        except ValueError as error:
            raise Violation(Reason.INVALID_VALUE) from error
        if isinstance(answer, Rejected):
            self._acceptance.association_refused(answer.why, answer.calling_aet, self._peer_address)
            self._wire.send(answer.answer)
            return True  # for the farewell; `_transfer` sees that there is no association
        self._accepted = answer
        self._fragment_bytes = fragment_bytes(
            max(_LEAST_PDU_BYTES, answer.longest_bytes or _LONGEST_PDU_BYTES)
        )
        self._wire.send(answer.answer)
        return True

    # --- the transfer phase: Sta6

    def _transfer(self) -> bool:
        """Serve messages until the peer releases; whether a last word was said."""
        while self._accepted is not None:
            if self._is_stopping and self.is_idle:
                return self._abort(Reason.NOT_SPECIFIED)
            kind, length = self._header()
            if kind == P_DATA_TF:
                self._p_data(self._accepted, length)
            elif kind == A_RELEASE_RQ:
                self._wire.take(length)
                self._wire.send(RELEASE_RP_PDU)
                break
            elif kind == A_ABORT:
                return False
            else:
                raise pdu.unexpected(kind)
        return True

    def _header(self) -> tuple[int, int]:
        """Type and length of the next PDU."""
        kind, length = PDU_HEAD.unpack(self._wire.take(PDU_HEAD.size))
        if length > self._longest_bytes:
            raise Violation(Reason.INVALID_VALUE)
        return kind, length

    def _p_data(self, accepted: Accepted, length: int) -> None:
        """Read a P-DATA-TF of `length` bytes, PDV by PDV (PS3.8 section 9.3.5)."""
        while length:
            if length < PDV_HEAD_BYTES:
                raise Violation(Reason.INVALID_VALUE)
            header = self._wire.take(PDV_HEAD_BYTES)
            pdv_bytes, context_id, control = PDV_HEAD.unpack(header)
            left = pdv_bytes + _PDV_LENGTH_BYTES - PDV_HEAD_BYTES
            length -= pdv_bytes + _PDV_LENGTH_BYTES
            if left < 0 or length < 0 or context_id not in accepted.contexts:
                raise Violation(Reason.INVALID_VALUE)
            message = self._messages.get(context_id)
            if message is None:
                message = _Message(context_id, accepted.contexts[context_id])
                self._messages[context_id] = message
            if control & IS_COMMAND:
                self._command_fragment(message, left, is_last=bool(control & IS_LAST))
            else:
                self._data_fragment(message, left, is_last=bool(control & IS_LAST))

    def _command_fragment(self, message: _Message, length: int, *, is_last: bool) -> None:
        if message.request is not None:
            raise Violation(Reason.UNEXPECTED_PDU)
        if len(message.command) + length > _LONGEST_COMMAND_BYTES:
            raise Violation(Reason.INVALID_VALUE)
        message.command += self._wire.take(length)
        if not is_last:
            return
        try:
            request = message.request = command.parse(bytes(message.command))
        except MalformedMessage as error:
            raise Violation(Reason.INVALID_VALUE) from error
        about = message.context.abstract_syntax
        if request.field == C_STORE_RQ and about not in _NOT_STORAGE:
            blank, self._blank = self._blank, None
            message.reception = self._acceptance.begin(self._offer(message.context, request), blank)
        elif request.field == N_ACTION_RQ and about == COMMITMENT:
            message.reception = self._petition(message.context, request)
        if not request.has_data_set:
            self._answer(message, request)

    def _data_fragment(self, message: _Message, length: int, *, is_last: bool) -> None:
        if message.request is None:
            raise Violation(Reason.UNEXPECTED_PDU)
        while length:
            piece = self._wire.piece(length)
            length -= len(piece)
            if message.reception is not None:
                message.reception.write(piece)
        if is_last:
            self._answer(message, message.request)

    def _answer(self, message: _Message, request: Command) -> None:
        """The whole message has come."""
        if message.reception is not None:
            status = self._finish(message.reception)
        elif request.field == C_ECHO_RQ and self._is_echo(message):
            status = _SUCCESS
        else:
            status = _UNRECOGNISED_OPERATION
        del self._messages[message.context_id]
        try:
            if request.wants_answer:
                answer = command.response(request, status)
                self._wire.send(command_pdus(answer, message.context_id, self._fragment_bytes))
        finally:  # what was accepted is told of, also if the peer does not hear it any more
            if message.reception is not None:
                message.reception.tell()
                message.reception.close()
        if message.reception is not None and self._blank is None:
            self._blank = self._acceptance.blank()  # while the peer makes its next one ready

    def _finish(self, reception: Reception | Petition) -> int:
        try:
            return reception.finish()
        except Exception as error:  # whatever it is, the peer must hear that we don't have it
            reception.close()
            self._acceptance.log.error("request failed", exc=error)
            return _PROCESSING_FAILURE

    @staticmethod
    def _is_echo(message: _Message) -> bool:
        return message.context.abstract_syntax == VERIFICATION

    def _petition(self, context: Context, request: Command) -> Petition:
        accepted = self._accepted
        calling_aet, called_aet = (
            (accepted.calling_aet, accepted.called_aet) if accepted else ("", "")
        )
        petitioner = Petitioner(calling_aet, called_aet, self._peer_address)
        return Petition(self._acceptance, petitioner, context.transfer_syntax_uid, request)

    def _offer(self, context: Context, request: Command) -> Offer:
        accepted = self._accepted
        return Offer(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax_uid,
            priority=request.priority,
            calling_aet=accepted.calling_aet if accepted else "",
            called_aet=accepted.called_aet if accepted else "",
            peer_address=self._peer_address,
        )
