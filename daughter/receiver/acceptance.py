"""What becomes of one offered data set: an item in the spool, or a status that says why not.

The door to the network is `scp`; this module knows nothing of sockets.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.item import command_contradiction, is_uid, part10_head
from tackybox.spool import Lane, Spool

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4 table B.2-1: refused, try again later
CANNOT_UNDERSTAND = 0xC000  # PS3.4 table B.2-1
INVALID_SOP_INSTANCE = 0x0117  # PS3.7 C.5.11: the UID breaks the rules for UIDs
INVALID_SOP_CLASS = 0x0118  # PS3.7 C.5.13

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EIO}
_HEAD_BYTES = 1 << 16  # enough to meet SOP Class and Instance UID in the data set
_PIECE_BYTES = 1 << 20


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
        self._spool = spool
        self._workspace = workspace
        self._origin = origin
        self._min_free_bytes = min_free_bytes
        self._recorder = recorder
        self._log = logs.get("receiver")
        self._in_hand = 0
        self._idle = threading.Condition()

    def wait_idle(self) -> None:
        """Wait until no data set is in hand."""
        with self._idle:
            self._idle.wait_for(lambda: self._in_hand == 0)

    def store(
        self,
        offer: Offer,
        dataset: bytes | memoryview,
        started_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> int:
        """Make the encoded `dataset` an item; the status to answer (PS3.4 table B.2-1).

        `started_s` is when the request came, on `clock`.
        """
        with self._idle:
            self._in_hand += 1
        try:
            return self._store(offer, dataset, started_s, clock)
        finally:
            with self._idle:
                self._in_hand -= 1
                self._idle.notify_all()

    def _store(
        self,
        offer: Offer,
        dataset: bytes | memoryview,
        started_s: float,
        clock: Callable[[], float],
    ) -> int:
        status, why = self._objection(offer, dataset)
        if status == SUCCESS:
            try:
                return self._accept(offer, dataset, started_s, clock)
            except OSError as error:
                status, why = OUT_OF_RESOURCES, f"the spool can't take it: {error.strerror}"
                if error.errno not in _NO_ROOM:
                    self._log.error("spool failed", exc=error)
        self._refused(offer, status, why, len(dataset))
        return status

    def association_refused(self, why: str, calling_aet: str, peer_address: str) -> None:
        """Note that an association was rejected."""
        self._log.warning(
            "association rejected", calling_aet=calling_aet, address=peer_address, reason=why
        )
        self._recorder.record(
            Kind.REFUSED, calling_aet=calling_aet, peer_address=peer_address, detail=why
        )

    def _objection(self, offer: Offer, dataset: bytes | memoryview) -> tuple[int, str]:
        if not is_uid(offer.sop_class_uid):
            return INVALID_SOP_CLASS, "the command's SOP Class UID is not a UID"
        if not is_uid(offer.sop_instance_uid):
            return INVALID_SOP_INSTANCE, "the command's SOP Instance UID is not a UID"
        if not len(dataset):
            return CANNOT_UNDERSTAND, "there is no data set"
        contradiction = command_contradiction(
            bytes(dataset[:_HEAD_BYTES]),
            offer.sop_class_uid,
            offer.sop_instance_uid,
            offer.transfer_syntax_uid,
        )
        if contradiction is not None:
            return contradiction, "the data set is not what its command says"
        space = self._spool.space()
        if space.free_bytes - len(dataset) < self._min_free_bytes or (
            space.total_inodes and space.free_inodes < 1
        ):
            return OUT_OF_RESOURCES, "the spool is below its low-space watermark"
        return SUCCESS, ""

    def _accept(
        self,
        offer: Offer,
        dataset: bytes | memoryview,
        started_s: float,
        clock: Callable[[], float],
    ) -> int:
        with self._spool.draft(self._workspace, self._origin, offer.transfer_syntax_uid) as draft:
            draft.write_head(
                part10_head(
                    sop_class_uid=offer.sop_class_uid,
                    sop_instance_uid=offer.sop_instance_uid,
                    transfer_syntax_uid=offer.transfer_syntax_uid,
                    calling_aet=offer.calling_aet,
                    called_aet=offer.called_aet,
                )
            )
            for start in range(0, len(dataset), _PIECE_BYTES):
                draft.write_dataset(dataset[start : start + _PIECE_BYTES])
            entry = draft.accept(Lane.of_priority(offer.priority), offer.sop_instance_uid)
        self._spool.bell.ring()
        duration_s = clock() - started_s
        item = entry.item
        self._recorder.record(
            Kind.RECEIVED, item=item.id, at=item.arrived_at, digest=item.digest, lane=entry.lane,
            sop_class_uid=offer.sop_class_uid, sop_instance_uid=item.sop_instance_uid,
            transfer_syntax_uid=offer.transfer_syntax_uid, calling_aet=offer.calling_aet,
            called_aet=offer.called_aet, peer_address=offer.peer_address, status_code=SUCCESS,
            size_bytes=draft.size_bytes, duration_s=duration_s,
        )  # fmt: skip
        self._log.info(
            "received", item=item.id, lane=entry.lane, calling_aet=offer.calling_aet,
            size_bytes=draft.size_bytes, duration_s=duration_s,
        )  # fmt: skip
        return SUCCESS

    def _refused(self, offer: Offer, status: int, why: str, size_bytes: int) -> None:
        uid = offer.sop_instance_uid
        self._recorder.record(
            Kind.REFUSED, sop_class_uid=offer.sop_class_uid,
            sop_instance_uid=uid if is_uid(uid) else "",
            transfer_syntax_uid=offer.transfer_syntax_uid, calling_aet=offer.calling_aet,
            called_aet=offer.called_aet, peer_address=offer.peer_address, status_code=status,
            size_bytes=size_bytes, detail=why,
        )  # fmt: skip
        self._log.warning(
            "refused", status=f"{status:04X}", calling_aet=offer.calling_aet, reason=why
        )
