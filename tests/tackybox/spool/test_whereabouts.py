"""Copies of an image are found wherever in the spool they stand, and no other file is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tackybox.item import Item
from tackybox.spool import whereabouts

ITEM = Item(datetime(2026, 11, 21, 3, 54, tzinfo=UTC), "north", "ab" * 32, "1.2.3")
OTHER = Item(datetime(2026, 11, 21, 3, 54, tzinfo=UTC), "north", "cd" * 32, "1.2.33")


def test_every_place_that_an_item_can_stand_in(tmp_path: Path) -> None:
    places = [
        f"tmp/receiver/high~{ITEM.name}", f"new/low/{ITEM.name}", f"out/m_2222/new/low/{ITEM.name}",
        f"out/m_2222/active/low/{ITEM.name}", f"out/m_2222/deferred/low/{ITEM.name}~3~1700000000",
        f"out/m_2222/sent/peer/low/{ITEM.name}", f"out/m_2222/sent/peer~0f/low/{ITEM.name}",
        f"out/m_2222/sent/peer/.low.0f/{ITEM.name}",
    ]  # fmt: skip
    for place in [*places, f"quarantine/_box/unreadable/low/{ITEM.name}"]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    for stray in (f"new/low/{OTHER.name}", "new/low/_1.2.3", "out/m_2222/receipts-peer", "tmp/1"):
        (tmp_path / stray).touch()
    found = list(whereabouts(tmp_path, {"1.2.3"}))
    assert [copy.item for copy in found] == [ITEM] * 9
    assert [copy.is_quarantined for copy in found] == [False] * len(places) + [True]
    assert list(whereabouts(tmp_path, {"1.2"})) == []


def test_a_spool_without_directories_holds_nothing(tmp_path: Path) -> None:
    assert list(whereabouts(tmp_path, {"1.2.3"})) == []
