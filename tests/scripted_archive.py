"""An archive that misbehaves as told: run as a program by the tests.

    python -P tests/scripted_archive.py --port P --dir D --log F [--refuse-class UID]…
        [--only-transfer-syntax UID]… [--answer STATUS] [--answer-on UID=STATUS]… [--delay S]
        [--abort-on UID]… [--hang-on UID]… [--close-on UID]… [--empty-status-on UID]…
        [--associations N] [--reject RESULT,SOURCE,REASON] [--commit HOW] [--reason REASON]
        [--report-to PORT]

Keeps data sets as `tackybox.dimse.archive` does, and appends one JSON line to F for each thing
that it was asked: {"kind": "association" | "echo" | "store" | "commit", …}; {"kind": "kept",
"digest": …} when it has kept a data set, before it answers. A UID is a SOP Instance UID. With
`--answer 0x0000` it says success and stores nothing; with a warning it stores.

HOW: truth (commits what it keeps, denies the rest with REASON), all, none, half, never (no
report), wrong (another Transaction UID), others (instances that nobody asked for), twice, refuse
(answers the request with a failure). Reports go to PORT on a new association, or, without one, on
the association that it was asked on.
"""

from __future__ import annotations

import argparse
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import (
    AE,
    ALL_TRANSFER_SYNTAXES,
    AllStoragePresentationContexts,
    _config,
    build_context,
    build_role,
    evt,
)
from pynetdicom.presentation import NonPatientObjectPresentationContexts
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tackybox.dimse.archive import store_event
from tackybox.dimse.association import VERIFICATION
from tackybox.dimse.messages import (
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    MESSAGE_ID_RESPONDED_TO,
    NO_DATA_SET,
    command_pdus,
    encode_command,
    us_value,
)
from tackybox.item import content_digest
from tackybox.statuses import disposition

_HANG_S = 3600.0
_PUSH = str(StorageCommitmentPushModel)


class ScriptedArchive:
    """Answers as `options` say."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lock = threading.Lock()
        self.answers = dict(pair.split("=") for pair in options.answer_on)

    def note(self, **fields: Any) -> None:
        with self.lock, self.options.log.open("a") as log:
            log.write(json.dumps({"at": time.time(), **fields}) + "\n")

    def requested(self, event: evt.Event) -> None:
        contexts = event.assoc.requestor.primitive.presentation_context_definition_list
        pairs = [[str(c.abstract_syntax), [str(t) for t in c.transfer_syntax]] for c in contexts]
        self.note(kind="association", contexts=pairs)
        if self.options.reject:
            event.assoc.acse.send_reject(*map(int, self.options.reject.split(",")))
            event.assoc.kill()

    def echo(self, event: evt.Event) -> int:
        self.note(kind="echo")
        return 0x0000

    def store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.note(kind="store", uid=uid, priority=event.request.Priority)
        time.sleep(self.options.delay)
        if uid in self.options.abort_on:
            event.assoc.abort()
            return 0x0110
        if uid in self.options.hang_on:
            time.sleep(_HANG_S)
        if uid in self.options.close_on:
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        if uid in self.options.empty_status_on:
            event.assoc.dul.socket.send(_without_status(event))
        answer = self.answers.get(uid, self.options.answer)
        said = int(answer, 0) if answer else None
        if said is not None and (said == 0 or not disposition(said).delivered):
            return said
        status = store_event(event, self.options.dir)
        if status == 0:
            digest = content_digest(str(event.context.transfer_syntax))
            digest.update(event.request.DataSet.getvalue())
            self.note(kind="kept", uid=uid, digest=digest.hexdigest())
        return said or status

    def commit(self, event: evt.Event) -> tuple[int, None]:
        asked = [str(one.ReferencedSOPInstanceUID) for one in _references(event)]
        transaction = str(event.action_information.TransactionUID)
        self.note(kind="commit", transaction=transaction, uids=asked)
        how = self.options.commit
        if how == "refuse":
            return 0x0110, None
        if how != "never":
            report = self.report(event, how)
            times = 2 if how == "twice" else 1
            args = (event.assoc, report, times)
            threading.Thread(target=self.send_report, args=args, daemon=True).start()
        return 0x0000, None

    def report(self, event: evt.Event, how: str) -> Dataset:
        kept = {path.name.partition("_")[0] for path in self.options.dir.glob("*.dcm")}
        committed, failed = [], []
        for number, reference in enumerate(_references(event)):
            if how == "others":
                reference.ReferencedSOPInstanceUID = f"1.2.3.4.{number}"
            good = {
                "none": False,
                "half": number % 2 == 0,
                "truth": str(reference.ReferencedSOPInstanceUID) in kept,
            }.get(how, True)
            if not good:
                reference.FailureReason = int(self.options.reason, 0)
            (committed if good else failed).append(reference)
        report = Dataset()
        uid = event.action_information.TransactionUID
        report.TransactionUID = generate_uid() if how == "wrong" else uid
        if committed:
            report.ReferencedSOPSequence = committed
        if failed:
            report.FailedSOPSequence = failed
        return report

    def send_report(self, asked_on: Any, report: Dataset, times: int) -> None:
        time.sleep(0.1)
        event_type = 2 if "FailedSOPSequence" in report else 1
        for _ in range(times):
            assoc = asked_on
            if self.options.report_to:
                assoc = AE("SCRIPTED").associate(
                    "127.0.0.1", self.options.report_to,
                    contexts=[build_context(_PUSH)],
                    ae_title=asked_on.requestor.ae_title.strip(),
                    ext_neg=[build_role(_PUSH, scp_role=True)],
                )  # fmt: skip
            if not assoc.is_established:
                self.note(kind="report", status=None)
                continue
            status, _ = assoc.send_n_event_report(
                report, event_type, _PUSH, str(StorageCommitmentPushModelInstance)
            )
            self.note(kind="report", status=status.get("Status"))
            if self.options.report_to:
                assoc.release()

    def listen(self) -> None:
        options = self.options
        ae = AE("SCRIPTED")
        ae.maximum_associations = options.associations
        ae.add_supported_context(VERIFICATION)
        if options.commit:
            ae.add_supported_context(_PUSH)
        _config.UNRESTRICTED_STORAGE_SERVICE = not (
            options.refuse_class or options.only_transfer_syntax or options.commit
        )
        for context in AllStoragePresentationContexts + NonPatientObjectPresentationContexts:
            if context.abstract_syntax not in options.refuse_class:
                ae.add_supported_context(
                    context.abstract_syntax or "",
                    options.only_transfer_syntax or ALL_TRANSFER_SYNTAXES,
                )
        handlers = [
            (evt.EVT_REQUESTED, self.requested),
            (evt.EVT_C_ECHO, self.echo),
            (evt.EVT_C_STORE, self.store),
            (evt.EVT_N_ACTION, self.commit),
        ]
        ae.start_server(("127.0.0.1", options.port), block=True, evt_handlers=handlers)


def _references(event: evt.Event) -> list[Dataset]:
    return list(event.action_information.ReferencedSOPSequence)


def _without_status(event: evt.Event) -> bytes:
    """A C-STORE-RSP that lacks its Status."""
    response = encode_command(
        (COMMAND_FIELD, us_value(0x8001)),
        (MESSAGE_ID_RESPONDED_TO, us_value(event.request.MessageID)),
        (COMMAND_DATA_SET_TYPE, us_value(NO_DATA_SET)),
    )
    return command_pdus(response, event.context.context_id, 4096)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    for option in ("refuse-class", "only-transfer-syntax", "answer-on"):
        parser.add_argument(f"--{option}", action="append", default=[])
    for option in ("abort-on", "hang-on", "close-on", "empty-status-on"):
        parser.add_argument(f"--{option}", action="append", default=[])
    parser.add_argument("--answer", default="")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--associations", type=int, default=50)
    parser.add_argument("--reject", default="")
    parser.add_argument("--commit", default="")
    parser.add_argument("--reason", default="0x0112")
    parser.add_argument("--report-to", type=int, default=0)
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    options.log.touch()
    ScriptedArchive(options).listen()


if __name__ == "__main__":
    main()
