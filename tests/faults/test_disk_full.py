"""A disk without room, on either box: refused early, nothing deleted, drained, well by itself."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daughter.receiver.acceptance import OUT_OF_RESOURCES
from tackybox.config import child_environment
from tackybox.demo.stack import Daemon, python
from tests.faults import disks
from tests.faults.conftest import Record
from tests.faults.relay import Relay
from tests.peers import wait_until

_MIN_FREE_MIB = 6
_TMPFS = "size=40m,nr_inodes=2000"
_IMAGES = 6

pytestmark = pytest.mark.fault("disk_full")


def full(directory: Path) -> Callable[[], None]:
    """Not a byte is left; what mends it is returned."""
    return disks.fill(directory).unlink


def below_the_watermark(directory: Path) -> Callable[[], None]:
    return disks.fill(directory, leave_bytes=(_MIN_FREE_MIB - 1) << 20).unlink


def without_inodes(directory: Path) -> Callable[[], None]:
    """But for some of those that the box spares for itself: a mother's first item needs two."""
    ballast = disks.use_up_inodes(directory, leave=20)
    return lambda: shutil.rmtree(ballast)


_SHORTAGES = [full, below_the_watermark, without_inodes]


@contextlib.contextmanager
def _relay(workdir: Path, box: str, **settings: object) -> Iterator[tuple[Relay, Path]]:
    """A relay one box of which has its spool on a small disk; that disk, too."""
    disk = workdir / "small"
    mine = {f"{box}_settings": {"spool": disk / "spool", "min_free_mib": _MIN_FREE_MIB}}
    with disks.memory(disk, _TMPFS), Relay(workdir, **mine, **settings) as relay:
        spools = (relay.daughter.spool, relay.mother.spool)
        wait_until(lambda: all(any(s.glob("out/*/done/low")) for s in spools), "queues are made")
        yield relay, disk


def _asked(verb: str, daemon: Daemon) -> tuple[int, dict[str, Any]]:
    """What `tackybox <verb> --json` says where `daemon` runs, and its exit code."""
    done = subprocess.run(
        [*python("tackybox"), *verb.split(), "--json"], env=child_environment(daemon.settings),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def _assert_alarm(daemon: Daemon, name: str) -> None:
    code, status = _asked("status", daemon)
    assert code == 1
    assert any("nothing more is accepted" in line for line in status["attention"]), status
    assert _asked(f"health {name}", daemon)[1]["warning"].endswith("nothing more is accepted")
    # To start it again would not mend it. (A child's first sign of life takes some seconds.)
    wait_until(lambda: _asked(f"health {name}", daemon)[0] == 0, "it is healthy all the same")


@pytest.mark.long_fault
@pytest.mark.timeout(400)
@pytest.mark.parametrize("shortage", _SHORTAGES)
def test_a_daughter_refuses_drains_and_recovers(
    tmp_path: Path, shortage: Callable[[Path], Callable[[], None]], record: Record
) -> None:
    with _relay(tmp_path, "daughter") as (relay, disk):
        relay.kill(relay.mother.inbox)
        assert relay.send(relay.images(_IMAGES)) == [0] * _IMAGES
        heal = shortage(disk)
        assert relay.send(relay.images(2)) == [OUT_OF_RESOURCES] * 2
        _assert_alarm(relay.daughter.receiver, "daughter.receiver")
        # Neither a start nor what is on its way needs the room that there is not.
        for daemon in (relay.daughter.receiver, relay.daughter.pusher):
            relay.kill(daemon)
        assert len(relay.heal()) == 3
        assert relay.send(relay.images(1)) == [OUT_OF_RESOURCES]
        stored = relay.archives[0].contents
        wait_until(lambda: len(stored()) == _IMAGES, "what was accepted is delivered")
        heal()
        assert relay.send(relay.images(_IMAGES)) == [0] * _IMAGES
        relay.wait_quiet()
        record(relay.verdict(journal=False), faults=1)
        _, status = _asked("status", relay.daughter.receiver)
        assert not any("accepted" in line for line in status["attention"])


def test_an_image_that_meets_the_end_of_the_disk_leaves_nothing(
    tmp_path: Path, record: Record
) -> None:
    with _relay(tmp_path, "daughter") as (relay, disk):
        (large,) = relay.images(1, size_bytes=(_MIN_FREE_MIB + 1) << 20)
        heal = disks.fill(disk, leave_bytes=(_MIN_FREE_MIB << 20) + 65536).unlink
        assert relay.send([large]) == [OUT_OF_RESOURCES]
        left = list((relay.daughter.spool / "tmp" / "receiver").iterdir())
        assert sum(path.stat().st_size for path in left) == 0
        heal()
        assert relay.send([large]) == [0]
        relay.wait_quiet()
        record(relay.verdict(journal=False), faults=1)


@pytest.mark.long_fault
@pytest.mark.timeout(400)
@pytest.mark.parametrize("shortage", _SHORTAGES)
def test_a_mother_refuses_and_nothing_is_lost_on_the_way(
    tmp_path: Path, shortage: Callable[[Path], Callable[[], None]], record: Record
) -> None:
    with _relay(tmp_path, "mother") as (relay, disk):
        other = relay.stack.start_archive("other", "OTHER")
        second = relay.stack.start_mother("mother-2", other[0], rescan_interval_s=0.3)
        first = relay.mother.destination
        relay.restart(relay.daughter.pusher, destinations=f"{first};{second.destination}")
        heal = shortage(disk)
        assert relay.send(relay.images(_IMAGES)) == [0] * _IMAGES
        wait_until(lambda: len(_files(other[1])) == _IMAGES, "the other mother is not affected")
        _assert_alarm(relay.mother.inbox, "mother.inbox")
        wait_until(lambda: _says_that_she_is_full(relay), "the daughter says why it waits")
        for daemon in (relay.mother.inbox, relay.mother.forwarder):
            relay.kill(daemon)
        assert len(relay.heal()) == 2
        assert relay.archives[0].contents() == set()
        heal()
        relay.wait_quiet()
        record(relay.verdict(journal=False), faults=1)


@pytest.mark.timeout(400)
@pytest.mark.long_fault
def test_a_mother_who_is_full_of_what_an_archive_does_not_take(
    tmp_path: Path, record: Record
) -> None:
    """To the last byte, since what several daughters push at once may pass the watermark."""
    with _relay(tmp_path, "mother") as (relay, disk):
        archive = next(d for d in relay.stack.daemons if d.name == "archive-1")
        archive.signal(signal.SIGKILL)
        archive.wait()
        paths = relay.images(60, size_bytes=1 << 20)
        assert relay.send(paths) == [0] * len(paths)
        wait_until(lambda: _free_mib(disk) < _MIN_FREE_MIB, "she has taken what she can")
        wait_until(lambda: _says_that_she_is_full(relay), "the daughter says why it waits")
        heal = disks.fill(disk).unlink
        for daemon in (relay.mother.inbox, relay.mother.forwarder):
            relay.kill(daemon)
        assert "archive-1" in relay.heal()
        wait_until(
            lambda: not any(place.startswith("mother/") for place in relay.in_flight()),
            "she drains, full as she is",
        )
        heal()
        relay.wait_quiet(timeout_s=150)
        record(relay.verdict(journal=False), faults=2)


@pytest.mark.timeout(400)
@pytest.mark.long_fault
def test_what_a_cut_push_left_keeps_no_other_out(tmp_path: Path, record: Record) -> None:
    with _relay(tmp_path, "mother") as (relay, disk):
        half = relay.mother.spool / "arriving" / relay.daughter.name / ".partial" / "half"
        wait_until(half.parent.parent.is_dir, "the daughter has come")
        relay.kill(relay.daughter.pusher)
        half.parent.mkdir(exist_ok=True)
        disks.fill(disk, leave_bytes=1 << 20).rename(half)
        assert relay.send(relay.images(_IMAGES)) == [0] * _IMAGES
        relay.heal()
        relay.wait_quiet()
        assert not half.exists()
        record(relay.verdict(journal=False), faults=1)


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if not path.name.startswith(".")]


def _free_mib(directory: Path) -> int:
    return shutil.disk_usage(directory).free >> 20


def _says_that_she_is_full(relay: Relay) -> bool:
    _, status = _asked("status", relay.daughter.pusher)
    return any("its disk is full" in line for line in status["attention"])
