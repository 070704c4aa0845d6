"""The results as a page of Markdown."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import journal
from bench.contestants import GUARANTEES, BenchError, tool
from bench.goals import GOALS, LIMITS
from bench.measure import machine_model
from bench.plots import PLOTS
from bench.rows import METRICS, Goal, Key, Results, Row, figure, spread

_LABELS = METRICS | journal.METRICS
_TOOLS = (
    ("storescp", "dcmtk", "--version"),
    ("Orthanc", "orthanc", "--version"),
    ("mariadbd", "mariadb-server", "--version"),
    ("rsync", "rsync", "--version"),
    ("ssh", "openssh-client", "-V"),
)
_CORPORA = (
    "What is sent: generated images, noise on a phantom (bench/corpora.py), Explicit VR Little",
    "Endian, about 2 : 1 under lossless compression: CT 512 x 512, MR 256 x 256, 16 bit; CR of",
    "20 MB, multi-frames of 95 frames in 200 MB. A row says how many: fewer where a contestant",
    "manages some twenty a second, the same for all of that row. What each contestant holds is",
    "counted after each run, ours compared by content; every sender saw Success for every image.",
)


def page(results: Results, rows: Sequence[Row], rounds: int, notes: Sequence[str]) -> str:
    """The page about `rows`; a row or goal without figures says so."""
    names = {row.name for row in rows}
    lines = [
        "# As fast as the wire and the disk: measured",
        "",
        *notes,
        "",
        f"Medians (least to most) of {rounds} rounds; in each round the contestants of a row",
        "take turns, one after the other. Senders, receivers, relay and archive share this one",
        "machine and its loopback, so a fast receiver is held back by its sender's CPU time.",
        "",
        *_CORPORA,
        "",
        *machine(),
        "",
        "## What it must show",
        "",
        "Ratio of the medians; in brackets least to most of the ratios within one round.",
        "",
        "| what | against | Tackybox | against it | compared | goal | reached |",
        "|---|---|---|---|---|---|---|",
        *(_goal_line(goal, results) for goal in GOALS if goal.ours.row in names),
        "",
        "## The same asked of DCMTK with our promise",
        "",
        "Whether it is to be had at all: by a program in C++ that fsyncs and hashes, too.",
        "",
        "| what | against | DCMTK with our promise | against it | compared | goal | reached |",
        "|---|---|---|---|---|---|---|",
        *(_goal_line(goal, results) for goal in LIMITS if goal.ours.row in names),
        "",
        "## What Success means",
        "",
        "| contestant | before it answers Success |",
        "|---|---|",
        *(f"| {name} | {guarantee} |" for name, guarantee in GUARANTEES.items()),
    ]
    for row in rows:
        lines += ["", *_section(row, results)]
    lines += ["", "## Plots", "", *(f"- [{plot.title}]({plot.file})" for plot in PLOTS)]
    if results.failures:
        lines += ["", "## What failed", "", *(f"- {failure}" for failure in results.failures)]
    return "\n".join(lines) + "\n"


def _goal_line(goal: Goal, results: Results) -> str:
    ours = spread(results.get(goal.ours))
    theirs = spread(results.get(goal.theirs)) if goal.theirs else ""
    compared = results.compared(goal)
    ratio, verdict = "not measured", ""
    if compared is not None:
        middle, least, most = compared
        ratio = f"{figure(middle)} ({figure(least)} to {figure(most)})" if goal.theirs else ""
        verdict = "yes" if goal.is_reached(goal.decisive(*compared)) else "**no**"
        verdict = verdict if goal.is_asked else "to compare"
    cells = (goal.what, goal.against, ours, theirs, ratio, goal.said(), verdict)
    return f"| {' | '.join(cells)} |"


def _section(row: Row, results: Results) -> Iterator[str]:
    yield f"## {row.name}: {row.title}"
    yield ""
    yield f"Counted: {row.counted}."
    yield ""
    metrics = list(results.metrics(row.name))
    if not metrics:
        yield "Not measured."
        return
    yield f"| | {' | '.join(_LABELS[metric] for metric in metrics)} | rounds |"
    yield f"|---|{'---|' * (len(metrics) + 1)}"
    for contestant in row.contestants:
        found = [results.get(Key(row.name, contestant, metric)) for metric in metrics]
        rounds = max(map(len, found))
        yield f"| {contestant} | {' | '.join(map(spread, found))} | {rounds} |"


def machine() -> list[str]:
    """What it ran on, with which versions."""
    commit = _first_line("git", "rev-parse", "--short", "HEAD")
    packages = ", ".join(f"{name} {version(name)}" for name in ("pynetdicom", "pydicom", "PyMySQL"))
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}; {machine_model()}; "
        f"Linux {platform.release()}; Python {platform.python_version()}, {packages}; "
        f"{'; '.join(_versions())}."
    ]


def _versions() -> Iterator[str]:
    for name, package, option in _TOOLS:
        try:
            said = _first_line(tool(name, package), option)
        except BenchError:
            continue
        number = re.search(r"\d+(\.\d+)+\S*", said)
        label = {"storescp": "DCMTK", "mariadbd": "MariaDB", "ssh": "OpenSSH"}.get(name, name)
        yield f"{label} {number.group().rstrip(',') if number else '?'}"


def _first_line(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return (done.stdout or done.stderr).strip().partition("\n")[0]
