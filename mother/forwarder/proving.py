"""Does the archive keep what it answered success for? Asked beside the deliveries, in batches.

By storage commitment (`auto`, `required`) or by C-FIND (`find`); one thread for an archive group.
What is to be proved stands in `answered/<archive>/`; which request is under way for it is in
memory only, because after a kill it is simply asked again: an old report then finds nobody who
waits for it. Promises: an item leaves `answered/` only when the archive has vouched for it, has
denied it, or, with `auto`, has not said anything _ASKS times; no more than _MOST_ITEMS are asked
for at a time; no delivery waits for any of this.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from mother.forwarder.finding import Finder
from mother.forwarder.settlement import Settlement
from tackybox import logs
from tackybox.config import ArchiveAddress, ArchiveGroup, MotherConfig, Proof
from tackybox.dimse.association import AssociationError, Timeouts
from tackybox.dimse.commitment import (
    DUPLICATE_TRANSACTION,
    MOST_INSTANCES,
    NO_SUCH_INSTANCE,
    CommitmentAssociation,
    Report,
)
from tackybox.errors import DataError, UnavailableError
from tackybox.item import read_header
from tackybox.service import Backoff, Stop
from tackybox.spool import Entry, Outlet, Reports

_ASKS = 3
_MOST_ITEMS = 8 * MOST_INSTANCES
_GATHER_S = 0.5  # between two requests, so that one serves many items
_LOOK_S = 0.2
_REST_S = 60.0
_LINGER_S = 2.0  # so long an association is kept for what may be reported on it
_NOT_OFFERED_S = 600.0
_FIRST_LOOK_AGAIN_S = 2.0
_LONGEST_LOOK_AGAIN_S = 60.0


@dataclass(slots=True)
class Batch:
    """Entries that are asked for together. Times are monotonic."""

    entries: list[Entry]
    since_s: float
    asks: int = 0
    due_s: float = 0.0


class Proving:
    """Has the archives of `group` prove what stands in the answered state of `outlet`."""

    def __init__(
        self,
        config: MotherConfig,
        group: ArchiveGroup,
        outlet: Outlet,
        reports: Reports,
        stop: Stop,
    ) -> None:
        self._stop = stop
        self._archives = {
            address: _Archive(config, address, outlet, reports) for address in group.alternatives
        }

    def must_prove(self, address: ArchiveAddress) -> bool:
        """Whether an item that `address` answered success for must be "answered" first."""
        return self._archives[address].must_prove

    def run(self, settlement: Settlement) -> None:
        """Ask until told to stop. Raises OSError."""
        try:
            while not self._stop.is_set():
                is_awaiting = [archive.look(settlement) for archive in self._archives.values()]
                settlement.sign(gather=True)
                self._stop.wait(_LOOK_S if any(is_awaiting) else _GATHER_S)
        finally:
            for archive in self._archives.values():
                archive.close()


class _Archive:
    """One archive of the group, for one thread but for `must_prove`."""

    def __init__(
        self, config: MotherConfig, address: ArchiveAddress, outlet: Outlet, reports: Reports
    ) -> None:
        self._config = config
        self._address = address
        self._outlet = outlet
        self._reports = reports
        self._log = logs.get("proving")
        self._proof = config.commitment.of(address)
        if self._proof is Proof.AUTO and config.report_port is None:
            self._proof = Proof.OFF
        self._association: CommitmentAssociation | None = None
        self._finder = Finder(config, address)
        self._told: list[Report] = []
        self._asked: dict[str, Batch] = {}
        self._again: list[Batch] = []
        self._names: set[str] = set()  # of all entries that are in a batch
        self._backoff = Backoff(1.0, config.backoff_cap_s)
        self._ask_at_s = self._spoke_at_s = 0.0
        self._not_offered_until_s = 0.0

    @property
    def must_prove(self) -> bool:
        return self._proof is not Proof.OFF and time.monotonic() >= self._not_offered_until_s

    def look(self, settlement: Settlement) -> bool:
        """Act on what has come, and ask for what waits; whether anything is awaited soon."""
        self._take_reports(settlement)
        now_s = time.monotonic()
        for transaction_uid, batch in list(self._asked.items()):
            if now_s >= batch.due_s:
                del self._asked[transaction_uid]
                self._unanswered(batch, settlement, "it has not reported on its commitment")
        if now_s >= self._ask_at_s:
            self._ask_at_s = now_s + (_REST_S if self._proof is Proof.OFF else _GATHER_S)
            try:
                self._ask_all(settlement)
            except UnavailableError as error:
                self._pause(str(error))
        self._rest()
        return bool(self._asked)

    def close(self) -> None:
        """End what is open."""
        if self._association is not None:
            self._association.close()
            self._association = None
        self._finder.close()

    def _ask_all(self, settlement: Settlement) -> None:
        while batch := self._next_batch():
            try:
                if self._proof is Proof.OFF:  # it was another one when these were stored
                    self._settle(batch, lambda entry: settlement.unproved(
                        entry, self._address, "no proof is asked for any more"))  # fmt: skip
                elif self._proof is Proof.FIND:
                    self._find(batch, settlement)
                else:
                    self._request(batch, settlement)
            except BaseException:
                batch.due_s = 0.0
                self._again.append(batch)
                raise

    def _next_batch(self) -> Batch | None:
        """What is to be asked for now: what was asked for in vain first."""
        now_s = time.monotonic()
        for place, batch in enumerate(self._again):
            if now_s >= batch.due_s:
                return self._again.pop(place)
        limit = min(MOST_INSTANCES, _MOST_ITEMS - len(self._names))
        while limit > 0 and (taken := self._outlet.take_answered(self._address.name, limit)):
            entries = [entry for entry in taken if entry.path.name not in self._names]
            if entries:
                self._names |= {entry.path.name for entry in entries}
                return Batch(entries, now_s)
        return None

    def _request(self, batch: Batch, settlement: Settlement) -> None:
        association = self._associate()
        if not association.is_offered:
            self.close()
            self._not_offered(batch, settlement)
            return
        instances = self._instances(batch, settlement)
        if not instances:
            return
        transaction_uid = f"2.25.{uuid.uuid4().int}"
        # Before it is asked: the report may be here first.
        self._asked[transaction_uid] = batch
        batch.due_s = time.monotonic() + self._config.proof_timeout_s
        try:
            status = association.ask(transaction_uid, instances)
            self._spoke_at_s = time.monotonic()
        except AssociationError:
            del self._asked[transaction_uid]
            raise
        if status == 0x0000:
            self._backoff.reset()
        else:
            del self._asked[transaction_uid]
            why = f"it answered our request for commitment with status 0x{status:04X}"
            self._log.warning("commitment refused", archive=self._address, status=status)
            batch.due_s = time.monotonic() + self._backoff.next()
            self._unanswered(batch, settlement, why)

    def _not_offered(self, batch: Batch, settlement: Settlement) -> None:
        if self._proof is Proof.REQUIRED:
            raise UnavailableError(f"{self._address} does not offer storage commitment")
        self._not_offered_until_s = time.monotonic() + _NOT_OFFERED_S
        why = "it does not offer storage commitment"
        self._log.warning("no commitment", archive=self._address, reason=why)
        self._settle(batch, lambda entry: settlement.unproved(entry, self._address, why))

    def _associate(self) -> CommitmentAssociation:
        if self._association is None or not self._association.is_open:
            if self._association is not None:
                self._association.close()
            config = self._config
            self._association = CommitmentAssociation.open(
                self._address,
                self._told.append,
                calling_aet=config.aet,
                timeouts=Timeouts(config.connect_timeout_s, config.dimse_timeout_s),
                max_pdu_bytes=config.max_pdu_bytes,
            )
        return self._association

    def _instances(self, batch: Batch, settlement: Settlement) -> list[tuple[str, str]]:
        """(SOP class, SOP instance) of each entry; what can't be read is sent on its way again."""
        instances: dict[tuple[str, str], None] = {}
        for entry in list(batch.entries):
            try:
                header = read_header(entry.path)
            except (DataError, OSError):
                batch.entries.remove(entry)
                # Preparation will look at it, and say what is wrong.
                self._settle(Batch([entry], 0.0), settlement.again)
            else:
                instances[header.sop_class_uid, header.sop_instance_uid] = None
        return list(instances)

    def _take_reports(self, settlement: Settlement) -> None:
        if self._association is not None and self._asked:
            self._association.listen(0.0)
        for transaction_uid in list(self._asked):
            if (data := self._reports.find(transaction_uid)) is not None:
                self._told += decoded(transaction_uid, data)
                self._reports.forget(transaction_uid)
        told, self._told = self._told, []
        for report in told:
            batch = self._asked.pop(report.transaction_uid, None)
            if batch is not None:
                self._act(report, batch, settlement)

    def _act(self, report: Report, batch: Batch, settlement: Settlement) -> None:
        proof = f"storage commitment, transaction {report.transaction_uid}"
        rest: list[Entry] = []
        for entry in batch.entries:
            uid = entry.item.sop_instance_uid
            reason = report.failed.get(uid)
            if uid in report.committed:
                self._settle_one(entry, lambda one: settlement.proved(one, self._address, proof))
            elif reason is None or reason == DUPLICATE_TRANSACTION:
                rest.append(entry)
            else:
                self._deny(entry, settlement, reason)
        if rest:
            batch.entries, batch.due_s = rest, time.monotonic() + self._backoff.next()
            self._unanswered(batch, settlement, "its report on commitment leaves it out")

    def _find(self, batch: Batch, settlement: Settlement) -> None:
        """Those that are listed are proved; the others are looked for again until it is too late.

        An archive may list an image some time after it has answered.
        """
        missing: list[Entry] = []
        for place, entry in enumerate(batch.entries):
            self._spoke_at_s = time.monotonic()
            try:
                is_there = self._finder.is_there(entry.path)
            except UnavailableError:
                batch.entries = missing + batch.entries[place:]
                raise
            except (DataError, OSError):
                self._settle_one(entry, settlement.again)
                continue
            if is_there:
                self._settle_one(
                    entry,
                    lambda one: settlement.proved(one, self._address, "a C-FIND lists it"),
                )
            else:
                missing.append(entry)
        self._backoff.reset()
        batch.entries = missing
        if not missing:
            return
        now_s = time.monotonic()
        too_late = now_s - batch.since_s >= self._config.proof_timeout_s
        if too_late and batch.asks >= _ASKS:
            for entry in missing:
                self._deny(entry, settlement, NO_SUCH_INSTANCE)
            return
        pause_s = min(_LONGEST_LOOK_AGAIN_S, _FIRST_LOOK_AGAIN_S * 2.0**batch.asks)
        batch.asks, batch.due_s = batch.asks + 1, now_s + pause_s
        self._again.append(batch)

    def _unanswered(self, batch: Batch, settlement: Settlement, why: str) -> None:
        """Asked again; with `auto`, after _ASKS times its Success is taken for what it says."""
        batch.asks += 1
        self._log.warning(
            "not proved", archive=self._address, reason=why, items=len(batch.entries),
            attempts=batch.asks,
        )  # fmt: skip
        if self._proof is Proof.AUTO and batch.asks >= _ASKS:
            self._settle(batch, lambda entry: settlement.unproved(entry, self._address, why))
        else:
            self._again.append(batch)

    def _deny(self, entry: Entry, settlement: Settlement, reason: int) -> None:
        self._settle_one(entry, lambda one: settlement.denied(one, self._address, reason))

    def _settle(self, batch: Batch, act: Callable[[Entry], None]) -> None:
        for entry in batch.entries:
            self._settle_one(entry, act)

    def _settle_one(self, entry: Entry, act: Callable[[Entry], object]) -> None:
        with suppress(FileNotFoundError):  # somebody took it away
            act(entry)
        self._names.discard(entry.path.name)

    def _pause(self, why: str) -> None:
        self.close()
        wait_s = self._backoff.next()
        self._ask_at_s = time.monotonic() + wait_s
        self._log.warning("not proved", archive=self._address, reason=why, wait_s=round(wait_s, 1))

    def _rest(self) -> None:
        """Without a port of ours it is kept for as long as there is something to be reported."""
        is_awaiting = bool(self._asked) and self._config.report_port is None
        if not is_awaiting and time.monotonic() - self._spoke_at_s > _LINGER_S:
            self.close()


def encoded(report: Report) -> bytes:
    """A report as the file that `tackybox.spool.reports` keeps."""
    return json.dumps({"committed": sorted(report.committed), "failed": report.failed}).encode()


def decoded(transaction_uid: str, data: bytes) -> Iterable[Report]:
    """What `encoded` made; nothing if it is that no more."""
    try:
        fields = json.loads(data)
        failed = {str(uid): int(reason) for uid, reason in fields["failed"].items()}
        yield Report(transaction_uid, frozenset(map(str, fields["committed"])), failed)
    except (ValueError, KeyError, TypeError, AttributeError):
        return
