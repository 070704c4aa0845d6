"""One carrier: takes items from the outlet and stores them over an association of its own.

The association is kept open while there is work and negotiated for the (SOP class, transfer syntax)
pairs of what comes, with the uncompressed syntaxes beside them; pairs seen lately stay in, as far
as 128 contexts reach. While the archive answers for one item, the one before is settled, and the
next one is claimed and verified: a carrier has at most two in hand. Each item ends in exactly one
of: stored, deferred, quarantined, or put back untried. No item can hold up another: what fails is
set aside with its own due time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mother.forwarder.losses import Losses
from mother.forwarder.openings import Openings
from mother.forwarder.preparation import Preparation, Ready
from mother.forwarder.presence import HelpersPresence, Presence
from mother.forwarder.settlement import Case, Settlement, Stored
from mother.forwarder.width import Width
from tackybox import logs, statuses
from tackybox.config import ArchiveAddress, MotherConfig
from tackybox.dimse.association import MAX_CONTEXTS, AssociationError, Failure, Pair, Timeouts
from tackybox.dimse.convert import convert
from tackybox.dimse.elements import NotConvertible
from tackybox.dimse.payload import Payload
from tackybox.dimse.scu import (
    FALLBACKS,
    Source,
    StorageAssociation,
    StoreResult,
    acceptable_syntaxes,
    uid_name,
    with_fallbacks,
)
from tackybox.reasons import Reason, for_status
from tackybox.service import Backoff, Stop
from tackybox.statuses import Disposition

_LOSSES_BEFORE_QUARANTINE = 5
_REFUSALS_BEFORE_QUARANTINE = 10
_NEGOTIATE_AGAIN_S = 30.0


class Carrier:
    """Delivers one item after the other; for one thread.

    `is_needed` says whether it should go on to the next, `count_held` how many associations are
    open, `is_alone` whether none could send what it has in hand while it waits for its own; `wake`
    has the others look for work.
    """

    def __init__(
        self,
        config: MotherConfig,
        presence: Presence | HelpersPresence,
        settlement: Settlement,
        preparation: Preparation,
        losses: Losses,
        openings: Openings,
        width: Width,
        workspace: Path,
        stop: Stop,
        is_needed: Callable[[], bool],
        count_held: Callable[[], int],
        is_alone: Callable[[], bool],
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._presence = presence
        self._settlement = settlement
        self._preparation = preparation
        self._losses = losses
        self._openings = openings
        self._width = width
        self._workspace = workspace
        self._stop = stop
        self._is_needed = is_needed
        self._count_held = count_held
        self._is_alone = is_alone
        self._wake = wake
        self._log = logs.get("carrier")
        self._backoff = Backoff(1.0, config.backoff_cap_s)
        self._association: StorageAssociation | None = None
        self._address: ArchiveAddress | None = None
        self._contexts: list[Pair] = []
        self._pause_s = 0.0
        self._opened_at_s = 0.0
        self._busy_at_s = 0.0
        self._next: Ready | None = None
        self._stored: Stored | None = None
        self._failure: Exception | None = None

    def take(self, address: ArchiveAddress) -> bool:
        """Take the next item into hand; False if nothing waits, or it is not needed any more.

        Raises what preparing an item failed with.
        """
        if self._failure is not None:
            raise self._failure
        if self._next is None and self._is_needed():
            self._next = self._preparation.next(address)
        return self._next is not None

    def deliver(self, address: ArchiveAddress) -> None:
        """Deal with the item in hand, or get an association for it."""
        if self._next is None:
            return
        association = self._associate(self._next.source.pair, address)
        if association is None:
            self.let_go()
            self._wake()
            self._stop.wait(self._pause_s)
            return
        ready, self._next = self._next, None
        if ready is None:  # put back, to see what comes first by now
            return
        try:
            self._send(association, ready, address)
        except Exception as error:  # whatever it is, the next item has its turn
            self._failed(ready.case, address, error)
        finally:
            ready.payload.close()
        self._busy_at_s = time.monotonic()
        if self._next is None or not self._next.payload.is_small:
            self._settle()

    def let_go(self) -> None:
        """Settle what was stored, and put back what was not begun."""
        self._settle()
        if self._next is not None:
            ready, self._next = self._next, None
            self._preparation.put_back(ready)

    @property
    def is_associated(self) -> bool:
        """Whether it holds an association that is open."""
        return self._association is not None and bool(self._association.accepted)

    def rest_if_idle(self, idle_s: float) -> None:
        """End the association if nothing was delivered for so many seconds."""
        if time.monotonic() - self._busy_at_s > idle_s:
            self.rest()

    def rest(self) -> None:
        """End the association in good order."""
        if self._association is not None:
            self._association.close()
            self._association = None

    def _meanwhile(self) -> None:
        """What is done while an answer is awaited; so it must not raise.

        The item before is settled, and the next one made ready.
        """
        self._settle()
        address = self._presence.current
        if address is None or self._stop.is_set() or not self._is_needed():
            return
        try:
            self._next = self._preparation.next(address)
        except Exception as error:  # whatever it is: the carrier's next turn raises it
            self._failure = error

    def _associate(self, pair: Pair, address: ArchiveAddress) -> StorageAssociation | None:
        """An association that was negotiated for `pair`, or None if all must wait.

        While it is awaited what was in hand may be put back.
        """
        self._pause_s = 0.0
        if self._stop.is_set() or self._presence.current != address:
            self.rest()
            return None
        kept = self._association
        known = self._address == address and pair in self._contexts
        if kept is not None and known and (kept.is_open or not kept.accepted):
            is_settled = pair in kept.accepted or not self._is_old()
            if is_settled:  # else somebody may have enabled it since it was refused
                return kept
        self.rest()
        wanted = with_fallbacks([pair] if known else [pair, *self._look_ahead()])
        recent = self._contexts if self._address == address else []
        self._contexts = list(dict.fromkeys([*wanted, *recent]))[:MAX_CONTEXTS]
        self._address = address
        try:
            with self._openings.one():
                if not self._is_alone():
                    # An archive that serves one association at a time may keep this one waiting
                    # for long; what others can send meanwhile must not wait with it.
                    self.let_go()
                    self._wake()
                self._association = StorageAssociation.open(
                    address,
                    self._contexts,
                    calling_aet=self._config.aet,
                    timeouts=self._timeouts(),
                    max_pdu_bytes=self._config.max_pdu_bytes,
                )
        except AssociationError as error:
            self._not_opened(error, address)
            return None
        self._backoff.reset()
        self._opened_at_s = time.monotonic()
        return self._association

    def _look_ahead(self) -> list[Pair]:
        """What the next items need: so that not each kind of them costs an association."""
        pairs = self._preparation.pairs_that_wait()
        self._wake()
        return pairs

    def _is_old(self) -> bool:
        return time.monotonic() - self._opened_at_s > _NEGOTIATE_AGAIN_S

    def _not_opened(self, error: AssociationError, address: ArchiveAddress) -> None:
        self._log.warning("no association", archive=address, reason=str(error))
        # A rejection may mean that the archive has no room for one more; others go on.
        may_be_one_too_many = error.failure in (Failure.REJECTED, Failure.TIMED_OUT)
        if may_be_one_too_many and self._width.refused(self._count_held(), time.monotonic()):
            return
        self._presence.failed(address, str(error), lost=error.failure is not Failure.REJECTED)
        self._pause_s = self._backoff.next()

    def _send(self, association: StorageAssociation, ready: Ready, address: ArchiveAddress) -> None:
        case, source = ready.case, ready.source
        if source.pair in association.accepted:
            self._store(association, case, source, address, payload=ready.payload)
            return
        target = next(
            (s for s in FALLBACKS if Pair(source.sop_class_uid, s) in association.accepted), None
        )
        if target is None:
            self._not_accepted(association, case, source.pair, address, "")
            return
        file = self._workspace / f"{os.getpid()}-{threading.get_ident()}.dcm"
        try:
            converted = convert(source, file, target)
            detail = f"{uid_name(source.transfer_syntax_uid)} to {uid_name(target)}"
            with Payload(converted.path, converted.dataset_offset) as payload:
                digest = payload.digest(target)
            self._settlement.converted(case, address, detail, digest=digest, syntax_uid=target)
            self._store(association, case, converted, address, f"converted from {detail}")
        except NotConvertible as error:
            self._not_accepted(association, case, source.pair, address, str(error))
        finally:
            file.unlink(missing_ok=True)

    def _not_accepted(
        self,
        association: StorageAssociation,
        case: Case,
        pair: Pair,
        address: ArchiveAddress,
        why: str,
    ) -> None:
        if not association.accepts_class(pair.sop_class_uid):
            detail = f"{address} does not accept {uid_name(pair.sop_class_uid)} objects"
            self._settlement.quarantined(case, address, Reason.SOP_CLASS_REFUSED, detail=detail)
            return
        detail = f"{address} does not accept {uid_name(pair.transfer_syntax_uid)}"
        detail += f", and {why}" if why else ""
        detail += self._acceptable(pair.sop_class_uid, address)
        self._settlement.quarantined(case, address, Reason.TRANSFER_SYNTAX_REFUSED, detail=detail)

    def _acceptable(self, sop_class_uid: str, address: ArchiveAddress) -> str:
        """What the archive would take, for people; "" if it does not say."""
        with suppress(AssociationError):
            syntaxes = acceptable_syntaxes(
                address, sop_class_uid, calling_aet=self._config.aet, timeouts=self._timeouts()
            )
            if syntaxes:
                return f"; it would accept {', '.join(map(uid_name, syntaxes))}"
        return ""

    def _store(
        self,
        association: StorageAssociation,
        case: Case,
        source: Source,
        address: ArchiveAddress,
        remark: str = "",
        payload: Payload | None = None,
    ) -> None:
        self._settlement.forwarding(case, address)
        try:
            result = association.store(
                source,
                priority=case.entry.lane.priority,
                payload=payload,
                meanwhile=self._meanwhile,
            )
        except OSError as error:
            detail = f"it can't be read: {error.strerror}"
            self._settlement.quarantined(case, address, Reason.UNREADABLE, detail=detail)
            return
        if result.status is None:
            self._unanswered(case, result, address)
        else:
            self._answered(case, result.status, result.duration_s, address, remark)

    def _answered(
        self, case: Case, status: int, duration_s: float, address: ArchiveAddress, remark: str
    ) -> None:
        outcome = statuses.disposition(status)
        if outcome.delivered:
            warning = "" if status == 0 else outcome.meaning
            detail = " ".join(part for part in (remark, warning) if part)
            self._settle()
            self._stored = Stored(case, address, status, duration_s, detail)
            self._losses.stored()
            if self._width.stored(case.size_bytes, time.monotonic()):
                self._wake()
            self._presence.proved(address)
            return
        detail = outcome.meaning
        is_final = outcome.disposition is Disposition.QUARANTINE
        if not is_final and self._losses.lost(case.item_id, _REFUSALS_BEFORE_QUARANTINE):
            is_final = True
            detail += (
                f" It answered so {_REFUSALS_BEFORE_QUARANTINE} times or more while it took "
                "others: it is about this object."
            )
        if is_final:
            self._settlement.quarantined(
                case, address, for_status(status), status=status, detail=detail
            )
            self._presence.proved(address)
        else:
            self._settlement.deferred(case, address, status=status, detail=detail)
            self._presence.failed(address, detail, lost=False)

    def _settle(self) -> None:
        """Note what the archive has taken last."""
        stored, self._stored = self._stored, None
        if stored is None:
            return
        try:
            self._settlement.stored(stored)
        except Exception as error:  # the item after it must not suffer
            self._failed(stored.case, stored.address, error)
        try:
            self._settlement.sign(gather=True)
        except Exception as error:  # whatever it is: the carrier's next turn raises it
            self._failure = error

    def _unanswered(self, case: Case, result: StoreResult, address: ArchiveAddress) -> None:
        """Whether the archive has it is unknown: it is sent again, after a C-ECHO."""
        if self._losses.lost(case.item_id, _LOSSES_BEFORE_QUARANTINE):
            self._settlement.quarantined(
                case, address, Reason.ARCHIVE_ABORTS,
                detail=f"{result.message}, {_LOSSES_BEFORE_QUARANTINE} times upon this item",
            )  # fmt: skip
        else:
            self._settlement.deferred(case, address, status=None, detail=result.message)
        self._presence.failed(address, result.message, lost=True)

    def _failed(self, case: Case, address: ArchiveAddress, error: Exception) -> None:
        """Something that nobody foresaw: the item is set aside for a while, the log says what."""
        self._log.error("delivery failed", item=case.item_id, archive=address, exc=error)
        if case.entry.path.exists():
            self._settlement.deferred(
                case, address, status=None, detail=f"it failed here: {type(error).__name__}"
            )

    def _timeouts(self) -> Timeouts:
        connect_s, answer_s = self._config.connect_timeout_s, self._config.dimse_timeout_s
        return Timeouts(connect_s, answer_s, min(connect_s, answer_s))
