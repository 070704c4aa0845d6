"""`tackybox daughters`: who may send, since when, last seen; revoke."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from tackybox import keys
from tackybox.roster import Roster
from tackybox.spool import Landing, ReceiptLog, Spool


@pytest.fixture
def mother(tmp_path):
    Spool.open(tmp_path / "spool")
    return {
        "TACKYBOX_NAME": "centre",
        "TACKYBOX_AET": "CENTRE",
        "TACKYBOX_SPOOL": str(tmp_path / "spool"),
        "TACKYBOX_ARCHIVES": "PACS@10.1.2.3:104",
        "TACKYBOX_DAUGHTERS": str(tmp_path / "daughters"),
        "TACKYBOX_ENROLMENTS": str(tmp_path / "enrolments"),
    }


@pytest.fixture
def roster(tmp_path):
    """North was here, south never was, west is invited, and a file nobody understands."""
    roster = Roster(tmp_path / "daughters", tmp_path / "enrolments")
    made = {}
    for name in ("north", "south", "west", "code"):
        keys.make_key_pair(tmp_path / name, name)
        made[name] = keys.public_key_of(tmp_path / name, "X")
    until = datetime.now(UTC) + timedelta(hours=1)
    for name in ("north", "south"):
        roster.invite(name, made["code"], until)
        roster.admit(name, made["code"].fingerprint, made[name])
    roster.invite("west", made["west"], until)
    (tmp_path / "daughters" / "odd.pub").write_text("what is this")
    Landing(tmp_path / "spool", "north").note_seen()
    return roster


def test_each_is_listed_with_her_key_and_when_she_was_there(tackybox, mother, roster, tmp_path):
    for line in ("daughters --json", "daughters list --json"):
        result = tackybox(line, **mother)
        assert (result.code, result.err) == (0, "")
        north, odd, south, west = result.json
        assert north["key"] == keys.public_key_of(tmp_path / "north", "X").fingerprint
        now = datetime.now(UTC)
        for key in ("since", "last_seen"):
            assert now - timedelta(minutes=1) < datetime.fromisoformat(north[key]) <= now
        assert (south["name"], south["last_seen"]) == ("south", None)
        assert odd["key"] == "not understood, not let in"
        assert (west["name"], west["key"], west["since"]) == ("west", None, None)
        assert datetime.fromisoformat(west["invited_until"]) > now
    table = tackybox("daughters", **mother).out
    rows = {line.split()[0]: line for line in table.splitlines()[2:]}
    assert north["key"] in rows["north"]
    assert "never" in rows["south"]
    assert west["invited_until"][:10] in rows["west"]


def test_where_nobody_may_send_it_says_what_to_do(tackybox, mother):
    result = tackybox("daughters", **mother)
    assert (result.code, result.out) == (0, "No daughter may send; tackybox enrol invites one.\n")
    assert tackybox("daughters --json", **mother).json == []


def test_revoke_removes_key_and_invitation(tackybox, mother, roster):
    result = tackybox("daughters revoke north", **mother)
    assert (result.code, result.out) == (0, "north is out: key removed.\n")
    result = tackybox("daughters revoke west --json", **mother)
    assert result.json == {"name": "west", "key": False, "invitation": True}
    assert {one.name for one in roster.known()} == {"odd", "south"}
    assert roster.invited() == []


def test_revoke_waits_for_a_commit_in_hand(tackybox, mother, roster, tmp_path):
    receipts = ReceiptLog(tmp_path / "spool", "north")
    done = threading.Event()

    def revoke():
        tackybox("daughters revoke north", **mother)
        done.set()

    with receipts.exclusive():
        thread = threading.Thread(target=revoke)
        thread.start()
        while (tmp_path / "daughters" / "north.pub").exists():
            thread.join(0.01)
        assert not done.wait(0.2)
    assert done.wait(30)
    thread.join()


def test_an_unknown_name_is_not_on_record_and_the_names_there_are_are_told(
    tackybox, mother, roster
):
    result = tackybox("daughters revoke nroth", **mother)
    assert (result.code, result.out) == (66, "")
    assert "no daughter is called nroth; there are north, odd, south, west" in result.err


def test_on_a_daughter_it_says_where_to_run_it(tackybox):
    result = tackybox(
        "daughters", TACKYBOX_NAME="north", TACKYBOX_AET="A", TACKYBOX_SPOOL="/spool",
        TACKYBOX_DESTINATIONS="relay@m:2222",
    )  # fmt: skip
    assert result.code == 64
    assert "daughters is for a mother, and this box is a daughter" in result.err
