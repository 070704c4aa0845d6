"""Answers the storage commitment requests that the receiver has kept (PS3.4 Annex J).

Promises: Success is told for an image only when every archive has it (`evidence`); a request is
answered once each of its images is decided, at the latest when `commitment_timeout_s` has passed:
what is not proved by then has failed, and the modality keeps its copy, which is the safe direction.
An answer that the modality does not take is tried again with growing waits, for as long again; then
it is given up, and log and journal say so. A killed process loses nothing: the request stays in the
spool until then, and an answer may be told twice. A modality that is down delays only its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from daughter.pusher.evidence import Finding, Reference, findings
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.config import DaughterConfig
from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.association import AssociationError, Timeouts
from tackybox.dimse.commitment_provider import (
    CLASS_CONFLICT,
    COMMITMENT,
    DUPLICATE_TRANSACTION,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    Result,
    tell,
)
from tackybox.errors import DataError
from tackybox.service import Backoff, Stop
from tackybox.spool import CommitmentRequest, Spool
from tackybox.spool.durable import sole_worker

_TICK_S = 0.5
_LEAST_WAIT_S, _MOST_WAIT_S = 1.0, 60.0  # between two looks at one request
_WAIT_PER_AGE = 0.02
_WAIT_PER_COST = 20.0  # looking takes at most a twentieth of one core
_UNKNOWN_S = 600.0  # for so long an image may follow the request that names it
_MOST_REFERENCES = 50_000  # in memory at a time
_FIRST_RETRY_S = 1.0
_TIMEOUTS = Timeouts(connect_s=10.0, answer_s=30.0)

_SUCCESS = 0x0000
_TRY_AGAIN = frozenset({0x0110, 0x0210, 0x0213})  # PS3.7 C.5: failures that may pass
_REASONS = {
    Finding.UNKNOWN: NO_SUCH_INSTANCE,
    Finding.CONFLICT: CLASS_CONFLICT,
    Finding.QUARANTINED: PROCESSING_FAILURE,
    Finding.WAITING: PROCESSING_FAILURE,
}


class _Peer:
    """A modality that takes answers, or does not."""

    def __init__(self, cap_s: float) -> None:
        self.backoff = Backoff(_FIRST_RETRY_S, cap_s)
        self.try_at_s = 0.0
        self.told = ""


@dataclass(frozen=True, slots=True)
class _Open:
    """An open request, read."""

    name: str
    request: CommitmentRequest

    @property
    def age_s(self) -> float:
        """For how long it is open; 0 by a clock that was set back."""
        return max(0.0, (datetime.now(UTC) - self.request.arrived_at).total_seconds())


class Answerer:
    """Answers what is open in `spool`."""

    def __init__(self, config: DaughterConfig, spool: Spool, recorder: Recorder) -> None:
        self._config = config
        self._spool = spool
        self._requests = spool.commitments
        self._recorder = recorder
        self._log = logs.get("commitment")
        self._outlets = frozenset(group.name for group in config.destinations)
        self._addresses = {peer.aet: peer for peer in config.commitment_peers or ()}
        self._peers: dict[ArchiveAddress, _Peer] = {}
        self._look_at_s: dict[str, float] = {}
        self._evidence_trouble = ""

    def run(self, stop: Stop) -> None:
        """Until told to stop. Raises SpoolError if another process does this already."""
        with sole_worker(self._requests.directory, "answerer of storage commitment"):
            self._requests.sweep()
            while not stop.is_set():
                self.look(stop)
                stop.wait(_TICK_S)

    def look(self, stop: Stop) -> None:
        """Once at each request whose turn it is."""
        names = set(self._requests.names())
        self._look_at_s = {name: at_s for name, at_s in self._look_at_s.items() if name in names}
        now_s = time.monotonic()
        due = [name for name in sorted(names) if self._look_at_s.get(name, 0.0) <= now_s]
        batch: list[_Open] = []
        for name in due:
            if stop.is_set():
                return
            if (found := self._read(name)) is None:
                continue
            batch.append(found)
            if sum(len(one.request.references) for one in batch) >= _MOST_REFERENCES:
                self._handle(batch, stop)
                batch = []
        self._handle(batch, stop)

    def _read(self, name: str) -> _Open | None:
        try:
            return _Open(name, self._requests.read(name))
        except FileNotFoundError:
            return None
        except DataError as error:
            self._log.error("commitment request unreadable, given up", exc=error)
            self._recorder.record(Kind.UNANSWERED, sop_class_uid=COMMITMENT, detail=str(error))
            self._requests.done(name)
            return None

    def _handle(self, batch: list[_Open], stop: Stop) -> None:
        """Answer those of `batch` that can be answered now."""
        began_s = time.monotonic()
        found = self._findings({one for opened in batch for one in opened.request.references})
        cost_s = time.monotonic() - began_s
        for opened in batch:
            if stop.is_set():
                return
            wait_s = max(_LEAST_WAIT_S, min(_MOST_WAIT_S, opened.age_s * _WAIT_PER_AGE))
            self._look_at_s[opened.name] = time.monotonic() + max(wait_s, cost_s * _WAIT_PER_COST)
            result = self._result(opened, found)
            if result is not None:
                self._answer(opened, result)

    def _findings(self, references: set[Reference]) -> Mapping[Reference, Finding]:
        """What is known of `references`; nothing if that can't be found out now."""
        if not references:
            return {}
        try:
            found = findings(self._spool, self._outlets, references)
        except (JournalError, OSError) as error:
            if str(error) != self._evidence_trouble:
                self._log.warning("commitment can't be judged", reason=str(error))
            self._evidence_trouble = str(error)
            return {}
        self._evidence_trouble = ""
        return found

    def _result(self, opened: _Open, found: Mapping[Reference, Finding]) -> Result | None:
        """What is to be told; None while an image is undecided and there is time."""
        request, age_s = opened.request, opened.age_s
        if request.is_duplicate:
            failed = [(one, DUPLICATE_TRANSACTION) for one in request.references]
            return Result(request.transaction_uid, (), failed)
        known = {one: found.get(one, Finding.WAITING) for one in request.references}
        is_late = age_s >= self._config.commitment_timeout_s
        if not is_late and any(_may_change(finding, age_s) for finding in known.values()):
            return None
        return Result(
            request.transaction_uid,
            [one for one, finding in known.items() if finding is Finding.COMMITTED],
            [(one, _REASONS[finding]) for one, finding in known.items() if finding in _REASONS],
        )

    def _answer(self, opened: _Open, result: Result) -> None:
        """Tell the modality, or note that it does not listen."""
        address = self._address(opened.request)
        peer = self._peers.setdefault(address, _Peer(self._config.backoff_cap_s))
        if time.monotonic() < peer.try_at_s:
            return
        try:
            status = tell(
                result, address, calling_aet=opened.request.called_aet, timeouts=_TIMEOUTS,
                max_pdu_bytes=self._config.max_pdu_bytes,
            )  # fmt: skip
            trouble = f"it answered {status:04X}" if status in _TRY_AGAIN else ""
        except AssociationError as error:
            status, trouble = None, str(error).replace("the archive", "the modality")
        if trouble:
            self._not_taken(opened, peer, trouble)
            return
        peer.backoff.reset()
        peer.told = ""
        counts = f"{len(result.committed)} committed, {len(result.failed)} failed"
        if status == _SUCCESS:
            self._close(opened, Kind.ANSWERED, counts, status)
        else:
            self._close(opened, Kind.UNANSWERED, f"{counts}; it answered {status:04X}", status)

    def _not_taken(self, opened: _Open, peer: _Peer, why: str) -> None:
        wait_s = peer.backoff.next()
        peer.try_at_s = time.monotonic() + wait_s
        if why != peer.told:  # once per reason, not once per try
            self._log.warning(
                "commitment not told", aet=opened.request.calling_aet, reason=why,
                wait_s=round(wait_s, 1),
            )  # fmt: skip
        peer.told = why
        if opened.age_s >= 2 * self._config.commitment_timeout_s:
            self._close(opened, Kind.UNANSWERED, f"given up: {why}", None)

    def _close(self, opened: _Open, kind: Kind, detail: str, status: int | None) -> None:
        """The request is dealt with."""
        request = opened.request
        self._recorder.record(
            kind, sop_class_uid=COMMITMENT, calling_aet=request.calling_aet,
            called_aet=request.called_aet, peer_address=str(self._address(request)),
            status_code=status, duration_s=opened.age_s,
            detail=f"{detail}; transaction {request.transaction_uid}",
        )  # fmt: skip
        if kind is Kind.ANSWERED:
            self._log.info(
                "commitment told", aet=request.calling_aet, items=len(request.references),
                detail=detail,
            )  # fmt: skip
        else:
            self._log.error("commitment not taken", aet=request.calling_aet, detail=detail)
        self._requests.done(opened.name)

    def _address(self, request: CommitmentRequest) -> ArchiveAddress:
        """Where the modality takes answers."""
        given = self._addresses.get(request.calling_aet)
        port = self._config.commitment_port
        return given or ArchiveAddress(request.calling_aet, request.peer_address, port)


def _may_change(finding: Finding, age_s: float) -> bool:
    """Whether it is worth waiting for another finding."""
    return finding is Finding.WAITING or (finding is Finding.UNKNOWN and age_s < _UNKNOWN_S)


def run(config: DaughterConfig, spool: Spool, stop: Stop) -> None:
    """The pusher's child that answers."""
    with Recorder(spool.journal, config.name) as recorder:
        Answerer(config, spool, recorder).run(stop)
