"""A modality as storage commitment meets it: asks by N-ACTION, takes results by N-EVENT-REPORT."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tackybox.demo.stack import LOOPBACK, free_port

COMMITMENT = str(StorageCommitmentPushModel)
INSTANCE = str(StorageCommitmentPushModelInstance)
EXPLICIT_LE, IMPLICIT_LE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@dataclass(frozen=True)
class Told:
    """A result: event type, transaction, the committed, and the failed with their reasons."""

    event_type: int
    transaction_uid: str
    committed: tuple[str, ...]
    failed: dict[str, int]


@dataclass
class Modality:
    """`aet`, which takes results on `port` (while it listens) and answers them `status`.

    `on_told` is called before a result is answered.
    """

    aet: str = "CT1"
    port: int = field(default_factory=free_port)
    status: int = 0x0000
    takes_roles: bool = True
    on_told: Callable[[Told], None] = lambda _: None
    told: list[Told] = field(default_factory=list)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Modality]:
        """Take results on `port` until the block ends."""
        ae = AE(self.aet)
        roles = {"scu_role": True, "scp_role": True} if self.takes_roles else {}
        ae.add_supported_context(COMMITMENT, [IMPLICIT_LE, EXPLICIT_LE], **roles)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        server = ae.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            server.shutdown()

    def _take(self, event: Any) -> tuple[int, None]:
        data = event.event_information
        failed = {
            str(item.ReferencedSOPInstanceUID): int(item.FailureReason)
            for item in data.get("FailedSOPSequence", ())
        }
        committed = tuple(
            str(item.ReferencedSOPInstanceUID) for item in data.get("ReferencedSOPSequence", ())
        )
        transaction_uid = str(data.TransactionUID)
        told = Told(int(event.event_type), transaction_uid, committed, failed)
        self.on_told(told)
        self.told.append(told)
        return self.status, None

    @contextlib.contextmanager
    def association(self, port: int, called: str = "TACKYBOX") -> Iterator[Association]:
        """An association for storage commitment with the relay at `port`."""
        ae = AE(self.aet)
        ae.add_requested_context(COMMITMENT, [IMPLICIT_LE])
        role = build_role(COMMITMENT, scu_role=True)
        assoc = ae.associate(LOOPBACK, port, ae_title=called, ext_neg=[role])
        assert assoc.is_established
        try:
            yield assoc
        finally:
            assoc.release()

    def ask(
        self, port: int, references: Sequence[tuple[str, str]], transaction_uid: str = ""
    ) -> tuple[int, str]:
        """Status of the N-ACTION, and the transaction's UID."""
        data = request(references, transaction_uid or generate_uid())
        with self.association(port) as assoc:
            status, _ = assoc.send_n_action(data, 1, COMMITMENT, INSTANCE)
            return int(status.Status), str(data.TransactionUID)


def request(references: Sequence[tuple[str, str]], transaction_uid: str) -> Dataset:
    """The data set of an N-ACTION (PS3.4 table J.3.2-1)."""
    data = Dataset()
    data.TransactionUID = transaction_uid
    data.ReferencedSOPSequence = [_reference(*reference) for reference in references]
    return data


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def references_of(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """SOP Class and Instance UIDs of DICOM files."""
    read = (dcmread(path, stop_before_pixels=True) for path in paths)
    return [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in read]
