"""What a newcomer gets wrong with the compose files: one clear line each, and the right exit code.

What the daemons and `tackybox check` say of the rest is tested in tests/tackybox/test_newcomer.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.containers.compose import Box, docker, environment
from tests.peers import free_port
from tests.tree import ROOT

DAUGHTER = {
    "TACKYBOX_NAME": "north-clinic",
    "TACKYBOX_AET": "TACKYBOX",
    "TACKYBOX_DESTINATIONS": "relay@mother.example:2222",
    "TACKYBOX_MODALITIES": "any",
    "TACKYBOX_SQL": "",
}
MOTHER = {
    "TACKYBOX_NAME": "main-mother",
    "TACKYBOX_AET": "TACKYBOX",
    "TACKYBOX_ARCHIVES": "PACS@pacs:104",
    "TACKYBOX_SQL": "",
}


def start(role: str, service: str, directory: Path, **settings: object) -> tuple[int, list[str]]:
    """Run a service with these settings in place of good ones: its exit code, and its lines."""
    good = DAUGHTER if role == "daughter" else MOTHER
    box = Box(role, "mistake", {**good, **settings}, directory)
    try:
        done = subprocess.run(
            ["docker", "compose", "-f", f"docker-compose.{role}.yml", "-p", box.project,
             "--env-file", str(directory / "mistake.env"), "run", "--rm", "--no-deps", "-T",
             service],
            cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        lines = [line for line in done.stderr.splitlines() if "tackybox" in line.lower()]
        return done.returncode, lines
    finally:
        box.compose("down", "--volumes", check=False)


@pytest.mark.parametrize("role", ["daughter", "mother"])
@pytest.mark.parametrize("variable", ["TACKYBOX_NAME", "TACKYBOX_AET"])
def test_a_variable_that_is_not_set(role: str, variable: str, tmp_path: Path) -> None:
    service = "receiver" if role == "daughter" else "inbox"
    code, lines = start(role, service, tmp_path, **{variable: ""})
    assert code != 0
    assert any(variable in line and "is not set" in line for line in lines), lines


def test_an_archive_that_is_not_named(tmp_path: Path) -> None:
    code, lines = start("mother", "forwarder", tmp_path, TACKYBOX_ARCHIVES="")
    assert code != 0
    assert any("AET@host:port" in line for line in lines), lines


@pytest.mark.parametrize(
    ("role", "service", "settings", "words"),
    [
        ("daughter", "receiver", {"TACKYBOX_AET": "NORTH_CLINIC_RADIOLOGY"}, "TACKYBOX_AET"),
        ("mother", "forwarder", {"TACKYBOX_AET": "MAIN_MOTHER_RADIOLOGY"}, "TACKYBOX_AET"),
        ("daughter", "pusher", {"TACKYBOX_DESTINATIONS": ""}, "TACKYBOX_DESTINATIONS"),
        ("daughter", "pusher", {"TACKYBOX_JOIN": "tackybox-join north"}, "TACKYBOX_JOIN"),
        ("daughter", "receiver", {"TACKYBOX_MODALITIES": "CT1"}, "TACKYBOX_MODALITIES"),
        ("mother", "inbox", {"TACKYBOX_NAME": "Main Mother"}, "TACKYBOX_NAME"),
        ("mother", "inbox", {"TACKYBOX_SQL": "boxes:changeme@database/t"}, "TACKYBOX_SQL"),
        ("mother", "inbox", {"TACKYBOX_ADDRESS": "mother.example"}, "TACKYBOX_ADDRESS"),
    ],
)
def test_a_setting_that_is_wrong(
    role: str, service: str, settings: dict[str, str], words: str, tmp_path: Path
) -> None:
    code, lines = start(role, service, tmp_path, **settings)
    assert (code, len(lines)) == (78, 1), lines
    assert words in lines[0]


@pytest.mark.parametrize(
    ("role", "service"), [("daughter", "receiver"), ("daughter", "pusher"), ("mother", "inbox")]
)
def test_a_spool_that_is_not_writable(role: str, service: str, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o755)
    code, lines = start(role, service, tmp_path, TACKYBOX_SPOOL_VOLUME=spool)
    assert (code, len(lines)) == (74, 1), lines
    assert "spool" in lines[0]


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    port = free_port()
    taken = docker(
        "run", "--detach", "--publish", f"{port}:11112", "tackybox/test-peers", "sleep", "60"
    ).strip()
    box = Box("daughter", "port", {**DAUGHTER, "TACKYBOX_PORT": port}, tmp_path)
    try:
        with pytest.raises(AssertionError, match=f"{port}.*port is already allocated"):
            box.compose("up", "-d", "--no-build", "receiver")
    finally:
        box.compose("down", "--volumes", check=False)
        docker("rm", "--force", taken)


@pytest.mark.parametrize("role", ["daughter", "mother"])
def test_a_compose_file_with_its_example_filled_in_is_valid(role: str, tmp_path: Path) -> None:
    good = DAUGHTER if role == "daughter" else MOTHER
    text = (ROOT / f".env.{role}.example").read_text()
    for key, value in good.items():
        text = text.replace(f"\n{key}=\n", f"\n{key}={value}\n")
    (tmp_path / "filled.env").write_text(text)
    docker(
        "compose", "-f", f"docker-compose.{role}.yml", "--env-file", tmp_path / "filled.env",
        "config", "--quiet", env=environment(),
    )  # fmt: skip
