"""A backlog of a million items: made quickly, and what it costs a spool to work on it.

    python -m bench.backlog [--count 1000000] [--directory DIR]

`fill` makes real items, tiny ones, each with a digest that is right. `run` shows, for a short and
a long backlog side by side and each in a process of its own: the first claim after a start, what a
claim and a fan-out take then, passes over directories, memory, and how soon a high-lane item is in
hand. Not measured here: the network and the daemons (`bench.rows_backlog`).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

from bench.corpora import TINY, dataset_offset, make_image
from mysql_utilities.recorder import Recorder
from tackybox import fanout
from tackybox.commands import status
from tackybox.item import Item, content_digest
from tackybox.service import Stop
from tackybox.spool import Entry, Lane, Outlet, Spool

WORKERS = 2
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_OUTLET = "a_1"
_MEASURED_ITEMS = 20_000
_CLAIM_ENTRIES = 16
_SYNTAX = "1.2.840.10008.1.2.1"


def fill(
    spool_root: Path,
    count: int,
    lane: Lane = Lane.LOW,
    *,
    place: str = "new",
    origin: str = "north",
    first: int = 0,
) -> None:
    """Make `count` items from box `origin`, a second apart, waiting in `lane` of the spool.

    `place` is where they wait: "new", or for instance "out/<outlet>/new". `first` is the number of
    the first one: the same numbers have the same content.
    """
    directory = spool_root / place / lane
    directory.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(WORKERS, get_context("fork")) as pool:
        shares = [range(first + worker, first + count, WORKERS) for worker in range(WORKERS)]
        list(pool.map(_fill, [directory] * WORKERS, shares, [origin] * WORKERS))


def _fill(directory: Path, numbers: range, origin: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        image = make_image(Path(scratch), TINY, 0)
        content = image.path.read_bytes()
    offset = dataset_offset(content)
    uid_digits = len(image.sop_instance_uid) - len("2.25.1")
    for number in numbers:
        uid = f"2.25.1{number:0{uid_digits}d}"
        mine = content.replace(image.sop_instance_uid.encode(), uid.encode())
        digest = content_digest(_SYNTAX)
        digest.update(mine[offset:])
        item = Item(_FIRST + timedelta(seconds=number), origin, digest.hexdigest(), uid)
        (directory / item.name).write_bytes(mine)


Figures = dict[str, float]


def run(count: int = 1_000_000, directory: Path | None = None) -> list[Figures]:
    """Figures of a backlog of 1,000 and one of `count`; makes its spools in `directory`."""
    figures = []
    for size in (1_000, count):
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            root = Spool.open(Path(scratch) / "spool").root
            Outlet(root, _OUTLET)
            fill(root, size, place=f"out/{_OUTLET}/new")
            seen = {"count": float(size)} | _alone(_claim, root, size) | _alone(_status, root, size)
            fill(root, size, place="new", origin="south")
            figures.append(seen | _alone(_fan_out, root, size))
    return figures


def _alone(measure: Callable[[Path, int], Figures], root: Path, count: int) -> Figures:
    """`measure` in a fresh process; with its memory after the imports, and what came on top."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        before_mib = pool.submit(_memory_mib).result()
        figures = pool.submit(measure, root, count).result()
        grown_mib = pool.submit(_memory_mib).result() - before_mib
    return figures | {f"{measure.__name__[1:]}_memory_grown_mib": grown_mib}


def _claim(root: Path, count: int) -> Figures:
    started_s = time.perf_counter()
    with Spool.open(root).work_outlet(_OUTLET) as outlet:
        taken = outlet.claim(_CLAIM_ENTRIES)
        first_claim_s = time.perf_counter() - started_s
        cpu_s, before = time.process_time(), outlet.passes
        claimed = 0
        while claimed < min(_MEASURED_ITEMS, count) and taken:
            for entry in taken:
                outlet.release(entry)
            claimed += len(taken)
            taken = outlet.claim(_CLAIM_ENTRIES)
        cpu_us = (time.process_time() - cpu_s) / claimed * 1e6
        passes = outlet.passes - before
        for entry in taken:
            outlet.put_back(entry)
        high_ms = _high_claim_ms(root, outlet)
    return {
        "first_claim_s": first_claim_s,
        "claimed": claimed,
        "claim_passes": passes,
        "claim_cpu_us_per_item": cpu_us,
        "high_claim_ms": high_ms,
    }


def _high_claim_ms(root: Path, outlet: Outlet) -> float:
    fill(root, 1, Lane.HIGH, place=f"out/{_OUTLET}/new", origin="high")
    started_s = time.perf_counter()
    (entry,) = outlet.claim(_CLAIM_ENTRIES)
    took_ms = (time.perf_counter() - started_s) * 1e3
    if entry.lane is not Lane.HIGH:
        raise RuntimeError("another lane went before the high one")
    outlet.release(entry)
    return took_ms


def _fan_out(root: Path, count: int) -> Figures:
    stop, spool = Stop(), Spool.open(root)
    goal = min(_MEASURED_ITEMS, count)
    cpu_s = 0.0
    fanned = 0
    arrivals = spool.arrivals

    def some(limit: int) -> list[Entry]:
        nonlocal cpu_s, fanned
        found = arrivals(limit)
        cpu_s = cpu_s or time.process_time()  # the first pass is the start's
        fanned += len(found)
        if fanned >= goal:
            stop.set()
        return found

    spool.arrivals = some  # type: ignore[method-assign]
    with Recorder(spool.journal, "north") as recorder:
        fanout.run(spool, [_OUTLET], [], recorder, stop, wait=lambda _: stop.set())
    return {"fan_out_cpu_us_per_item": (time.process_time() - cpu_s) / fanned * 1e6}


def _status(root: Path, count: int) -> Figures:
    started_s = time.perf_counter()
    found = status.read(Spool.open(root), None)
    if sum(outlet.total for outlet in found.outlets) > count:
        raise RuntimeError("status counts more than there is")
    return {"status_s": time.perf_counter() - started_s}


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the figures side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="items in the long backlog")
    parser.add_argument("--directory", type=Path, help="where to make the spools")
    args = parser.parse_args()
    figures = run(args.count, args.directory)
    for name in figures[0]:
        print(f"{name:28}", *(f"{one[name]:>14,.3f}" for one in figures))


if __name__ == "__main__":
    main()
