"""What a row of the table is: something measured for several contestants, round after round.

A row's `measure` makes one measurement of one contestant and returns its figures by metric; the
first metric is the row's own. Results keep every single figure; medians are for the report.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.corpora import Corpora

_T = TypeVar("_T")
METRICS = {
    "images_per_s": "images/s",
    "mb_per_s": "MB/s",
    "items_per_s": "items/s",
    "events_per_s": "events/s",
    "cpu_s_per_1000": "CPU s per 1,000",
    "cpu_s": "CPU s",
    "peak_mb": "peak memory of the largest process, MB",
    "peak_sum_mb": "peak memory, all processes, MB",
    "resident_mb": "largest process, MB",
    "most_sum_mb": "resident memory, all processes, most, MB",
    "resident_sum_mb": "median, MB",
    "seconds": "s",
    "wire_s": "its bytes ÷ the link's rate, s",
    "wire_mb": "bytes on the wire, MB",
    "over_wire": "time ÷ (bytes ÷ rate)",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "most_ms": "most, ms",
    "after_idle_ms": "most after 70 s of idleness, ms",
    "start_s": "start to first item, s",
}


class Bench:
    """What all rows share: a directory, the corpora, how many images, and what must be ended.

    `scale` shrinks every count for a trial run; figures of such a run prove nothing.
    """

    def __init__(self, scratch: Path, stack: ExitStack, scale: float = 1.0) -> None:
        self.scratch = scratch
        self.stack = stack
        self.corpora = Corpora(scratch / "corpora")
        self._scale = scale
        self._kept: dict[str, object] = {}

    def count(self, full: int, least: int = 8) -> int:
        """`full`, or less in a trial run."""
        return full if self._scale >= 1.0 else min(full, max(least, round(full * self._scale)))

    def keep(self, name: str, make: Callable[[], _T]) -> _T:
        """What `make` made the first time that `name` was asked for."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]  # type: ignore[return-value]


Figures = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """`counted` says exactly what the figures are."""

    name: str
    title: str
    counted: str
    contestants: tuple[str, ...]
    measure: Callable[[Bench, str], Figures]


@dataclass(frozen=True)
class Key:
    """One figure of one contestant in one row."""

    row: str
    contestant: str
    metric: str


@dataclass(frozen=True)
class Goal:
    """A line of the issue's table: the ratio `ours`/`theirs`, or `ours` itself if that is None.

    With nothing asked for it is there to compare: against a peer that does what we do.
    """

    what: str
    against: str
    ours: Key
    theirs: Key | None
    at_least: float | None = None
    at_most: float | None = None
    aim: str = ""
    plus: float | None = None  # instead of a ratio: ours may be so much more
    always: bool = False  # asked of every round, not of their median

    def said(self) -> str:
        """The goal in words."""
        unit = "×" if self.theirs is not None else ""
        if self.plus is not None:
            return f"at most +{self.plus:g}"
        if not self.is_asked:
            return ""
        text = f"≥ {self.at_least:g}{unit}" if self.at_least is not None else ""
        text = text or f"≤ {self.at_most:g}{unit}"
        text += ", in each round" if self.always else ""
        return f"{text}, {self.aim}" if self.aim else text

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to reach."""
        return (self.at_least, self.at_most, self.plus) != (None, None, None)

    def decisive(self, middle: float, least: float, most: float) -> float:
        """Of what `compared` gave the figure that must be reached."""
        if not self.always:
            return middle
        return most if self.at_least is None else least

    def is_reached(self, value: float) -> bool:
        """Whether `value` of `compare` is what the issue asks for."""
        if self.plus is not None:
            return value <= self.plus
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is None or value <= self.at_most

    def compare(self, ours: float, theirs: float | None) -> float:
        """The figure that the goal is about."""
        if theirs is None:
            return ours
        return ours - theirs if self.plus is not None else ours / theirs


@dataclass
class Results:
    """Every figure, in the order of the rounds, and what failed."""

    values: dict[Key, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, row: str, contestant: str, figures: Figures) -> None:
        """Take in one measurement."""
        for metric, value in figures.items():
            self.values.setdefault(Key(row, contestant, metric), []).append(value)

    def get(self, key: Key) -> list[float]:
        """The figures under `key`; empty if it was not measured."""
        return self.values.get(key, [])

    def metrics(self, row: str) -> Iterator[str]:
        """The metrics of a row, in the order in which they came."""
        yield from dict.fromkeys(key.metric for key in self.values if key.row == row)

    def compared(self, goal: Goal) -> tuple[float, float, float] | None:
        """Median against median; and least and most of the rounds, each compared with its own."""
        ours = self.get(goal.ours)
        theirs = self.get(goal.theirs) if goal.theirs else None
        if not ours or theirs == []:
            return None
        if theirs is None:
            return statistics.median(ours), min(ours), max(ours)
        pairs = [goal.compare(a, b) for a, b in zip(ours, theirs, strict=False)]
        middle = goal.compare(statistics.median(ours), statistics.median(theirs))
        return middle, min(pairs), max(pairs)


def spread(values: Sequence[float]) -> str:
    """Median, and least to most where there are several."""
    if not values:
        return ""
    middle = figure(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({figure(min(values))} to {figure(max(values))})"


def figure(value: float) -> str:
    """About three digits, never an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
