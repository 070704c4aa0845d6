"""An archive that misbehaves as told: run as a program by the tests.

    python -P tests/scripted_archive.py --port P --dir D --log F [--refuse-class UID]…
        [--only-transfer-syntax UID]… [--answer STATUS] [--abort-on SOP_INSTANCE_UID]… [--delay S]
        [--associations N]

Keeps data sets as `tackybox.dimse.archive` does, and appends one JSON line to F for each thing
that it was asked: {"kind": "association" | "echo" | "store", …}; {"kind": "kept", "digest": …}
when it has kept a data set, before it answers.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from typing import Any

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.presentation import NonPatientObjectPresentationContexts

from tackybox.dimse.archive import store_event
from tackybox.dimse.association import VERIFICATION
from tackybox.item import content_digest


class ScriptedArchive:
    """Answers as `options` say."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lock = threading.Lock()

    def note(self, **fields: Any) -> None:
        with self.lock, self.options.log.open("a") as log:
            log.write(json.dumps({"at": time.time(), **fields}) + "\n")

    def requested(self, event: evt.Event) -> None:
        contexts = event.assoc.requestor.primitive.presentation_context_definition_list
        pairs = [[str(c.abstract_syntax), [str(t) for t in c.transfer_syntax]] for c in contexts]
        self.note(kind="association", contexts=pairs)

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
        if self.options.answer:
            return int(self.options.answer, 0)
        status = store_event(event, self.options.dir)
        if status == 0:
            digest = content_digest(str(event.context.transfer_syntax))
            digest.update(event.request.DataSet.getvalue())
            self.note(kind="kept", uid=uid, digest=digest.hexdigest())
        return status

    def listen(self) -> None:
        options = self.options
        ae = AE("SCRIPTED")
        ae.maximum_associations = options.associations
        ae.add_supported_context(VERIFICATION)
        _config.UNRESTRICTED_STORAGE_SERVICE = not (
            options.refuse_class or options.only_transfer_syntax
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
        ]
        ae.start_server(("127.0.0.1", options.port), block=True, evt_handlers=handlers)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--refuse-class", action="append", default=[])
    parser.add_argument("--only-transfer-syntax", action="append", default=[])
    parser.add_argument("--answer", default="")
    parser.add_argument("--abort-on", action="append", default=[])
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--associations", type=int, default=50)
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    options.log.touch()
    ScriptedArchive(options).listen()


if __name__ == "__main__":
    main()
