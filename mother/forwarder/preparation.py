"""The next item to send, claimed and verified: what is done while the archive answers for another.

Promises: an item is handed out only if its digest is the one in its name; one that is not, or that
can't be read, stands in quarantine. Holds one item in memory, and of a large one a piece.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from mother.forwarder.settlement import Case, Settlement
from tackybox.config import ArchiveAddress
from tackybox.dimse.association import Pair
from tackybox.dimse.payload import SMALL_BYTES, Payload
from tackybox.dimse.scu import Source
from tackybox.errors import DataError
from tackybox.item import read_header
from tackybox.reasons import Reason
from tackybox.spool import Entry, Outlet

_LOOK_AHEAD_ITEMS = 16


@dataclass(frozen=True, slots=True)
class Ready:
    """An item in hand that can be sent; its payload must be closed."""

    case: Case
    source: Source
    payload: Payload


class Preparation:
    """Takes items of `outlet` into hand, one at a time; for one thread."""

    def __init__(self, outlet: Outlet, settlement: Settlement) -> None:
        self._outlet = outlet
        self._settlement = settlement
        self._buffer = memoryview(bytearray(SMALL_BYTES))

    def next(self, address: ArchiveAddress) -> Ready | None:
        """The next item that can be sent, or None if nothing waits.

        What was handed out before must have been sent or put back: one buffer serves all.
        """
        while entries := self._outlet.claim(1):
            for entry in entries:
                if ready := self._examine(entry, address):
                    return ready
        return None

    def pairs_that_wait(self) -> list[Pair]:
        """What the next items need a presentation context for. They are put back at once."""
        pairs: list[Pair] = []
        for entry in self._outlet.claim(_LOOK_AHEAD_ITEMS):
            with contextlib.suppress(DataError, OSError):  # found out when its turn comes
                header = read_header(entry.path)
                pairs.append(Pair(header.sop_class_uid, header.transfer_syntax_uid))
            self._outlet.put_back(entry)
        return pairs

    def put_back(self, ready: Ready) -> None:
        """It was not tried."""
        ready.payload.close()
        self._outlet.put_back(ready.case.entry)

    def _examine(self, entry: Entry, address: ArchiveAddress) -> Ready | None:
        """The item, opened; None if it had to be put into quarantine."""
        case = Case(entry, entry.item.id, 0)
        try:
            header = read_header(entry.path)
            if header.sop_instance_uid != entry.item.sop_instance_uid:
                raise DataError("its file meta information names another SOP Instance UID")
            payload = Payload(entry.path, header.dataset_offset, self._buffer)
            case = Case(entry, case.item_id, payload.file_bytes)
            try:
                is_whole = payload.digest(header.transfer_syntax_uid) == entry.item.digest
            except BaseException:
                payload.close()
                raise
            if is_whole:
                source = Source(
                    entry.path,
                    header.dataset_offset,
                    header.sop_class_uid,
                    header.sop_instance_uid,
                    header.transfer_syntax_uid,
                )
                return Ready(case, source, payload)
            payload.close()
            reason, detail = Reason.DIGEST_DIFFERS, "its digest is not the one in its name"
        except DataError as error:
            reason, detail = Reason.UNREADABLE, str(error)
        except FileNotFoundError:
            return None  # somebody took it away
        except OSError as error:
            reason, detail = Reason.UNREADABLE, error.strerror or "the disk does not say why"
        self._settlement.quarantined(case, address, reason, detail=detail)
        return None
