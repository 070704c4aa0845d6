"""Everything side by side in one run: `make bench` writes bench/results/speed.md and its plots.

    python -m bench.speed [--rounds N] [--rows NAME,…] [--output FILE] [--scale FACTOR]

Row after row; in each round of a row its contestants take their turns. What was measured is
written after every row, also when the run is interrupted. Only a run of all rows at full scale
writes bench/results/; any other goes to standard output, and to FILE if one is named. Progress is
on standard error. Everything that is started ends with it; needs 17 GB in the temporary directory,
on the disk that is to be measured (not a tmpfs): as root for a file system of its own (bench.disk).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import rows_backlog, rows_forward, rows_journal, rows_journey, rows_limits, rows_receive
from bench.contestants import BenchError
from bench.disk import own_disk
from bench.plots import write_plots
from bench.report import page
from bench.rows import Bench, Results, Row

ROWS = (
    *rows_limits.ROWS,
    *rows_receive.ROWS,
    *rows_forward.ROWS,
    *rows_journey.ROWS,
    *rows_journal.ROWS,
    *rows_backlog.ROWS,
)
_RESULTS = Path(__file__).with_name("results")


def measure(bench: Bench, rows: Sequence[Row], rounds: int, results: Results) -> None:
    """All of `rows` into `results`; what fails is noted there and costs only its own figures."""
    for row in rows:
        for number in range(rounds):
            for contestant in row.contestants:
                began_s = time.monotonic()
                try:
                    figures = row.measure(bench, contestant)
                except Exception as error:  # one that fails must not cost the other rows
                    why = " ".join(str(error).split())[:300] or type(error).__name__
                    results.failures.append(f"{row.name}, {contestant}: {why}")
                    _say(f"{row.name} {number + 1} {contestant}: FAILED: {why}")
                    continue
                results.add(row.name, contestant, figures)
                took_s = time.monotonic() - began_s
                said = ", ".join(f"{metric} {value:.4g}" for metric, value in figures.items())
                _say(f"{row.name} {number + 1} {contestant}: {said} [{took_s:.0f} s]")


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _chosen(names: str) -> list[Row]:
    by_name = {row.name: row for row in ROWS}
    unknown = [name for name in names.split(",") if name not in by_name]
    if unknown:
        sys.exit(f"no such row: {', '.join(unknown)}; there are: {', '.join(by_name)}")
    return [by_name[name] for name in names.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", help="names, parted by commas; all if not given")
    parser.add_argument("--output", type=Path, help="where a run of some rows is written")
    parser.add_argument("--scale", type=float, default=1.0, help="less images, to try the bench")
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for; exit code 1 if something failed or was interrupted."""
    args = _arguments()
    rows = _chosen(args.rows) if args.rows else list(ROWS)
    is_whole = not args.rows and args.scale >= 1.0
    results = Results()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    began_s, end = time.monotonic(), "Interrupted: not all was measured."
    with own_disk() as (scratch, disk), ExitStack() as stack:
        os.environ["TMPDIR"] = str(scratch)  # what a daemon leaves when it is killed goes, too
        tempfile.tempdir = None  # looked up anew
        bench = Bench(scratch, stack, args.scale)
        stands_on = f"Everything that is measured stands on {disk}."
        try:
            for row in rows:
                measure(bench, [row], args.rounds, results)
                if is_whole:
                    _write(page(results, rows, args.rounds, ["Not finished.", stands_on]), results)
            end = "Everything was measured."
        except SystemExit:
            _say(end)
        # Written before the million files of a backlog are removed, which takes a minute or two.
        minutes = f"{(time.monotonic() - began_s) / 60:.0f} minutes"
        which = "" if is_whole else f" {' '.join(sys.argv[1:])}"
        said = [f"`make bench`{which}, {minutes}. {end}", stands_on]
        text = page(results, rows, args.rounds, said)
        if is_whole:
            _write(text, results)
        else:
            print(text, flush=True)
            if args.output is not None:
                args.output.write_text(text)
    return int(bool(results.failures) or end.startswith("Interrupted"))


def _write(text: str, results: Results) -> None:
    """The page and the plots of a whole run."""
    (_RESULTS / "speed.md").write_text(text)
    write_plots(results, _RESULTS)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
