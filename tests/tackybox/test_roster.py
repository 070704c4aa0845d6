"""Who may send: keys and invitations as files, changed by one at a time."""

import multiprocessing
from datetime import UTC, datetime, timedelta

import pytest

from tackybox import keys
from tackybox.errors import ConfigError, DataError, NotFoundError
from tackybox.roster import Roster


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Some public keys."""
    directory = tmp_path_factory.mktemp("keys")
    found = []
    for number in range(6):
        keys.make_key_pair(directory / str(number), "")
        found.append(keys.public_key_of(directory / str(number), "X"))
    return found


@pytest.fixture
def roster(tmp_path):
    return Roster(tmp_path / "daughters", tmp_path / "enrolments")


def in_hours(hours):
    return datetime.now(UTC) + timedelta(hours=hours)


def test_a_code_lets_in_one_key_once(roster, made):
    code, key, other, *_ = made
    assert (roster.known(), roster.invited()) == ([], [])
    roster.invite("north", code, in_hours(1))
    assert [(one.name, one.key) for one in roster.invited()] == [("north", code)]
    assert not roster.holds("north", key.fingerprint)
    roster.admit("north", code.fingerprint, key)
    assert [(one.name, one.key) for one in roster.known()] == [("north", key)]
    assert roster.holds("north", key.fingerprint)
    assert roster.invited() == []
    with pytest.raises(NotFoundError, match="this code was used"):
        roster.admit("north", code.fingerprint, other)
    assert roster.holds("north", key.fingerprint)


def admit_in_a_process(roster, code, key, ready, said):
    ready.wait()
    try:
        roster.admit("north", code.fingerprint, key)
        said.put(key.fingerprint)
    except NotFoundError:
        said.put("")


def test_of_two_who_come_with_it_at_a_time_one_is_let_in(roster, made):
    code, *candidates = made
    context = multiprocessing.get_context("fork")
    for _ in range(10):
        roster.invite("north", code, in_hours(1))
        ready, said = context.Barrier(len(candidates)), context.Queue()
        racers = [
            context.Process(target=admit_in_a_process, args=(roster, code, key, ready, said))
            for key in candidates
        ]
        for racer in racers:
            racer.start()
        answers = [said.get(timeout=30) for _ in racers]
        for racer in racers:
            racer.join()
        (winner,) = filter(None, answers)
        assert roster.holds("north", winner)


def test_a_newer_code_makes_the_older_one_void(roster, made):
    old, new, key, *_ = made
    roster.invite("north", old, in_hours(1))
    roster.invite("north", new, in_hours(1))
    with pytest.raises(NotFoundError):
        roster.admit("north", old.fingerprint, key)
    roster.admit("north", new.fingerprint, key)


def test_a_code_that_has_run_out_lets_nobody_in_and_is_forgotten(roster, made, tmp_path):
    code, later, key, *_ = made
    roster.invite("north", code, in_hours(-1))
    roster.invite("south", later, in_hours(1))
    assert [one.name for one in roster.invited()] == ["south"]
    with pytest.raises(NotFoundError, match="has run out"):
        roster.admit("north", code.fingerprint, key)
    roster.forget_expired()
    assert [path.name for path in (tmp_path / "enrolments").iterdir()] == ["south.pub"]


def test_a_code_is_for_its_own_name(roster, made):
    code, key, *_ = made
    roster.invite("north", code, in_hours(1))
    with pytest.raises(NotFoundError):
        roster.admit("south", code.fingerprint, key)


def test_a_key_that_stands_for_another_is_refused_and_the_code_stays_good(roster, made):
    code, other_code, key, south, *_ = made
    roster.invite("south", code, in_hours(1))
    roster.admit("south", code.fingerprint, south)
    roster.invite("north", code, in_hours(1))
    roster.invite("west", other_code, in_hours(1))
    for taken in (south, code, other_code):
        with pytest.raises(DataError, match="known already"):
            roster.admit("north", code.fingerprint, taken)
    roster.admit("north", code.fingerprint, key)


def test_revoke_removes_key_and_invitation(roster, made):
    code, key, *_ = made
    roster.invite("north", code, in_hours(1))
    roster.admit("north", code.fingerprint, key)
    roster.invite("north", code, in_hours(1))
    before = roster.state()
    assert roster.revoke("north") == (True, True)
    assert roster.state() != before
    assert (roster.known(), roster.invited()) == ([], [])
    assert not roster.holds("north", key.fingerprint)
    with pytest.raises(NotFoundError, match="no daughter is called north; there is none at all"):
        roster.revoke("north")
    roster.invite("west", code, in_hours(1))
    with pytest.raises(NotFoundError, match="no daughter is called nroth; there are west"):
        roster.revoke("nroth")
    with pytest.raises(NotFoundError):
        roster.revoke("../enrolments/west")


def test_a_file_that_is_not_understood_lets_nobody_in(roster, made, tmp_path):
    code, key, *_ = made
    roster.invite("north", code, in_hours(1))
    for name, text in (
        ("west.pub", 'command="sh" ssh-ed25519 AAAA'), ("East Wing.pub", str(key)),
        ("bytes.pub", b"\xff\xfe"), ("empty.pub", ""),
    ):  # fmt: skip
        path = tmp_path / "daughters" / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert {one.name: one.key for one in roster.known()} == dict.fromkeys(
        ("East Wing", "bytes", "empty", "west")
    )
    for name, text in (("a.pub", str(key)), ("b.pub", f"{key} soon")):
        (tmp_path / "enrolments" / name).write_text(text)
    assert [one.name for one in roster.invited()] == ["north"]
    roster.forget_expired()
    assert (tmp_path / "enrolments" / "a.pub").exists()


def test_a_replaced_key_of_the_same_length_changes_the_state(roster, made, tmp_path):
    code, key, other, *_ = made
    roster.invite("north", code, in_hours(1))
    roster.admit("north", code.fingerprint, key)
    before = roster.state()
    (tmp_path / "daughters" / "north.pub").write_text(f"{other} north\n")
    assert roster.state() != before
    assert not roster.holds("north", key.fingerprint)


def test_directories_that_cannot_be_made_are_named(tmp_path, made):
    (tmp_path / "file").touch()
    roster = Roster(tmp_path / "file" / "daughters", tmp_path / "enrolments")
    with pytest.raises(ConfigError, match=r"TACKYBOX_DAUGHTERS, .* can't be written"):
        roster.invite("north", made[0], in_hours(1))
