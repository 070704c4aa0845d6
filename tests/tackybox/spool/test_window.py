"""Windows: everything is handed out once and in order, in flat memory and with few passes."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tackybox.spool import Entry, window
from tackybox.spool.window import Window

SIZE = 8
FAR_S = 4_000_000_000


# None of them is about how fast the machine is: hypothesis gives up where it takes long for one.
EXAMPLES = settings(
    max_examples=30, stateful_step_count=20, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No slice ends and no pass for safety begins because the machine is busy."""
    monkeypatch.setattr(window, "WINDOW_ENTRIES", SIZE)
    monkeypatch.setattr(window, "_SLICE_S", 1e9)
    monkeypatch.setattr(window, "RESCAN_S", 1e9)


@pytest.fixture
def lane(tmp_path: Path) -> Path:
    (tmp_path / "low").mkdir()
    return tmp_path / "low"


def arrive(lane: Path, number: int, suffix: str = "") -> Path:
    """An item's file, the `number`th to arrive."""
    path = lane / f"20260101T000000.{number:06d}Z_north_{'0' * 64}_1.2.{number + 1}{suffix}"
    path.touch()
    return path


def tiny_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "_SLICE_NAMES", 3)
    monkeypatch.setattr(window, "_SLICE_S", 1e-9)
    monkeypatch.setattr(window, "_EARLY_ENTRIES", 2)


def number_of(entry: Entry) -> int:
    return entry.item.arrived_at.microsecond


def long_ago(directory: Path) -> None:
    """Make the directory's last change one that nothing can be confused with."""
    os.utime(directory, (1e9, 1e9))


def test_a_directory_is_worked_in_order_with_a_pass_for_each_window(lane: Path) -> None:
    for number in reversed(range(100)):
        arrive(lane, number)
    windowed, order, most_held = Window(lane), [], 0
    while entries := windowed.take(3):
        order += [number_of(entry) for entry in entries]
        most_held = max(most_held, len(windowed._keys))
        for entry in entries:
            entry.path.unlink()
    assert order == list(range(100))
    assert most_held <= SIZE
    assert windowed.passes <= 100 // (SIZE - 3) + 2


def test_nobody_waits_for_a_long_pass_and_nothing_is_missed_by_it(
    lane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_slices(monkeypatch)
    for number in range(100):
        arrive(lane, number)
    windowed, found = Window(lane), []
    (comes_back,) = windowed.take(1)
    while entries := windowed.take(1):
        if not entries[0].path.exists():
            continue  # the next pass had read it before it was handed out
        found += [number_of(entry) for entry in entries]
        entries[0].path.unlink()
        if len(found) == 10:
            assert windowed.is_reading
            assert windowed.passes == 1
            windowed.put(comes_back)
    assert sorted(found) == list(range(100))


def test_a_directory_that_has_not_changed_is_not_read_again(lane: Path) -> None:
    long_ago(lane)
    windowed = Window(lane)
    for _ in range(10):
        assert windowed.take(5) == []
    assert windowed.passes == 1
    path = arrive(lane, 1)
    assert [entry.path for entry in windowed.take(5)] == [path]


def test_what_came_in_the_same_clock_tick_as_the_last_pass_is_found(
    lane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "_SETTLED_NS", 10**15)  # however long this takes
    windowed = Window(lane)
    assert windowed.take(1) == []
    changed_ns = lane.stat().st_mtime_ns
    arrive(lane, 1)
    os.utime(lane, ns=(changed_ns, changed_ns))
    assert len(windowed.take(1)) == 1


def test_what_is_put_back_has_its_place_without_a_pass(lane: Path) -> None:
    for number in range(50):
        arrive(lane, number)
    windowed = Window(lane)
    first, second, third = windowed.take(3)
    for entry in (second, first, third):
        windowed.put(entry)
    windowed.put(Entry.at(arrive(lane, 60)))  # beyond the window: the pass that comes there sees it
    assert [number_of(entry) for entry in windowed.take(5)] == [0, 1, 2, 3, 4]
    assert windowed.passes == 1
    assert [number_of(entry) for entry in windowed.take(3)] == [5, 6, 7]
    for path in sorted(lane.iterdir())[:8]:
        path.unlink()
    assert [number_of(entry) for entry in windowed.take(SIZE)] == list(range(8, 16))


def test_a_flood_that_is_put_back_does_not_grow_the_window(lane: Path) -> None:
    long_ago(lane)
    windowed = Window(lane)
    assert windowed.take(1) == []
    for number in reversed(range(100)):
        windowed.put(Entry.at(arrive(lane, number)))
        assert len(windowed._keys) <= 2 * SIZE
    order = []
    while entries := windowed.take(5):
        order += [number_of(entry) for entry in entries]
        for entry in entries:
            entry.path.unlink()
    assert order == list(range(100))


def test_what_another_process_puts_before_the_window_is_found_in_a_while(
    lane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10, 40):
        arrive(lane, number)
    windowed = Window(lane)
    assert number_of(windowed.take(1)[0]) == 10
    arrive(lane, 5)  # by `tackybox quarantine retry`, or the clock was set back
    assert number_of(windowed.take(1)[0]) == 11
    now_s = time.monotonic()
    monkeypatch.setattr(window.time, "monotonic", lambda: now_s + window.RESCAN_S)
    assert number_of(windowed.take(1)[0]) == 5


def test_deferred_entries_come_when_due_and_cost_no_pass_before(
    lane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        arrive(lane, number, f"~1~{FAR_S + 100 - number}")
    windowed = Window(lane, by_due=True)
    for _ in range(10):
        assert windowed.take(5) == []
    windowed.put(Entry.at(arrive(lane, 500, f"~2~{FAR_S}")))
    windowed.put(Entry.at(arrive(lane, 501, f"~2~{FAR_S + 200}")))
    assert windowed.passes == 1
    order = []
    for now_s in (FAR_S + 10, FAR_S + 300):
        monkeypatch.setattr(window.time, "time", lambda now_s=now_s: float(now_s))
        while entries := windowed.take(3):
            order += [entry.due_s for entry in entries]
            for entry in entries:
                entry.path.unlink()
        assert order[-1] <= now_s
    assert order == [*range(FAR_S, FAR_S + 101), FAR_S + 200]
    assert windowed.passes <= 100 // (SIZE - 3) + 4


def test_a_clock_that_goes_back_makes_nobody_wait_longer_than_the_longest_wait(
    lane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day_s = 86_400
    for number in range(3 * SIZE):  # more than a window holds
        arrive(lane, number, f"~1~{FAR_S + 1 + number}")
    windowed = Window(lane, by_due=True, longest_wait_s=60.0)
    monkeypatch.setattr(window.time, "time", lambda: float(FAR_S))
    assert windowed.take(1) == []
    monkeypatch.setattr(window.time, "time", lambda: float(FAR_S - day_s))
    soon = Entry.at(arrive(lane, 900, f"~2~{FAR_S - day_s + 30}"))
    windowed.put(soon)  # due before all of them, and not yet
    now_s = time.monotonic() + window.RESCAN_S
    monkeypatch.setattr(window.time, "monotonic", lambda: now_s)
    taken = []
    while entries := windowed.take(5):
        taken += [number_of(entry) for entry in entries]
        for entry in entries:
            entry.path.unlink()
    assert sorted(taken) == list(range(3 * SIZE))
    monkeypatch.setattr(window.time, "time", lambda: float(soon.due_s))
    assert windowed.take(2) == [soon]


def test_a_file_that_was_moved_to_the_deferred_ones_by_hand_is_due(lane: Path) -> None:
    path = arrive(lane, 1)
    for name in ("1 of mine~x", "2~" + "9" * 30, "notes"):
        (lane / name).touch()
    assert [entry.path for entry in Window(lane, by_due=True).take(9)] == [path]


def test_what_is_put_back_for_ever_beside_what_is_not_due_stays_small(lane: Path) -> None:
    """The window is never used up, so no pass forgets what was handed out."""
    arrive(lane, 1, f"~1~{FAR_S}")
    path = arrive(lane, 2, "~1~1")
    windowed = Window(lane, by_due=True)
    for _ in range(20 * SIZE):
        (entry,) = windowed.take(5)
        assert entry.path == path
        windowed.put(entry)
    assert windowed.passes == 1
    assert len(windowed._keys) <= 2 * SIZE


class Worked(RuleBasedStateMachine):
    """Whatever comes, is put back, deferred or taken: all is handed out, and nothing twice."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.lane = Path(self.directory.name) / "low"
        self.lane.mkdir()
        self.window = Window(self.lane, by_due=True)
        self.taken: set[Path] = set()
        self.count = 0
        self.in_hand: list[Entry] = []

    @rule(count=st.integers(1, 30), due_s=st.sampled_from([1, 2, 3]))
    def arrive(self, count: int, due_s: int) -> None:
        for _ in range(count):
            arrive(self.lane, self.count, f"~1~{due_s}")
            self.count += 1

    @rule(limit=st.integers(1, 20))
    def take(self, limit: int) -> None:
        self.some(limit)

    def some(self, limit: int) -> bool:
        """Take some; whether the window had any."""
        entries = self.window.take(limit)
        for entry in entries:
            away = self.lane.parent / entry.path.name
            if entry.path in self.taken:
                continue  # an overlapping pass had read it before it was handed out
            entry.path.rename(away)
            self.taken.add(entry.path)
            self.in_hand.append(Entry(entry.item, entry.lane, away, entry.attempts, entry.due_s))
        return bool(entries)

    @rule(due_s=st.sampled_from([1, 2, FAR_S]))
    def put(self, due_s: int) -> None:
        for entry in self.in_hand[::2]:
            path = self.lane / f"{entry.item.name}~1~{due_s}"
            entry.path.rename(path)
            self.taken.discard(path)
            self.in_hand.remove(entry)
            self.window.put(Entry.at(path))

    @invariant()
    def it_stays_small(self) -> None:
        assert len(self.window._keys) <= 3 * SIZE + 20

    def teardown(self) -> None:
        for _ in range(2):  # a pass that was under way has not seen what came since
            self.window._look_again_at_s = 0.0  # as after RESCAN_S
            while self.some(7) or self.window.is_reading:
                pass
        left = list(self.lane.iterdir())
        assert all(path.name.endswith(str(FAR_S)) for path in left)
        assert len(left) + len(self.in_hand) == self.count
        self.directory.cleanup()


class TestWorkedInSlices(Worked.TestCase):  # type: ignore[name-defined, misc]
    """The same with passes that take many calls."""

    settings = EXAMPLES

    @pytest.fixture(autouse=True)
    def slices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tiny_slices(monkeypatch)


TestWorked = Worked.TestCase
TestWorked.settings = EXAMPLES
