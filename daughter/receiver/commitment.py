"""A modality's storage commitment request on its way in (PS3.4 Annex J, PS3.7 10.1.4).

Success says that the request is durable in the spool; whether its images are committed is answered
later, by the pusher, which hears from the mothers what the archives have.
Bounded: the data set of a request, how many are read at a time, and how many are open.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from daughter.receiver.acceptance import SUCCESS, Acceptance
from daughter.receiver.command import Command
from mysql_utilities.events import Kind
from tackybox.dimse.commitment_provider import (
    COMMITMENT,
    COMMITMENT_INSTANCE,
    REQUEST_COMMITMENT,
    TooManyError,
    read_request,
)
from tackybox.errors import DataError
from tackybox.spool import MOST_REFERENCES, CommitmentRequest

NO_SUCH_INSTANCE = 0x0112  # PS3.7 C.5
INVALID_ARGUMENT = 0x0115
NO_SUCH_CLASS = 0x0118
NO_SUCH_ACTION = 0x0123
RESOURCE_LIMITATION = 0x0213

_LONGEST_BYTES = 4 << 20  # twice what MOST_REFERENCES usual ones take
_PLACES = threading.BoundedSemaphore(8)  # requests in memory at a time, in one process


@dataclass(frozen=True, slots=True)
class Petitioner:
    """Who asks."""

    calling_aet: str
    called_aet: str
    peer_address: str


class Petition:
    """One request, used as a `Reception` is."""

    def __init__(
        self,
        acceptance: Acceptance,
        petitioner: Petitioner,
        transfer_syntax_uid: str,
        request: Command,
    ) -> None:
        self._acceptance = acceptance
        self._petitioner = petitioner
        self._transfer_syntax_uid = transfer_syntax_uid
        self._encoded = bytearray()
        self._refusal = _objection(request)
        self._has_place = self._refusal is None and _PLACES.acquire(blocking=False)
        if self._refusal is None and not self._has_place:
            self._refusal = RESOURCE_LIMITATION, "too many requests are being read"

    def write(self, piece: memoryview) -> None:
        """Take the next `piece` of the encoded data set."""
        if self._refusal is not None:
            return
        if len(self._encoded) + len(piece) > _LONGEST_BYTES:
            self._refuse(RESOURCE_LIMITATION, f"it is longer than {_LONGEST_BYTES} bytes")
            return
        self._encoded += piece

    def finish(self) -> int:
        """All of it has come; the status to answer (PS3.7 10.1.4.1.10)."""
        if self._refusal is None:
            try:
                self._keep()
            except TooManyError as error:
                self._refuse(RESOURCE_LIMITATION, str(error))
            except DataError as error:
                self._refuse(INVALID_ARGUMENT, str(error))
            except OSError as error:
                self._refuse(RESOURCE_LIMITATION, f"it can't be kept: {error.strerror or error}")
        if self._refusal is None:
            return SUCCESS
        status, why = self._refusal
        self._record(Kind.REFUSED, f"storage commitment: {why}", status)
        self._acceptance.log.warning(
            "commitment request refused", status=f"{status:04X}", reason=why,
            calling_aet=self._petitioner.calling_aet,
        )  # fmt: skip
        return status

    def tell(self) -> None:
        """Nobody waits for anything."""

    def close(self) -> None:
        """Let go of its memory."""
        self._encoded = bytearray()
        if self._has_place:
            self._has_place = False
            _PLACES.release()

    def _keep(self) -> None:
        transaction_uid, references = read_request(
            bytes(self._encoded), self._transfer_syntax_uid, MOST_REFERENCES
        )
        if not self._acceptance.has_room():
            self._refuse(RESOURCE_LIMITATION, "the spool is below its low-space watermark")
            return
        petitioner = self._petitioner
        request = CommitmentRequest(
            transaction_uid, petitioner.calling_aet, petitioner.called_aet,
            petitioner.peer_address, datetime.now(UTC), references,
        )  # fmt: skip
        self._acceptance.spool.commitments.keep(request)
        detail = f"{len(references)} images; transaction {transaction_uid}"
        self._record(Kind.ASKED, detail, SUCCESS)
        self._acceptance.log.info(
            "commitment asked", calling_aet=petitioner.calling_aet, items=len(references)
        )

    def _refuse(self, status: int, why: str) -> None:
        self._refusal = (status, why)
        self.close()

    def _record(self, kind: Kind, detail: str, status: int) -> None:
        self._acceptance.recorder.record(
            kind, calling_aet=self._petitioner.calling_aet, sop_class_uid=COMMITMENT,
            called_aet=self._petitioner.called_aet, peer_address=self._petitioner.peer_address,
            status_code=status, detail=detail,
        )  # fmt: skip


def _objection(request: Command) -> tuple[int, str] | None:
    """What is wrong with the command, if anything."""
    if request.sop_class_uid != COMMITMENT:
        return NO_SUCH_CLASS, "the command names another SOP class"
    if request.sop_instance_uid != COMMITMENT_INSTANCE:
        return NO_SUCH_INSTANCE, "the command names another SOP instance than the well-known one"
    if request.action_type != REQUEST_COMMITMENT:
        return NO_SUCH_ACTION, "the command names another action"
    return None
