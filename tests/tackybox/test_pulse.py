"""Signs of life: who is silent, and when."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tackybox.pulse import SILENT_AFTER_S, Pulse


def test_a_child_is_silent_until_it_beats(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path, "pusher")
    pulse.expect(["fanout", "courier a"])
    pulse.beat("fanout")
    assert pulse.silent() == ["courier a"]
    pulse.beat("courier a")
    assert pulse.silent() == []


def test_a_child_that_died_or_hangs_is_silent(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path, "pusher")
    pulse.expect(["one", "two", "three"])
    for child in ("one", "two", "three"):
        pulse.beat(child)
    pulse.lost("one")
    long_ago_s = time.time() - SILENT_AFTER_S - 1
    os.utime(tmp_path / "alive" / "pusher" / "two", (long_ago_s, long_ago_s))
    assert pulse.silent() == ["one", "two"]


def test_a_beat_from_before_the_clock_went_back_is_no_sign_of_life(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path, "pusher")
    pulse.expect(["fanout"])
    tomorrow_s = time.time() + 86_400
    os.utime(tmp_path / "alive" / "pusher" / "fanout", (tomorrow_s, tomorrow_s))
    assert pulse.silent() == ["fanout"]
    pulse.beat("fanout")
    assert pulse.silent() == []


def test_children_of_an_earlier_configuration_are_forgotten(tmp_path: Path) -> None:
    Pulse(tmp_path, "pusher").expect(["gone"])
    pulse = Pulse(tmp_path, "pusher")
    pulse.expect(["here"])
    pulse.beat("here")
    assert pulse.silent() == []


def test_a_disk_that_was_full_at_the_start_leaves_no_child_silent(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path, "pusher")
    pulse.expect(["fanout"])
    (tmp_path / "alive" / "pusher" / "fanout").unlink()
    assert pulse.silent() == ["pusher"]
    pulse.beat("fanout")
    assert pulse.silent() == []


def test_what_is_not_expected_does_not_count(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path, "pusher")
    pulse.expect(["fanout"])
    pulse.beat("fanout")
    pulse.lost("shipper")
    pulse.beat("shipper")
    assert pulse.silent() == []


def test_a_daemon_that_never_ran_is_silent(tmp_path: Path) -> None:
    assert Pulse(tmp_path, "pusher").silent() == ["pusher"]


def test_a_spool_that_cannot_be_written_stops_no_child(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / "file", "pusher")
    (tmp_path / "file").touch()
    pulse.expect(["fanout"])
    pulse.beat("fanout")
    assert pulse.silent() == ["pusher"]
