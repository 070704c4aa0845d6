"""Documents are code: their commands are run here; what they name: tests/test_documented.py.

Two boxes are set up by the README's own lines, with paths, names and ports replaced by those of
this machine; every `tackybox …` line of any document is then run on them. What needs a container
engine is run by tests/containers.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest

from tackybox import reasons
from tackybox.config.loading import variable
from tackybox.demo.stack import LOOPBACK, free_port
from tackybox.item import Item
from tackybox.spool import Spool
from tests.databases import PASSWORD, database_server
from tests.documents import README, Block, blocks
from tests.peers import require, running, wait_until, wheel_files
from tests.tree import ROOT

STUDY = "1.2.840.113619.2.55.3.1"  # the documents' example


def is_setup(block: Block) -> bool:
    """Whether the block starts daemons."""
    return "python -m" in block.text


def commands(first_word: str) -> list[str]:
    """Every command line that begins with `first_word`, outside the blocks that start daemons."""
    lines = (line for block in blocks() if not is_setup(block) for line in block.text.splitlines())
    return [_bare(line) for line in lines if line.split()[:1] == [first_word]]


def _bare(line: str) -> str:
    return re.sub(r"\s+#.*$", "", line).strip()


def test_every_command_of_every_document_is_run_by_a_test_of_this_file():
    run_here = {"make", "tackybox", "docker"}
    lines = [line for block in blocks() if not is_setup(block) for line in block.text.splitlines()]
    assert {line.split()[0] for line in lines if line.strip()} == run_here
    assert [block.document for block in blocks() if is_setup(block)] == [README, README]
    assert [block.text.strip() for block in blocks()[:2]] == ["make demo", "make test"]


@pytest.mark.parametrize("command", commands("make"))
def test_make_has_each_target(command):
    make = require("make", "make")
    done = subprocess.run(
        [make, "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    target = command.split()[-1]
    assert {"demo": "tackybox demo", "test": "pytest"}[target] in done.stdout


# --- the README's two boxes


@dataclass
class Box:
    """A box that was set up by a block of the README, and the environment that it exported."""

    directory: Path
    shell: subprocess.Popen[bytes]
    pids: list[int] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    @property
    def keys(self) -> Path:
        return self.directory / "keys"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a line with bash, as one who has the box's settings in the environment."""
        return subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=self.environment, capture_output=True,
            text=True, check=False, timeout=60,
        )  # fmt: skip

    def stop(self) -> None:
        """SIGTERM to each daemon; all must have ended by themselves."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            assert self.shell.wait(60) == 0
        finally:
            self.shell.kill()


@dataclass(frozen=True)
class Site:
    """Both boxes, their archive, and what was sent: one image that it takes, one it does not."""

    mother: Box
    daughter: Box
    archive: Path
    dicom_port: int
    ssh_port: int


def clean_environment(**more: object) -> dict[str, str]:
    """Ours without settings, with this interpreter's directory first: `python`, `tackybox`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TACKYBOX_")}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return kept | {"PATH": path} | {key: str(value) for key, value in more.items()}


def set_up(block: Block, directory: Path, replace: dict[str, str], **beside: object) -> Box:
    """Run a block in bash, each of `replace` replaced; it stays until its daemons have ended.

    `beside` are settings that keep the test off the default ports.
    """
    text = block.text
    replace = {"/keys": str(directory / "keys"), "/spool": str(directory / "spool")} | replace
    for old, new in replace.items():
        assert old in text, f"the README's block does not hold {old} any more"
        text = text.replace(old, new)
    for name in ("keys", "spool"):
        (directory / name).mkdir(parents=True)
    script = f"set -e\n{text}\nenv -0 > environment\njobs -p > pids.new\nmv pids.new pids\nwait\n"
    (directory / "setup.sh").write_text(script)
    environment = clean_environment(PYTHONPATH=ROOT, TACKYBOX_MIN_FREE_MIB=64, **beside)
    keys = {"ssh_key": "id_ed25519", "known_hosts": "known_hosts"}
    if "mother" in block.text.split("python -m")[1]:
        keys = {"host_key": "ssh_host_ed25519_key", "daughters": "daughters"}
        keys["enrolments"] = "enrolments"
    for key, file in keys.items():  # the defaults lie under /keys
        environment[variable(key)] = str(directory / "keys" / file)
    with (directory / "log").open("wb") as log:
        shell = subprocess.Popen(
            ["bash", "setup.sh"], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log,
        )  # fmt: skip
    box = Box(directory, shell)
    pids = directory / "pids"
    wait_until(lambda: pids.exists() or shell.poll() is not None, "the block was run")
    assert pids.exists(), (directory / "log").read_text()
    box.pids = [int(pid) for pid in pids.read_text().split()]
    assert len(box.pids) == block.text.count("python -m")
    lines = (directory / "environment").read_text().split("\0")
    box.environment = dict(line.split("=", 1) for line in lines if "=" in line)
    return box


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((LOOPBACK, port)) == 0


def image(name: str) -> Path:
    return next(path for path in wheel_files() if path.name == name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    for tool, package in (("sshd", "openssh-server"), ("rrsync", "rsync"), ("storescu", "dcmtk")):
        require(tool, package)
    directory = tmp_path_factory.mktemp("site")
    user = pwd.getpwuid(os.geteuid()).pw_name
    ssh_port, dicom_port, archive_port = free_port(), free_port(), free_port()
    for_mother, for_daughter = (block for block in blocks() if is_setup(block))
    archive = directory / "archive"
    archive.mkdir()
    refused = str(pydicom.dcmread(image("MR_small.dcm")).SOPClassUID)
    scripted = [
        sys.executable, "-m", "tests.scripted_archive", "--port", str(archive_port),
        "--dir", str(archive / "files"), "--log", str(archive / "log"), "--refuse-class", refused,
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            running(["env", f"PYTHONPATH={ROOT}", *scripted], "PACS", archive_port, archive)
        )
        mother = set_up(
            for_mother, directory / "mother",
            {"PACS@10.1.2.3:104": f"PACS@{LOOPBACK}:{archive_port}"},
            TACKYBOX_SSH_PORT=ssh_port, TACKYBOX_SSH_BIND=LOOPBACK,
        )  # fmt: skip
        stack.callback(mother.stop)
        wait_until(lambda: listens(ssh_port), "the inbox listens")
        daughter = set_up(
            for_daughter, directory / "daughter",
            {
                "-p 2222 mother.example": f"-p {ssh_port} {LOOPBACK}",
                "relay@mother.example:2222": f"{user}@{LOOPBACK}:{ssh_port}",
                "10.4.0.0/16": "127.0.0.0/8",
            },
            TACKYBOX_PORT=dicom_port, TACKYBOX_BIND=LOOPBACK, TACKYBOX_BACKOFF_CAP_S=1,
        )  # fmt: skip
        stack.callback(daughter.stop)
        yield Site(mother, daughter, archive / "files", dicom_port, ssh_port)


@pytest.fixture(scope="module")
def relayed(site: Site) -> Site:
    """The site after the daughter's key was copied and two images were sent with storescu."""
    copied = re.search(
        r"daughter's `/keys/(\S+)` to the mother as `/keys/(\S+)`", README.read_text()
    )
    assert copied is not None
    public = (site.daughter.keys / copied[1]).read_bytes()
    (site.mother.keys / copied[2]).write_bytes(public)
    wait_until(lambda: listens(site.dicom_port), "the receiver listens")
    command = [
        require("storescu", "dcmtk"), "-aet", "CT1", "-aec", "TACKYBOX", LOOPBACK,
        str(site.dicom_port), str(image("CT_small.dcm")), str(image("MR_small.dcm")),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: any(site.archive.iterdir()), "the CT image is in the archive")
    wait_until(lambda: quarantined(site), "the MR image is in the mother's quarantine")
    wait_until(lambda: Spool.open(site.daughter.spool).count_links() == 1, "the CT is released")
    return site


def quarantined(site: Site) -> list[Item]:
    return [one.entry.item for one in Spool.open(site.mother.spool).quarantined()]


def test_two_boxes_set_up_by_the_readmes_lines_relay_an_image(relayed: Site) -> None:
    sent, (kept,) = pydicom.dcmread(image("CT_small.dcm")), list(relayed.archive.iterdir())
    stored = pydicom.dcmread(kept)
    assert (stored.SOPInstanceUID, stored.PixelData) == (sent.SOPInstanceUID, sent.PixelData)
    for box in (relayed.mother, relayed.daughter):
        done = box.run("tackybox check")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "fail" not in done.stdout.split()


def lines_for_boxes() -> list[tuple[str, str]]:
    """Each line on each box; quarantine, daughters and proof are the mother's."""
    lines = dict.fromkeys(commands("tackybox"))
    return [(line, "mother") for line in lines] + [
        (line, "daughter") for line in lines if not re.search("ITEM|enrol|daughters|proof", line)
    ]


@pytest.mark.parametrize(("command", "box"), lines_for_boxes())
def test_each_tackybox_command_of_the_documents(relayed: Site, command: str, box: str) -> None:
    (item,) = quarantined(relayed) or [None]
    study = str(pydicom.dcmread(image("CT_small.dcm")).StudyInstanceUID)
    line = command.replace(STUDY, study)
    if "ITEM" in line:
        assert item is not None
        line = line.replace("ITEM", item.id)
    done = getattr(relayed, box).run(line)
    looks = box == "mother" and re.search(r"tackybox (status|quarantine list)", line)
    assert done.returncode == (1 if looks else 0), done.stdout + done.stderr
    assert bool(done.stderr) == ("tackybox enrol" in line), done.stderr
    told = {
        "trace": "CT1" if box == "daughter" else "1 of 1 stored in",
        "status": "Free:",
        "quarantine list": reasons.explain("sop-class-refused")[:30] if looks else "Nothing",
        "quarantine show": "sop-class-refused",
        "quarantine retry": f"{int(box == 'mother')} put back",
        "check --relay": "all 3 images are stored in every archive",
        "check": "spool",
        "verify": "all as received",
        "proof": "1 of 1 images proved",
        "enrol": "tackybox-join south-clinic",
        "daughters revoke": "south-clinic is out: invitation removed.",
        "daughters": "north-clinic",
    }
    words = " ".join(line.split()[1:3])
    expected = next(text for verb, text in told.items() if words.startswith(verb))
    assert expected in done.stdout
    if "retry" in line and box == "mother":
        wait_until(lambda: quarantined(relayed), "the archive refuses it again")


def test_the_schema_is_loaded_by_the_documents_lines(tmp_path: Path) -> None:
    """`docker exec -i NAME` runs what follows; the rest of each line is run for real."""
    client = require("mariadb", "mariadb-server")
    lines = commands("docker")
    assert len(lines) == 2
    with database_server("mariadb", tmp_path) as server:
        address = server.empty_database()
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "mysql").symlink_to(client)  # where only MariaDB's is installed
        (tmp_path / ".my.cnf").write_text(f"[client]\nhost={LOOPBACK}\nport={server.port}\n")
        environment = clean_environment(HOME=tmp_path, LC_ALL="C.UTF-8")
        environment["PATH"] += f":{tmp_path / 'bin'}"
        for flavour in ("MYSQL", "MARIADB"):
            environment[f"{flavour}_USER"] = address.user
            environment[f"{flavour}_PASSWORD"] = PASSWORD
            environment[f"{flavour}_DATABASE"] = address.database
        for line in lines:  # so also: loaded again without harm
            script = f'docker() {{ shift 3; "$@"; }}\n{line}\n'
            done = subprocess.run(
                ["bash", "-ec", script], cwd=ROOT, env=environment, capture_output=True,
                text=True, check=False, timeout=60, start_new_session=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        assert server.as_root(f"SELECT COUNT(*) FROM {address.database}.waiting").strip() == "0"
