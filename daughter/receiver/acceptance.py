"""What becomes of one offered data set: an item in the spool, or a status that says why not.

The door to the network is `association`; this module knows nothing of sockets.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.item import command_contradiction, is_uid, part10_head
from tackybox.spool import Blank, Draft, Entry, Lane, Spool

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4 table B.2-1: refused, try again later
CANNOT_UNDERSTAND = 0xC000  # PS3.4 table B.2-1
INVALID_SOP_INSTANCE = 0x0117  # PS3.7 C.5.11: the UID breaks the rules for UIDs
INVALID_SOP_CLASS = 0x0118  # PS3.7 C.5.13

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}  # which comes and goes; all else is a broken box
_HEAD_BYTES = 1 << 16  # enough to meet SOP Class and Instance UID in the data set
_LOOK_AT_SPACE_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Offer:
    """What a C-STORE request says of the data set that it brings. Nothing in it is checked."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    priority: int | None
    calling_aet: str
    called_aet: str
    peer_address: str


class Acceptance:
    """Takes data sets into `spool` as items of the box named `origin`.

    `workspace` is the receiver's own (`Spool.workspace`); below `min_free_bytes` everything is
    refused with 0xA700 until there is room again. Safe for use by several threads.
    """

    def __init__(
        self, spool: Spool, workspace: Path, origin: str, min_free_bytes: int, recorder: Recorder
    ) -> None:
        self.spool = spool
        self.recorder = recorder
        self.log = logs.get("receiver")
        self._workspace = workspace
        self._origin = origin
        self._min_free_bytes = min_free_bytes

    def begin(
        self,
        offer: Offer,
        blank: Blank | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Reception:
        """A request has come; its data set follows. Uses `blank` up, if there is one."""
        return Reception(self, offer, blank, clock)

    def blank(self) -> Blank | None:
        """A file for the next data set, made while the sender is not waiting; None if that fails,
        which the next data set will be told."""
        try:
            return Blank(self._workspace)
        except OSError:
            return None

    def association_refused(self, why: str, calling_aet: str, peer_address: str) -> None:
        """Note that an association was rejected."""
        self.log.warning(
            "association rejected", calling_aet=calling_aet, address=peer_address, reason=why
        )
        self.recorder.record(
            Kind.REFUSED, calling_aet=calling_aet, peer_address=peer_address, detail=why
        )

    def draft(self, transfer_syntax_uid: str, blank: Blank | None) -> Draft:
        """A new draft; raises OSError."""
        return self.spool.draft(self._workspace, self._origin, transfer_syntax_uid, blank)

    def has_room(self) -> bool:
        """Whether the spool is above its low-space watermark; raises OSError."""
        return not self.spool.space().is_low(self._min_free_bytes)


class Reception:
    """One data set on its way in: any number of `write`, then `finish`, `tell` once it is answered;
    `close` in any case.

    Memory is that of the data set's beginning, whatever its length, and 1 MiB more for a large one.
    What can't be taken is read to its end all the same and refused with a status.
    """

    def __init__(
        self,
        acceptance: Acceptance,
        offer: Offer,
        blank: Blank | None,
        clock: Callable[[], float],
    ) -> None:
        self._acceptance = acceptance
        self._offer = offer
        self._blank = blank
        self._clock = clock
        self._started_s = clock()
        self._head = b""
        self._size_bytes = 0
        self._look_at_bytes = _LOOK_AT_SPACE_BYTES
        self._refusal: tuple[int, str] | None = None
        self._draft: Draft | None = None
        self._log_fields: dict[str, object] = {}
        try:
            self._open()
        except OSError as error:
            self._failed(error)

    def write(self, piece: memoryview) -> None:
        """Take the next `piece` of the encoded data set."""
        self._size_bytes += len(piece)
        if len(self._head) < _HEAD_BYTES:
            self._head += piece[: _HEAD_BYTES - len(self._head)]
        if self._draft is None:
            return
        try:
            self._draft.write_dataset(piece)
            if self._size_bytes >= self._look_at_bytes:
                self._look_at_bytes += _LOOK_AT_SPACE_BYTES
                self._look_at_space()
        except OSError as error:
            self._failed(error)

    def finish(self) -> int:
        """All of it has come; the status to answer (PS3.4 table B.2-1)."""
        entry = None
        try:
            self._examine()
            if self._draft is not None:
                lane = Lane.of_priority(self._offer.priority)
                entry = self._draft.accept(lane, self._offer.sop_instance_uid)
        except OSError as error:
            self._failed(error)
        if entry is None:
            return self._refused()
        self._accepted(entry)
        return SUCCESS

    def tell(self) -> None:
        """It was answered: all that the sender need not wait for."""
        if self._log_fields:
            self._acceptance.spool.bell.ring()
            self._acceptance.log.info("received", **self._log_fields)

    def close(self) -> None:
        """Leave nothing behind but what was accepted."""
        if self._draft is not None:
            self._draft.close()
        if self._blank is not None:
            self._blank.discard()
            self._blank = None

    def _open(self) -> None:
        offer = self._offer
        if not is_uid(offer.sop_class_uid):
            self._refuse(INVALID_SOP_CLASS, "the command's SOP Class UID is not a UID")
        elif not is_uid(offer.sop_instance_uid):
            self._refuse(INVALID_SOP_INSTANCE, "the command's SOP Instance UID is not a UID")
        else:
            self._look_at_space()
        if self._refusal is None:
            blank, self._blank = self._blank, None
            self._draft = self._acceptance.draft(offer.transfer_syntax_uid, blank)
            self._draft.write_head(
                part10_head(
                    sop_class_uid=offer.sop_class_uid,
                    sop_instance_uid=offer.sop_instance_uid,
                    transfer_syntax_uid=offer.transfer_syntax_uid,
                    calling_aet=offer.calling_aet,
                    called_aet=offer.called_aet,
                )
            )

    def _examine(self) -> None:
        """Whether the data set can be what its command says, and has left the spool room."""
        if self._refusal is not None:
            return
        if not self._size_bytes:
            self._refuse(CANNOT_UNDERSTAND, "there is no data set")
            return
        offer = self._offer
        contradiction = command_contradiction(
            self._head, offer.sop_class_uid, offer.sop_instance_uid, offer.transfer_syntax_uid
        )
        if contradiction is not None:
            self._refuse(contradiction, "the data set is not what its command says")
        else:
            self._look_at_space()

    def _look_at_space(self) -> None:
        if not self._acceptance.has_room():
            self._refuse(OUT_OF_RESOURCES, "the spool is below its low-space watermark")

    def _failed(self, error: OSError) -> None:
        self._refuse(OUT_OF_RESOURCES, f"the spool can't take it: {error.strerror}")
        if error.errno not in _NO_ROOM:
            self._acceptance.log.error("spool failed", exc=error)

    def _refuse(self, status: int, why: str) -> None:
        """It will be answered `status`; what was written of it is freed now."""
        self._refusal = (status, why)
        self.close()
        self._draft = None

    def _accepted(self, entry: Entry) -> None:
        offer, item = self._offer, entry.item
        item_id = item.id
        duration_s = self._clock() - self._started_s
        self._acceptance.recorder.record(
            Kind.RECEIVED, item=item_id, event_id=item.reception_id, at=item.arrived_at,
            digest=item.digest, lane=entry.lane,
            sop_class_uid=offer.sop_class_uid, sop_instance_uid=item.sop_instance_uid,
            transfer_syntax_uid=offer.transfer_syntax_uid, calling_aet=offer.calling_aet,
            called_aet=offer.called_aet, peer_address=offer.peer_address, status_code=SUCCESS,
            size_bytes=self._size_bytes, duration_s=duration_s,
        )  # fmt: skip
        self._log_fields = {
            "item": item_id, "lane": entry.lane, "calling_aet": offer.calling_aet,
            "size_bytes": self._size_bytes, "duration_s": duration_s,
        }  # fmt: skip

    def _refused(self) -> int:
        offer, uid = self._offer, self._offer.sop_instance_uid
        status, why = self._refusal or (OUT_OF_RESOURCES, "the spool can't take it")
        self._acceptance.recorder.record(
            Kind.REFUSED, sop_class_uid=offer.sop_class_uid,
            sop_instance_uid=uid if is_uid(uid) else "",
            transfer_syntax_uid=offer.transfer_syntax_uid, calling_aet=offer.calling_aet,
            called_aet=offer.called_aet, peer_address=offer.peer_address, status_code=status,
            size_bytes=self._size_bytes, detail=why,
        )  # fmt: skip
        self._acceptance.log.warning(
            "refused", status=f"{status:04X}", calling_aet=offer.calling_aet, reason=why
        )
        return status
