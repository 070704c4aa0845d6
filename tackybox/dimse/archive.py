"""A small archive: a C-STORE and C-ECHO SCP that keeps what it gets as Part-10 files.

    python -m tackybox.dimse.archive --aet ARCHIVE --port 11113 --dir DIR

For the demo and the tests, and for a site that wants to look at what would arrive. Promises: every
storage SOP class, private ones too, in every transfer syntax; the data set's bytes exactly as
received; one file per SOP instance and content, so that nothing is ever overwritten; no name is
made from an unvalidated UID. Does not promise durability (no fsync), nor to find anything again.
Prints one JSON line, {"port": …}, once it listens.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config, evt
from pynetdicom.presentation import NonPatientObjectPresentationContexts
from pynetdicom.transport import ThreadedAssociationServer

from tackybox import service
from tackybox.dimse.association import VERIFICATION
from tackybox.errors import UnavailableError
from tackybox.item import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    content_digest,
    is_uid,
    part10_head,
)

_CANNOT_UNDERSTAND = 0xC000  # PS3.4 table B.2-1
_OUT_OF_RESOURCES = 0xA700


def start(
    aet: str, directory: Path, *, host: str = "127.0.0.1", port: int = 0
) -> ThreadedAssociationServer:
    """Listen and keep what comes in `directory`; returns at once, with the server.

    Raises UnavailableError if the port can't be bound, OSError if the directory can't be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    ae = AE(aet)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_associations = 100
    ae.maximum_pdu_size = 262_144
    ae.add_supported_context(VERIFICATION)
    for context in NonPatientObjectPresentationContexts:  # PS3.4 Annex GG, which "all" leaves out
        ae.add_supported_context(context.abstract_syntax or "", ALL_TRANSFER_SYNTAXES)
    try:
        server = ae.start_server(
            (host, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store_event, [directory])]
        )
    except OSError as error:
        raise UnavailableError(f"port {port} of {host} can't be listened on") from error
    return cast(ThreadedAssociationServer, server)  # None only if asked to block


def keep(directory: Path, head: bytes, dataset: bytes, name: str) -> Path:
    """Write a Part-10 file into `directory` under `name`, all at once or not at all."""
    path = directory / name
    if not path.exists():
        temporary = directory / f".{uuid.uuid4().hex}"
        temporary.write_bytes(head + dataset)
        temporary.replace(path)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m tackybox.dimse.archive")
    parser.add_argument("--aet", default="ARCHIVE")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args(arguments)
    stop = service.on_signals()
    server = start(options.aet, options.dir, host=options.host, port=options.port)
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    while not stop.is_set():
        stop.wait()
    server.shutdown()
    return 0


def store_event(event: evt.Event, directory: Path) -> int:
    """Keep what one C-STORE brings in `directory`; the status to answer."""
    request: Any = event.request
    transfer_syntax_uid = str(event.context.transfer_syntax)
    uids = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
    if not all(map(is_uid, uids)) or not is_uid(transfer_syntax_uid):
        return _CANNOT_UNDERSTAND
    dataset = request.DataSet.getvalue() if request.DataSet is not None else b""
    digest = content_digest(transfer_syntax_uid)
    digest.update(dataset)
    requestor: Any = event.assoc.requestor
    head = part10_head(
        sop_class_uid=uids[0],
        sop_instance_uid=uids[1],
        transfer_syntax_uid=transfer_syntax_uid,
        calling_aet=requestor.ae_title.strip(),
        called_aet=str(requestor.primitive.called_ae_title).strip(),
    )
    try:
        keep(directory, head, dataset, f"{uids[1]}_{digest.hexdigest()[:16]}.dcm")
    except OSError:
        return _OUT_OF_RESOURCES
    return 0x0000


if __name__ == "__main__":
    sys.exit(service.main(main))
