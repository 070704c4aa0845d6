"""Boxes as their users run them: compose projects of our own files, under names of their own."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers import free_port
from tests.tree import ROOT

MINUTES_S = 60


def run(*command: object, stdin: str | None = None, check: bool = True, **more: object) -> str:
    """Run a command; what it printed on stdout. Fails with all that it said."""
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, input=stdin, capture_output=True, text=True,
        check=False, timeout=10 * MINUTES_S, **more,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def docker(*arguments: object, **more: object) -> str:
    """Run a docker command."""
    return run("docker", *arguments, **more)


def gateway() -> str:
    """This machine's address as every container reaches it."""
    return docker(
        "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"
    ).strip()


@dataclass
class Box:
    """A compose project: `role` is daughter or mother, `settings` its .env."""

    role: str
    name: str
    settings: dict[str, object]
    directory: Path
    project: str = field(init=False)

    def __post_init__(self) -> None:
        self.project = f"tackytest-{os.getpid()}-{self.name}"
        self.write_env()

    @property
    def network(self) -> str:
        """The project's own network."""
        return f"{self.project}_default"

    def write_env(self) -> None:
        """Write the settings as a person fills in the .env file."""
        lines = "".join(f"{key}={value}\n" for key, value in self.settings.items())
        (self.directory / f"{self.name}.env").write_text(lines)

    def compose(self, *arguments: object, **more: object) -> str:
        """Run docker compose on this project."""
        return docker(
            "compose", "-f", f"docker-compose.{self.role}.yml", "-p", self.project,
            "--env-file", self.directory / f"{self.name}.env", *arguments,
            env=environment(), **more,
        )  # fmt: skip

    def up(self) -> None:
        """Start what is not running."""
        self.compose("up", "-d", "--no-build")

    def tackybox(self, service: str, *arguments: object, **more: object) -> str:
        """Run the operator's command in a service's container."""
        return self.compose("exec", "-T", service, "tackybox", *arguments, **more)

    def logs(self, service: str) -> list[dict[str, object]]:
        """A service's log lines, those that are JSON."""
        lines = docker("logs", self.container(service)).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "-a", "-q", service).strip()

    def health(self, service: str) -> str:
        """What docker says of it: starting, healthy, unhealthy."""
        return docker(
            "inspect", "--format", "{{.State.Health.Status}}", self.container(service)
        ).strip()

    def sql(self, statement: str, user: str = "reader", **more: object) -> str:
        """Ask the project's database as one of its accounts; rows as lines, columns by tabs."""
        password = self.settings[PASSWORDS[user]]
        client = "$(command -v mariadb || command -v mysql)"
        return self.compose(
            "exec", "-T", "database", "sh", "-c",
            f"MYSQL_PWD={password} exec {client} --protocol=tcp --host=127.0.0.1 --batch "
            f"--skip-column-names --user={user} tackybox",
            stdin=statement, **more,
        )  # fmt: skip


PASSWORDS = {
    "boxes": "TACKYBOX_DB_PASSWORD",
    "tackybox": "TACKYBOX_DB_OWNER_PASSWORD",
    "reader": "TACKYBOX_DB_READER_PASSWORD",
}


def environment() -> dict[str, str]:
    """Ours without any box's settings: what compose reads must be in the .env file.

    And without what a make that runs us hands down to a make that we run.
    """
    ours = re.compile("TACKYBOX_|MAKE|MFLAGS")
    return {key: value for key, value in os.environ.items() if not ours.match(key)}


def database(image: str) -> dict[str, object]:
    """The part of a .env that is about the database."""
    return {
        "COMPOSE_PROFILES": "database",
        "TACKYBOX_DB_IMAGE": f"tackybox/offline/{image}",
        "TACKYBOX_DB_PUBLISH": f"0.0.0.0:{free_port()}",
        **{variable: secrets.token_hex(12) for variable in PASSWORDS.values()},
    }


def mother(name: str, directory: Path, archives: str, **settings: object) -> Box:
    """A mother, not started yet."""
    port = free_port()
    return Box(
        "mother", name,
        {
            "TACKYBOX_NAME": name, "TACKYBOX_AET": "TACKYBOX", "TACKYBOX_ARCHIVES": archives,
            "TACKYBOX_SSH_PORT": port, "TACKYBOX_ADDRESS": f"{gateway()}:{port}",
            "TACKYBOX_MIN_FREE_MIB": 64, "TACKYBOX_SQL": "", **settings,
        },
        directory,
    )  # fmt: skip


def daughter(name: str, directory: Path, *mothers: Box, **settings: object) -> Box:
    """A daughter that `mothers`, which run, have invited; not started yet."""
    lines = [m.tackybox("inbox", "enrol", name).strip() for m in mothers]
    return Box(
        "daughter", name,
        {
            "TACKYBOX_NAME": name, "TACKYBOX_AET": "TACKYBOX", "TACKYBOX_PORT": free_port(),
            "TACKYBOX_MODALITIES": "SCANNER@172.16.0.0/12;SCANNER@192.168.0.0/16",
            "TACKYBOX_JOIN": ";".join(lines), "TACKYBOX_MIN_FREE_MIB": 64, "TACKYBOX_SQL": "",
            **settings,
        },
        directory,
    )  # fmt: skip


@contextmanager
def started(*boxes: Box) -> Iterator[None]:
    """Start `boxes`; remove them with their volumes at the end."""
    try:
        for box in boxes:
            box.up()
        yield
    finally:
        for box in boxes:
            box.compose("down", "--volumes", "--timeout", "20", check=False)


@contextmanager
def peer(
    name: str, network: str, *command: str, mounts: Mapping[Path, str] | None = None
) -> Iterator[str]:
    """A container beside a box, reached on its `network` by its `name`; its id."""
    volumes = [word for path, at in (mounts or {}).items() for word in ("--volume", f"{path}:{at}")]
    container = docker(
        "run", "--detach", "--network", network, "--network-alias", name, *volumes,
        "tackybox/test-peers", *command,
    ).strip()  # fmt: skip
    try:
        yield container
    finally:
        docker("rm", "--force", container)


def scan(box: Box, directory: Path, *options: str, check: bool = True) -> str:
    """Send all files in `directory` to a daughter as a scanner on her network does."""
    return docker(
        "run", "--rm", "--network", box.network, "--volume", f"{directory}:/images:ro",
        "--env", "TCP_NODELAY=1", "tackybox/test-peers",
        "storescu", "--scan-directories", "-aet", "SCANNER", "-aec", box.settings["TACKYBOX_AET"],
        *options, "receiver", "11112", "/images", check=check,
    )  # fmt: skip
