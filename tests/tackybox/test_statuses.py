"""The table of statuses is total, and never takes a failure for a delivery."""

from __future__ import annotations

import pytest
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category

from tackybox.statuses import Disposition, disposition

ALL_STATUSES = range(0x10000)
CATEGORY = {
    Disposition.DELIVERED: {"Success"},
    Disposition.DELIVERED_WITH_WARNING: {"Warning"},
    Disposition.QUARANTINE: {"Failure"},
    Disposition.DEFER: {"Failure", "Cancel", "Pending", "Unknown"},
}


def test_every_status_has_an_outcome_that_agrees_with_its_category() -> None:
    for status in ALL_STATUSES:
        outcome = disposition(status)
        assert outcome.meaning.endswith("."), hex(status)
        assert code_to_category(status) in CATEGORY[outcome.disposition], hex(status)


def test_only_success_and_warning_are_delivered_and_all_of_them_are() -> None:
    for status in ALL_STATUSES:
        assert disposition(status).delivered == (
            code_to_category(status) in ("Success", "Warning")
        ), hex(status)


def test_whatever_is_not_delivered_says_what_can_be_done() -> None:
    for status in [None, *ALL_STATUSES]:
        outcome = disposition(status)
        assert outcome.delivered or outcome.remedy, status


def test_every_status_that_the_standard_names_has_a_sentence_of_its_own_class() -> None:
    unknown = disposition(0x5555).meaning
    for status in STORAGE_SERVICE_CLASS_STATUS:
        if status != 0xFE00:
            assert disposition(status).meaning != unknown, hex(status)


@pytest.mark.parametrize("status", [None, -1, 0x10000, 1 << 40, 0xFF00, 0xFE00, 0x5555])
def test_what_is_no_answer_proves_nothing(status: int | None) -> None:
    assert disposition(status).disposition is Disposition.DEFER


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Disposition.DELIVERED),
        (0xB000, Disposition.DELIVERED_WITH_WARNING),
        (0xB006, Disposition.DELIVERED_WITH_WARNING),
        (0xB007, Disposition.DELIVERED_WITH_WARNING),
        (0xB123, Disposition.DELIVERED_WITH_WARNING),
        (0xA700, Disposition.DEFER),
        (0xA7FF, Disposition.DEFER),
        (0xA123, Disposition.DEFER),
        (0x0110, Disposition.DEFER),
        (0x0124, Disposition.DEFER),
        (0x0213, Disposition.DEFER),
        (0x0111, Disposition.QUARANTINE),
        (0x0117, Disposition.QUARANTINE),
        (0x0122, Disposition.QUARANTINE),
        (0xA900, Disposition.QUARANTINE),
        (0xC000, Disposition.QUARANTINE),
        (0xCFFF, Disposition.QUARANTINE),
    ],
)
def test_statuses_that_matter(status: int, expected: Disposition) -> None:
    assert disposition(status).disposition is expected
