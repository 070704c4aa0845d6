"""How verbs write: tables for people, JSON for programs, quantities as people say them.

Whatever stands in a table may come from a peer, so that markup is off and control characters,
which could steer a terminal, are replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

_PIPE_COLUMNS = 200  # what a table may take where nobody's screen is in the way


def write_json(value: object) -> None:
    """`value` as JSON on stdout; times as ISO 8601."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def console(*, quiet: bool = False, markup: bool = False) -> Console:
    """The console on stdout; with `quiet` it writes nothing. `markup` is for words of our own."""
    return _console(stderr=False, quiet=quiet, markup=markup)


def table(title: str, columns: Iterable[str], *, right: Iterable[str] = ()) -> Table:
    """An empty table; the columns named in `right` hold numbers."""
    made = Table(title=Text(title, "bold"), title_justify="left", box=None, pad_edge=False)
    for column in columns:
        align = column in right
        made.add_column(column, justify="right" if align else "left", overflow="fold")
    return made


def add_row(to: Table, cells: Sequence[object], style: str = "") -> None:
    """Add a row of any values; None is a dash."""
    to.add_row(*(cell(value) for value in cells), style=style)


def cell(value: object) -> Text:
    """`value` as plain text that steers no terminal."""
    text = "-" if value is None or value == "" else str(value)
    return Text(
        "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    )


def progress(what: str, *, quiet: bool = False) -> Progress:
    """A progress bar on stderr, `what` in front of it; nothing where stderr is no terminal."""
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        console=_console(stderr=True),
        transient=True,
        disable=quiet or not sys.stderr.isatty(),
    )


def size(size_bytes: float) -> str:
    """A size in binary units: 1.5 GiB."""
    value, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units: 3 d 4 h."""
    if seconds is None:
        return "-"
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def moment(at: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "-" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def _console(*, stderr: bool, quiet: bool = False, markup: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_COLUMNS
    return Console(
        stderr=stderr, quiet=quiet, markup=markup, highlight=False, emoji=False, width=width
    )


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
