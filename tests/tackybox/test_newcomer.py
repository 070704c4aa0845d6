"""Each mistake of one who sets up a first box gives one clear line and the right exit code.

From the daemon that does not start, or from `tackybox check`, whichever is met first; as processes,
against real peers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK, Daemon, Stack, free_port, python
from tests.databases import as_setting, database_server
from tests.peers import require, storescp, wait_until

UNWRITABLE = "/sys/kernel"  # also for root
EX_UNAVAILABLE, EX_IOERR, EX_CONFIG = 69, 74, 78


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    with Stack(tmp_path / "stack") as running:
        yield running


@pytest.fixture
def daughter(stack: Stack) -> dict[str, object]:
    """The settings of a first daughter; her mother is not there."""
    (stack.workdir / "known_hosts").touch()
    (stack.workdir / "north").mkdir()
    return {
        "name": "north", "aet": "NORTH", "spool": stack.workdir / "north", "port": free_port(),
        "bind": LOOPBACK, "destinations": f"relay@{LOOPBACK}:{free_port()}", "min_free_mib": 1,
        "modalities": "CT1@10.0.0.1", "ssh_key": stack.daughter_key("north"),
        "known_hosts": stack.workdir / "known_hosts",
    }  # fmt: skip


@pytest.fixture
def mother(stack: Stack) -> dict[str, object]:
    """The settings of a first mother; her archive is not there."""
    (stack.workdir / "centre").mkdir()
    return {
        "name": "centre", "aet": "CENTRE", "spool": stack.workdir / "centre", "min_free_mib": 1,
        "ssh_port": free_port(), "ssh_bind": LOOPBACK, "host_key": stack.key("centre-host"),
        "daughters": stack.workdir / "keys" / "daughters",
        "archives": f"PACS@{LOOPBACK}:{free_port()}",
    }  # fmt: skip


DAUGHTERS = ("daughter.receiver", "daughter.pusher")
MOTHERS = ("mother.inbox", "mother.forwarder")


def start(part: str, settings: dict[str, object]) -> tuple[int, str]:
    """Start a daemon that can't: its exit code, and the one line that it says."""
    done = subprocess.run(
        python(part), env=child_environment(settings), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    (line,) = done.stderr.splitlines()
    return done.returncode, line


def check(settings: dict[str, object]) -> tuple[int, list[str]]:
    """What `tackybox check` exits with, and its lines that say fail."""
    done = subprocess.run(
        [sys.executable, "-m", "tackybox", "check"], env=child_environment(settings),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    return done.returncode, [line for line in lines if line.startswith("fail ")]


@pytest.mark.parametrize("part", DAUGHTERS)
@pytest.mark.parametrize("variable", ["name", "aet", "spool", "destinations"])
def test_missing_variable(daughter: dict[str, object], part: str, variable: str) -> None:
    del daughter[variable]
    code, line = start(part, daughter)
    assert code == EX_CONFIG
    assert line.startswith(f"tackybox: TACKYBOX_{variable.upper()}: is not set; write ")


@pytest.mark.parametrize("part", MOTHERS)
def test_missing_variable_of_a_mother(mother: dict[str, object], part: str) -> None:
    del mother["archives"]
    code, line = start(part, mother)
    assert code == EX_CONFIG
    assert line.startswith("tackybox: TACKYBOX_ARCHIVES: is not set; write archives, AET@host:port")


@pytest.mark.parametrize("part", DAUGHTERS)
def test_ae_title_too_long(daughter: dict[str, object], part: str) -> None:
    code, line = start(part, daughter | {"aet": "NORTH_CLINIC_RELAY"})
    assert code == EX_CONFIG
    assert line == (
        "tackybox: TACKYBOX_AET: 'NORTH_CLINIC_RELAY' is not an AE title; "
        "write 1 to 16 ASCII characters without backslash"
    )


@pytest.mark.parametrize("part", [*DAUGHTERS, *MOTHERS])
@pytest.mark.parametrize("password", ["changeme", "<password>", "", "${MYSQL_PASSWORD}"])
def test_placeholder_password(
    daughter: dict[str, object], mother: dict[str, object], part: str, password: str
) -> None:
    settings = daughter if part in DAUGHTERS else mother
    code, line = start(part, settings | {"sql": f"tackybox:{password}@db:3306/tackybox"})
    assert code == EX_CONFIG
    assert line == ("tackybox: TACKYBOX_SQL: has a placeholder for a password; write the real one")


def test_dicom_port_in_use(daughter: dict[str, object], tmp_path: Path) -> None:
    with storescp(tmp_path / "storescp") as peer:
        daughter["port"] = peer.port
        code, line = start("daughter.receiver", daughter)
        assert code == EX_UNAVAILABLE
        assert line == (
            f"tackybox: TACKYBOX_PORT: port {peer.port} can't be listened on: Address already in "
            "use; stop what has it, or set another port"
        )
        code, fails = check(daughter)
    mine = [line for line in fails if f"port {peer.port}" in line]
    assert (code, len(mine)) == (1, 1)
    assert mine[0].endswith("is another DICOM application's; stop what has it, or set another port")


def test_ssh_port_in_use(mother: dict[str, object], tmp_path: Path) -> None:
    with storescp(tmp_path / "storescp") as peer:
        code, line = start("mother.inbox", mother | {"ssh_port": peer.port})
    assert code == EX_UNAVAILABLE
    assert line.startswith("tackybox: TACKYBOX_SSH_PORT: ")
    assert f"is port {peer.port} in use?" in line


def test_wrong_host_key(stack: Stack, daughter: dict[str, object]) -> None:
    running = stack.start_mother("mother", f"PACS@{LOOPBACK}:9")
    daughter["destinations"] = running.destination
    wrong = stack.key("another-host").with_suffix(".pub").read_text()
    known_hosts = stack.workdir / "known_hosts"
    known_hosts.write_text(f"[{LOOPBACK}]:{running.inbox.port} {wrong}")
    code, (line,) = check(daughter)
    assert code == 1
    assert f"mother {running.destination}: its host key is not the pinned one" in line
    assert "; ask why it changed" in line
    pusher = stack.start("pusher", python("daughter.pusher"), daughter)
    told = reason_in_log(pusher)
    assert "its host key is not the pinned one" in told
    known_hosts.write_text("")
    code, fails = check(daughter)
    assert code == 1
    assert "no host key of hers is pinned" in fails[0] and "fingerprint" in fails[0]


def reason_in_log(pusher: Daemon) -> str:
    """Why the pusher says that the mother is not reached."""

    def lines() -> list[str]:
        records = [json.loads(line) for line in pusher.log.read_text().splitlines()]
        return [one["reason"] for one in records if one["event"] == "mother not reached"]

    wait_until(lines, "the pusher says that the mother is not reached")
    return lines()[0]


def test_mother_unreachable(stack: Stack, daughter: dict[str, object]) -> None:
    code, fails = check(daughter)
    (line, _) = [line for line in fails if f"mother {daughter['destinations']}: " in line]
    assert code == 1
    assert "nothing listens at that port; is her inbox running" in line
    code, fails = check(daughter | {"destinations": "relay@no-such-host.invalid:2222"})
    assert code == 1
    assert "its name can't be resolved (DNS); is it right" in fails[0]
    pusher = stack.start("pusher", python("daughter.pusher"), daughter)
    assert reason_in_log(pusher) == "nothing listens at that port"


def test_a_mother_that_is_no_gate(tmp_path: Path, daughter: dict[str, object]) -> None:
    with storescp(tmp_path / "storescp") as peer:
        code, fails = check(daughter | {"destinations": f"relay@{LOOPBACK}:{peer.port}"})
    assert code == 1
    assert "hangs up before it says that it is ssh; is it the port of her inbox?" in fails[0]


def test_archive_that_does_not_know_our_ae_title(stack: Stack, mother: dict[str, object]) -> None:
    """A receiver of ours, which knows its modalities, stands for any archive that does."""
    port = free_port()
    settings = {
        "name": "pacs", "aet": "PACS", "spool": stack.workdir / "pacs", "port": port,
        "bind": LOOPBACK, "destinations": "relay@127.0.0.1:9", "min_free_mib": 1,
        "modalities": f"OTHER@{LOOPBACK}",
    }  # fmt: skip
    stack.start("archive", python("daughter.receiver"), settings, port)
    code, (line,) = check(mother | {"archives": f"PACS@{LOOPBACK}:{port}"})
    assert code == 1
    assert "rejected the association: it does not know our (the calling) AE title" in line
    assert "; enter our AE title CENTRE, with this machine's address, at the archive" in line


def test_sql_not_loaded(stack: Stack, mother: dict[str, object], tmp_path: Path) -> None:
    archive, _ = stack.start_archive("archive", "PACS")
    (tmp_path / "db").mkdir()
    with database_server("mariadb", tmp_path / "db") as server:
        sql = as_setting(server.empty_database())
        code, (line,) = check(mother | {"archives": archive, "sql": sql})
    assert code == 1
    assert "lacks the journal's tables: load tackybox.sql there; README.md says how" in line


@pytest.mark.parametrize("part", [*DAUGHTERS, *MOTHERS])
def test_spool_not_writable(
    daughter: dict[str, object], mother: dict[str, object], part: str
) -> None:
    settings = (daughter if part in DAUGHTERS else mother) | {"spool": UNWRITABLE}
    code, line = start(part, settings)
    assert code == EX_IOERR
    assert line.startswith(f"tackybox: the spool at {UNWRITABLE} can't be used: ")
    assert "it must be a directory that this user may write" in line
    code, fails = check(settings)
    assert code == 1
    assert fails[0].startswith(f"fail    spool {UNWRITABLE}: ")
    assert "; " in fails[0]
