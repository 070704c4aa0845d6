"""A port is free, surely ours, or somebody else's; real listeners of each kind."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tackybox.checks import ports
from tackybox.checks.finding import Finding, Level
from tackybox.config import load_daughter, load_mother
from tackybox.demo.stack import LOOPBACK, Stack, free_port, python
from tests.peers import require, storescp

NORTH = {"name": "north", "aet": "NORTH", "destinations": "relay@127.0.0.1:9", "min_free_mib": 1}


def daughter(**settings: object) -> Finding:
    values = {**NORTH, "spool": "/spool", "bind": LOOPBACK, **settings}
    environ = {f"TACKYBOX_{key.upper()}": str(value) for key, value in values.items()}
    return ports.dicom_port(load_daughter(environ))


def mother(**settings: object) -> Finding:
    values = {"name": "m", "aet": "M", "archives": "P@h:1", "spool": "/spool", **settings}
    environ = {f"TACKYBOX_{key.upper()}": str(value) for key, value in values.items()}
    return ports.ssh_port(load_mother(environ))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    with Stack(tmp_path_factory.mktemp("ports")) as running:
        yield running


@pytest.fixture(scope="module")
def port(stack: Stack) -> int:
    """Of a receiver that lets in nobody but itself."""
    port = free_port()
    settings = {**NORTH, "spool": stack.workdir / "north", "port": port, "bind": LOOPBACK}
    stack.start("receiver", python("daughter.receiver"), settings, port)
    return port


def test_a_free_port_and_our_own_receiver(port: int) -> None:
    free = daughter(port=free_port())
    assert (free.level, free.seen) == (Level.PASS, "is free; no receiver is running here")
    for settings in ({"port": port}, {"receiver": f"{LOOPBACK}:{port}"}):
        ours = daughter(**settings)
        assert ours.level is Level.PASS
        assert ours.seen == "our own receiver answers C-ECHO, called by our AE title NORTH"


def test_another_boxes_receiver(port: int) -> None:
    other = daughter(port=port, aet="SOUTH")
    assert other.level is Level.FAIL
    assert "a DICOM receiver's that is not this box's" in other.seen
    elsewhere = daughter(receiver=f"{LOOPBACK}:{port}", aet="SOUTH")
    assert elsewhere.level is Level.WARNING
    assert "in the receiver's container" in elsewhere.remedy


def test_another_dicom_application(tmp_path: Path) -> None:
    with storescp(tmp_path / "storescp") as peer:
        other = daughter(port=peer.port)
        elsewhere = daughter(receiver=f"{LOOPBACK}:{peer.port}")
    assert elsewhere.remedy == "correct TACKYBOX_RECEIVER"
    assert (other.level, other.seen) == (Level.FAIL, "is another DICOM application's")


def test_a_receiver_elsewhere_that_is_not_there() -> None:
    for place, why in ((f"{LOOPBACK}:{free_port()}", "nothing listens"), ("no.invalid:1", "known")):
        away = daughter(receiver=place)
        assert (away.level, away.subject) == (Level.FAIL, f"receiver {place}")
        assert why in away.seen and "TACKYBOX_RECEIVER" in away.remedy


def test_an_address_that_is_not_this_machines() -> None:
    away = daughter(bind="192.0.2.77")
    assert (away.level, "can't be listened on" in away.seen) == (Level.FAIL, True)


def test_the_inbox_shows_our_host_key_and_another_ssh_server_does_not(stack: Stack) -> None:
    stack.daughter_key("north")
    running = stack.start_mother("mother", "PACS@127.0.0.1:9")
    ssh = {"ssh_port": running.inbox.port, "ssh_bind": LOOPBACK}
    ours = mother(**ssh, host_key=stack.key("mother-host"))
    assert (ours.level, "our own inbox answers" in ours.seen) == (Level.PASS, True)
    other = mother(**ssh, host_key=stack.key("another-host"))
    assert (other.level, "another ssh server's" in other.seen) == (Level.FAIL, True)
    unknown = mother(**ssh, host_key=stack.workdir / "keys" / "none")
    assert (unknown.level, "can't be told here" in unknown.seen) == (Level.WARNING, True)
    free = mother(ssh_port=free_port(), ssh_bind=LOOPBACK)
    assert (free.level, free.seen) == (Level.PASS, "is free; no inbox is running here")


def test_a_host_key_with_a_passphrase_asks_nobody(stack: Stack, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True
    )
    assert ports._words(["ssh-keygen", "-y", "-P", "", "-f", str(key)]) == []
    assert ports._words(["no-such-program"]) == []
