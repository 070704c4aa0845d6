"""`tackybox quarantine`."""

import pytest

from mysql_utilities.events import Kind
from tackybox.spool import State


@pytest.fixture
def items(box):
    """Two of outlet a_1 for different reasons, one that came to no outlet."""
    for number in (1, 2):
        box.hand_out(box.accept(number), "a_1")
    outlet, (one, two) = box.claim("a_1", 2)
    outlet.quarantine(one, "status-a900")
    outlet.quarantine(two, "sop-class-refused")
    three = box.spool.quarantine(box.accept(3), "unreadable")
    box.record(Kind.QUARANTINED, item=one.item.id, destination="a_1", detail="the archive said no")
    return one.item.id, two.item.id, three.item.id


def ids(result):
    return {one["item"] for one in result.json}


def test_an_empty_one(tackybox, box):
    result = tackybox(f"quarantine list --spool {box.root}")
    assert (result.code, result.out) == (0, "Nothing stands in quarantine.\n")
    assert tackybox(f"quarantine list --json --spool {box.root}").json == []


def test_list(tackybox, box, items):
    result = tackybox(f"quarantine list --json --spool {box.root}")
    assert result.code == 1
    assert ids(result) == set(items)
    assert all(one["meaning"] and one["meaning"] != one["reason"] for one in result.json)
    only = tackybox(f"quarantine list --json --outlet a_1 --reason status-a900 --spool {box.root}")
    assert ids(only) == {items[0]}
    people = tackybox(f"quarantine list --spool {box.root}")
    assert items[1] in people.out
    assert "SOP class" in people.out


def test_show(tackybox, box, items):
    result = tackybox(f"quarantine show {items[0]} --json --spool {box.root}")
    assert result.code == 0
    (place,) = result.json["places"]
    assert (place["outlet"], place["modality"], place["calling_aet"]) == ("a_1", "CT", "CT1")
    assert "CT Image Storage" in place["sop_class"]
    assert [event["detail"] for event in result.json["history"]] == ["the archive said no"]
    people = tackybox(f"quarantine show {items[0]} --spool {box.root}")
    assert "the archive said no" in people.out
    assert "DOE" not in people.out


def test_show_what_is_not_there_or_not_clear(tackybox, box, items):
    assert tackybox(f"quarantine show 19990101 --spool {box.root}").code == 66
    assert tackybox(f"quarantine show {items[0][:4]} --spool {box.root}").code == 64


def test_retry_one(tackybox, box, items):
    result = tackybox(f"quarantine retry {items[0]} --json --spool {box.root}")
    assert (result.code, ids(result)) == (0, {items[0]})
    (outlet,) = box.spool.outlets()
    assert [entry.item.id for entry in outlet.entries(State.NEW)] == [items[0]]
    shown = tackybox(f"quarantine list --json --spool {box.root}")
    assert ids(shown) == set(items[1:])


def test_retry_is_in_the_journal(tackybox, box, items):
    tackybox(f"quarantine retry {items[1]} --spool {box.root}")
    outlet, entries = box.claim("a_1")
    outlet.quarantine(entries[0], "sop-class-refused")
    history = tackybox(f"quarantine show {items[1]} --json --spool {box.root}").json["history"]
    assert [event["kind"] for event in history] == ["RETRIED"]
    assert history[0]["detail"] == "was in quarantine for: sop-class-refused"


def test_retry_all_and_by_outlet(tackybox, box, items):
    by_outlet = tackybox(f"quarantine retry --outlet a_1 --json --spool {box.root}")
    assert ids(by_outlet) == set(items[:2])
    rest = tackybox(f"quarantine retry --all --spool {box.root}")
    assert rest.out == "1 put back into the queue\n"
    assert [entry.item.id for entry in box.spool.arrivals(5)] == [items[2]]


@pytest.mark.parametrize("which", ["", "--all 2026"])
def test_retry_wants_to_be_told_which(tackybox, box, items, which):
    assert tackybox(f"quarantine retry {which} --spool {box.root}").code == 64
    assert ids(tackybox(f"quarantine list --json --spool {box.root}")) == set(items)
