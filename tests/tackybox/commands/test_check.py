"""`tackybox check`, against real ssh servers, DICOM servers and strangers."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tackybox.checks import keys as key_files
from tackybox.demo.stack import Stack, free_port
from tests import peers
from tests.databases import as_setting, database_server


@pytest.fixture
def keys(tmp_path):
    directory = tmp_path / "keys"
    directory.mkdir()
    for name in ("id", "host"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True
        )
    return directory


@pytest.fixture
def sshd(keys):
    tool = peers.require("sshd", "openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    options = ("ListenAddress=127.0.0.1", f"HostKey={keys / 'host'}", "PidFile=none", "UsePAM=no")
    arguments = [argument for option in options for argument in ("-o", option)]
    command = [tool, "-D", "-f", "/dev/null", "-p", str(port), *arguments]
    with peers.running(command, "", port, keys):
        yield port


@pytest.fixture
def storescp(tmp_path):
    with peers.storescp(tmp_path / "storescp") as peer:
        yield peer.port


@pytest.fixture
def daughter(tmp_path, keys):
    (tmp_path / "spool").mkdir()
    known_hosts = keys / "known_hosts"
    known_hosts.touch()
    return {
        "TACKYBOX_NAME": "north",
        "TACKYBOX_AET": "NORTH",
        "TACKYBOX_SPOOL": str(tmp_path / "spool"),
        "TACKYBOX_PORT": str(free_port()),
        "TACKYBOX_MODALITIES": "CT1@10.0.0.1",
        "TACKYBOX_SSH_KEY": str(keys / "id"),
        "TACKYBOX_KNOWN_HOSTS": str(known_hosts),
        "TACKYBOX_MIN_FREE_MIB": "1",
    }


@pytest.fixture
def mother(tmp_path, keys):
    (tmp_path / "spool").mkdir()
    (keys / "daughters").mkdir()
    shutil.copy(keys / "id.pub", keys / "daughters" / "north.pub")
    return {
        "TACKYBOX_NAME": "centre",
        "TACKYBOX_AET": "CENTRE",
        "TACKYBOX_SPOOL": str(tmp_path / "spool"),
        "TACKYBOX_SSH_PORT": str(free_port()),
        "TACKYBOX_HOST_KEY": str(keys / "host"),
        "TACKYBOX_DAUGHTERS": str(keys / "daughters"),
        "TACKYBOX_MIN_FREE_MIB": "1",
    }


def pin(keys, port, *, hashed=False):
    key = (keys / "host.pub").read_text()
    (keys / "known_hosts").write_text(f"# ours\n[127.0.0.1]:{port} {key}")
    if hashed:
        file = str(keys / "known_hosts")
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)


def failures(result):
    return [(f["subject"], f["seen"]) for f in result.json["findings"] if f["level"] == "fail"]


def seen(result):
    return [(f["subject"], f["seen"]) for f in result.json["findings"]]


@pytest.fixture
def gate(tmp_path, keys):
    """A mother with a real inbox, whose host key is `keys / "host"`; her port."""
    peers.require("sshd", "openssh-server")
    peers.require("rrsync", "rsync")
    with Stack(tmp_path / "stack") as stack:
        shutil.copy(keys / "id.pub", stack.workdir / "keys" / "daughters" / "north.pub")
        mother = stack.start_mother("mother", "PACS@127.0.0.1:9", host_key=keys / "host")
        yield mother.destination


def seen_of_mother(result):
    return [f["seen"] for f in result.json["findings"] if f["subject"].startswith("mother ")]


@pytest.mark.parametrize("hashed", [False, True])
def test_a_daughter_with_all_she_needs(tackybox, daughter, gate, keys, hashed):
    pin(keys, gate.rpartition(":")[2], hashed=hashed)
    daughter["TACKYBOX_DESTINATIONS"] = gate
    result = tackybox("check --json", **daughter)
    assert (result.code, failures(result)) == (0, [])
    assert {"key": "name", "value": "north", "source": "TACKYBOX_NAME"}.items() <= result.json[
        "settings"
    ][0].items()
    assert not any((keys.parent / "spool").iterdir())
    (compared,) = [f for f in result.json["findings"] if f["subject"] == "clock"]
    assert compared["level"] == "pass"
    assert compared["details"]["peer"] == f"mother {gate}"
    people = tackybox("check", **daughter)
    assert people.code == 0
    assert f"mother {gate}: her gate lets us in" in people.out


def test_a_gate_that_does_not_let_us_in(tackybox, daughter, gate, keys):
    pin(keys, gate.rpartition(":")[2])
    daughter["TACKYBOX_DESTINATIONS"] = gate
    stranger = {**daughter, "TACKYBOX_SSH_KEY": str(keys / "host")}
    result = tackybox("check --json", **stranger)
    assert result.code == 1
    assert "it does not know our key" in seen_of_mother(result)[0]
    (keys / "host.pub").write_text((keys / "id.pub").read_text())
    pin(keys, gate.rpartition(":")[2])
    result = tackybox("check --json", **daughter)
    assert result.code == 1
    assert "its host key is not the pinned one" in seen_of_mother(result)[0]


def test_where_the_pusher_is_not_installed_ssh_alone_is_tried(
    tackybox, daughter, sshd, keys, monkeypatch
):
    monkeypatch.setattr(key_files, "PUSHER", "daughter_of_another_container.pusher.probe")
    pin(keys, sshd)
    daughter["TACKYBOX_DESTINATIONS"] = f"relay@127.0.0.1:{sshd};relay@127.0.0.1:{free_port()}"
    result = tackybox("check --json", **daughter)
    answers, _, silent, _ = seen_of_mother(result)
    assert "ssh answers; whether her gate lets us in can't be tested from here" in answers
    assert "Connection refused" in silent
    (keys / "id").unlink()
    (keys / "known_hosts").unlink()
    result = tackybox("check --json", **daughter)
    elsewhere = [f for f in result.json["findings"] if "is not here: only the" in f["seen"]]
    assert {f["level"] for f in elsewhere} == {"warning"}
    assert [f["subject"].rpartition("/")[2] for f in elsewhere] == ["id", *["known_hosts"] * 2]


def test_a_daughter_with_nothing_right(tackybox, daughter, storescp, keys):
    (keys / "id").chmod(0o644)
    daughter["TACKYBOX_DESTINATIONS"] = f"relay@127.0.0.1:{free_port()};relay@no-such-host.invalid"
    daughter["TACKYBOX_MIN_FREE_MIB"] = str(1 << 29)
    daughter["TACKYBOX_MODALITIES"] = ""
    result = tackybox("check --json", **daughter)
    assert result.code == 1
    seen = " | ".join(what for _, what in failures(result))
    for part in ("others may read it", "nothing listens", "DNS", "no host key", "MiB and"):
        assert part in seen
    levels = {f["subject"]: f["level"] for f in result.json["findings"]}
    assert levels["modalities"] == "warning"


def test_a_port_that_something_else_has(tackybox, daughter, sshd):
    daughter |= {"TACKYBOX_DESTINATIONS": "relay@127.0.0.1:9", "TACKYBOX_PORT": str(sshd)}
    assert (f"port {sshd}", _TAKEN) in failures(tackybox("check --json", **daughter))


_TAKEN = "is taken by something that does not answer as a DICOM receiver"


def test_a_mother_with_all_she_needs(tackybox, mother, storescp, sshd):
    mother |= {"TACKYBOX_ARCHIVES": f"PACS@127.0.0.1:{storescp}", "TACKYBOX_SSH_PORT": str(sshd)}
    result = tackybox("check --json", **mother)
    assert (result.code, failures(result)) == (0, [])
    assert ("clock", "not compared: no peer told its time") in seen(result)
    people = tackybox("check --contexts", **mother)
    assert (people.code, people.err) == (0, "")
    row = next(line for line in people.out.splitlines() if line.startswith("CT Image "))
    assert "explicit, implicit" in row
    assert "JPEG-LS Lossless" in row


def test_a_mother_whose_archive_is_not_there(tackybox, mother, keys):
    port = free_port()
    mother["TACKYBOX_ARCHIVES"] = f"PACS@127.0.0.1:{port}"
    (keys / "daughters" / "Not A Box.pub").touch()
    result = tackybox("check --json", **mother)
    assert result.code == 1
    subjects = [subject for subject, _ in failures(result)]
    assert subjects == [f"daughters {keys / 'daughters'}", f"archive PACS@127.0.0.1:{port}"]


def test_a_spool_that_is_not_there(tackybox, mother, tmp_path):
    mother |= {"TACKYBOX_ARCHIVES": "PACS@127.0.0.1:9", "TACKYBOX_SPOOL": str(tmp_path / "none")}
    result = tackybox("check --json", **mother)
    assert (f"spool {tmp_path / 'none'}", "is not there") in failures(result)


def test_wrong_settings_are_one_line(tackybox, daughter):
    result = tackybox("check", **daughter)
    assert (result.code, result.out) == (78, "")
    assert result.err.startswith("tackybox: TACKYBOX_DESTINATIONS")


def test_a_secret_is_masked(tackybox, daughter):
    daughter["TACKYBOX_DESTINATIONS"] = "relay@127.0.0.1:9"
    daughter["TACKYBOX_SQL"] = f"tackybox:hush1234@127.0.0.1:{free_port()}/tackybox"
    result = tackybox("check", **daughter)
    assert "hush1234" not in result.out + result.err
    assert "***" in result.out


def test_a_database(tackybox, daughter, tmp_path):
    (tmp_path / "db").mkdir()
    daughter["TACKYBOX_DESTINATIONS"] = "relay@127.0.0.1:9"

    def finding(address):
        daughter["TACKYBOX_SQL"] = as_setting(address)
        result = tackybox("check --json", **daughter)
        assert address.password not in result.out
        (found,) = [f for f in result.json["findings"] if f["subject"].startswith("database")]
        return found

    with database_server("mariadb", tmp_path / "db") as server:
        address = server.empty_database()
        stranger = replace(address, password="not-that-one")
        assert "refuses this user or password" in finding(stranger)["seen"]
        assert "load tackybox.sql" in finding(address)["seen"]
        server.load(address)
        assert finding(address)["level"] == "pass"
