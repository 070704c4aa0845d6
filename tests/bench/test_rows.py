"""Goals and figures: what is called reached, and how it is said."""

import pytest

from bench.goals import GOALS, LIMITS
from bench.report import page
from bench.rows import METRICS, Goal, Key, Results, figure, spread
from bench.rows_journey import percentile
from bench.speed import ROWS

OURS, THEIRS = Key("row", "ours", "images_per_s"), Key("row", "theirs", "images_per_s")


def results(ours: list[float], theirs: list[float]) -> Results:
    return Results({OURS: ours, THEIRS: theirs})


def test_a_ratio_is_of_medians_and_its_spread_of_rounds():
    goal = Goal("receive", "theirs", OURS, THEIRS, at_least=2.0)
    compared = results([10.0, 30.0, 20.0], [10.0, 10.0, 5.0]).compared(goal)
    assert compared == (2.0, 1.0, 4.0)
    assert goal.is_reached(2.0)
    assert not goal.is_reached(1.99)


def test_at_most_is_the_other_way_round():
    goal = Goal("CPU", "theirs", OURS, THEIRS, at_most=0.25)
    assert goal.is_reached(0.25)
    assert not goal.is_reached(0.26)


def test_plus_compares_differences():
    goal = Goal("memory", "its own", OURS, THEIRS, plus=10.0)
    compared = results([81.0], [70.0]).compared(goal)
    assert compared == (11.0, 11.0, 11.0)
    assert not goal.is_reached(11.0)
    assert goal.is_reached(-3.0)


def test_a_goal_without_a_peer_is_about_our_own_figure():
    goal = Goal("latency", "", OURS, None, at_most=100.0)
    assert results([90.0, 80.0, 120.0], []).compared(goal) == (90.0, 80.0, 120.0)


def test_what_is_asked_of_every_round_is_told_by_the_worst_one():
    goal = Goal("latency", "", OURS, None, at_most=100.0, always=True)
    assert goal.decisive(90.0, 80.0, 120.0) == 120.0
    assert goal.said() == "≤ 100, in each round"
    rate = Goal("receive", "theirs", OURS, THEIRS, at_least=2.0, always=True)
    assert rate.decisive(2.5, 1.9, 3.0) == 1.9


def test_what_was_not_measured_is_neither_reached_nor_missed():
    goal = Goal("receive", "theirs", OURS, THEIRS, at_least=2.0)
    assert results([1.0], []).compared(goal) is None
    assert Results().compared(goal) is None
    assert "not measured" in page(Results(), ROWS, 5, [])


def test_every_goal_names_figures_that_its_row_can_have():
    rows = {row.name: row for row in ROWS}
    for goal in (*GOALS, *LIMITS):
        for key in (goal.ours, goal.theirs):
            if key is not None:
                assert key.contestant in rows[key.row].contestants, key
                assert key.metric in METRICS, key


def test_rows_have_names_of_their_own():
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("value", "text"), [(1234.4, "1,234"), (99.96, "100.0"), (12.34, "12.3"), (0.256, "0.26")]
)
def test_figures_have_few_digits(value: float, text: str):
    assert figure(value) == text


def test_spread_says_least_and_most():
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"
    assert spread([3.0]) == "3.00"
    assert spread([]) == ""


@pytest.mark.parametrize(("share", "found"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile_is_the_nearest_rank(share: float, found: int):
    assert percentile(range(1, 101), share) == found


def test_limits_ask_of_a_promising_peer_what_is_asked_of_us():
    assert {goal.what for goal in LIMITS} < {goal.what for goal in GOALS}
    for goal in LIMITS:
        assert goal.is_asked
        assert goal.ours.contestant.endswith(("with our promise", "verifying"))
        assert goal.theirs is not None
        assert goal.theirs.contestant != goal.ours.contestant
