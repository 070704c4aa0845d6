"""Rows: forwarding. Our forwarder's whole daemon against DCMTK's dcmsend, into DCMTK's storescp.

The archive is the witness, the same for both: what is counted lies between the times at which it
wrote the first and the last of its files, so that no start-up is in it. The forwarder runs and is
idle when all images appear at once in her `new/`; then it claims, reads, verifies, sends, settles
and journals each of them. dcmsend sends the same files from where they lie; "verifying" is
the same with SHA-256 over each file before it is sent, as ours has it, by a preloaded library (in
its CPU is the look at all files before the first is sent, when they are hashed as well).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from bench.contestants import (
    NODELAY,
    OURS,
    STORESCP,
    STORESCP_FORK,
    Contestant,
    Run,
    started,
    stop,
)
from bench.corpora import CT, MR, Image
from bench.measure import usage
from bench.preload import preload
from bench.rows import Bench, Figures, Row
from bench.senders import DCMSEND, DCMSEND_VERIFYING, Sender, send
from bench.waiting import wait_until
from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK
from tackybox.item import Item
from tackybox.spool import Spool

_MB = 1e6
_FORWARDER = "mother.forwarder"
_VERIFYING = ", verifying"
_SHIPPED_COUNT = 200  # dcmsend makes 22 of them a second then


def _measure(
    associations: int, environment: Mapping[str, str], bench: Bench, contestant: str
) -> Figures:
    archive = STORESCP if associations == 1 else STORESCP_FORK
    images = bench.corpora.of(CT, bench.count(1000 if environment else _SHIPPED_COUNT, 16))
    os.sync()
    with started(archive, bench.scratch, **environment) as run:
        if contestant == OURS.name:
            cpu_s = _forward(bench, run, images, associations)
        else:
            sender = DCMSEND_VERIFYING if contestant.endswith(_VERIFYING) else DCMSEND
            environment = {**(sender.environment or {}), **preload(bench, sender.preloaded)}
            cpu_s = _dcmsend(replace(sender, environment=environment), run, images, associations)
        archive.check(run, images)
        times_s = sorted(
            path.stat().st_mtime_ns / 1e9 for path in (run.directory / "stored").iterdir()
        )
        rate = (len(times_s) - 1) / (times_s[-1] - times_s[0])
    size_mb = images[0].size_bytes / _MB
    return {
        "images_per_s": rate,
        "mb_per_s": rate * size_mb,
        "cpu_s_per_1000": 1000 * cpu_s / len(images),
    }


def _forward(bench: Bench, archive: Run, images: Sequence[Image], associations: int) -> float:
    """Forward all of `images` with our daemon; the CPU seconds that it used for them."""
    with tempfile.TemporaryDirectory(prefix="run-", dir=bench.scratch) as name:
        spool = Spool.open(Path(name) / "spool")
        with forwarder(spool, archive, associations) as process:
            _deliver(spool, archive, stage(spool, bench.corpora.of(MR, 1)))
            for path in (archive.directory / "stored").iterdir():
                path.unlink()  # it only showed that the forwarder is at work
            staged = stage(spool, images)
            os.sync()
            before = usage(process.pid)
            _deliver(spool, archive, staged)
            return usage(process.pid).cpu_s - before.cpu_s


def _deliver(spool: Spool, archive: Run, staged: Sequence[tuple[Path, Path]]) -> None:
    release(spool, staged)
    stored = archive.directory / "stored"
    wait_until(lambda: sum(1 for _ in stored.iterdir()) >= len(staged), "the archive has all", 300)
    wait_until(lambda: not spool.count_links(), "all is settled")


def stage(spool: Spool, images: Sequence[Image], lane: str = "medium") -> list[tuple[Path, Path]]:
    """Copies of `images` beside the spool's queue, each with the name that it will have there."""
    directory = spool.root / "tmp" / "bench"
    directory.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    staged = []
    for number, image in enumerate(images):
        at = now + timedelta(microseconds=number)
        item = Item(at, "bench", image.digest, image.sop_instance_uid)
        shutil.copyfile(image.path, directory / item.name)
        staged.append((directory / item.name, spool.root / "new" / lane / item.name))
    return staged


def release(spool: Spool, staged: Sequence[tuple[Path, Path]]) -> None:
    """Let all that was staged appear as accepted."""
    for source, target in staged:
        source.rename(target)
    spool.bell.ring()


@contextmanager
def forwarder(spool: Spool, archive: Run, associations: int) -> Iterator[subprocess.Popen[bytes]]:
    """Our forwarder on `spool`, idle, until the block ends."""
    settings = {
        "name": "bench", "aet": "BENCH", "spool": spool.root, "associations": associations,
        "archives": f"{archive.aet}@{LOOPBACK}:{archive.port}", "min_free_mib": 64,
    }  # fmt: skip
    with (spool.root.parent / "forwarder.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", _FORWARDER], env=child_environment(settings),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        stop(process)


def _dcmsend(sender: Sender, archive: Run, images: Sequence[Image], associations: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    send(sender, archive.aet, archive.port, images, associations)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _row(name: str, title: str, associations: int, peer: str) -> Row:
    shipped = name.endswith("shipped")
    sees = "as shipped" if shipped else "with TCP_NODELAY"
    archive: Contestant = STORESCP if associations == 1 else STORESCP_FORK
    return Row(
        name,
        title,
        f"the archive is {archive.name} {sees}; images less one, divided by the time between the "
        "first and the last file that it wrote; CPU is the sender's, of ours without its start",
        (OURS.name, peer) if shipped else (OURS.name, peer, f"{peer}{_VERIFYING}"),
        partial(_measure, associations, {} if shipped else NODELAY),
    )


ROWS = (
    _row("forward-1", "CT, 1,000 of 525 KB", 1, "dcmsend"),
    _row("forward-4", "CT, 1,000 of 525 KB, 4 associations", 4, "4 × dcmsend"),
    _row("forward-1-shipped", "CT, 200 of 525 KB, archive as shipped", 1, "dcmsend"),
)
