"""How many associations: as many as pay, fewer where one fewer does as well, never none."""

from __future__ import annotations

from collections.abc import Callable

from mother.forwarder.width import FIRST_TRIAL_S, Width

IMAGE_BYTES = 500_000


def work(
    width: Width, images_a_second: Callable[[int], float], seconds: float, now_s: float
) -> float:
    """Store images as fast as an archive takes them at a width; the time then."""
    until_s = now_s + seconds
    while now_s < until_s:
        now_s += 1.0 / images_a_second(width.current)
        width.stored(IMAGE_BYTES, now_s)
    return now_s


def shares(width: Width, images_a_second: Callable[[int], float], seconds: float) -> dict[int, int]:
    """At which widths the images of a long run were stored."""
    found: dict[int, int] = {}
    now_s, until_s = 0.0, seconds
    while now_s < until_s:
        found[width.current] = found.get(width.current, 0) + 1
        now_s += 1.0 / images_a_second(width.current)
        width.stored(IMAGE_BYTES, now_s)
    return found


def test_it_begins_with_all_and_stays_there_while_each_brings_its_share() -> None:
    width = Width(4)
    assert width.current == 4
    found = shares(width, lambda associations: 50.0 * associations, 1800)
    assert found[4] > 0.97 * sum(found.values())


def test_it_narrows_where_the_others_only_wait_for_one_another() -> None:
    width = Width(4)
    work(width, lambda _: 100.0, 300, 0.0)
    assert width.current == 1


def test_it_widens_again_when_that_pays_again() -> None:
    width = Width(4)
    now_s = work(width, lambda _: 100.0, 300, 0.0)
    work(width, lambda associations: 50.0 * associations, 3600, now_s)
    assert width.current == 4


def test_a_refusal_beside_others_that_are_served_says_how_many_there_may_be() -> None:
    width = Width(4)
    assert width.refused(held=3, now_s=100.0)
    assert width.current == 3
    assert width.refused(held=1, now_s=100.1)
    assert width.current == 1
    assert width.refused(held=2, now_s=100.2)  # never more because of a refusal
    assert width.current == 1


def test_a_refusal_while_nothing_is_served_is_the_archives() -> None:
    width = Width(3)
    assert not width.refused(held=0, now_s=5.0)
    assert width.current == 3


def test_after_a_refusal_one_more_is_tried_some_time_later() -> None:
    width = Width(2)
    assert width.refused(held=1, now_s=0.0)
    work(width, lambda associations: 50.0 * associations, 3 * FIRST_TRIAL_S, 0.0)
    assert width.current == 2


def test_what_is_measured_with_breaks_decides_nothing() -> None:
    width = Width(4)
    now_s = 0.0
    while now_s < 20 * FIRST_TRIAL_S:
        now_s += 0.1
        width.stored(IMAGE_BYTES, now_s)
        if int(now_s * 10) % 10 == 0:
            width.idle()
    assert width.current == 4


def test_one_is_always_one() -> None:
    width = Width(1)
    work(width, lambda _: 100.0, 120, 0.0)
    assert width.current == 1


def test_a_refusal_is_remembered_until_all_are_had_again() -> None:
    width = Width(2)
    assert not width.is_refused
    assert width.refused(1, 0.0)
    assert (width.current, width.is_refused) == (1, True)
    now_s = work(width, lambda width: 50.0 * width, 3 * FIRST_TRIAL_S, 0.0)
    assert (width.current, width.is_refused) == (2, False)
    assert width.refused(1, now_s)
    assert width.is_refused
