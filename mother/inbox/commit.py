"""`commit`: a daughter names what she has pushed, and each item gets its receipt.

The order is the promise. Each arrived file is moved out of rsync's reach, verified against the
digest in its name and fsynced, several at a time; the directory is fsynced; the receipts are
appended and fsynced; only then do the items become visible to the forwarder, whose bell is rung,
and the daughter gets her answer. Killed at any line, the next commit finds the rest in `landing/`
and finishes it, without a second copy; what it finds bad there goes to quarantine if it was signed
for, and the daughter is told. Commits of different lanes go on side by side, so that a high item
does not wait for the digests of low ones; receipts are kept from others only for the last steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.errors import DataError
from tackybox.item import Item
from tackybox.reasons import Reason
from tackybox.spool import BOX, Entry, Landing, Lane, Receipt, ReceiptKind, ReceiptLog

MOST_ITEMS = 10_000
_VERIFIED_AT_ONCE = 4
# What an answer says of an item.
LANDED, MISMATCH, MISSING = "landed", "mismatch", "missing"


@dataclass(frozen=True, slots=True)
class Announced:
    """One line of a manifest, checked: an item of this daughter, its lane, its file's size."""

    item: Item
    lane: Lane
    size_bytes: int

    @classmethod
    def parse(cls, fields: Any, daughter: str) -> Announced:
        """Raises DataError if `fields` can't be an item that `daughter` may announce."""
        try:
            item = Item.parse(str(fields["name"]))
            announced = cls(item, Lane(fields["lane"]), int(fields["size_bytes"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError("a line of the manifest is not as it must be") from error
        if item.origin != daughter:
            raise DataError("a line of the manifest names an item of another box")
        return announced


class Commit:
    """Takes what has arrived over `landing` and signs for it in `receipts`.

    `check` raises if the daughter may not commit any more. It is asked while others are kept from
    the receipts, so that who revokes her and then waits for those knows that nothing follows.
    `ring` tells that there is something new in `new/`.
    """

    def __init__(
        self,
        daughter: str,
        landing: Landing,
        receipts: ReceiptLog,
        recorder: Recorder,
        check: Callable[[], None],
        ring: Callable[[], None],
    ) -> None:
        self._daughter = daughter
        self._landing = landing
        self._receipts = receipts
        self._recorder = recorder
        self._check = check
        self._ring = ring
        self._log = logs.get("gate")
        self._pool = ThreadPoolExecutor(_VERIFIED_AT_ONCE, thread_name_prefix="verify")

    def finish_left_over(self) -> None:
        """Sign for what an earlier, killed commit had taken."""
        for lane in Lane:
            with self._landing.exclusive((lane,)):
                self._check()
                left = list(self._landing.left_over(lane))
                signed = self._signed(left)
                verdicts = [self._verdict(one, is_signed=one.item.name in signed) for one in left]
                sound = [e for e, said in zip(left, verdicts, strict=True) if said == LANDED]
                self._sign(sound)

    def commit(self, manifest: Sequence[Announced]) -> list[dict[str, str]]:
        """One answer per announced item, in their order: `kind` landed, mismatch or missing."""
        sizes_bytes = {announced.item: announced.size_bytes for announced in manifest}
        with self._landing.exclusive({announced.lane for announced in manifest}):
            self._check()
            taken = [self._landing.take(a.item, a.lane) for a in manifest]
            entries = [entry for entry in taken if entry is not None]
            verdicts = self._pool.map(
                lambda entry: self._verdict(entry, sizes_bytes[entry.item]), entries
            )
            kinds = dict(zip((entry.item for entry in entries), verdicts, strict=True))
            self._sign([entry for entry in entries if kinds[entry.item] == LANDED])
        return [{"name": a.item.name, "kind": kinds.get(a.item, MISSING)} for a in manifest]

    def _verdict(
        self, entry: Entry, size_bytes: int | None = None, *, is_signed: bool = False
    ) -> str:
        """LANDED if the taken file is what was sent, and durable; else it is gone.

        One that `is_signed` for by an earlier commit is never discarded: the daughter may have
        freed hers.
        """
        found_bytes = entry.path.lstat().st_size
        try:
            if size_bytes in (None, found_bytes) and self._landing.is_sound(entry):
                return LANDED
        except OSError as error:  # no room: no fault of the item's
            if not is_signed:
                self._landing.discard(entry)
            self._log.warning("not kept", item=entry.item.id, reason=error.strerror)
            return MISSING
        if is_signed:
            self._set_aside(entry)
            return MISMATCH
        self._landing.discard(entry)
        self._recorder.record(
            Kind.MISMATCH, item=entry.item.id, digest=entry.item.digest,
            sop_instance_uid=entry.item.sop_instance_uid, lane=entry.lane, size_bytes=found_bytes,
            detail="what arrived is not what was sent; refused, the daughter sends it again",
        )  # fmt: skip
        self._log.warning("mismatch", item=entry.item.id, daughter=self._daughter)
        return MISMATCH

    def _signed(self, entries: Sequence[Entry]) -> set[str]:
        """The names of those that the daughter may know already that we have."""
        left = {entry.item.name for entry in entries}
        receipts = self._receipts.read_after(0) if left else ()
        return {
            receipt.item_name
            for _, receipt in receipts
            if receipt.kind is ReceiptKind.LANDED and receipt.item_name in left
        }

    def _set_aside(self, entry: Entry) -> None:
        """What was signed for can't be read, or is not what it was: she may have it whole."""
        reason = Reason.DIGEST_DIFFERS
        receipt = Receipt.now(ReceiptKind.QUARANTINED, entry.item.name, f"{BOX} {reason}")
        self._receipts.append([receipt])
        self._recorder.record(
            Kind.QUARANTINED, item=entry.item.id, digest=entry.item.digest,
            sop_instance_uid=entry.item.sop_instance_uid, lane=entry.lane, detail=reason,
        )  # fmt: skip
        self._landing.set_aside(entry, BOX, reason)
        self._log.error("quarantined", item=entry.item.id, reason=reason)

    def _sign(self, entries: Sequence[Entry]) -> None:
        for lane in {entry.lane for entry in entries}:
            self._landing.sync(lane)
        gone_bad = self._landing.gone_bad(entries)
        with self._receipts.exclusive():
            self._check()
            self._receipts.append_locked(
                Receipt.now(ReceiptKind.LANDED, entry.item.name) for entry in entries
            )
            for entry in entries:
                self._recorder.record(
                    Kind.LANDED, item=entry.item.id, digest=entry.item.digest,
                    sop_instance_uid=entry.item.sop_instance_uid, lane=entry.lane,
                    peer_address=self._daughter, size_bytes=entry.path.stat().st_size,
                )  # fmt: skip
                self._landing.admit(entry, gone_bad.get(entry.item.name, ()))
        self._ring()
        for entry in entries:
            self._log.info("landed", item=entry.item.id, daughter=self._daughter, lane=entry.lane)
