"""The whole road, from a sender to an archive, on real parts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from mysql_utilities.events import Event, Kind
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.demo.stack import Mother, Stack
from tackybox.dimse.files import read_source
from tackybox.errors import DataError
from tackybox.item import content_digest
from tests.peers import pids_of, require


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack under a directory of its own, with the daughter's key known before any mother."""
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    with Stack(tmp_path / "stack") as running:
        running.daughter_key("north")
        yield running


def digests(paths: Iterable[Path]) -> list[str]:
    """Content digests of DICOM files however their file meta was written, sorted."""
    return sorted(digest for path in paths if (digest := _digest(path)))


def _digest(path: Path) -> str:
    try:
        source = read_source(path)
    except (DataError, OSError):
        return ""
    digest = content_digest(source.transfer_syntax_uid)
    digest.update(path.read_bytes()[source.dataset_offset :])
    return str(digest.hexdigest())


def events(spool: Path) -> list[Event]:
    """Everything in a box's embedded journal, in the order in which it was written."""
    with SqliteStore(spool / "journal" / "events.sqlite") as store:
        return [event for _, event in store.read_after(0, 1_000_000)]


def count(spool: Path, kind: Kind) -> int:
    """How many events of `kind` are in a box's embedded journal."""
    return sum(1 for event in events(spool) if event.kind == kind)


def files(directory: Path) -> list[Path]:
    """What an archive keeps in `directory`."""
    return [p for p in directory.iterdir() if p.is_file() and not p.name.startswith(".")]


def waiting(spool: Path) -> list[Path]:
    """Every item that is still in a spool, wherever."""
    return [p for p in spool.rglob("*_*_*_*") if p.is_file()]


def kill_inbox(mother: Mother) -> None:
    """Her machine is gone, as far as daughters can see."""
    mother.inbox.signal(signal.SIGKILL)
    mother.inbox.wait()
    # sshd's sessions outlive a killed listener; these are this test's own.
    for pid in pids_of(str(mother.spool), "mother.inbox.gate"):
        os.kill(pid, signal.SIGKILL)
