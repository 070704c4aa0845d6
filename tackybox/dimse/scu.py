"""What we ask of an archive: C-ECHO (PS3.7 9.1.5), and C-STORE (9.1.1) on associations kept open.

Promises: a data set goes out byte for byte as it stands in its file, in exactly the transfer
syntax that was accepted for it; every call ends within bounded time (`tackybox.dimse.association`).
Does not promise that a status is a delivery: `tackybox.statuses` says what it means.
The archive's Error Comment (0000,0902) is left alone: it may quote the patient.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.association import (
    MAX_CONTEXTS,
    VERIFICATION,
    Association,
    AssociationError,
    Failure,
    Pair,
    Timeouts,
)
from tackybox.dimse.messages import echo_request, store_request
from tackybox.dimse.payload import Payload

DEFAULT_MAX_PDU_BYTES = 262_144
FALLBACKS = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))  # the better one first


@dataclass(frozen=True, slots=True)
class EchoResult:
    """What came of a C-ECHO. `message` is one sentence for people, `failure` None if all is well.

    `reachable`: an archive that takes associations but refuses C-ECHO is there all the same.
    `peer_implementation`: its implementation class UID (PS3.7 D.3.3.2), as far as it says.
    """

    ok: bool
    reachable: bool
    message: str
    duration_s: float
    failure: Failure | None = None
    peer_implementation: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set to send: its file, where in it the data set begins, and what it is."""

    path: Path
    dataset_offset: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def pair(self) -> Pair:
        """What a presentation context must be about to carry it."""
        return Pair(self.sop_class_uid, self.transfer_syntax_uid)


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What came of a C-STORE: the archive's status, or None where no answer came, and why."""

    status: int | None
    duration_s: float
    failure: Failure | None = None
    message: str = ""


def echo(
    address: ArchiveAddress,
    *,
    calling_aet: str,
    timeouts: Timeouts | None = None,
    max_pdu_bytes: int = DEFAULT_MAX_PDU_BYTES,
) -> EchoResult:
    """One C-ECHO on an association of its own. Never raises for what the archive does."""
    started_s = time.monotonic()
    contexts = [Pair(VERIFICATION, FALLBACKS[1])]
    try:
        association = Association.open(
            address,
            contexts,
            calling_aet=calling_aet,
            timeouts=timeouts or Timeouts(),
            max_pdu_bytes=max_pdu_bytes,
        )
        status = None
        if association.is_open:
            status = _exchange_echo(association, association.accepted[contexts[0]])
        duration_s = time.monotonic() - started_s
        association.release()
    except AssociationError as error:
        duration_s = time.monotonic() - started_s
        message = str(error)
        if str(address) not in message:
            message = f"{address}: {message}"
        return EchoResult(False, False, message, duration_s, error.failure)
    message = f"{address} answers"
    if status is None:
        message = f"{address} takes associations but does not offer C-ECHO"
    elif status:
        message = f"{address} answered C-ECHO with status 0x{status:04X}"
    ok = status == 0
    return EchoResult(
        ok, True, message, duration_s, peer_implementation=association.peer_implementation
    )


def with_fallbacks(pairs: Sequence[Pair]) -> list[Pair]:
    """`pairs`, and each one's SOP class in the uncompressed syntaxes of FALLBACKS."""
    wanted: dict[Pair, None] = dict.fromkeys(pairs)
    for pair in pairs:
        wanted |= dict.fromkeys(Pair(pair.sop_class_uid, syntax) for syntax in FALLBACKS)
    return list(wanted)


def batches(contexts: Iterable[Pair]) -> Iterator[list[Pair]]:
    """`contexts` in lists that one association can carry each, without repetitions.

    All that belongs to one SOP class stays together unless it is too much for one association.
    """
    by_class: dict[str, list[Pair]] = {}
    for context in dict.fromkeys(contexts):
        by_class.setdefault(context.sop_class_uid, []).append(context)
    batch: list[Pair] = []
    for of_class in by_class.values():
        if batch and len(batch) + len(of_class) > MAX_CONTEXTS:
            yield batch
            batch = []
        batch += of_class
        while len(batch) > MAX_CONTEXTS:
            yield batch[:MAX_CONTEXTS]
            batch = batch[MAX_CONTEXTS:]
    if batch:
        yield batch


class StorageAssociation:
    """An association for C-STORE, kept open until `close`; for one thread at a time.

    `accepted`: the pairs that the archive takes. None at all leaves it closed from the start.
    """

    def __init__(self, association: Association) -> None:
        self._association = association
        self.accepted = frozenset(association.accepted)

    @classmethod
    def open(
        cls,
        address: ArchiveAddress,
        contexts: Sequence[Pair],
        *,
        calling_aet: str,
        timeouts: Timeouts | None = None,
        max_pdu_bytes: int = DEFAULT_MAX_PDU_BYTES,
    ) -> StorageAssociation:
        """Negotiate exactly `contexts`, at most MAX_CONTEXTS; raises AssociationError."""
        return cls(
            Association.open(
                address,
                contexts,
                calling_aet=calling_aet,
                timeouts=timeouts or Timeouts(),
                max_pdu_bytes=max_pdu_bytes,
            )
        )

    @property
    def is_open(self) -> bool:
        """Whether a C-STORE can be tried."""
        return self._association.is_open

    def accepts_class(self, sop_class_uid: str) -> bool:
        """Whether the archive knows the class, in whatever transfer syntax (PS3.8 table 9-18)."""
        return sop_class_uid in self._association.known_classes

    def store(
        self,
        source: Source,
        *,
        priority: int = 0,
        payload: Payload | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> StoreResult:
        """C-STORE `source` with DIMSE `priority` (0 medium, 1 high, 2 low; PS3.7 9.3.1.1).

        Its pair must be among `accepted`. `payload` is its data set if it is open already; it is
        closed when this returns. `meanwhile` is called once, while the answer is under way, if it
        comes to that. Without an answer the association is over. Raises OSError if the file can't
        be read; the association is over then, too.
        """
        started_s = time.monotonic()
        try:
            if payload is None:
                self._association.require_open()
                payload = self._open(source)
            with payload:
                request = store_request(
                    self._association.next_message_id(),
                    source.sop_class_uid,
                    source.sop_instance_uid,
                    priority,
                )
                context_id = self._association.accepted[source.pair]
                status = self._association.exchange(request, context_id, payload, meanwhile)
        except AssociationError as error:
            return StoreResult(None, time.monotonic() - started_s, error.failure, str(error))
        return StoreResult(status, time.monotonic() - started_s)

    def _open(self, source: Source) -> Payload:
        try:
            return Payload(source.path, source.dataset_offset)
        except OSError:
            self._association.abort()
            raise

    def close(self) -> None:
        """Release the association; bounded, never raises for what the archive does."""
        self._association.release()

    def abort(self) -> None:
        """End the association at once."""
        self._association.abort()


def acceptable_syntaxes(
    address: ArchiveAddress,
    sop_class_uid: str,
    *,
    calling_aet: str,
    timeouts: Timeouts | None = None,
) -> list[str]:
    """The transfer syntaxes that the archive accepts for a SOP class, asked for all we know.

    Raises AssociationError.
    """
    contexts = [Pair(sop_class_uid, str(uid)) for uid in AllTransferSyntaxes]
    association = StorageAssociation.open(
        address, contexts[:MAX_CONTEXTS], calling_aet=calling_aet, timeouts=timeouts
    )
    association.close()
    return [pair.transfer_syntax_uid for pair in contexts if pair in association.accepted]


def uid_name(uid: str) -> str:
    """The name that PS3.6 gives a UID, or the UID itself."""
    return str(UID(uid).name)


def _exchange_echo(association: Association, context_id: int) -> int:
    request = echo_request(association.next_message_id(), VERIFICATION)
    return association.exchange(request, context_id)
