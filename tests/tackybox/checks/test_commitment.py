"""A modality that takes answers to storage commitment, one that does not, and none."""

from __future__ import annotations

from pynetdicom import AE, VerificationPresentationContexts

from tackybox.checks.commitment import commitment
from tackybox.checks.finding import Finding, Level
from tackybox.config import load_daughter
from tackybox.demo.stack import LOOPBACK, free_port
from tests.modality import Modality


def findings(peers: str, **settings: object) -> list[Finding]:
    values = {
        "name": "d", "aet": "NORTH", "spool": "/spool", "destinations": "relay@h",
        "commitment_peers": peers, **settings,
    }  # fmt: skip
    environ = {f"TACKYBOX_{key.upper()}": str(value) for key, value in values.items()}
    return list(commitment(load_daughter(environ)))


def test_one_that_takes_answers() -> None:
    with Modality().listening() as modality:
        (found,) = findings(f"CT1@{LOOPBACK}:{modality.port}")
        assert (found.level, modality.told) == (Level.PASS, [])
        assert findings(f"CT1@{LOOPBACK}:{modality.port}", commitment_timeout_s=0) == []


def test_one_that_is_off_and_one_that_does_not_know_the_service() -> None:
    ae = AE("CT2")
    ae.supported_contexts = VerificationPresentationContexts
    server = ae.start_server((LOOPBACK, 0), block=False)
    try:
        port = server.server_address[1]
        off, other = findings(f"CT1@{LOOPBACK}:{free_port()};CT2@{LOOPBACK}:{port}")
    finally:
        server.shutdown()
    assert (off.level, other.level) == (Level.WARNING, Level.WARNING)
    assert "nothing listens" in off.seen
    assert "does not take results of storage commitment from us" in other.seen
    assert "AE title NORTH" in other.remedy


def test_none_is_named() -> None:
    assert findings("") == []
