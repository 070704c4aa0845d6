"""`tackybox join` with the line of a real `tackybox enrol`, against a real inbox."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tackybox import keys, known_hosts
from tackybox.config import JoinLine, child_environment
from tackybox.config.addresses import parse_mother
from tackybox.demo.stack import LOOPBACK, Mother, Stack, free_port, python
from tests.peers import require, wait_until


class Site:
    """A mother whose inbox runs, and a daughter with nothing but her settings."""

    def __init__(self, workdir: Path) -> None:
        self.stack = Stack(workdir)
        self.mother: Mother = self.stack.start_mother(
            "mother", f"PACS@{LOOPBACK}:9", enrolments=workdir / "keys" / "enrolments"
        )
        self.keys = workdir / "north-keys"
        self.keys.mkdir()
        self.settings: dict[str, object] = {
            "name": "north", "aet": "NORTH", "spool": workdir / "north",
            "ssh_key": self.keys / "id_ed25519", "known_hosts": self.keys / "known_hosts",
        }  # fmt: skip

    @property
    def place(self) -> str:
        return self.mother.destination.partition("@")[2]

    def enrol(self, *more: str) -> JoinLine:
        """A line, once the inbox lets its code in."""
        done = tackybox(
            self.mother.inbox.settings, "enrol", "north", "--address", self.place, *more
        )
        assert done.returncode == 0, done.stderr
        line = JoinLine.parse(done.stdout)
        code = self.stack.workdir / "code"
        code.touch(0o600)
        code.write_text(keys.private_key_file(line.code))
        wait_until(lambda: self.ssh(code) == 64, "the inbox lets the code in")
        return line

    def ssh(self, key: Path) -> int:
        """The exit code of a connection that asks for nothing."""
        return subprocess.run(
            ["ssh", "-p", self.place.partition(":")[2], "-i", str(key), "-o", "BatchMode=yes",
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "IdentitiesOnly=yes", LOOPBACK, "nothing"],
            capture_output=True, check=False, timeout=60,
        ).returncode  # fmt: skip

    def join(self, line: JoinLine, *more: str, **settings: object) -> Done:
        return tackybox(self.settings | settings, "join", line.text(), *more)

    def known(self) -> list[str]:
        listed = tackybox(self.mother.inbox.settings, "daughters", "--json")
        return [one["key"] for one in json.loads(listed.stdout) if one["name"] == "north"]


Done = subprocess.CompletedProcess[str]


def tackybox(settings: dict[str, object], *arguments: str) -> Done:
    return subprocess.run(
        [*python("tackybox"), *arguments], env=child_environment(settings), text=True,
        capture_output=True, check=False, timeout=100,
    )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    made = Site(tmp_path)
    with made.stack:
        yield made


def probe(site: Site) -> int:
    """The exit code of a try with the daughter's own key and pin."""
    settings = {**site.settings, "destinations": site.mother.destination}
    return subprocess.run(
        python("daughter.pusher.probe"), env=child_environment(settings), check=False,
        stdout=subprocess.DEVNULL, timeout=100,
    ).returncode  # fmt: skip


def test_one_line_makes_the_key_pins_the_host_and_lets_the_daughter_in(site: Site) -> None:
    line = site.enrol()
    assert probe(site) == 69
    done = site.join(line)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"TACKYBOX_DESTINATIONS='{site.mother.destination}'" in done.stdout
    key = keys.public_key_of(site.keys / "id_ed25519", "X")
    assert site.known() == [key.fingerprint]
    assert (site.keys / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert keys.PublicKey.parse((site.keys / "id_ed25519.pub").read_text()) == key
    assert sorted(path.name for path in site.keys.iterdir()) == [
        "id_ed25519", "id_ed25519.pub", "known_hosts",
    ]  # fmt: skip
    host, _, port = site.place.partition(":")
    assert known_hosts.is_pinned(site.keys / "known_hosts", host, int(port))
    assert probe(site) == 0


def test_the_line_counts_once_and_for_her_who_used_it_again(site: Site, tmp_path: Path) -> None:
    line = site.enrol()
    assert site.join(line, destinations=site.mother.destination).returncode == 0
    (site.keys / "known_hosts").unlink()
    again = site.join(line, "--json", destinations=site.mother.destination)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["destination"] is True
    assert (site.keys / "known_hosts").exists()
    (tmp_path / "other").mkdir()
    other = site.join(
        line, ssh_key=tmp_path / "other" / "id", known_hosts=tmp_path / "other" / "known_hosts"
    )
    assert (other.returncode, other.stdout) == (69, "")
    assert "does not take the code: it was used, was withdrawn, or has run out" in other.stderr
    assert other.stderr.count("\n") == 1
    assert not (tmp_path / "other" / "known_hosts").exists()


def test_the_old_key_counts_until_the_new_one_came(site: Site, tmp_path: Path) -> None:
    assert site.join(site.enrol()).returncode == 0
    old = site.known()
    line = site.enrol("--replace")
    assert site.known() == old
    wait_until(lambda: probe(site) == 0, "the old key is still let in")
    (site.keys / "id_ed25519").unlink()
    assert site.join(line).returncode == 0
    assert site.known() == [keys.public_key_of(site.keys / "id_ed25519", "X").fingerprint]
    assert site.known() != old
    wait_until(lambda: probe(site) == 0, "the new key is let in")
    pins = (site.keys / "known_hosts").read_text().splitlines()
    assert len(pins) == 1
    assert pins[0].endswith(line.mark)


def test_another_host_key_than_the_lines_changes_nothing(site: Site) -> None:
    line = site.enrol()
    (site.keys / "known_hosts").write_text("# as it was\n")
    stranger = keys.PublicKey.parse(site.stack.key("x").with_suffix(".pub").read_text())
    done = site.join(replace(line, host_key=stranger))
    assert (done.returncode, done.stdout) == (69, "")
    assert "has another host key than the line says" in done.stderr
    assert "nothing was sent" in done.stderr
    assert (site.keys / "known_hosts").read_text() == "# as it was\n"
    assert site.known() == [None]  # invited, and no more
    assert site.join(line).returncode == 0


def test_a_code_that_was_withdrawn_is_refused(site: Site) -> None:
    line = site.enrol()
    assert tackybox(site.mother.inbox.settings, "daughters", "revoke", "north").returncode == 0
    done = site.join(line)
    assert done.returncode == 69
    assert "does not take the code" in done.stderr


def test_a_line_of_another_mothers_code_is_refused(site: Site) -> None:
    line = site.enrol()
    done = site.join(replace(line, code=keys.code_of(site.stack.key("x").read_text())))
    assert done.returncode == 69
    assert "does not take the code" in done.stderr
    assert site.join(line).returncode == 0


@pytest.fixture
def line(tmp_path: Path) -> JoinLine:
    """A line that no mother has given."""
    keys.make_key_pair(tmp_path / "key", "")
    return JoinLine(
        "north", parse_mother(f"relay@{LOOPBACK}:{free_port()}"),
        keys.public_key_of(tmp_path / "key", "X"), keys.code_of((tmp_path / "key").read_text()),
    )  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    (tmp_path / "keys").mkdir()
    return {
        "name": "north", "aet": "NORTH", "spool": tmp_path / "spool",
        "ssh_key": tmp_path / "keys" / "id", "known_hosts": tmp_path / "keys" / "known_hosts",
    }  # fmt: skip


def test_a_mother_that_is_not_there_is_one_line(
    line: JoinLine, settings: dict[str, object]
) -> None:
    done = tackybox(settings, "join", line.text())
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith(f"tackybox: {line.address}: nothing listens at that port; is her")
    assert done.stderr.count("\n") == 1
    assert not Path(str(settings["known_hosts"])).exists()


def test_what_is_wrong_with_line_or_settings_is_one_line(
    line: JoinLine, settings: dict[str, object], tmp_path: Path
) -> None:
    code = base64.urlsafe_b64encode(line.code).decode()[:20]
    mother = {"archives": "PACS@h:104", "ssh_key": "", "known_hosts": ""}
    for text, more, exit_code, words in (
        ("north", {}, 64, "the line is no line of tackybox enrol; copy all of the line"),
        (line.text()[:-5], {}, 64, "the line has a code that is cut off or changed"),
        (replace(line, name="south").text(), {}, 78, "made for south, this box is north"),
        (line.text(), {"ssh_key": tmp_path / "none" / "id"}, 78, "can't be written"),
        (line.text(), {"ssh_key": tmp_path / "key.pub"}, 78, "is no private key that can be used"),
        (line.text(), mother, 64, "join is for a daughter, and this box is a mother"),
    ):
        done = tackybox(settings | more, "join", text)
        assert (done.returncode, done.stdout) == (exit_code, ""), done.stderr
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert code not in done.stderr
