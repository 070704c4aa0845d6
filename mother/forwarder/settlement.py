"""What an archive's answer does to an item: its place in the spool, its event, its receipt.

The order is the promise. An item is "done" by one rename, where an archive must prove that it keeps
it after it was "answered"; when every archive that it is meant for has it, the daughter's receipt
is appended and fsynced, and only then are the files removed. Killed at any line, the next start
finishes it. Receipts are gathered for a moment, so that one fsync serves many items.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mother.forwarder.losses import Losses
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.config import ArchiveAddress, MotherConfig
from tackybox.dimse.commitment import PROCESSING_FAILURE, RESOURCE_LIMITATION, reason_in_words
from tackybox.reasons import DAMAGED, Reason
from tackybox.spool import Entry, Outlet, Receipt, ReceiptKind, ReceiptLog, Spool, State

_FIRST_DELAY_S = 5.0
_GATHER_S = 0.5
_GATHER_ITEMS = 64
_DENIALS_BEFORE_QUARANTINE = 5
_PASSING_DENIALS_BEFORE_QUARANTINE = 10
_RECOVERED_ITEMS = 256  # then as long a pause as they took


@dataclass(frozen=True, slots=True)
class Case:
    """An item in hand: its entry, its item id, and the size of its file (0 if unreadable)."""

    entry: Entry
    item_id: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Stored:
    """An archive's answer that it has an item, and seconds from the request to the answer."""

    case: Case
    address: ArchiveAddress
    status: int
    duration_s: float
    detail: str


class Settlement:
    """Settles the items of `outlet`; shared by its threads.

    `must_prove` says of an archive whether its Success alone is not enough.
    """

    def __init__(
        self,
        config: MotherConfig,
        spool: Spool,
        outlet: Outlet,
        recorder: Recorder,
        must_prove: Callable[[ArchiveAddress], bool] = lambda _: False,
    ) -> None:
        self._config = config
        self._spool = spool
        self._outlet = outlet
        self._recorder = recorder
        self._must_prove = must_prove
        self._denials = Losses()
        self._log = logs.get("settlement")
        self._lock = threading.Lock()
        self._receipts: list[tuple[Entry, ReceiptKind, str]] = []
        self._gathered_since_s = 0.0
        self._failure: Exception | None = None

    def recover(self) -> None:
        """Sign for what a killed process had done, in the background: where another archive is
        down, there may be a million of them.

        The daughter is told again of what has gone bad here: she may not have been, or can help
        now.
        """
        threading.Thread(target=self._sign_done, name="recovery", daemon=True).start()

    def _sign_done(self) -> None:
        try:
            began_s = time.monotonic()
            for count, entry in enumerate(self._outlet.entries(State.DONE), start=1):
                if self._spool.is_complete(entry):
                    self._receipt(entry, ReceiptKind.STORED, self._outlet.name)
                    self.sign(gather=True)
                if count % _RECOVERED_ITEMS == 0:  # deliveries go before
                    time.sleep(time.monotonic() - began_s)
                    began_s = time.monotonic()
            for reason in DAMAGED:
                for entry in self._outlet.quarantined(reason):
                    self._receipt(entry, ReceiptKind.QUARANTINED, f"{self._outlet.name} {reason}")
            self.sign()
        except Exception as error:  # the disk, most likely: who signs next raises it
            self._failure = error

    def forwarding(self, case: Case, address: ArchiveAddress) -> None:
        """Its C-STORE begins."""
        self._record(Kind.FORWARDING, case, address)

    def converted(
        self, case: Case, address: ArchiveAddress, detail: str, *, digest: str, syntax_uid: str
    ) -> None:
        """It was converted for this archive, to what has this content digest."""
        self._record(
            Kind.CONVERTED, case, address, detail=detail, digest=digest, syntax_uid=syntax_uid
        )

    def stored(self, stored: Stored) -> None:
        """The archive has answered that it has it."""
        case, address = stored.case, stored.address
        if self._must_prove(address):
            self._record(  # first, or its proof might stand before it
                Kind.TAKEN, case, address, status_code=stored.status,
                duration_s=stored.duration_s, detail=stored.detail,
            )  # fmt: skip
            self._outlet.answered(case.entry, address.name)
            self._log.info(
                "answered", item=case.item_id, archive=address, status=stored.status,
                duration_s=round(stored.duration_s, 6),
            )  # fmt: skip
            return
        # On record first: a kill in between has it sent again, not stored without a word.
        self._record(
            Kind.STORED, case, address, status_code=stored.status, duration_s=stored.duration_s,
            detail=stored.detail,
        )  # fmt: skip
        done = self._outlet.done(case.entry)
        self._log.info(
            "stored", item=case.item_id, archive=address, status=stored.status,
            duration_s=round(stored.duration_s, 6),
        )  # fmt: skip
        self._receipt(done, ReceiptKind.STORED, self._outlet.name)

    def proved(self, entry: Entry, address: ArchiveAddress, proof: str) -> None:
        """The archive has proved that it keeps it; `proof` says how, in words."""
        self._denials.stored()
        case = _case(entry)
        self._record(Kind.COMMITTED, case, address, detail=proof)
        self._record(Kind.STORED, case, address, detail=f"proved: {proof}")
        done = self._outlet.done(entry)
        self._log.info("stored", item=case.item_id, archive=address, reason=proof)
        self._receipt(done, ReceiptKind.STORED, self._outlet.name)

    def unproved(self, entry: Entry, address: ArchiveAddress, why: str) -> None:
        """The archive does not say whether it keeps it: its Success is taken for what it says."""
        case = _case(entry)
        self._record(Kind.STORED, case, address, detail=f"on its answer alone: {why}")
        done = self._outlet.done(entry)
        self._log.info("stored", item=case.item_id, archive=address, reason=why)
        self._receipt(done, ReceiptKind.STORED, self._outlet.name)

    def again(self, entry: Entry) -> None:
        """It is sent again at once: who prepares it will say what is wrong with it."""
        self._outlet.put_back(entry)

    def denied(self, entry: Entry, address: ArchiveAddress, reason: int) -> None:
        """The archive says that it does not keep it: sent again, and after a while quarantine.

        `reason` is a Failure Reason (0008,1197). Of one that passes, as that the archive is full,
        no item is to blame while others are denied, too.
        """
        case = _case(entry)
        detail = f"it answered success and does not vouch for it: {reason_in_words(reason)}"
        if reason in (PROCESSING_FAILURE, RESOURCE_LIMITATION):
            limit = _PASSING_DENIALS_BEFORE_QUARANTINE
            is_final = self._denials.lost(case.item_id, limit)
        else:
            is_final = entry.attempts + 1 >= _DENIALS_BEFORE_QUARANTINE
        if is_final:
            self.quarantined(case, address, Reason.NOT_COMMITTED, status=reason, detail=detail)
        else:
            self.deferred(case, address, status=reason, detail=detail)

    def deferred(
        self, case: Case, address: ArchiveAddress, *, status: int | None, detail: str
    ) -> None:
        """It is tried again later; the wait doubles with each attempt, with jitter, up to a cap."""
        delay_s = min(
            self._config.backoff_cap_s, _FIRST_DELAY_S * 2.0 ** min(case.entry.attempts, 20)
        )
        delay_s *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        later = self._outlet.defer(case.entry, time.time() + delay_s)
        self._record(Kind.DEFERRED, case, address, status_code=status, detail=detail)
        self._log.warning(
            "deferred", item=case.item_id, archive=address, status=status,
            attempts=later.attempts, due_s=later.due_s, reason=detail,
        )  # fmt: skip

    def quarantined(
        self,
        case: Case,
        address: ArchiveAddress,
        reason: str,
        *,
        status: int | None = None,
        detail: str,
    ) -> None:
        """A person must decide about it."""
        entry = self._outlet.quarantine(case.entry, reason)
        self._record(
            Kind.QUARANTINED, case, address, status_code=status, detail=f"{reason}: {detail}"
        )
        self._log.error(
            "quarantined", item=case.item_id, archive=address, reason=reason, status=status
        )
        self._receipt(entry, ReceiptKind.QUARANTINED, f"{self._outlet.name} {reason}")

    def sign(self, *, gather: bool = False) -> None:
        """Make the receipts durable that are owed; with `gather` only if there are enough.

        Raises OSError, also if that failed in the background.
        """
        if self._failure is not None:
            raise self._failure
        with self._lock:
            waited_s = time.monotonic() - self._gathered_since_s
            if not self._receipts or (
                gather and len(self._receipts) < _GATHER_ITEMS and waited_s < _GATHER_S
            ):
                return
            owed, self._receipts = self._receipts, []
        by_daughter: dict[str, list[Receipt]] = {}
        complete: list[Entry] = []
        for entry, kind, detail in owed:
            if kind is ReceiptKind.STORED:
                if not self._spool.is_complete(entry):
                    continue  # another archive has yet to take it, and signs then
                complete.append(entry)
            receipt = Receipt.now(kind, entry.item.name, detail)
            by_daughter.setdefault(entry.item.origin, []).append(receipt)
        for daughter, receipts in by_daughter.items():
            ReceiptLog(self._spool.root, daughter).append(receipts)
        for entry in complete:
            self._spool.complete(entry)

    def _receipt(self, entry: Entry, kind: ReceiptKind, detail: str) -> None:
        with self._lock:
            if not self._receipts:
                self._gathered_since_s = time.monotonic()
            self._receipts.append((entry, kind, detail))

    def _record(
        self,
        kind: Kind,
        case: Case,
        address: ArchiveAddress,
        *,
        status_code: int | None = None,
        duration_s: float | None = None,
        detail: str = "",
        digest: str = "",
        syntax_uid: str = "",
    ) -> None:
        item = case.entry.item
        # Its other header attributes are on QUEUED, where the reports find them by the item.
        self._recorder.record(
            kind, item=case.item_id, digest=digest or item.digest, transfer_syntax_uid=syntax_uid,
            sop_instance_uid=item.sop_instance_uid,
            lane=case.entry.lane, destination=self._outlet.name, peer_address=str(address),
            calling_aet=self._config.aet, called_aet=address.aet, size_bytes=case.size_bytes,
            status_code=status_code, duration_s=duration_s, detail=detail,
        )  # fmt: skip


def _case(entry: Entry) -> Case:
    """Of an entry that is no longer in hand. Raises FileNotFoundError if it is gone."""
    return Case(entry, entry.item.id, entry.path.stat().st_size)
