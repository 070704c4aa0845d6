"""A whole relay for the bench: daughter and mother on this machine, a long link between if wanted.

Time is told by the boxes' own journals, whose clock is this machine's: an image is at the archive
when the mother notes its Success.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contestants import Run, stop
from bench.corpora import Image
from bench.measure import Usage, births, kill_left_over, usage
from bench.raw_sender import RawAssociation
from bench.waiting import listens, wait_until
from mysql_utilities.events import Event, Kind
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK, Daughter, Mother, Stack, free_port
from tackybox.spool import Spool

_READ_EVENTS = 10_000


@dataclass(frozen=True)
class Relay:
    """A running relay; `counters` is the link's file if there is a link."""

    daughter: Daughter
    mother: Mother
    archive: Run
    stack: Stack
    counters: Path

    def raw(self, images: Sequence[Image]) -> RawAssociation:
        """A scanner's association for `images`."""
        classes = sorted({image.sop_class_uid for image in images})
        return RawAssociation((LOOPBACK, self.daughter.port), self.daughter.aet, classes)

    def warm_up(self, images: Sequence[Image]) -> None:
        """Send `images` and wait until they are archived and freed, so that everything stands."""
        before = self.archived()
        for image in images:
            with self.raw([image]) as association:
                association.store(association.message(image.path))
        wait_until(lambda: self.archived() >= before + len(images), "the relay is at work", 60)
        spool = Spool.open(self.daughter.spool)
        wait_until(lambda: not spool.count_links(), "the daughter has freed its copies", 60)

    def archived(self) -> int:
        """How many files the archive has."""
        return sum(1 for _ in (self.archive.directory / "stored").iterdir())

    def wait_archived(self, count: int, timeout_s: float = 300.0) -> None:
        """Wait until the archive has `count` files."""
        wait_until(lambda: self.archived() >= count, f"{count} archived", timeout_s)

    def stored_at_s(self, since_s: float, count: int) -> dict[str, float]:
        """When (Unix time) each item was stored, by item id, of the `count` since `since_s`."""
        found: dict[str, float] = {}

        def complete() -> bool:
            for event in events(self.mother.spool, Kind.STORED):
                if event.at.timestamp() >= since_s:
                    found[event.item] = event.at.timestamp()
            return len(found) >= count

        wait_until(complete, "the journal has all", step_s=0.2)
        return found

    def usage(self) -> Usage:
        """What the four daemons and all that they started have used so far."""
        return usage(*(d.process.pid for d in self.stack.daemons if d.process is not None))


def events(spool: Path, kind: Kind) -> Iterator[Event]:
    """The events of `kind` in a box's journal, in the order in which they were written."""
    with SqliteStore(spool / "journal" / "events.sqlite") as store:
        after = 0
        while batch := list(store.read_after(after, _READ_EVENTS)):
            after = batch[-1][0]
            yield from (event for _, event in batch if event.kind == kind)


@contextmanager
def running_relay(
    scratch: Path, archive: Run, *, is_far: bool = False, **settings: Any
) -> Iterator[Relay]:
    """A relay into `archive`; `settings` are for both boxes."""
    with ExitStack() as ending:
        name = ending.enter_context(
            tempfile.TemporaryDirectory(prefix="relay-", dir=scratch, ignore_cleanup_errors=True)
        )
        workdir = Path(name)
        stack = Stack(workdir)
        ending.callback(stop_all, stack)
        stack.daughter_key("north")
        address = f"{archive.aet}@{LOOPBACK}:{archive.port}"
        mother = stack.start_mother("mother", address, **settings)
        destination, counters = mother.destination, workdir / "counters"
        if is_far:
            gate, _, port = destination.rpartition(":")
            far_port = ending.enter_context(long_link(int(port), counters))
            destination = f"{gate}:{far_port}"
            known = (workdir / "keys" / "known_hosts").read_text()
            with (workdir / "keys" / "known_hosts").open("a") as file:
                file.write(known.replace(f"]:{port} ", f"]:{far_port} "))
        daughter = stack.start_daughter("north", destination, **settings)
        yield Relay(daughter, mother, archive, stack, counters)


def stop_all(stack: Stack) -> None:
    """End every daemon of `stack`, and what they leave."""
    born = births(*(d.process.pid for d in stack.daemons if d.process is not None))
    stack.stop()
    kill_left_over(born)  # sessions of sshd, cut in the middle, take their time otherwise


@contextmanager
def long_link(target_port: int, counters: Path) -> Iterator[int]:
    """A link of 100 Mbit/s and 50 ms in front of `target_port`; the port to call instead."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.link", str(port), str(target_port), str(counters)],
        env=child_environment({}), stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: listens(port), "the link is there")
        yield port
    finally:
        stop(process)
