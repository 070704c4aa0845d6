"""What is sent again one by one: a few times, and not twice at once."""

from __future__ import annotations

from daughter.pusher.resends import MOST, Resends


def test_an_item_goes_again_a_few_times_and_others_are_not_counted_with_it() -> None:
    resends = Resends()
    assert [resends.may_go_again("one") for _ in range(MOST + 1)] == [True] * MOST + [False]
    assert resends.may_go_again("two")


def test_it_is_on_the_way_to_one_mother_until_she_signs() -> None:
    resends = Resends()
    resends.begin("mother", "one")
    assert resends.is_on_the_way("mother", "one")
    assert not resends.is_on_the_way("other", "one")
    resends.has_landed("other", "one")
    assert resends.is_on_the_way("mother", "one")
    resends.has_landed("mother", "one")
    assert not resends.is_on_the_way("mother", "one")
