"""Row: the journal, by itself (bench/journal.py)."""

from __future__ import annotations

from bench import journal
from bench.contestants import OURS
from bench.rows import Bench, Figures, Row


def _measure(bench: Bench, _: str) -> Figures:
    return journal.run(bench.scratch, bench.count(20_000))


ROWS = (
    Row(
        "journal",
        "events of an image's arrival: recorded, drained into SQLite, shipped to MariaDB",
        "20,000 events a step, one process each; CPU for each event",
        (OURS.name,),
        _measure,
    ),
)
