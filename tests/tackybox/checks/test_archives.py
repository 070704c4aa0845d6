"""Each way in which an archive can disappoint is a finding with what to do."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from pynetdicom import AE, VerificationPresentationContexts, evt

from tackybox.checks.archives import archive
from tackybox.checks.finding import Finding, Level
from tackybox.config import load_mother
from tackybox.config.addresses import parse_archive
from tackybox.demo.stack import LOOPBACK, Stack, free_port, python
from tackybox.dimse.commitment import PUSH_MODEL
from tests.peers import Peer, freeze, orthanc, running, storescp

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LE, JPEG_2000 = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"


def findings(address: str, **settings: object) -> list[Finding]:
    values = {"name": "m", "aet": "CENTRE", "spool": "/spool", "archives": address, **settings}
    environ = {f"TACKYBOX_{key.upper()}": str(value) for key, value in values.items()}
    return list(archive(parse_archive(address), load_mother(environ)))


@contextlib.contextmanager
def scripted(directory: Path, *options: str) -> Iterator[Peer]:
    port = free_port()
    directory.mkdir()
    command = [sys.executable, "-P", str(Path(__file__).parents[2] / "scripted_archive.py")]
    command += ["--port", str(port), "--dir", str(directory / "kept")]
    command += ["--log", str(directory / "log"), *options]
    with running(command, "SCRIPTED", port, directory) as peer:
        yield peer


def test_a_good_one_tells_what_it_accepts(tmp_path: Path) -> None:
    with storescp(tmp_path / "storescp") as peer:
        echoed, accepts, _ = findings(peer.address)
    assert echoed.level is Level.PASS and "under our AE title CENTRE" in echoed.seen
    assert accepts.details["proposed_classes"] > 170
    assert JPEG_2000 in accepts.details["accepted"][MR]
    assert "\n" not in accepts.seen and "JPEG 2000 Lossless" in accepts.seen


def test_one_that_refuses_a_common_class(tmp_path: Path) -> None:
    only = ["--only-transfer-syntax", EXPLICIT_LE]
    with scripted(tmp_path / "scripted", "--refuse-class", MR, *only) as peer:
        _, accepts, _ = findings(peer.address)
    assert accepts.level is Level.WARNING
    assert "of the common ones not: MR Image; compressed in no way" in accepts.seen
    assert "quarantine as sop-class-refused" in accepts.remedy
    assert accepts.details["refused"] == [MR]


def test_one_that_offers_storage_commitment(tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc") as peer:
        unset = findings(peer.address)[-1]
        told = findings(peer.address, report_port=11112)[-1]
        portless = findings(peer.address, commitment="required")[-1]
        off = findings(peer.address, commitment=f"{peer.address}=off")[-1]
    assert [one.level for one in (unset, told, off)] == [Level.PASS] * 3
    assert "not asked for it, because TACKYBOX_REPORT_PORT is unset" in unset.seen
    assert "is asked for it; reports come to port 11112" in told.seen
    assert off.seen.endswith("TACKYBOX_COMMITMENT is off")
    assert (portless.level, "TACKYBOX_REPORT_PORT" in portless.remedy) == (Level.WARNING, True)


def test_one_that_does_not_offer_storage_commitment(tmp_path: Path) -> None:
    with storescp(tmp_path / "storescp") as peer:
        silent = findings(peer.address)[-1]
        auto = findings(peer.address, report_port=11112)[-1]
        required = findings(peer.address, commitment="required")[-1]
    assert (silent.level, silent.remedy) == (Level.PASS, "")
    assert "does not offer storage commitment" in silent.seen
    assert (auto.level, required.level) == (Level.WARNING, Level.FAIL)
    assert "Success is taken for what it says" in auto.seen
    assert "nothing counts as stored" in required.seen
    assert f"AE title CENTRE, or write {peer.address}=find" in required.remedy


def test_one_that_lets_nobody_ask_for_storage_commitment() -> None:
    def requested(event: evt.Event) -> None:
        proposed = event.assoc.requestor.primitive.presentation_context_definition_list
        if any(context.abstract_syntax == PUSH_MODEL for context in proposed):
            event.assoc.acse.send_reject(1, 1, 3)
            event.assoc.kill()

    ae = AE("PACS")
    ae.supported_contexts = VerificationPresentationContexts
    handlers = [(evt.EVT_REQUESTED, requested)]
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)
    try:
        *_, asked = findings(f"PACS@{LOOPBACK}:{server.server_address[1]}")
    finally:
        server.shutdown()
    assert (asked.level, "could not be asked" in asked.seen) == (Level.WARNING, True)
    assert "does it let AE title CENTRE ask for storage commitment?" in asked.remedy


def test_one_that_does_not_know_our_ae_title(tmp_path: Path) -> None:
    """A receiver of ours, which knows its modalities, stands for any archive that does."""
    port = free_port()
    with Stack(tmp_path) as stack:
        settings = {
            "name": "north", "aet": "PACS", "spool": stack.workdir / "north", "port": port,
            "bind": LOOPBACK, "destinations": "relay@127.0.0.1:9", "min_free_mib": 1,
            "modalities": f"OTHER@{LOOPBACK}",
        }  # fmt: skip
        stack.start("archive", python("daughter.receiver"), settings, port)
        (found,) = findings(f"PACS@{LOOPBACK}:{port}")
    assert found.level is Level.FAIL
    assert "it does not know our (the calling) AE title" in found.seen
    assert found.remedy.startswith("enter our AE title CENTRE")


def test_one_that_is_down_unknown_or_frozen(tmp_path: Path) -> None:
    (down,) = findings(f"PACS@{LOOPBACK}:{free_port()}")
    assert (down.level, "nothing listens" in down.seen) == (Level.FAIL, True)
    assert "the port right in TACKYBOX_ARCHIVES" in down.remedy
    (unknown,) = findings("PACS@no-such-host.invalid:104")
    assert "DNS" in unknown.remedy
    with storescp(tmp_path / "storescp") as peer:
        freeze(peer.process.pid)
        try:
            (frozen,) = findings(peer.address, dimse_timeout_s=1, connect_timeout_s=1)
        finally:
            peer.process.send_signal(signal.SIGCONT)
    assert (frozen.level, "did not answer in time" in frozen.seen) == (Level.FAIL, True)
    assert "firewall" in frozen.remedy and "CENTRE" in frozen.remedy
