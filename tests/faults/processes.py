"""The processes of one relay: found by the directory that it lives in, never by a broad name."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process as it was a moment ago."""

    pid: int
    parent_pid: int
    command: str

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; whether it was still there."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def processes_of(directory: Path) -> list[Process]:
    """All that work in or on `directory`, and what these have started, our own process excepted.

    Named by command line, environment, or working directory; a parent before its children.
    """
    mark = str(directory).encode()
    everybody = dict(_everybody())
    ours = {pid for pid in everybody if _mentions(pid, mark)}
    own, at = set(), os.getpid()
    while at in everybody:
        own.add(at)
        at = everybody[at].parent_pid
    ours -= own
    while more := {p.pid for p in everybody.values() if p.parent_pid in ours} - ours - own:
        ours |= more
    return [everybody[pid] for pid in sorted(ours)]


def _everybody() -> Iterator[tuple[int, Process]]:
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # it has ended
            pid = int(directory.name)
            after_name = (directory / "stat").read_text().rpartition(")")[2].split()
            if after_name[0] != "Z":
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
                yield pid, Process(pid, int(after_name[1]), command.decode(errors="replace"))


def _mentions(pid: int, mark: bytes) -> bool:
    directory = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        if any(mark in (directory / part).read_bytes() for part in ("cmdline", "environ")):
            return True
        return mark in os.fsencode((directory / "cwd").readlink())
    return False
