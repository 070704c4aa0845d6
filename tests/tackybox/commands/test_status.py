"""`tackybox status`."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from mysql_utilities.events import Event, Kind
from tackybox.pulse import SILENT_AFTER_S, Pulse
from tackybox.spool import CommitmentRequest, Kept, Lane

SETTINGS = {
    "TACKYBOX_NAME": "north",
    "TACKYBOX_AET": "NORTH",
    "TACKYBOX_DESTINATIONS": "relay@a:1;relay@b:1",
    "TACKYBOX_MIN_FREE_MIB": "1",
}


@pytest.fixture
def settings(box):
    return {**SETTINGS, "TACKYBOX_SPOOL": str(box.root)}


def outlet(result, name):
    (found,) = [outlet for outlet in result.json["outlets"] if outlet["name"] == name]
    return found


def lane(result, name, which="medium"):
    return next(lane for lane in outlet(result, name)["lanes"] if lane["lane"] == which)


def test_a_new_box_is_fine(tackybox, box, settings):
    box.record(Kind.OUTLET_UP, destination="a_1", peer_address="a_1")
    result = tackybox("status --json", **settings)
    assert (result.code, result.json["attention"]) == (0, [])
    assert [outlet["name"] for outlet in result.json["outlets"]] == ["a_1", "b_1"]
    assert result.json["box"] == "north"
    people = tackybox("status", **settings)
    assert people.code == 0
    assert "a_1 (nothing yet)" in people.out
    assert people.err == ""


def test_where_items_stand_is_counted(tackybox, box, settings):
    box.accept(0)
    box.hand_out(box.accept(1), "a_1", "b_1")
    box.hand_out(box.accept(2, Lane.HIGH), "a_1")
    for number in (3, 4, 5):
        box.hand_out(box.accept(number), "b_1")
    outlet_b, (deferred, sent, _) = box.claim("b_1", 3)
    outlet_b.defer(deferred, 4e9)
    outlet_b.sent(sent, "b_1")
    box.record(Kind.OUTLET_UP, destination="a_1", peer_address="a_1")
    result = tackybox("status --json", **settings)
    assert result.code == 0
    assert result.json["not_fanned_out"] == 1
    assert lane(result, "a_1")["waiting"] == 1
    assert lane(result, "a_1", "high")["waiting"] == 1
    wanted = ("waiting", "in_hand", "deferred", "sent", "done", "quarantined")
    assert [lane(result, "b_1")[key] for key in wanted] == [1, 1, 1, 1, 0, 0]
    oldest = datetime.fromisoformat(lane(result, "a_1")["oldest_at"])
    assert datetime.now(UTC) - oldest < timedelta(minutes=5)
    people = tackybox("status", **settings)
    assert "1 accepted, not yet handed to any outlet" in people.out


def test_an_outlet_that_is_down_wants_attention_until_it_is_up(tackybox, box, settings):
    names = {"destination": "a_1", "peer_address": "a_1"}
    box.record(Kind.OUTLET_DOWN, **names, detail="nothing listens at that port")
    result = tackybox("status --json", **settings)
    assert result.code == 1
    assert result.json["attention"] == ["a_1 does not answer: nothing listens at that port"]
    box.record(Kind.OUTLET_UP, **names)
    result = tackybox("status --json", **settings)
    assert result.code == 0
    assert outlet(result, "a_1")["journal"]["problem"] == "nothing listens at that port"
    assert "nothing listens at that port" in tackybox("status", **settings).out


def test_one_alternative_that_is_down_is_not_the_outlet(tackybox, box, settings):
    settings["TACKYBOX_DESTINATIONS"] = "relay@a:1|relay@b:1"
    box.record(Kind.OUTLET_UP, destination="a_1+b_1", peer_address="b_1")
    box.record(Kind.OUTLET_DOWN, destination="a_1+b_1", peer_address="a_1", detail="gone")
    assert tackybox("status --json", **settings).code == 0


def test_quarantine_wants_attention(tackybox, box, settings):
    box.hand_out(box.accept(1), "a_1")
    outlet_a, entries = box.claim("a_1", 1)
    outlet_a.quarantine(entries[0], "status-a900")
    box.spool.quarantine(box.accept(2), "unreadable")
    box.record(
        Kind.QUARANTINED, destination="a_1", status_code=0xA900, detail="does not match SOP class"
    )
    result = tackybox("status --json", **settings)
    assert result.code == 1
    assert result.json["attention"] == ["2 in quarantine; see: tackybox quarantine list"]
    assert lane(result, "a_1")["quarantined"] == 1
    journal = outlet(result, "a_1")["journal"]
    assert journal["problem"] == "status 0xA900 does not match SOP class"


def test_items_for_an_outlet_that_is_no_longer_configured(tackybox, box, settings):
    box.hand_out(box.accept(1), "old_1")
    box.record(Kind.OUTLET_UP, destination="a_1")
    result = tackybox("status --json", **settings)
    assert result.code == 1
    assert outlet(result, "old_1")["configured"] is False
    assert result.json["attention"] == ["old_1 is not configured any more and has 1"]
    assert "old_1 (not configured any more)" in tackybox("status", **settings).out


def test_a_spool_without_settings(tackybox, box):
    box.hand_out(box.accept(1), "a_1")
    box.record(Kind.RECEIVED, item="i", size_bytes=1 << 20)
    result = tackybox(f"status --json --spool {box.root}")
    assert result.code == 0
    assert outlet(result, "a_1")["configured"] is None
    assert result.json["box"] == "north"
    assert result.json["inflow_bytes_per_hour"] == 1 << 20
    assert result.json["hours_left"] > 0
    assert "1.0 MiB per hour enough for" in tackybox(f"status --spool {box.root}").out


def test_without_a_journal_the_rest_is_shown(tackybox, box):
    box.hand_out(box.accept(1), "a_1")
    result = tackybox(f"status --json --spool {box.root}")
    assert result.code == 1
    assert "journal" in result.json["attention"][0]
    assert lane(result, "a_1")["waiting"] == 1


def test_open_storage_commitment_requests_are_shown(tackybox, box, settings):
    box.record(Kind.OUTLET_UP, destination="a_1", peer_address="a_1")
    assert "Storage commitment" not in tackybox("status", **settings).out
    at = datetime.now(UTC)
    request = CommitmentRequest("1.2.9", "CT1", "NORTH", "10.1.2.3", at, (("1.2", "1.2.3"),))
    box.spool.commitments.keep(request)
    result = tackybox("status --json", **settings)
    assert (result.code, result.json["commitment"]["open"]) == (0, 1)
    told = "Storage commitment: 1 request(s) not yet answered, the oldest for "
    assert told in tackybox("status", **settings).out


def test_too_little_space_wants_attention(tackybox, box, settings):
    box.record(Kind.OUTLET_UP, destination="a_1")
    settings["TACKYBOX_MIN_FREE_MIB"] = str(1 << 29)
    result = tackybox("status --json", **settings)
    assert result.code == 1
    assert "nothing more is accepted" in result.json["attention"][0]


def test_how_far_the_journal_is_behind_changes_no_exit_code(tackybox, box, settings):
    settings["TACKYBOX_SQL"] = "tackybox:w0rd@db:3306/journal"
    box.record(Kind.OUTLET_UP, destination="a_1")
    pending = box.spool.journal / "pending"
    line = Event(kind=Kind.RECEIVED, box="north", item="i").to_json() + "\n"
    (pending / "dead.jsonl").write_text(line)
    result = tackybox("status --json", **settings)
    assert (result.code, result.json["attention"]) == (0, [])
    journal = result.json["journal"]
    assert journal["pending"]["events"] == 1
    assert journal["pending"]["size_bytes"] == len(line)
    (server,) = journal["servers"]
    assert (server["server"], server["events"]) == ("tackybox@db:3306/journal", 1)
    assert datetime.fromisoformat(server["oldest_at"]) == datetime.fromisoformat(journal["last_at"])
    assert server["behind_s"] > 0
    people = tackybox("status", **settings)
    assert "; 1 not yet in it (" in people.out
    assert "; tackybox@db:3306/journal lacks 1 (for " in people.out
    assert "w0rd" not in result.out + people.out


def test_a_gap_in_the_journal_is_shown(tackybox, box):
    box.record(Kind.GAP, detail="steps before noon are missing")
    result = tackybox(f"status --spool {box.root} --json")
    assert result.json["journal"]["gap"]["detail"] == "steps before noon are missing"
    assert "Journal gap, found" in tackybox(f"status --spool {box.root}").out


def test_a_daemon_that_is_silent_or_gone_is_told(tackybox, box, settings):
    box.record(Kind.OUTLET_UP, destination="a_1", peer_address="a_1")
    pulse, long_ago_s = Pulse(box.root, "pusher"), time.time() - SILENT_AFTER_S - 1
    pulse.expect(["fanout", "courier a_1"])
    for child in ("fanout", "courier a_1"):
        pulse.beat(child)
    with box.spool.workspace("pusher"):
        assert tackybox("status --json", **settings).code == 0
        directory = box.root / "alive" / "pusher"
        os.utime(directory / "fanout", (long_ago_s, long_ago_s))
        os.utime(directory, (long_ago_s, long_ago_s))
        result = tackybox("status --json", **settings)
        assert result.code == 1
        assert result.json["attention"] == ["no sign of life of the pusher's fanout: see its log"]
        pulse.expect(["fanout", "courier a_1"])  # it is started again: it has a moment
        assert tackybox("status --json", **settings).code == 0
    result = tackybox("status --json", **settings)  # killed: nobody is there, whatever beat last
    assert result.code == 1
    assert "the pusher is not running" in result.json["attention"][0]


def test_kept_copies_are_counted_and_wait_for_nobody(tackybox, box):
    entry = box.accept(1)
    box.hand_out(entry, "a_1")
    _, (claimed,) = box.claim("a_1")
    assert "released copies" not in tackybox(f"status --spool {box.root}").out
    Kept(box.root).add(claimed)
    result = tackybox(f"status --spool {box.root} --json")
    assert result.json["kept"] == 1
    assert sum(lane["waiting"] for one in result.json["outlets"] for lane in one["lanes"]) == 0
    assert "1 released copies kept" in tackybox(f"status --spool {box.root}").out
