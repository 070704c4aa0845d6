"""Which lane an item travels in."""

import pytest

from tackybox.config.lanes import LaneRule, lane_for, parse_lanes
from tackybox.spool import Lane


def test_the_first_rule_that_fits_decides():
    rules = parse_lanes([{"calling_aet": "ER", "lane": "high"}, {"modality": "MG", "lane": "LOW"}])
    assert rules == (LaneRule(Lane.HIGH, calling_aet="ER"), LaneRule(Lane.LOW, modality="MG"))
    medium = Lane.MEDIUM
    assert lane_for(rules, modality="MG", calling_aet="ER ", otherwise=medium) is Lane.HIGH
    assert lane_for(rules, modality="MG", calling_aet="X", otherwise=medium) is Lane.LOW
    assert lane_for(rules, modality="CT", calling_aet="X", otherwise=medium) is medium


def test_a_rule_without_conditions_fits_all():
    (rule,) = parse_lanes([{"lane": "low"}])
    assert rule.fits(modality="", calling_aet="X")
    assert str(rule) == "all → low"


@pytest.mark.parametrize(
    ("raw", "part_of_message"),
    [
        ({"lane": "high"}, "not a list"),
        (["high"], "rule 1 is not known"),
        ([{"lane": "high"}, {"lane": "high", "aet": "X"}], "rule 2 is not known"),
        ([{"modality": "CT"}], "rule 1: '' is not known; write one of high, medium, low"),
        ([{"lane": "high", "modality": 3}], "rule 1: 3 is not text"),
    ],
)
def test_what_is_wrong_is_said(raw, part_of_message):
    with pytest.raises(ValueError, match=part_of_message):
        parse_lanes(raw)
