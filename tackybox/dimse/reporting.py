"""Where archives bring their reports on storage commitment: N-EVENT-REPORT, on an association of
theirs (PS3.4 J.3.3), and C-ECHO, with which they try whether we are there.

Promises: a report is answered Success only when `keep` has returned; memory and the number of
connections are bounded, and every wait is, whoever calls. Lets in only the AE titles that it is
told. Does not promise that who calls himself so is the archive: what makes a report count is the
Transaction UID, which nobody but the archive was given.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import negotiate_as_acceptor

from tackybox import logs
from tackybox.dimse.association import VERIFICATION
from tackybox.dimse.commitment import N_EVENT_REPORT_RQ, PUSH_MODEL, SYNTAXES, Report, answer_report
from tackybox.dimse.messages import (
    A_RELEASE_RQ,
    ABORT_PDU,
    AFFECTED_SOP_CLASS_UID,
    C_ECHO_RQ,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    MESSAGE_ID,
    MESSAGE_ID_RESPONDED_TO,
    NO_DATA_SET,
    P_DATA_TF,
    RELEASE_RP_PDU,
    RESPONSE,
    STATUS,
    Incoming,
    MalformedMessage,
    command_pdus,
    encode_command,
    fragment_bytes,
    uid_value,
    us_value,
)
from tackybox.dimse.negotiation import user_information
from tackybox.dimse.transport import Connection
from tackybox.errors import UnavailableError
from tackybox.service import Stop

_A_ASSOCIATE_RQ = 0x01
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_MOST_CONNECTIONS = 16
_SILENCE_S = 30.0
_ACCEPT_S = 1.0
_UNRECOGNIZED_OPERATION = 0x0211
_LEAST_PDU_BYTES = 64
# Result, source and reason (PS3.8 table 9-21).
_CALLING_AET = (0x01, 0x01, 0x03)
_CALLED_AET = (0x01, 0x01, 0x07)


@dataclass(frozen=True, slots=True)
class Host:
    """Who listens: our AE title, which others are let in, and the longest PDU that we take."""

    aet: str
    callers: Collection[str]
    max_pdu_bytes: int


def serve(host: Host, bind: str, port: int, keep: Callable[[Report], None], stop: Stop) -> None:
    """Listen until told to stop; `keep` gets each report.

    What `keep` raises is answered as a failure, and the archive may report again. Raises
    UnavailableError if the port can't be listened on.
    """
    log = logs.get("reports")
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        listener = socket.create_server((bind, port), family=family, backlog=_MOST_CONNECTIONS)
    except OSError as error:
        message = f"port {port} can't be listened on: {error.strerror}"
        raise UnavailableError(
            f"{message}; is TACKYBOX_REPORT_PORT free on this machine?"
        ) from error
    seats = threading.BoundedSemaphore(_MOST_CONNECTIONS)
    with listener:
        listener.settimeout(_ACCEPT_S)
        while not stop.is_set():
            try:
                sock, (address, *_) = listener.accept()
            except OSError:  # nobody came, or who came has gone
                continue
            if not seats.acquire(blocking=False):
                sock.close()
                continue
            caller = _Caller(host, keep, log, str(address))
            threading.Thread(target=caller.attend, args=(sock, seats), daemon=True).start()


class _Caller:
    """One connection, from its first byte to its last."""

    def __init__(
        self, host: Host, keep: Callable[[Report], None], log: logs.Log, address: str
    ) -> None:
        self._host = host
        self._keep = keep
        self._log = log
        self._address = address
        self._aet = ""
        self._syntaxes: dict[int, str] = {}
        self._fragment_bytes = _LEAST_PDU_BYTES

    def attend(self, sock: socket.socket, seats: threading.BoundedSemaphore) -> None:
        try:
            connection = Connection(sock, _SILENCE_S)
            try:
                self._converse(connection)
            finally:
                connection.close()
        except (OSError, EOFError):
            pass  # silence, or it hung up: an archive that wants something comes again
        except Exception as error:  # whatever it sent, others are served
            self._log.warning("a report could not be read", address=self._address, exc=error)
        finally:
            with contextlib.suppress(OSError):
                sock.close()
            seats.release()

    def _converse(self, connection: Connection) -> None:
        kind, body = connection.read_pdu()
        if kind != _A_ASSOCIATE_RQ:
            connection.say(ABORT_PDU)
            return
        is_let_in, answer = self._answer(bytes((kind, 0)) + len(body).to_bytes(4, "big") + body)
        connection.send([answer])
        while is_let_in:
            connection.allow_answer(_SILENCE_S)
            dataset = bytearray()
            message = _next_message(connection, dataset)
            if message is None:
                return
            if message.context_id not in self._syntaxes:
                raise MalformedMessage("a context that was not accepted")
            response = self._respond(message, bytes(dataset))
            pdus = command_pdus(response, message.context_id, self._fragment_bytes)
            connection.send([pdus])

    def _answer(self, request: bytes) -> tuple[bool, bytes]:
        """Whether it is let in, and the answer to its A-ASSOCIATE-RQ."""
        asked: Any = A_ASSOCIATE_RQ()
        asked.decode(request)
        proposal = asked.to_primitive()
        self._aet = asked.calling_ae_title.strip()
        if self._aet not in self._host.callers:
            self._log.warning("caller refused", calling_aet=self._aet, address=self._address)
            return False, _rejection(_CALLING_AET)
        if asked.called_ae_title.strip() != self._host.aet:
            self._log.warning("caller refused", calling_aet=self._aet, address=self._address)
            return False, _rejection(_CALLED_AET)
        roles = {
            UID(item.sop_class_uid or ""): (item.scu_role, item.scp_role)
            for item in proposal.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
        }
        contexts, granted = negotiate_as_acceptor(
            proposal.presentation_context_definition_list, _supported(roles), roles
        )
        self._syntaxes = {
            int(context.context_id or 0): str(context.transfer_syntax[0])
            for context in contexts
            if context.result == 0x00
        }
        longest_bytes = int(proposal.maximum_length_received or 0) or self._host.max_pdu_bytes
        longest_bytes = max(_LEAST_PDU_BYTES, min(longest_bytes, self._host.max_pdu_bytes))
        self._fragment_bytes = fragment_bytes(longest_bytes)
        answer = A_ASSOCIATE()
        answer.application_context_name = UID(_APPLICATION_CONTEXT)
        answer.calling_ae_title = proposal.calling_ae_title
        answer.called_ae_title = proposal.called_ae_title
        answer.result, answer.result_source = 0x00, 0x01
        answer.presentation_context_definition_results_list = contexts
        answer.user_information = [*user_information(self._host.max_pdu_bytes), *granted]
        return True, A_ASSOCIATE_AC(answer).encode()

    def _respond(self, message: Incoming, dataset: bytes) -> bytes:
        field = message.number(COMMAND_FIELD)
        if field == N_EVENT_REPORT_RQ:
            report, response = answer_report(message, dataset, self._syntaxes[message.context_id])
            if report is None:
                self._log.warning("a report could not be read", calling_aet=self._aet)
                return response
            self._keep(report)
            return response
        return encode_command(
            (AFFECTED_SOP_CLASS_UID, uid_value(VERIFICATION)),
            (COMMAND_FIELD, us_value(field | RESPONSE)),
            (MESSAGE_ID_RESPONDED_TO, us_value(message.number(MESSAGE_ID))),
            (COMMAND_DATA_SET_TYPE, us_value(NO_DATA_SET)),
            (STATUS, us_value(0x0000 if field == C_ECHO_RQ else _UNRECOGNIZED_OPERATION)),
        )


def _next_message(connection: Connection, dataset: bytearray) -> Incoming | None:
    """The next message, its data set in `dataset`; None if the association ends."""
    message = Incoming(lambda _, fragment: dataset.extend(fragment))
    while not message.is_complete:
        kind, body = connection.read_pdu()
        if kind == A_RELEASE_RQ:
            connection.send([RELEASE_RP_PDU])
        if kind != P_DATA_TF:
            return None
        message.feed(body)
    return message


def _supported(roles: dict[UID, tuple[bool | None, bool | None]]) -> list[Any]:
    """What we take. Of who proposes no roles we take it that he means what he must mean."""
    commitment = build_context(PUSH_MODEL, list(SYNTAXES))
    if UID(PUSH_MODEL) in roles:
        commitment.scu_role, commitment.scp_role = False, True
    return [build_context(VERIFICATION, list(SYNTAXES)), commitment]


def _rejection(reason: tuple[int, int, int]) -> bytes:
    answer = A_ASSOCIATE()
    answer.result, answer.result_source, answer.diagnostic = reason
    return A_ASSOCIATE_RJ(answer).encode()
