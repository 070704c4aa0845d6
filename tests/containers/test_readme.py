"""README's way from a clean clone to the first image in the archive, each command as written.

With WALKTHROUGH=FILE in the environment the commands and what they printed are written there:

    WALKTHROUGH=docs/WALKTHROUGH.md make test-containers
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.containers.compose import docker, environment, gateway, peer
from tests.documents import blocks
from tests.peers import free_port
from tests.tree import ROOT

SECTION = "A site in a quarter of an hour"
_COLUMNS = 150


@dataclass
class Newcomer:
    """Somebody with two machines, each with a clone, who types what README says."""

    directory: Path
    transcript: list[str] = field(default_factory=list)
    role: str = ""
    ended: dict[str, int] = field(default_factory=dict)

    def clone(self) -> Path:
        """The clone on the machine that is worked at."""
        return self.directory / self.role

    def project(self, role: str) -> str:
        """The compose project of a role: of its own, so that nothing else here is touched."""
        return f"tackyread-{os.getpid()}-{role}"

    def type(self, line: str) -> str:
        """Run one line in a terminal; what it printed."""
        if match := re.search(r"docker-compose\.(\w+)\.yml|\.env\.(\w+)\.example", line):
            self.role = match[1] or match[2]
        more = {
            "COMPOSE_PROJECT_NAME": self.project(self.role),
            "BASE": "tackybox/offline/debian",  # instead of the pinned one, which is in a registry
        }
        wide = f"stty columns {_COLUMNS} rows 50; {line}"
        done = subprocess.run(
            ["script", "--quiet", "--return", "--command", wide, "/dev/null"],
            cwd=self.clone(), env=environment() | more, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\^@", "", done.stdout)
        said = re.sub(r"(?m)^.*\r", "", re.sub(r"\r+\n", "\n", said))  # as a terminal overwrites
        self.ended[line] = done.returncode
        self.note(line, said)
        assert done.returncode == 0, f"{line}\n{said}"
        return said

    def note(self, line: str, said: str) -> None:
        """Keep a command and the end of what it printed."""
        lines = said.rstrip().splitlines()
        if line.startswith("make") or " up " in line:
            lines = lines[-4:]
        shown = "".join(f"{line.rstrip()}\n" for line in lines)
        shown = self.shortened(shown.replace(f"tackyread-{os.getpid()}-", "tackybox-"))
        self.transcript.append(f"```console\n{self.role}$ {line}\n{shown}```\n")

    @staticmethod
    def shortened(text: str) -> str:
        """Without the code of a line to join with."""
        return re.sub(r"(tackybox-join \S+ \S+ \S+ \S+) \S+", r"\1 …", text)

    def fill_in(self, **values: object) -> None:
        """Fill in `.env`: each variable's line, whether it was commented out or not."""
        path = self.clone() / ".env"
        text = path.read_text()
        for key, value in values.items():
            text, count = re.subn(rf"(?m)^#?{key}=.*$", f"{key}={value}", text, count=1)
            assert count == 1, f"{path.name} has no line for {key}"
        path.write_text(text)
        shown = "\n".join(f"{k}={'…' if 'PASS' in k else v}" for k, v in values.items())
        shown = self.shortened(shown)
        self.transcript.append(f"In `.env`:\n\n```\n{shown}\n```\n")


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    """Two clean clones; whatever was started is removed."""
    for role in ("mother", "daughter"):
        subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / role], check=True)
    somebody = Newcomer(tmp_path)
    yield somebody
    for role in ("daughter", "mother"):
        if (tmp_path / role / ".env").exists():
            subprocess.run(
                ["docker", "compose", "-f", f"docker-compose.{role}.yml", "down", "--volumes"],
                cwd=tmp_path / role, capture_output=True, check=False,
                env=environment() | {"COMPOSE_PROJECT_NAME": somebody.project(role)},
            )  # fmt: skip


def passwords() -> dict[str, str]:
    """Three of them."""
    names = ("PASSWORD", "OWNER_PASSWORD", "READER_PASSWORD")
    return {f"TACKYBOX_DB_{name}": secrets.token_hex(16) for name in names}


def settings(role: str, join: str) -> dict[str, object]:
    """What a newcomer writes into `.env`; the ports keep the test out of everybody's way."""
    shared = {
        "TACKYBOX_AET": "TACKYBOX",
        **passwords(),
        "TACKYBOX_DB_IMAGE": "tackybox/offline/mysql",
        "TACKYBOX_DB_PUBLISH": f"127.0.0.1:{free_port()}",
    }
    port = free_port()
    if role == "mother":
        return {
            "TACKYBOX_NAME": "main-mother",
            "TACKYBOX_ARCHIVES": "ORTHANC@pacs:4242",
            "TACKYBOX_ADDRESS": f"{gateway()}:{port}",
            "TACKYBOX_SSH_PORT": port,
            **shared,
        }
    return {
        "TACKYBOX_NAME": "north-clinic",
        "TACKYBOX_MODALITIES": "CT1@172.16.0.0/12",
        "TACKYBOX_JOIN": join,
        "TACKYBOX_PORT": port,
        **shared,
    }


@pytest.mark.timeout(1800)
def test_the_way_from_a_clean_clone_to_the_first_image(newcomer: Newcomer) -> None:
    started_s = time.monotonic()
    join, study = "", ""
    with ExitStack() as archive:
        for block in blocks((SECTION,)):
            for line in block.text.splitlines():
                said = newcomer.type(re.sub(r"1\.2\.840\.113619\.2\.55\.3\.1$", study, line))
                if ".example .env" in line:
                    newcomer.fill_in(**settings(newcomer.role, join))
                elif " up " in line and newcomer.role == "mother":
                    network = f"{newcomer.project('mother')}_default"
                    archive.enter_context(peer("pacs", network, "Orthanc", "/etc/orthanc.json"))
                elif " enrol " in line:
                    (join,) = re.findall(r"^tackybox-join .*$", said, re.MULTILINE)
                elif "--relay" in line:
                    study = re.findall(r"\b\d+(?:\.\d+){5,}\b", said)[0]
        took_s = time.monotonic() - started_s
    assert study in "".join(newcomer.transcript[-1:])
    if path := os.environ.get("WALKTHROUGH"):
        (ROOT / path).write_text(walkthrough(newcomer.transcript, took_s))


def walkthrough(transcript: list[str], took_s: float) -> str:
    """The page."""
    engine = docker("version", "--format", "{{.Server.Version}}").strip()
    return "\n".join(
        [
            "# The walkthrough",
            "",
            "README's section *A site in a quarter of an hour*, typed line by line into a terminal",
            "on two clean clones, and what it printed; made by `tests/containers/test_readme.py`.",
            "Mother and daughter run on one machine here, the archive is Orthanc. From the first",
            f"line to the last it took {took_s:.0f} s by a script that types without thinking, the",
            f"images' layers built before (2 cores, engine {engine}, images made offline).",
            "",
            *transcript,
        ]
    )
