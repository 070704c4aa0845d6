"""Items in doubt: out of it by a receipt, or when nobody can have them any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from daughter.pusher.doubt import Doubts
from tackybox.spool import Entry, Lane, Outlet, Spool, State
from tests.mother.inbox.conftest import write_item


@pytest.fixture
def outlet(tmp_path: Path) -> Outlet:
    made = Outlet(Spool.open(tmp_path / "spool").root, "one")
    for number in range(3):
        write_item(made.directory(State.NEW, Lane.HIGH), number)
    return made


def waiting(outlet: Outlet) -> int:
    return outlet.tally(State.NEW, Lane.HIGH).count


def names(entries: list[Entry]) -> list[str]:
    return [entry.item.name for entry in entries]


def test_a_receipt_takes_one_out_of_doubt(outlet: Outlet) -> None:
    entries = outlet.claim(3)
    doubts = Doubts(outlet, ["a"], [])
    doubts.add(entries, "a")
    assert doubts.take(entries[0].item.name) == entries[0]
    assert doubts.take(entries[0].item.name) is None
    assert doubts.of("a") == frozenset(names(entries[1:]))


def test_what_was_in_hand_at_start_waits_for_every_mothers_word(outlet: Outlet) -> None:
    entries = outlet.claim(2)
    doubts = Doubts(outlet, ["a", "b"], outlet.entries(State.ACTIVE))
    doubts.clear("a", names(entries))
    assert doubts.put_back_cleared() == 0
    assert waiting(outlet) == 1
    doubts.clear("b", names(entries))
    assert doubts.put_back_cleared() == 2
    assert waiting(outlet) == 3
    assert not doubts.concern("a") and not doubts.concern("b")


def test_only_what_was_in_doubt_before_the_receipts_were_read_is_cleared(outlet: Outlet) -> None:
    early, late, _ = outlet.claim(3)
    doubts = Doubts(outlet, ["a"], [])
    doubts.add([early], "a")
    before = doubts.of("a")
    doubts.add([late], "a")
    doubts.clear("a", before)
    assert doubts.put_back_cleared() == 1
    assert doubts.has(late.item.name)
