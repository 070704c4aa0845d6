"""When a lost answer is held against the item, and when against the archive."""

from __future__ import annotations

from mother.forwarder.losses import Losses


def test_an_archive_that_loses_everything_is_not_the_items_fault() -> None:
    losses = Losses()
    assert not any(losses.lost("item", 5) for _ in range(50))


def test_an_item_that_is_lost_while_others_go_through_is() -> None:
    losses = Losses()
    assert not losses.lost("item", 5)
    losses.stored()
    assert [losses.lost("item", 5) for _ in range(4)] == [False, False, False, True]


def test_memory_is_bounded() -> None:
    losses = Losses()
    for number in range(5000):
        losses.lost(str(number), 5)
    assert len(losses._by_item) == 1000
