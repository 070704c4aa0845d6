"""Plots of the results, as SVG files that a browser shows and a diff can read.

Bars from zero, a panel for each row with a scale of its own; the line over a bar goes from least to
most. Written by hand: a plotting library would bring an image library into the development
environment, in which pydicom would then find decoders that the product does not have.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bench.rows import Key, Results, figure

_OURS = "Tackybox"
_WIDTH, _LABEL, _BAR, _GAP = 860, 250, 18, 6
_PANEL_HEAD, _PANEL_GAP, _TOP = 24, 18, 44
_ROOM = _WIDTH - _LABEL - 110  # the figure stands behind the bar
_OUR_COLOUR, _THEIR_COLOUR, _INK = "#1f6f8b", "#b9c4c9", "#222222"


@dataclass(frozen=True)
class Plot:
    """One file: a metric, and the rows that it is shown for."""

    file: str
    title: str
    metric: str
    rows: tuple[str, ...]


PLOTS = (
    Plot(
        "speed-receive.svg", "Receive, images a second", "images_per_s",
        ("receive-ct-shipped", "receive-ct", "receive-ct-raw", "receive-ct-4", "receive-ct-4-raw",
         "receive-mr"),
    ),
    Plot(
        "speed-receive-large.svg", "Receive, MB a second", "mb_per_s",
        ("receive-cr", "receive-multi-frame", "receive-mix"),
    ),
    Plot(
        "speed-receive-slow-disk.svg", "Receive when fsync takes 5 ms longer, images a second",
        "images_per_s", ("receive-slow-1", "receive-slow-16"),
    ),
    Plot(
        "speed-receive-cpu.svg", "CPU seconds of the receiver for 1,000 images", "cpu_s_per_1000",
        ("receive-ct", "receive-mr"),
    ),
    Plot(
        "speed-receive-memory.svg", "Peak memory of the receiver, all its processes, MB",
        "peak_sum_mb", ("receive-ct", "receive-multi-frame"),
    ),
    Plot(
        "speed-forward.svg", "Forward to DCMTK storescp, images a second", "images_per_s",
        ("forward-1", "forward-4", "forward-1-shipped"),
    ),
    Plot(
        "speed-journey.svg", "The whole journey, images a second", "images_per_s",
        ("journey-link", "journey-mysql"),
    ),
    Plot(
        "speed-backlog.svg", "Resident memory with a backlog, all processes, MB",
        "most_sum_mb", ("backlog",),
    ),
)  # fmt: skip


def write_plots(results: Results, directory: Path) -> None:
    """Write each plot that there are figures for."""
    for plot in PLOTS:
        panels = [(row, _bars(results, row, plot.metric)) for row in plot.rows]
        panels = [(row, bars) for row, bars in panels if bars]
        if panels:
            (directory / plot.file).write_text(svg(plot, panels))


Bar = tuple[str, Sequence[float]]


def _bars(results: Results, row: str, metric: str) -> list[Bar]:
    contestants = dict.fromkeys(key.contestant for key in results.values if key.row == row)
    bars = [(name, results.get(Key(row, name, metric))) for name in contestants]
    return [(name, values) for name, values in bars if values]


def svg(plot: Plot, panels: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """The plot as text."""
    body, y = [], float(_TOP)
    for row, bars in panels:
        body += list(_panel(row, bars, y))
        y += _PANEL_HEAD + len(bars) * (_BAR + _GAP) + _PANEL_GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y:.0f}" '
            f'viewBox="0 0 {_WIDTH} {y:.0f}" font-family="sans-serif" font-size="13">',
            f'<rect width="{_WIDTH}" height="{y:.0f}" fill="white"/>',
            _text(12, 26, plot.title, "font-size='17' font-weight='bold'"),
            *body,
            "</svg>",
            "",
        ]
    )


def _panel(row: str, bars: Sequence[Bar], top: float) -> Iterator[str]:
    scale = _ROOM / (max(max(values) for _, values in bars) or 1.0)
    ours = {_OURS} & {name for name, _ in bars} or {name for name, _ in bars}
    yield _text(12, top + 14, row, "font-weight='bold'")
    for number, (name, values) in enumerate(bars):
        y = top + _PANEL_HEAD + number * (_BAR + _GAP)
        middle, least, most = statistics.median(values), min(values), max(values)
        colour = _OUR_COLOUR if name in ours else _THEIR_COLOUR
        yield _text(_LABEL - 8, y + 13, name, "text-anchor='end'")
        yield (
            f'<rect x="{_LABEL}" y="{y:.1f}" width="{middle * scale:.1f}" height="{_BAR}" '
            f'fill="{colour}"/>'
        )
        yield (
            f'<path d="M{_LABEL + least * scale:.1f} {y + _BAR / 2:.1f}'
            f'H{_LABEL + most * scale:.1f}" '
            f'stroke="{_INK}" stroke-width="1.5"/>'
        )
        yield _text(_LABEL + most * scale + 8, y + 13, figure(middle))


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{_INK}" {more}>{escape(text)}</text>'
