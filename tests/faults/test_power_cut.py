"""The power goes, on the daughter, on the mother, on both, at random moments of a whole relay.

The spools are on disks that forget, as disks do, what was not made durable. What was answered must
be there when they are mounted again, before anybody has repaired anything, and at the archive in
the end. A journal may lack its last moments then; it must be one that can be read and goes on.

A daughter who still has her copy makes good for whatever her mother forgets. So two tests are about
what only the mother can know after the cut: items that the daughter has let go of, and receipts of
items that stand nowhere any more.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tackybox.demo.stack import Daemon
from tackybox.item import Item, digest_of
from tackybox.spool import Spool
from tests.faults import disks
from tests.faults.circulating import ITEMS, OUTLET
from tests.faults.conftest import Record
from tests.faults.disks import EXT4, XFS, Disk
from tests.faults.ledger import Ledger
from tests.faults.relay import Relay
from tests.faults.scanner import Scanners
from tests.faults.verdict import judge
from tests.peers import wait_until

_CUTS = {"short": 2, "long": 10}
_CUTS_OF_THE_MOTHER = {"short": 1, "long": 6}
_MADE = [
    pytest.param(EXT4, id="ext4"),
    pytest.param(XFS, id="xfs", marks=pytest.mark.long_fault),
]
_HARDEST = 4  # so many of the first ones forget all that can be forgotten
_IMAGES_A_CUT = 25
_STANDS_S = 0.1  # by then who is told to stop has stopped
_LET_GO_S = 30.0
_FLAGS = (disks.NO_LOG_FLUSH, disks.NO_LOG_FLUSH, disks.LOG_FLUSH, disks.DEFAULT)
_BOXES = (("daughter",), ("mother",), ("daughter", "mother"))

pytestmark = pytest.mark.fault("power_cut")


class Boxes:
    """A relay whose boxes have a disk each, below the directory that the relay lives in."""

    def __init__(self, workdir: Path, make: Sequence[str], release: str) -> None:
        self.disks = {box: Disk(workdir / f"{box}-disk", make) for box in ("daughter", "mother")}
        self.ending = contextlib.ExitStack()
        for disk in self.disks.values():
            self.ending.enter_context(disk.mounted())
        spools = {box: {"spool": disk.directory / "spool"} for box, disk in self.disks.items()}
        self.relay = self.ending.enter_context(
            Relay(
                workdir,
                daughter_settings={**spools["daughter"], "release": release},
                mother_settings=spools["mother"],
                archive_options=("--delay", "0.1"),  # so that items wait at the mother
            )
        )

    def __enter__(self) -> Boxes:
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.close()

    @property
    def archive(self) -> Daemon:
        """The one archive's daemon."""
        return next(d for d in self.relay.stack.daemons if d.name == "archive-1")

    def cut(self, boxes: Sequence[str], how: int, *, at_once: bool) -> None:
        """The power of `boxes` goes and comes again; nobody is started.

        With `at_once` processes die before their disk does; otherwise they see it fail first.
        """
        if at_once:
            self._kill(boxes)
        for box in boxes:
            self.disks[box].cut_power(how)
        if not at_once:
            time.sleep(0.2)
            self._kill(boxes)
        for box in boxes:
            self.disks[box].unmount()
            self.disks[box].mount()

    def check_promise(self, fault: str) -> None:
        """What was answered until now is there, while scanners go on; `fault` is named if not.

        The box that was not cut stands still meanwhile: what moves might be seen nowhere.
        """
        for process in self.relay.processes():
            process.signal(signal.SIGSTOP)
        time.sleep(_STANDS_S)
        promised = Ledger()
        promised.answered = Counter(self.relay.ledger.answered)
        promised.offered = self.relay.ledger.offered
        spools = (self.relay.daughter.spool, self.relay.mother.spool)
        found = judge(promised, *spools, self.relay.archives, journal=False)
        assert found.holds, f"{fault}: {found}"
        self.relay.thaw()

    def wait_signed(self, scanners: Scanners) -> None:
        """Wait until the mother signs for something, unless there is nothing to sign for."""
        before = self._signed_bytes()
        wait_until(lambda: scanners.done or self._signed_bytes() > before, "the mother signs")

    def wait_signed_for_all(self) -> None:
        """Wait until the daughter knows that all of hers stands at the mother."""
        wait_until(
            lambda: all("/sent/" in p or p.startswith("mother/") for p in self.relay.in_flight()),
            "everything is at the mother",
        )

    def wait_let_go(self, count: int) -> None:
        """Wait until the daughter has nothing any more of `count` that were answered; returns at
        that moment, as nearly as that can be."""
        until_s = time.monotonic() + _LET_GO_S
        while self.relay.ledger.answers - self.standing("north") < count:
            if time.monotonic() > until_s:
                pytest.fail(f"the daughter has not let go of {count}")
            time.sleep(0.001)

    def standing(self, box: str) -> int:
        """How many items stand in the spool of `box` and are still to move."""
        return sum(place.startswith(f"{box}/") for place in self.relay.in_flight())

    def _signed_bytes(self) -> int:
        logs = (self.relay.mother.spool / "receipts" / "north").glob("*.log")
        return sum(path.stat().st_size for path in logs)

    def _kill(self, boxes: Sequence[str]) -> None:
        relay = self.relay
        daemons = {
            "daughter": (relay.daughter.receiver, relay.daughter.pusher),
            "mother": (relay.mother.inbox, relay.mother.forwarder),
        }
        for box in boxes:
            for daemon in daemons[box]:
                daemon.signal(signal.SIGKILL)
        if "mother" in boxes:
            # Those that have become rsync, too: they stand by as long as the daughter does.
            for process in relay.processes():
                if re.match(r"\S+ -m mother\.inbox\.gate |\S*rsync --server ", process.command):
                    process.signal(signal.SIGKILL)
        for box in boxes:
            for daemon in daemons[box]:
                daemon.wait()


@pytest.mark.timeout(600)
@pytest.mark.seeds(short=1, long=6)
@pytest.mark.parametrize("make", _MADE)
def test_what_was_answered_is_there_when_the_power_is_back(
    tmp_path: Path, seed: int, make: Sequence[str], record: Record, pytestconfig: pytest.Config
) -> None:
    chance = random.Random(seed)
    count = _CUTS[pytestconfig.getoption("--faults")]
    release = ("stored", "landed")[seed % 2]
    with Boxes(tmp_path / "relay", make, release) as boxes:
        relay = boxes.relay
        images = relay.images(count * _IMAGES_A_CUT, seed=seed)
        with relay.sending(images, senders=4, pause_s=0.02) as scanners:
            for number in range(count):
                scanners.wait_answered(min(len(images), 1 + number * _IMAGES_A_CUT // 2))
                boxes.wait_signed(scanners)
                time.sleep(chance.uniform(0.0, 0.6))
                which = _BOXES[(number + seed) % 3]
                how = chance.choice(_FLAGS) if number >= _HARDEST else disks.NO_LOG_FLUSH
                boxes.cut(which, how, at_once=chance.random() < 0.5)
                boxes.check_promise(f"cut {number} of {which}")
                for box in which:
                    _check_journal(boxes.disks[box].directory / "spool")
                relay.heal()
            scanners.wait_done()
        relay.wait_quiet()
        record(relay.verdict(journal=False), faults=count)
        assert not list(relay.mother.spool.glob("quarantine/*/*/*/*"))


@pytest.mark.timeout(600)
@pytest.mark.seeds(short=1, long=5)
@pytest.mark.parametrize("make", _MADE)
def test_what_the_daughter_let_go_of_is_at_the_mother(
    tmp_path: Path, seed: int, make: Sequence[str], record: Record, pytestconfig: pytest.Config
) -> None:
    """With `release: landed`, and no archive that takes anything: hers is the only copy."""
    chance = random.Random(seed)
    count = _CUTS_OF_THE_MOTHER[pytestconfig.getoption("--faults")]
    with Boxes(tmp_path / "relay", make, "landed") as boxes:
        relay = boxes.relay
        for number in range(count):
            relay.kill(boxes.archive)
            gone = relay.ledger.answers - boxes.standing("north")
            images = relay.images(_IMAGES_A_CUT, seed=seed)
            with relay.sending(images, senders=4) as scanners:
                few = chance.randint(1, _IMAGES_A_CUT)
                boxes.wait_let_go(gone + (few if number % 2 else _IMAGES_A_CUT))
                boxes.cut(["mother"], disks.NO_LOG_FLUSH, at_once=chance.random() < 0.5)
                boxes.check_promise(f"cut {number}")
                relay.heal()
                scanners.wait_done()
        relay.wait_quiet()
        record(relay.verdict(journal=False), faults=count)


@pytest.mark.timeout(600)
@pytest.mark.seeds(short=1, long=5)
@pytest.mark.parametrize("make", _MADE)
def test_what_the_mother_has_signed_and_freed_she_still_tells(
    tmp_path: Path, seed: int, make: Sequence[str], record: Record, pytestconfig: pytest.Config
) -> None:
    """A daughter who was away while all was stored, and who frees her copies on receipts alone."""
    count = _CUTS_OF_THE_MOTHER[pytestconfig.getoption("--faults")]
    with Boxes(tmp_path / "relay", make, "stored") as boxes:
        relay, disk = boxes.relay, boxes.disks["mother"]
        for _ in range(count):
            relay.kill(boxes.archive)
            assert set(relay.send(relay.images(_IMAGES_A_CUT, seed=seed))) == {0}
            boxes.wait_signed_for_all()
            for process in (relay.daughter.pusher, *relay.children(relay.daughter.pusher)):
                process.signal(signal.SIGSTOP)
            subprocess.run(["sync", "-f", str(disk.directory)], check=True)  # all but what follows
            boxes.archive.restart()
            wait_until(lambda: not boxes.standing("mother"), "the mother has freed her copies")
            _commit_journal_of(disk)
            boxes.cut(["mother"], disks.NO_LOG_FLUSH, at_once=True)
            relay.heal()
            relay.wait_quiet(30)
        record(relay.verdict(journal=False), faults=count)


def _commit_journal_of(disk: Disk) -> None:
    """What another daughter's item does: the file system's own journal is written, as it is within
    seconds anyway; the data of other files are not."""
    with (disk.directory / "another").open("ab") as file:
        file.write(b"1")
        file.flush()
        os.fsync(file.fileno())


def _check_journal(spool: Path) -> None:
    """It can be read, every page of it."""
    with contextlib.closing(sqlite3.connect(spool / "journal" / "events.sqlite")) as journal:
        assert journal.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@contextlib.contextmanager
def _circulating(spool: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.faults.circulating", str(spool)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it goes round
            yield process
        finally:
            process.kill()


@pytest.mark.long_fault
@pytest.mark.timeout(600)
@pytest.mark.seeds(short=1, long=5)
@pytest.mark.parametrize("make", _MADE)
def test_no_item_is_in_a_directory_that_was_just_replaced(
    tmp_path: Path, seed: int, make: Sequence[str], pytestconfig: pytest.Config
) -> None:
    """Items go round in a queue whose directories are renewed each time that they are empty."""
    chance = random.Random(seed)
    disk = Disk(tmp_path / "disk", make)
    spool = disk.directory / "spool"
    disk.mount()
    try:
        for _ in range(_CUTS[pytestconfig.getoption("--faults")]):
            with _circulating(spool) as process:
                time.sleep(chance.uniform(0.0, 0.3))
                disk.cut_power(disks.NO_LOG_FLUSH)
                process.kill()
                process.wait()
            disk.unmount()
            disk.mount()
            with Spool.open(spool).work_outlet(OUTLET) as outlet:
                found = [path for path in outlet.root.glob("*/*/*") if path.is_file()]
            assert len({path.name for path in found}) == ITEMS
            assert all(digest_of(path) == Item.parse(path.name).digest for path in found)
    finally:
        disk.unmount()


def test_the_power_is_really_cut(tmp_path: Path) -> None:
    """A file that nobody made durable is gone, else all of the above would show nothing."""
    disk = Disk(tmp_path / "disk")
    with disk.mounted() as directory:
        (directory / "durable").write_bytes(b"1")
        subprocess.run(["sync", "-f", str(directory)], check=True)
        (directory / "forgotten").write_bytes(b"1")
        disk.cut_power()
        with pytest.raises(OSError, match=r"Input/output"):
            (directory / "after").write_bytes(b"1")
    with disk.mounted() as directory:
        assert [path.name for path in directory.iterdir() if path.is_file()] == ["durable"]
