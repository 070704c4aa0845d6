"""Rows: a backlog. Each daemon with 1,000 and with 1,000,000 items waiting in its spool.

Items are tiny CT images in the low lane, made once in one directory that is moved, as it is, first
into a mother's spool, then into a daughter's: what stands in a queue is a name in a directory, and
a rename brings it there as well as an arrival. The relay around it is whole and real.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from bench.backlog import fill
from bench.contestants import NODELAY, STORESCP, BenchError, Run, started
from bench.corpora import MR
from bench.measure import usage
from bench.relay import stop_all
from bench.rows import Bench, Figures, Row
from bench.senders import STORESCU, send
from bench.waiting import wait_until
from mysql_utilities.recorder import Recorder
from mysql_utilities.reports import open_embedded
from tackybox.config.addresses import parse_archives, parse_mothers
from tackybox.demo.stack import LOOPBACK, Daemon, Stack
from tackybox.rebuild import Keeper
from tackybox.service import Stop
from tackybox.spool import Lane, Outlet, Spool, State

_MB = 1e6
_SMALL, _LARGE = 1_000, 1_000_000
_STEADY = 25_000  # few enough to cost nothing, and enough for a rate that is not a burst's
_DELIVERED_SHARE, _DELIVERED_MOST = 0.9, 20_000  # before the measuring ends: more than a window
_MEANWHILE = 20
_TINY_BYTES = 5000
_SAMPLE_EVERY_S = 0.05
_COUNT_EVERY_S = 1.0
_PATIENCE_S = 300.0
_DAEMONS = ("receiver", "pusher", "inbox", "forwarder")
_AT_MOTHER = ("inbox", "forwarder")


class _Waiting:
    """A directory with `count` items, as often as it is asked for."""

    def __init__(self, scratch: Path, count: int) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="waiting-", dir=scratch))
        self._count = count
        self._made = 0

    def directory(self) -> Path:
        """It, with what was delivered since replaced by new items."""
        directory = self._root / "items" / Lane.LOW
        missing = self._count - (sum(1 for _ in directory.iterdir()) if self._made else 0)
        fill(self._root, missing, place="items", first=self._made)
        self._made += missing
        os.sync()
        return directory


def _spool(stack: Stack, name: str) -> Spool:
    """The spool of the box `name`, with a journal of its own: what waits was not lost from it."""
    spool, stop = Spool.open(stack.workdir / name), Stop()
    with Recorder(spool.journal, name) as recorder:
        keeper = Keeper(spool, name, recorder, stop)
        keeper.look()
        keeper.close()
    return spool


@contextlib.contextmanager
def _moved(waiting: Path, outlet: Outlet, stack: Stack) -> Iterator[None]:
    """What waits, in the queue of `outlet`; taken back when all of `stack` has ended."""
    queue = outlet.directory(State.NEW, Lane.LOW)
    queue.rmdir()
    waiting.rename(queue)
    try:
        yield
    finally:
        stop_all(stack)
        queue.rename(waiting)


class _Sampler:
    """The most memory that each daemon's processes held together, looked at now and then."""

    def __init__(self, daemons: Mapping[str, Daemon]) -> None:
        self._daemons = daemons
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sums_bytes: dict[str, list[int]] = {name: [] for name in daemons}
        self.largest_bytes: dict[str, int] = dict.fromkeys(daemons, 0)

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_SAMPLE_EVERY_S):
            for name, daemon in self._daemons.items():
                if daemon.process is not None:
                    found = usage(daemon.process.pid)
                    self.sums_bytes[name].append(found.resident_sum_bytes)
                    largest = max(found.resident_largest_bytes, self.largest_bytes[name])
                    self.largest_bytes[name] = largest

    def figures(self, name: str) -> dict[str, float]:
        """Of the daemon `name`."""
        return {
            "most_sum_mb": max(self.sums_bytes[name]) / _MB,
            "resident_sum_mb": statistics.median(self.sums_bytes[name]) / _MB,
            "resident_mb": self.largest_bytes[name] / _MB,
        }


@contextlib.contextmanager
def _world(bench: Bench) -> Iterator[tuple[Stack, Run]]:
    with ExitStack() as ending:
        archive = ending.enter_context(started(STORESCP, bench.scratch, **NODELAY))
        name = ending.enter_context(
            tempfile.TemporaryDirectory(
                prefix="relay-", dir=bench.scratch, ignore_cleanup_errors=True
            )
        )
        stack = Stack(Path(name))
        ending.callback(stop_all, stack)
        stack.daughter_key("north")
        yield stack, archive


def _at_mother(bench: Bench, waiting: Path, count: int) -> dict[str, Figures]:
    """Inbox and forwarder, while the mother has all that waits and a daughter pushes some more."""
    with _world(bench) as (stack, archive):
        address = f"{archive.aet}@{LOOPBACK}:{archive.port}"
        groups = parse_archives(address)
        outlet = Outlet(_spool(stack, "mother").root, groups[0].name)
        with _moved(waiting, outlet, stack):
            began_s = time.time()
            mother = stack.start_mother("mother", address)
            ready_s = time.time() - began_s
            with _Sampler({"inbox": mother.inbox, "forwarder": mother.forwarder}) as sampler:
                daughter = stack.start_daughter("north", mother.destination)
                send(STORESCU, daughter.aet, daughter.port, bench.corpora.of(MR, _MEANWHILE))
                first_s, rate = _delivered(archive, began_s, count)
    return {
        "inbox": {**sampler.figures("inbox"), "start_s": ready_s},
        "forwarder": {
            **sampler.figures("forwarder"), "start_s": first_s, "items_per_s": rate,
        },
    }  # fmt: skip


def _at_daughter(bench: Bench, waiting: Path, count: int) -> dict[str, Figures]:
    """Receiver and pusher, while the daughter has all that waits and a scanner sends some more."""
    with _world(bench) as (stack, archive):
        mother = stack.start_mother("mother", f"{archive.aet}@{LOOPBACK}:{archive.port}")
        group = parse_mothers(mother.destination)[0]
        outlet = Outlet(_spool(stack, "north").root, group.name)
        with _moved(waiting, outlet, stack):
            began_s = time.time()
            daughter = stack.start_daughter("north", mother.destination)
            ready_s = time.time() - began_s
            with _Sampler({"receiver": daughter.receiver, "pusher": daughter.pusher}) as sampler:
                send(STORESCU, daughter.aet, daughter.port, bench.corpora.of(MR, _MEANWHILE))
                first_s, _ = _delivered(archive, began_s, count)
        rate = _pushed_per_s(stack.workdir / "north" / "journal", count)
    return {
        "receiver": {**sampler.figures("receiver"), "start_s": ready_s},
        "pusher": {**sampler.figures("pusher"), "start_s": first_s, "items_per_s": rate},
    }


def _least(count: int) -> int:
    """How many of `count` are waited for."""
    return min(round(count * _DELIVERED_SHARE), _DELIVERED_MOST)


def _pushed_per_s(journal: Path, count: int) -> float:
    """Items a second that the mother signed for, while the first of `count` were pushed.

    At the archive they would tell of the forwarder as well, which has less of this machine's cores
    the longer the pusher goes on beside it.
    """
    store = open_embedded(journal)
    if store is None:
        raise BenchError("the daughter has no journal")
    query = "SELECT at FROM event WHERE kind = 'PUSHED' ORDER BY at LIMIT :least"
    with store:
        found = store.rows(query, {"least": _least(count)})
    times = [datetime.fromisoformat(at) for (at,) in found]
    return (len(times) - 1) / (times[-1] - times[0]).total_seconds()


def _delivered(archive: Run, began_s: float, count: int) -> tuple[float, float]:
    """Wait for some of the `count` that waited: seconds to the first of it, and items a second."""
    least = _least(count)
    waited: list[float] = []

    def enough() -> bool:
        paths = list((archive.directory / "stored").iterdir())
        if len(paths) < least:
            return False
        stats = [path.stat() for path in paths]
        waited[:] = [stat.st_mtime_ns / 1e9 for stat in stats if 0 < stat.st_size < _TINY_BYTES]
        others = sum(1 for stat in stats if stat.st_size > _TINY_BYTES)
        return len(waited) >= least and others >= _MEANWHILE

    wait_until(enough, "the backlog moves", _PATIENCE_S, _COUNT_EVERY_S)
    times_s = sorted(waited)[:least]
    return times_s[0] - began_s, (len(times_s) - 1) / (times_s[-1] - times_s[0])


def _measure(bench: Bench, contestant: str) -> Figures:
    daemon, _, text = contestant.partition(", ")
    count = int(text.replace(",", ""))
    count = bench.count(count) if count == _LARGE else count
    place = _at_mother if daemon in _AT_MOTHER else _at_daughter
    # Of a run that tells of two daemons the second one is told when it is asked for.
    told: dict[str, Figures] = bench.keep(f"{place.__name__} {text}", dict)
    if daemon not in told:
        waiting = bench.keep(f"waiting {text}", lambda: _Waiting(bench.scratch, count))
        told.update(place(bench, waiting.directory(), count))
    return told.pop(daemon)


_COUNTED = (
    f"until {_DELIVERED_SHARE:.0%}, at most {_DELIVERED_MOST:,}, of what waited are at the "
    f"archive, and {_MEANWHILE} MR images that were received and pushed meanwhile; memory is the "
    "sum over all processes of the daemon, seen every 50 ms: the most, and the median, in which an "
    "inbox is busy or not; start is, of pusher and forwarder, from the start of their box to the "
    "first item that waited at the archive, of receiver and inbox until they take connections; "
    "items/s are, of the pusher, those that the mother signed for, of the forwarder those at the "
    "archive, among the first of what waited"
)
ROWS = (
    Row(
        "backlog",
        "each daemon with a backlog",
        _COUNTED,
        (
            *(f"{daemon}, {count:,}" for daemon in _DAEMONS for count in (_SMALL, _LARGE)),
            *(f"{daemon}, {_STEADY:,}" for daemon in ("pusher", "forwarder")),
        ),
        _measure,
    ),
)
