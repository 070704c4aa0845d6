"""Orthanc asks the daughter for storage commitment, as a modality would, and takes the answer."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox.demo.stack import LOOPBACK, Stack
from tackybox.spool import STORED_BY
from tests.peers import Peer, orthanc, wait_until

CT = "1.2.840.10008.5.1.4.1.1.2"
MOTHER, OUTLET = "relay@127.0.0.1:9", "127.0.0.1_9"


def rest(peer: Peer, path: str, body: object = None, method: str = "GET") -> Any:
    port = int((peer.directory / "http_port").read_text())
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        text = response.read()
    return json.loads(text) if text else None


def ask(peer: Peer, *uids: str) -> str:
    """Where Orthanc tells what it was answered."""
    body = {"DicomInstances": [{"SOPClassUID": CT, "SOPInstanceUID": uid} for uid in uids]}
    return str(rest(peer, "/modalities/relay/storage-commitment", body, "POST")["Path"])


def answer(peer: Peer, path: str) -> dict[str, Any]:
    wait_until(lambda: rest(peer, path)["Status"] != "Pending", "Orthanc was answered")
    return dict(rest(peer, path))


def test_orthanc_is_told_what_is_stored_and_what_is_not(tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc") as peer, Stack(tmp_path / "stack") as stack:
        daughter = stack.start_daughter(
            "north", MOTHER, commitment_peers=peer.address, commitment_timeout_s=2
        )
        place = {"AET": daughter.aet, "Host": LOOPBACK, "Port": daughter.port}
        rest(peer, "/modalities/relay", place, "PUT")
        with Recorder(daughter.spool / "journal", "north") as recorder:
            fields = {"item": "i", "digest": "d", "sop_instance_uid": "1.2.3"}
            recorder.record(Kind.RECEIVED, sop_class_uid=CT, **fields)
            recorder.record(Kind.QUEUED, destination=OUTLET, **fields)
            recorder.record(Kind.RELEASED, destination=OUTLET, detail=f"{STORED_BY}PACS", **fields)
        stored = answer(peer, ask(peer, "1.2.3"))
        assert (stored["Status"], len(stored["Success"])) == ("Success", 1)
        mixed = answer(peer, ask(peer, "1.2.3", "1.2.4"))
        assert (mixed["Status"], len(mixed["Success"])) == ("Failure", 1)
        (failed,) = mixed["Failures"]
        assert (failed["SOPInstanceUID"], failed["FailureReason"]) == ("1.2.4", 0x0112)
