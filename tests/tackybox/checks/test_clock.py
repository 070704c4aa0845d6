"""Clocks that agree, that may agree, and that don't."""

from __future__ import annotations

import pytest

from tackybox.checks.clock import PeerClock, clock


@pytest.mark.parametrize(
    ("offset_s", "uncertainty_s", "level", "seen"),
    [
        (0.1, 0.4, "pass", "agrees with that of mother, to within 0.5 s"),
        (-2.5, 0.6, "pass", "to within 3.1 s"),  # may be 1.9 s: nobody is accused on a slow link
        (-2.5, 0.4, "warning", "that of mother is 2.1 s behind ours"),
        (60.5, 0.6, "warning", "that of mother is 59.9 s ahead of ours"),
        (3600.0, 0.5, "fail", "that of mother is 3599.5 s ahead of ours"),
    ],
)
def test_only_what_is_sure_counts(
    offset_s: float, uncertainty_s: float, level: str, seen: str
) -> None:
    (finding,) = clock([PeerClock("mother", offset_s, uncertainty_s)])
    assert finding.level == level
    assert seen in finding.seen
    assert ("NTP" in finding.remedy) == (level != "pass")


def test_with_no_peer_it_says_that_nothing_was_compared() -> None:
    (finding,) = clock([])
    assert (finding.level, finding.seen) == ("pass", "not compared: no peer told its time")


def test_each_peer_has_a_line() -> None:
    assert len(list(clock([PeerClock("a", 0, 0), PeerClock("b", 0, 0)]))) == 2
