"""The run itself: turns, failures, and what is written where."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import speed
from bench.rows import Bench, Figures, Key, Results, Row


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, ExitStack())


def test_contestants_take_turns(bench: Bench):
    turns: list[str] = []

    def measure(_: Bench, contestant: str) -> Figures:
        turns.append(contestant)
        return {"seconds": float(len(turns))}

    row = Row("row", "title", "counted", ("a", "b", "c"), measure)
    results = Results()
    speed.measure(bench, [row], 2, results)
    assert turns == ["a", "b", "c", "a", "b", "c"]
    assert results.get(Key("row", "b", "seconds")) == [2.0, 5.0]


def test_a_failure_costs_only_its_own_figures_and_is_told(bench: Bench):
    def measure(_: Bench, contestant: str) -> Figures:
        if contestant == "a":
            raise OSError("it broke\nhere")
        return {"seconds": 1.0}

    row = Row("row", "title", "counted", ("a", "b"), measure)
    results = Results()
    speed.measure(bench, [row], 1, results)
    assert results.failures == ["row, a: it broke here"]
    assert results.get(Key("row", "b", "seconds")) == [1.0]
    assert "- row, a: it broke here" in speed.page(results, [row], 5, [])


def test_counts_shrink_in_a_trial_only(tmp_path: Path):
    assert Bench(tmp_path, ExitStack()).count(1000) == 1000
    assert Bench(tmp_path, ExitStack(), 0.1).count(1000) == 100
    assert Bench(tmp_path, ExitStack(), 0.001).count(1000, 16) == 16
    assert Bench(tmp_path, ExitStack(), 0.001).count(3, 16) == 3


def test_what_is_kept_is_made_once(bench: Bench):
    assert bench.keep("it", lambda: [1]) is bench.keep("it", lambda: [2])


def test_a_whole_run_writes_page_and_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "_RESULTS", tmp_path)
    results = Results({Key("receive-ct", "Tackybox", "images_per_s"): [1000.0]})
    speed._write(speed.page(results, speed.ROWS, 5, ["A note."]), results)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speed-receive.svg", "speed.md"]
    assert "| Tackybox | 1,000 | 1 |" in (tmp_path / "speed.md").read_text()


def test_an_unknown_row_is_answered_with_the_names_that_there_are():
    with pytest.raises(
        SystemExit, match="no such row: nonsense; there are: limits, receive-ct-shipped"
    ):
        speed._chosen("receive-ct,nonsense")
