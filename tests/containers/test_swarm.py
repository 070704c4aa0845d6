"""Two mothers and a daughter as stacks on a swarm of one node, by the lines of OPERATING.md."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tackybox.demo.phantom import write_ct_study
from tests.containers.compose import docker, environment, gateway
from tests.documents import blocks
from tests.peers import free_port, wait_until
from tests.tree import ROOT

pytestmark = pytest.mark.timeout(900)

SECTION = "Several mothers, and swarm"
STACKS = ("mother-a", "mother-b", "north-clinic")
COPIED = ("docker-compose.mother.yml", "docker-compose.daughter.yml", "container")


@dataclass
class Swarm:
    """A clone's directory on a manager, and the commands of the document, each to be run once."""

    directory: Path
    lines: list[str]
    archive: str
    archive_address: str

    def name(self, stack: str) -> str:
        """A name of our own for what the document calls `stack`."""
        return f"tackyswarm-{os.getpid()}-{stack}"

    def run(self, beginning: str) -> str:
        """Run the next line of the document; what it printed. It must be the expected one."""
        line = self.lines.pop(0)
        assert line.startswith(beginning), line
        for stack in STACKS:
            line = line.replace(stack, self.name(stack))
        if line.startswith("container/"):
            line += " --resolve-image never"
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.directory, env=environment(), capture_output=True,
            text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def settings(self, stack: str, **values: object) -> None:
        """Fill in the stack's file."""
        common = {
            "TACKYBOX_NAME": self.name(stack), "TACKYBOX_AET": "TACKYBOX", "TACKYBOX_SQL": "",
            "TACKYBOX_NODE": docker("info", "--format", "{{.Name}}").strip(),
            "TACKYBOX_MIN_FREE_MIB": 64,
        }  # fmt: skip
        lines = [f"{key}={value}\n" for key, value in (common | values).items()]
        (self.directory / f"{self.name(stack)}.env").write_text("".join(lines))

    def container(self, stack: str, service: str) -> str:
        """The running container of a service; "" if there is none."""
        label = f"label=com.docker.swarm.service.name={self.name(stack)}_{service}"
        return docker("ps", "--quiet", "--filter", label).strip()

    def works(self, stack: str, service: str) -> bool:
        """Whether a service's container is healthy."""
        container = self.container(stack, service)
        form = "{{.State.Health.Status}}"
        return (
            container != ""
            and docker("inspect", "--format", form, container, check=False).strip() == "healthy"
        )

    def waiting(self, stack: str, service: str) -> int:
        """How many items stand in a box's spool on their way."""
        command = "find /spool/new /spool/out -type f -name '*_*_*_*' | wc -l"
        return int(docker("exec", self.container(stack, service), "sh", "-c", command))

    def pushed(self, stack: str) -> bool:
        """Whether a daughter has nothing that no mother has signed for."""
        command = "find /spool/new /spool/out/*/new /spool/out/*/active -type f"
        return not docker("exec", self.container(stack, "pusher"), "sh", "-c", command)

    def studies(self, stack: str) -> set[str]:
        """The studies of which a mother ever queued an image."""
        query = (
            "from tackybox.config import load_mother as m;"
            "from mysql_utilities.sqlite_store import SqliteStore as S;"
            "print(*{e.study_instance_uid for _, e in"
            " S(m().spool / 'journal/events.sqlite').read_after(0, 10**6)} - {''})"
        )
        return set(
            docker("exec", self.container(stack, "forwarder"), "python3", "-c", query).split()
        )

    def archived(self) -> int:
        """How many images the archive has."""
        url = "http://127.0.0.1:8042/statistics"
        answer = json.loads(docker("exec", self.archive, "curl", "--silent", "--fail", url))
        return int(answer["CountInstances"])


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """A swarm that is made for the test, and left behind it with all that was deployed."""
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() != "inactive":
        pytest.skip("this engine belongs to a swarm already; the test makes one of its own")
    directory = tmp_path_factory.mktemp("manager")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, directory / name)
    lines = [
        line for block in blocks((SECTION,)) for line in block.text.splitlines() if line.strip()
    ]
    port = free_port()
    archive = docker(
        "run", "--detach", "--publish", f"{port}:4242",
        "tackybox/test-peers", "Orthanc", "/etc/orthanc.json",
    ).strip()  # fmt: skip
    made = Swarm(directory, lines, archive, f"ORTHANC@{gateway()}:{port}")
    try:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        yield made
    finally:
        docker("rm", "--force", archive)
        docker("stack", "rm", *map(made.name, STACKS), check=False)
        ours = ("--quiet", "--filter", f"name={made.name('')}")
        wait_until(lambda: not docker("ps", "--all", *ours), "all containers are gone", 120)
        docker("swarm", "leave", "--force", check=False)
        docker("volume", "rm", *docker("volume", "ls", *ours).split(), check=False)


def studies(directory: Path) -> dict[str, list[Path]]:
    """Six new studies of two images, which every user may read, by Study Instance UID."""
    found = dict(write_ct_study(directory / str(number), 2) for number in range(6))
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755)
    return found


def send(directory: Path, port: int) -> None:
    """Send all that is in `directory`, from a container with an address of its own."""
    docker(
        "run", "--rm", "--volume", f"{directory}:/images:ro", "--env", "TCP_NODELAY=1",
        "tackybox/test-peers", "storescu", "--scan-directories", "--recurse",
        "-aet", "SCANNER", "-aec", "TACKYBOX", gateway(), port, "/images",
    )  # fmt: skip


def deployed(directory: Path, box: str, **settings: object) -> tuple[int, str, dict[str, Any]]:
    """What the script would deploy: exit code, what it said, and the file for the swarm.

    `docker stack` is a stand-in that keeps what it is given; all else is the real one.
    """
    stand_in = directory / "bin" / "docker"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f'#!/bin/sh\nif [ "$1" = stack ]; then echo "$@" && cat > "{directory}/given.yml"\n'
        f'else exec "{shutil.which("docker")}" "$@"; fi\n'
    )
    stand_in.chmod(0o755)
    (directory / "box.env").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
    done = subprocess.run(
        ["container/stack-deploy.sh", "stack-name", f"docker-compose.{box}.yml",
         directory / "box.env", "--prune"],
        cwd=ROOT, env=environment() | {"PATH": f"{stand_in.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    given = directory / "given.yml"
    file = yaml.safe_load(given.read_text()) if given.exists() else {}
    return done.returncode, done.stdout + done.stderr, file


MOTHER = {"TACKYBOX_NAME": "m", "TACKYBOX_AET": "T", "TACKYBOX_ARCHIVES": "PACS@10.1.2.3:104"}
DATABASE = {"COMPOSE_PROFILES": "database", "TACKYBOX_DB_PASSWORD": "secret"}


def test_what_a_swarm_is_given_is_the_box_pinned_to_its_node(tmp_path: Path) -> None:
    code, said, file = deployed(tmp_path, "mother", **MOTHER, TACKYBOX_NODE="n1", TACKYBOX_SQL="")
    assert (code, said.split()[-2:]) == (0, ["--prune", "stack-name"])
    assert set(file["services"]) == {"inbox", "forwarder"}
    assert {volume["name"] for volume in file["volumes"].values()} >= {"stack-name_spool"}
    for service in file["services"].values():
        assert service["deploy"]["placement"]["constraints"] == ["node.hostname == n1"]
    port = {"mode": "host", "target": 2222, "published": 2222, "protocol": "tcp"}
    assert file["services"]["inbox"]["ports"] == [port]


@pytest.mark.parametrize(("publish", "ports"), [("127.0.0.1:3307", None), ("3307", [3307])])
def test_a_database_that_was_published_for_one_address_is_not_opened_to_all(
    tmp_path: Path, publish: str, ports: list[int] | None
) -> None:
    settings = {**MOTHER, **DATABASE, "TACKYBOX_NODE": "n1", "TACKYBOX_DB_PUBLISH": publish}
    code, said, file = deployed(tmp_path, "mother", **settings)
    assert code == 0, said
    database = file["services"]["database"]
    assert "profiles" not in database
    found = database.get("ports")
    assert ports == (found and [port["published"] for port in found])
    assert file["services"]["inbox"]["ports"][0]["published"] == 2222


@pytest.mark.parametrize(
    ("set_to", "ports", "listens"), [("", None, ""), (11117, [11117], "11112")]
)
def test_a_port_for_archives_reports_is_open_only_where_it_is_set(
    tmp_path: Path, set_to: object, ports: list[int] | None, listens: str
) -> None:
    settings = {**MOTHER, "TACKYBOX_NODE": "n1", "TACKYBOX_REPORT_PORT": set_to}
    code, said, file = deployed(tmp_path, "mother", **settings)
    assert code == 0, said
    forwarder = file["services"]["forwarder"]
    found = forwarder.get("ports")
    assert ports == (found and [port["published"] for port in found])
    assert forwarder["environment"]["TACKYBOX_REPORT_PORT"] == listens


@pytest.mark.parametrize("missing", ["TACKYBOX_NODE", "TACKYBOX_NAME"])
def test_what_must_be_set_is_named_and_nothing_is_deployed(tmp_path: Path, missing: str) -> None:
    settings = {**MOTHER, "TACKYBOX_NODE": "n1", missing: ""}
    code, said, file = deployed(tmp_path, "mother", **settings)
    assert code != 0
    assert missing in said and len(said.splitlines()) == 1
    assert not file


def deploy(swarm: Swarm) -> int:
    """All three stacks, by the document's lines; the daughter's DICOM port."""
    addresses = {stack: (gateway(), free_port()) for stack in ("mother-a", "mother-b")}
    for stack, (host, port) in addresses.items():
        swarm.settings(
            stack, TACKYBOX_ARCHIVES=swarm.archive_address, TACKYBOX_SSH_PORT=port,
            TACKYBOX_ADDRESS=f"{host}:{port}",
        )  # fmt: skip
    swarm.run("docker node ls")
    swarm.run("container/stack-deploy.sh mother-a")
    swarm.run("container/stack-deploy.sh mother-b")
    assert swarm.name("mother-a") in swarm.run("docker stack ps mother-a")
    for stack in addresses:
        wait_until(lambda s=stack: swarm.works(s, "inbox"), f"{stack}'s inbox is healthy", 180)
    joins = [swarm.run("docker exec").strip() for _ in addresses]
    more = swarm.directory / "tackybox.yml"
    more.write_text("failover_after_s: 5\n")
    port = free_port()
    swarm.settings(
        "north-clinic", TACKYBOX_JOIN=";".join(joins), TACKYBOX_PORT=port, TACKYBOX_YML=more,
        TACKYBOX_DESTINATIONS=",".join(f"relay@{h}:{p}" for h, p in addresses.values()),
        TACKYBOX_MODALITIES="SCANNER@172.16.0.0/12;SCANNER@192.168.0.0/16",
    )  # fmt: skip
    swarm.run("container/stack-deploy.sh north-clinic")
    for service in ("receiver", "pusher"):
        wait_until(lambda s=service: swarm.works("north-clinic", s), f"{service} is healthy", 180)
    return port


def test_studies_are_spread_and_another_mother_takes_over(swarm: Swarm, tmp_path: Path) -> None:
    port = deploy(swarm)
    first = studies(tmp_path / "first")
    send(tmp_path / "first", port)
    wait_until(lambda: swarm.archived() == 12, "the first studies are archived", 120)
    at_a, at_b = (swarm.studies(stack) for stack in ("mother-a", "mother-b"))
    assert at_a | at_b == set(first)
    assert not at_a & at_b, "a study has two mothers"

    swarm.run("docker service scale mother-a_forwarder=0")
    second = studies(tmp_path / "second")
    send(tmp_path / "second", port)
    wait_until(lambda: swarm.pushed("north-clinic"), "all have landed at a mother")
    swarm.run("docker service scale mother-a_inbox=0")
    wait_until(lambda: swarm.archived() == 24, "the other mother took over", 120)
    assert swarm.studies("mother-b") == at_b | set(second)
    wait_until(lambda: not swarm.waiting("north-clinic", "pusher"), "the daughter has no more", 60)

    swarm.run("docker service scale mother-a_inbox=1")
    wait_until(lambda: not swarm.waiting("mother-a", "inbox"), "she stores what she had", 120)
    assert swarm.archived() == 24
    assert not swarm.lines, "a line of the document was not run"
