"""Send many data sets to one archive over several associations at once: what `tackybox send` does.

Promises: every source is reported exactly once, with the archive's status or the reason why there
is none; each goes out in the transfer syntax that it is written in. Tries nothing twice and
converts nothing: that is the forwarder's work.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tackybox import statuses
from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.association import AssociationError, Pair, Timeouts
from tackybox.dimse.scu import Source, StorageAssociation, batches, uid_name


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one source. `status` None: no answer, and `message` says why.

    `unavailable`: it failed because of the archive or the way to it, not because of the source.
    """

    source: Source
    delivered: bool
    message: str
    status: int | None = None
    duration_s: float = 0.0
    unavailable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """How to send: to whom, as whom, how urgently (DIMSE Priority: 0 medium, 1 high, 2 low)."""

    address: ArchiveAddress
    calling_aet: str
    priority: int = 0
    associations: int = 1
    timeouts: Timeouts = field(default_factory=Timeouts)

    def send(self, sources: Sequence[Source], report: Callable[[Sent], None]) -> None:
        """Send all of `sources`; `report` is called for each, from one thread at a time."""
        for contexts in batches(source.pair for source in sources):
            pairs = frozenset(contexts)
            work: queue.SimpleQueue[Source] = queue.SimpleQueue()
            count = 0
            for source in sources:
                if source.pair in pairs:
                    work.put(source)
                    count += 1
            results: queue.SimpleQueue[Sent] = queue.SimpleQueue()
            crew = _Crew(self, contexts, work, results)
            for _ in range(min(self.associations, count)):
                threading.Thread(target=crew.work, daemon=True).start()
            for _ in range(count):
                report(results.get())

    def open(self, contexts: Sequence[Pair]) -> StorageAssociation:
        """An association for `contexts`; raises AssociationError."""
        return StorageAssociation.open(
            self.address, contexts, calling_aet=self.calling_aet, timeouts=self.timeouts
        )


class _Crew:
    """Threads that share the sources of one batch of contexts."""

    def __init__(
        self,
        sender: Sender,
        contexts: Sequence[Pair],
        sources: queue.SimpleQueue[Source],
        results: queue.SimpleQueue[Sent],
    ) -> None:
        self._sender = sender
        self._contexts = contexts
        self._sources = sources
        self._results = results
        self._lost: AssociationError | None = None

    def work(self) -> None:
        association: StorageAssociation | None = None
        with suppress(queue.Empty):
            while True:
                source = self._sources.get_nowait()
                association = self._association(association)
                self._results.put(self._send(association, source))
        if association is not None:
            association.close()

    def _association(self, current: StorageAssociation | None) -> StorageAssociation | None:
        """One that is open, or that accepted nothing; None once the archive is lost."""
        if current is not None and (current.is_open or not current.accepted):
            return current
        if self._lost is None:
            try:
                return self._sender.open(self._contexts)
            except AssociationError as error:
                self._lost = error
        return None

    def _send(self, association: StorageAssociation | None, source: Source) -> Sent:
        if association is None:
            return Sent(source, False, str(self._lost), unavailable=True)
        if source.pair not in association.accepted:
            return Sent(source, False, _not_accepted(source))
        try:
            result = association.store(source, priority=self._sender.priority)
        except OSError as error:
            return Sent(source, False, f"can't be read: {error.strerror}")
        except Exception as error:  # whatever it is, the source must be reported
            return Sent(source, False, f"can't be sent ({type(error).__name__})")
        outcome = statuses.disposition(result.status)
        return Sent(
            source,
            outcome.delivered,
            result.message or outcome.meaning,
            result.status,
            result.duration_s,
            unavailable=outcome.disposition is statuses.Disposition.DEFER,
        )


def _not_accepted(source: Source) -> str:
    return (
        f"the archive does not accept {uid_name(source.sop_class_uid)} "
        f"in {uid_name(source.transfer_syntax_uid)}"
    )
