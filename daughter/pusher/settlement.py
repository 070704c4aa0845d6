"""What a mother's receipts do to the daughter's queue. The daughter acts on nothing else.

A receipt "landed" moves an item from in hand to sent; "stored" frees it (with `release: stored`),
or keeps it for a while (`keep_days`); "wanted" queues it again if it is still here; so does
"quarantined" if it is her copy that has gone bad; absence proves nothing. When a mother answers
with another spool identity than the one whose receipts were read so far, or has lost her receipts,
all that she signed for and that is still here is queued again (`requeue` moves it, in the
background).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from daughter.pusher.doubt import Doubts
from daughter.pusher.group_commit import MISMATCH, Answer
from daughter.pusher.requeue import Requeue
from daughter.pusher.resends import Resends
from daughter.pusher.rsync import Road
from daughter.pusher.trouble import ReceiptsLostError, RoadError
from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.config import DaughterConfig
from tackybox.errors import DataError
from tackybox.item import Item, digest_of
from tackybox.reasons import DAMAGED, Reason
from tackybox.spool import STORED_BY, Entry, Kept, Outlet, Receipt, ReceiptKind, Spool


class Settlement:
    """Applies answers and receipts to `outlet`; the carriers and the main loop share it."""

    def __init__(
        self,
        config: DaughterConfig,
        spool: Spool,
        outlet: Outlet,
        doubts: Doubts,
        recorder: Recorder,
    ) -> None:
        self._release_when_landed = config.release == "landed"
        self._low_bytes = 2 * (config.min_free_mib << 20)
        self._kept = Kept(spool.root)
        self._keep = bool(config.keep_days)
        self._spool = spool
        self._outlet = outlet
        self._doubts = doubts
        self._recorder = recorder
        self._log = logs.get("settlement")
        self._requeue = Requeue(outlet, recorder)
        self._resends = Resends()

    def meet(self, road: Road) -> None:
        """`road` was opened: see whether hers is still the spool that signed for our items."""
        identity, _ = self._outlet.bookmark(road.name)
        if identity != road.identity:
            self.send_again(road.name, "the mother's spool is another one than the one that signed")
            self._outlet.set_bookmark(road.name, road.identity, 0)

    def settle(self, road: Road) -> None:
        """Act on all receipts that `road` has for us; raises RoadError.

        Raises OSError, too, if what is lost could not be queued again.
        """
        self._requeue.check()
        doubtful = self._doubts.of(road.name)
        try:
            while self._settle_some(road):
                pass
        except ReceiptsLostError:
            self.send_again(road.name, "the mother has lost her receipts")
            self._outlet.set_bookmark(road.name, road.identity, 0)
            return
        self._doubts.clear(road.name, doubtful)
        self._make_room(road.name)

    def answered(
        self,
        peer: str,
        entries: Mapping[str, Entry],
        answers: Iterable[Answer],
        duration_s: float,
    ) -> None:
        """Act on the gate's answers for `entries`, by item name; raises RoadError if some failed.

        An item without an answer, or that did not arrive whole, is looked at here: one that is
        damaged in our own spool goes to quarantine, any other waits again. One that arrives damaged
        while others arrive whole is no failure of the road: after some tries it is quarantined.
        """
        kinds = {answer.item_name: answer.kind for answer in answers}
        any_landed = ReceiptKind.LANDED in kinds.values()
        failed = 0
        for name, entry in entries.items():
            kind = kinds.get(name)
            if kind == ReceiptKind.LANDED:
                self._landed(peer, entry, duration_s=duration_s)
            elif self._is_sound(entry):
                is_about_it = kind == MISMATCH and any_landed
                if is_about_it and not self._resends.may_go_again(name):
                    self._quarantine(entry, Reason.ARRIVES_DAMAGED)
                    continue
                self._outlet.put_back(entry)
                failed += not is_about_it
        if failed:
            raise RoadError(f"{failed} of {len(entries)} items did not arrive whole; sent again")

    def send_again(self, peer: str, why: str) -> None:
        """Queue again everything that `peer` has signed for and that is still here.

        Decided when this returns, whatever is killed then; carried out in the background.
        """
        if self._outlet.has_sent(peer):
            self._outlet.lose_sent(peer)
            self._requeue.begin(peer, why)

    def _settle_some(self, road: Road) -> bool:
        """One request's worth; whether there may be more."""
        _, start = self._outlet.bookmark(road.name)
        cursor, complete = start, True
        for behind, receipt in road.receipts(start):
            if not self._apply(road.name, receipt):
                complete = False
                break
            cursor = behind
        if cursor == start:
            return False
        self._outlet.sync_sent(road.name)
        self._outlet.set_bookmark(road.name, road.identity, cursor)
        return complete

    def _apply(self, peer: str, receipt: Receipt) -> bool:
        """Act on one receipt; False if its item is in a carrier's hands just now."""
        name = receipt.item_name
        match receipt.kind:
            case ReceiptKind.LANDED:
                self._resends.has_landed(peer, name)
                entry = self._doubts.take(name)
                if entry is not None:
                    self._landed(peer, entry)
            case ReceiptKind.STORED:
                if not self._doubts.has(name) and self._outlet.in_hand(name):
                    return False
                entry = self._doubts.take(name) or self._outlet.find(name)
                if entry is not None:
                    self._release(peer, entry, f"{STORED_BY}{receipt.detail}")
                else:
                    # Freed when it had landed: a modality that asks for storage commitment is
                    # answered by this.
                    self._note(Kind.RELEASED, peer, name, f"{STORED_BY}{receipt.detail}")
            case ReceiptKind.QUARANTINED if not self._resends.is_on_the_way(peer, name):
                if not self._doubts.has(name) and self._outlet.in_hand(name):
                    return False
                detail = f"at {peer}: {receipt.detail}"
                entry = self._outlet.find(name)
                if entry is not None:
                    self._record(Kind.QUARANTINED, peer, entry, detail=detail)
                else:
                    self._note(Kind.QUARANTINED, peer, name, detail)
                if receipt.detail.rpartition(" ")[2] in DAMAGED:
                    self._replace(peer, name)
            case ReceiptKind.WANTED:
                self._send_wanted(peer, name, receipt.detail)
        return True

    def _note(self, kind: Kind, peer: str, item_name: str, detail: str) -> None:
        """Record what a receipt says of an item that is not here any more."""
        with contextlib.suppress(DataError):  # a name that no item has
            self._record(kind, peer, Item.parse(item_name), detail=detail)

    def _send_wanted(self, peer: str, name: str, why: str) -> None:
        """Queue again what an archive lacks and `peer` has no copy of, if one is here."""
        try:
            item = Item.parse(name)
        except DataError:
            return
        entry = self._outlet.find(name)
        if entry is not None:
            self._outlet.send_again(entry)
        else:
            entry = self._kept.hand_to(self._outlet, name)
        if entry is None:
            # It may be nowhere any more: storage commitment is not to build on an older receipt.
            self._record(Kind.QUARANTINED, peer, item, detail=f"not here any more: {why}")
            self._log.warning("wanted, but not here any more", item=item.id, mother=peer)
            return
        self._record(Kind.REQUEUED, peer, entry, detail=why)
        self._log.info("wanted", item=item.id, mother=peer)

    def _replace(self, peer: str, name: str) -> None:
        """The copy at `peer` has gone bad: send ours again, if it is here, a few times at most."""
        if self._outlet.find(name) and not self._outlet.find_sent(name, peer):
            return  # it waits already, or another mother has it
        if self._resends.may_go_again(name):
            self._resends.begin(peer, name)
            self._send_wanted(peer, name, f"the copy at {peer} has gone bad")
            self._outlet.bell.ring()

    def _landed(self, peer: str, entry: Entry, duration_s: float | None = None) -> None:
        size_bytes = entry.path.stat().st_size
        self._record(Kind.PUSHED, peer, entry, size_bytes=size_bytes, duration_s=duration_s)
        self._log.info("pushed", item=entry.item.id, mother=peer, size_bytes=size_bytes)
        if self._release_when_landed:
            self._release(peer, entry, "landed at the mother")
        else:
            self._outlet.sent(entry, peer)

    def _release(self, peer: str, entry: Entry, why: str, *, keep: bool = True) -> None:
        # On record first: of a file that is gone nobody could tell any more that it may go.
        self._record(Kind.RELEASED, peer, entry, detail=why)
        if keep and self._keep:
            self._kept.add(entry)
        else:
            self._outlet.release(entry)
        self._log.info("released", item=entry.item.id, mother=peer)

    def _is_sound(self, entry: Entry) -> bool:
        try:
            if digest_of(entry.path) == entry.item.digest:
                return True
            reason = Reason.DIGEST_DIFFERS
        except FileNotFoundError:
            return False
        except (DataError, OSError):
            reason = Reason.UNREADABLE
        self._quarantine(entry, reason)
        return False

    def _quarantine(self, entry: Entry, reason: Reason) -> None:
        self._outlet.quarantine(entry, reason)
        self._record(Kind.QUARANTINED, "", entry, detail=reason)
        self._log.error("quarantined", item=entry.item.id, reason=reason)

    def _make_room(self, peer: str) -> None:
        """Under disk pressure free what the mother has durably, oldest first, and say so."""
        missing_bytes = self._low_bytes - self._spool.space().free_bytes
        if missing_bytes <= 0:
            return
        count = 0
        while missing_bytes > 0 and (entry := self._outlet.oldest_sent(peer)):
            try:
                missing_bytes -= entry.path.stat().st_size
            except FileNotFoundError:
                continue  # released by a receipt since the window was made
            why = "low space here: landed at the mother, not yet stored"
            self._release(peer, entry, why, keep=False)
            count += 1
        if count:
            self._log.warning("low space: released what has landed", items=count, mother=peer)

    def _record(
        self,
        kind: Kind,
        peer: str,
        entry: Entry | Item,
        *,
        detail: str = "",
        size_bytes: int | None = None,
        duration_s: float | None = None,
    ) -> None:
        item, lane = (entry, "") if isinstance(entry, Item) else (entry.item, entry.lane)
        self._recorder.record(
            kind, item=item.id, digest=item.digest, lane=lane,
            sop_instance_uid=item.sop_instance_uid, destination=self._outlet.name,
            peer_address=peer, detail=detail, size_bytes=size_bytes, duration_s=duration_s,
        )  # fmt: skip
