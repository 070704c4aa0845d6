"""`tackybox enrol`: one line on stdout, its public half in the roster, everything else an error."""

import os
import pwd
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from tackybox import keys
from tackybox.config import JoinLine
from tackybox.roster import Roster


@pytest.fixture
def mother(tmp_path):
    keys.make_key_pair(tmp_path / "host", "")
    return {
        "TACKYBOX_NAME": "centre",
        "TACKYBOX_AET": "CENTRE",
        "TACKYBOX_SPOOL": str(tmp_path / "spool"),
        "TACKYBOX_ARCHIVES": "PACS@10.1.2.3:104",
        "TACKYBOX_HOST_KEY": str(tmp_path / "host"),
        "TACKYBOX_DAUGHTERS": str(tmp_path / "daughters"),
        "TACKYBOX_ENROLMENTS": str(tmp_path / "enrolments"),
        "TACKYBOX_ADDRESS": "mother.example:2222",
    }


@pytest.fixture
def roster(tmp_path):
    return Roster(tmp_path / "daughters", tmp_path / "enrolments")


def in_hours(hours):
    return datetime.now(UTC) + timedelta(hours=hours)


def test_the_line_is_alone_on_stdout_and_its_public_half_stays(tackybox, mother, roster, tmp_path):
    result = tackybox("enrol north-clinic", **mother)
    assert (result.code, result.out.count("\n")) == (0, 1)
    line = JoinLine.parse(result.out)
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert (line.name, str(line.address)) == ("north-clinic", f"{user}@mother.example:2222")
    assert line.host_key == keys.public_key_of(tmp_path / "host", "X")
    (invited,) = roster.invited()
    assert in_hours(23.9) < invited.until < in_hours(24.1)
    code = tmp_path / "code"
    code.touch(0o600)
    code.write_text(keys.private_key_file(line.code))
    assert keys.public_key_of(code, "X") == invited.key
    assert "TACKYBOX_JOIN" in result.err
    word = result.out.split()[-1]
    assert word not in result.err
    kept = subprocess.run(["grep", "-rlF", word, str(tmp_path)], stdout=-1, check=False).stdout
    assert kept == b""


def test_hours_address_and_json(tackybox, mother, roster):
    result = tackybox("enrol north --hours 2 --address [::1]:4444 --json", **mother)
    assert (result.code, result.err) == (0, "")
    line = JoinLine.parse(result.json["line"])
    (invited,) = roster.invited()
    assert invited.until < in_hours(2.1)
    assert result.json["until"] == invited.until.isoformat()
    assert result.json["address"] == str(line.address) == f"{line.address.user}@[::1]:4444"
    assert result.json["host_key"] == line.host_key.fingerprint


def test_enrolled_again_the_newer_line_counts(tackybox, mother, roster):
    lines = [tackybox("enrol north", **mother).out for _ in range(2)]
    assert lines[0] != lines[1]
    assert len(roster.invited()) == 1


def test_a_daughter_with_a_key_is_enrolled_again_only_if_told(tackybox, mother, roster, tmp_path):
    (tmp_path / "daughters").mkdir()
    key = keys.public_key_of(tmp_path / "host", "X")
    (tmp_path / "daughters" / "north.pub").write_text(f"{key}\n")
    refused = tackybox("enrol north", **mother)
    assert (refused.code, refused.out) == (64, "")
    assert "north has a key here already; say --replace" in refused.err
    assert roster.invited() == []
    assert tackybox("enrol north --replace", **mother).code == 0
    assert roster.holds("north", key.fingerprint)


@pytest.mark.parametrize(
    ("line", "setting", "code", "words"),
    [
        ("enrol North", {}, 64, "'North' can't be a box's name"),
        ("enrol ../north", {}, 64, "can't be a box's name"),
        ("enrol north --hours 0", {}, 64, "--hours is out of range"),
        ("enrol north --address mother", {}, 64, "--address: 'mother' has no port"),
        ("enrol north", {"TACKYBOX_ADDRESS": ""}, 78, "TACKYBOX_ADDRESS: is not set; write host:"),
        ("enrol north", {"TACKYBOX_HOST_KEY": "/nowhere"}, 78, "TACKYBOX_HOST_KEY: /nowhere is no"),
        ("enrol north", {"TACKYBOX_ENROLMENTS": "/proc/none"}, 78, "can't be written"),
        (
            "enrol north",
            {"TACKYBOX_ARCHIVES": "", "TACKYBOX_DESTINATIONS": "relay@m:2222"},
            78,
            "TACKYBOX_ADDRESS: is a setting of a mother",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tackybox, mother, roster, line, setting, code, words):
    result = tackybox(line, **{**mother, **setting})
    assert (result.code, result.out) == (code, "")
    assert words in result.err
    assert result.err.count("\n") == 1
    assert roster.invited() == []


def test_on_a_daughter_it_says_where_to_run_it(tackybox):
    result = tackybox(
        "enrol north", TACKYBOX_NAME="north", TACKYBOX_AET="A", TACKYBOX_SPOOL="/spool",
        TACKYBOX_DESTINATIONS="relay@m:2222",
    )  # fmt: skip
    assert result.code == 64
    assert "enrol is for a mother, and this box is a daughter" in result.err
