"""How much one push carries: bounded, less after one that a mother had no room for."""

from __future__ import annotations

from pathlib import Path

import pytest

from daughter.pusher.batching import Batches
from tackybox.spool import Entry, Lane, Outlet, Spool, State
from tests.mother.inbox.conftest import write_item

_MIB = 1 << 20


@pytest.fixture
def outlet(tmp_path: Path) -> Outlet:
    return Outlet(Spool.open(tmp_path / "spool").root, "one")


def queue(outlet: Outlet, count: int, size_bytes: int = 0) -> None:
    for number in range(count):
        write_item(outlet.directory(State.NEW, Lane.HIGH), number, padding_bytes=size_bytes)


def batch(outlet: Outlet, batches: Batches) -> list[Entry]:
    """A batch as a carrier makes it; all of it waits again afterwards."""
    entries = outlet.claim(1)
    batches.fill(entries)
    for entry in entries:
        outlet.put_back(entry)
    return entries


def test_a_batch_is_bounded_in_items(outlet: Outlet) -> None:
    queue(outlet, 50)
    assert len(batch(outlet, Batches(outlet, 40, 64 * _MIB))) == 40


def test_a_batch_is_what_the_link_takes_soon(outlet: Outlet) -> None:
    queue(outlet, 20, _MIB)
    batches = Batches(outlet, 64, 12 * _MIB)
    assert len(batch(outlet, batches)) == 4  # nothing is known of the link
    batches.went(8 * _MIB, 2.0)
    assert len(batch(outlet, batches)) == 8
    batches.went(800 * _MIB, 2.0)
    assert len(batch(outlet, batches)) == 12  # and never more than that


def test_what_finds_no_room_brings_half_until_it_is_one_and_doubles_again(outlet: Outlet) -> None:
    queue(outlet, 20)
    batches = Batches(outlet, 16, 64 * _MIB)
    sizes = []
    for _ in range(6):
        sizes.append(len(entries := batch(outlet, batches)))
        batches.had_no_room(entries)
    assert sizes == [16, 8, 4, 2, 1, 1]
    sizes = []
    for _ in range(6):
        sizes.append(len(batch(outlet, batches)))
        batches.went(1, 1.0)
    assert sizes == [1, 2, 4, 8, 16, 16]
