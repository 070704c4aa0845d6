"""Rows: the whole journey, from scanner over daughter and mother to archive, and its measures.

The scanner calls the daughter, and the forwarder the archive, on loopback; between daughter and
mother lies bench/link.py where a row says so, because this kind of machine has no netem. The
archive is DCMTK's storescp with TCP_NODELAY. The relay is at work before the clock starts.
"""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bench.contestants import NODELAY, OURS, STORESCP, BenchError, Run, started
from bench.corpora import CT, MR, Image
from bench.link import carried_bytes
from bench.relay import Relay, events, long_link, running_relay
from bench.rows import Bench, Figures, Row
from bench.senders import STORESCU, send
from mysql_utilities.events import Kind
from tackybox.spool import Spool
from tests.databases import Server, as_setting, database_server

_MB = 1e6
_LINK_BYTES_PER_S = 12.5e6
_WARM_UP = 3
_IDLE_S = 70.0
_DIRECT = "storescu over the link"
_RUNNING, _FROZEN, _NONE = "MySQL running", "MySQL frozen", "no MySQL"
_FULL_DIRECT_SLICES = 100
_LOW_PRIORITY, _HIGH_PRIORITY = 2, 1


@contextmanager
def _relay(bench: Bench, *, is_far: bool, **settings: object) -> Iterator[Relay]:
    os.sync()
    with (
        started(STORESCP, bench.scratch, **NODELAY) as archive,
        running_relay(bench.scratch, archive, is_far=is_far, **settings) as relay,
    ):
        relay.warm_up(bench.corpora.of(MR, _WARM_UP))
        yield relay


def _link(bench: Bench, contestant: str) -> Figures:
    if contestant == _DIRECT:
        return _direct(bench, bench.corpora.of(CT, bench.count(_FULL_DIRECT_SLICES)))
    images = bench.corpora.of(CT, bench.count(1000))
    with _relay(bench, is_far=True) as relay:
        carried_before, used_before = carried_bytes(relay.counters)[0], relay.usage()
        seconds = _journey(relay, images)
        carried = carried_bytes(relay.counters)[0] - carried_before
        used = relay.usage()
    return {
        **_over_the_wire(len(images), seconds, carried),
        "cpu_s_per_1000": 1000 * (used.cpu_s - used_before.cpu_s) / len(images),
    }


def _journey(relay: Relay, images: Sequence[Image]) -> float:
    """Send all of `images`; seconds from the sender's start to the archive's last Success."""
    began_s = time.time()
    send(STORESCU, relay.daughter.aet, relay.daughter.port, images)
    relay.wait_archived(len(images) + _WARM_UP)
    ended_s = max(relay.stored_at_s(began_s, len(images)).values())
    _check(relay.archive, len(images) + _WARM_UP)
    return ended_s - began_s


def _check(archive: Run, count: int) -> None:
    if (held := STORESCP.held(archive)) != count:
        raise BenchError(f"the archive holds {held} of {count}")


def _direct(bench: Bench, images: Sequence[Image]) -> Figures:
    os.sync()
    counters = bench.scratch / "counters"
    with (
        started(STORESCP, bench.scratch, **NODELAY) as archive,
        long_link(archive.port, counters) as port,
    ):
        began_s = time.monotonic()
        send(STORESCU, archive.aet, port, images)
        seconds = time.monotonic() - began_s
        _check(archive, len(images))
        time.sleep(1)  # the link's last figures
        return _over_the_wire(len(images), seconds, carried_bytes(counters)[0])


def _over_the_wire(count: int, seconds: float, carried: int) -> dict[str, float]:
    wire_s = carried / _LINK_BYTES_PER_S
    return {
        "seconds": seconds,
        "wire_s": wire_s,
        "over_wire": seconds / wire_s,
        "images_per_s": count / seconds,
        "wire_mb": carried / _MB,
    }


def _idle(bench: Bench, _: str) -> Figures:
    pauses = random.Random(2026)
    images = bench.corpora.of(CT, bench.count(60))
    idle = bench.corpora.of(CT, len(images) + 1)[len(images) :]
    with _relay(bench, is_far=False) as relay:
        latencies_s = [_one(relay, image, pauses.uniform(0.2, 0.5)) for image in images]
        pause_s = _IDLE_S if len(images) >= 60 else 1.0
        after_idle_s = [_one(relay, image, pause_s) for image in idle]
    return {
        "p50_ms": 1e3 * statistics.median(latencies_s),
        "p99_ms": 1e3 * percentile([*latencies_s, *after_idle_s], 0.99),
        "most_ms": 1e3 * max(latencies_s),
        "after_idle_ms": 1e3 * max(after_idle_s),
    }


def _one(relay: Relay, image: Image, pause_s: float) -> float:
    """Seconds from an image's first byte to the archive's Success."""
    archived = relay.archived()
    time.sleep(pause_s)
    with relay.raw([image]) as association:
        message = association.message(image.path)
        began_s = time.time()
        association.store(message)
    relay.wait_archived(archived + 1)
    return max(relay.stored_at_s(began_s, 1).values()) - began_s


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-round(share * 1e6) * len(ordered) // 1_000_000) - 1)]


def _overtake(bench: Bench, _: str) -> Figures:
    """Low-lane images fill the link; every two seconds a high-lane one comes."""
    low = bench.corpora.of(CT, bench.count(1000))
    high = bench.corpora.of(MR, _WARM_UP + bench.count(8, 2))[_WARM_UP:]
    with _relay(bench, is_far=True) as relay:
        stop = threading.Event()
        flood = threading.Thread(target=_send_low, args=(relay, low, stop))
        flood.start()
        try:
            time.sleep(3)
            began_s = []
            for image in high:
                time.sleep(1.0)
                with relay.raw([image]) as association:
                    message = association.message(image.path, _HIGH_PRIORITY)
                    began_s.append(time.time())
                    association.store(message)
            spool = Spool.open(relay.daughter.spool)
            waits = bool(spool.arrivals(1)) or _waits(spool)
        finally:
            stop.set()
            flood.join()
        latencies_s = _high_latencies_s(relay, began_s)
    if not waits and bench.count(1000) == 1000:
        raise BenchError("the link was not saturated until the end")
    return {
        "p50_ms": 1e3 * statistics.median(latencies_s),
        "most_ms": 1e3 * max(latencies_s),
    }


def _waits(spool: Spool) -> bool:
    return any((outlet.root / "new" / "low").iterdir() for outlet in spool.outlets())


def _send_low(relay: Relay, images: Sequence[Image], stop: threading.Event) -> None:
    with relay.raw(images) as association:
        for image in images:
            if stop.is_set():
                return
            association.store(association.message(image.path, _LOW_PRIORITY))


def _high_latencies_s(relay: Relay, began_s: Sequence[float]) -> list[float]:
    """Of the high-lane images that were sent at `began_s`, until each was archived."""
    stored_s: dict[str, float] = {}
    until_s = time.monotonic() + 60
    while len(stored_s) < len(began_s):
        if time.monotonic() > until_s:
            raise BenchError("a high-lane image did not arrive within a minute")
        time.sleep(0.2)
        arrived = [e for e in events(relay.daughter.spool, Kind.RECEIVED) if e.lane == "high"]
        items = [event.item for event in sorted(arrived, key=lambda event: event.at)]
        stored_s = {
            event.item: event.at.timestamp()
            for event in events(relay.mother.spool, Kind.STORED)
            if event.item in items
        }
    return [stored_s[item] - began for item, began in zip(items, began_s, strict=True)]


def _mysql(bench: Bench, contestant: str) -> Figures:
    images = bench.corpora.of(CT, bench.count(500))
    if contestant == _NONE:
        with _relay(bench, is_far=False) as relay:
            return _throughput(relay, images)
    server = bench.keep("MariaDB", partial(_server, bench))
    with _relay(bench, is_far=False, sql=as_setting(server.database())) as relay:
        if contestant == _FROZEN:
            server.freeze()
        try:
            return _throughput(relay, images)
        finally:
            server.thaw()


def _throughput(relay: Relay, images: Sequence[Image]) -> Figures:
    before = relay.usage()
    seconds = _journey(relay, images)
    used = relay.usage()
    return {
        "images_per_s": len(images) / seconds,
        "seconds": seconds,
        "cpu_s_per_1000": 1000 * (used.cpu_s - before.cpu_s) / len(images),
    }


def _server(bench: Bench) -> Server:
    directory = bench.scratch / "mariadb"
    directory.mkdir()
    return bench.stack.enter_context(database_server("mariadb", directory))


_LINK_COUNTED = (
    "a link of 100 Mbit/s and 50 ms round trip, made by bench/link.py. Ours: 1,000 slices, sent by "
    "storescu on loopback, from its start to the STORED event of the last. Directly: the first 100 "
    "of them by storescu, 1 association, through the same link into storescp. Bytes are those that "
    "the link carried towards the mother (ssh, rsync, commits) or the archive, without TCP's own"
)
ROWS = (
    Row("journey-link", "a CT study over a long link", _LINK_COUNTED, (OURS.name, _DIRECT), _link),
    Row(
        "journey-overtake", "a high-lane image on a link that low-lane images fill",
        "8 MR images of priority high, at most one a second, on the link as above while CT of "
        "priority low wait; from the C-STORE's first byte to the STORED event",
        (OURS.name,), _overtake,
    ),
    Row(
        "journey-idle", "one CT image at a time on an idle relay, no link between",
        "60 images after pauses of 0.2 to 0.5 s and 1 after 70 s, each on an association of its "
        "own; from the C-STORE's first byte to the STORED event; p99 is over all of them",
        (OURS.name,), _idle,
    ),
    Row(
        "journey-mysql", "CT, 500 of 525 KB, the whole journey, no link between",
        "sent by storescu; from its start to the STORED event of the last; CPU of all daemons of "
        "both boxes; frozen is SIGSTOP to MariaDB",
        (_RUNNING, _FROZEN, _NONE), _mysql,
    ),
)  # fmt: skip
