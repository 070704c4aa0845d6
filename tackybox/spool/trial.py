"""Whether a spool can be used as the daemons use it, tried with a file that is removed again.

Promises: nothing stays behind, and no item is touched. A spool that no daemon has opened yet is
tried as far as it is there. Does not promise that the disk keeps what it was told to keep.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")  # how the kernel writes a blank in a path


class Step(StrEnum):
    """What a daemon does to a file of the spool."""

    WRITE = "write"
    LINK = "link"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class Trouble:
    """The step that failed, the directory that it failed in, and how."""

    step: Step
    directory: Path
    error: OSError


def try_out(root: Path) -> Trouble | None:
    """Write a file in the spool at `root`, take it through every directory by link and rename.

    The first that does not work, or None. Mounts inside the spool are found, also those of one
    file system: neither link nor rename crosses a mount.
    """
    workspace = root / "tmp" if (root / "tmp").is_dir() else root
    probe = workspace / f".probe-{uuid.uuid4().hex}"
    moved = probe.with_name(f"{probe.name}-moved")
    step, directory = Step.WRITE, workspace
    try:
        with probe.open("xb") as file:
            file.write(b"\n")
            file.flush()
            os.fsync(file.fileno())
        for directory in _directories(root):
            linked, step = directory / probe.name, Step.LINK
            try:
                os.link(probe, linked)
                step = Step.MOVE
                linked.rename(moved)
            finally:
                for path in (linked, moved):
                    path.unlink(missing_ok=True)
    except OSError as error:
        return Trouble(step, directory, error)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return None


def mounts_below(root: Path) -> list[Path]:
    """What is mounted inside the spool at `root`, by the kernel's table (proc(5), mountinfo); none
    where that can't be read. Costs no item a look, however many there are."""
    top = f"{root.resolve()}/"
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    places = (_OCTAL.sub(lambda code: chr(int(code[1], 8)), line.split()[4]) for line in lines)
    return [Path(place) for place in places if place.startswith(top)]


def _directories(root: Path) -> Iterator[Path]:
    """Those between which items move, and those that daemons write to besides."""
    for pattern in (
        "new/*", "out/*/*/*", "quarantine", "arriving", "arriving/*", "landing", "receipts",
        "journal",
    ):  # fmt: skip
        yield from sorted(path for path in root.glob(pattern) if path.is_dir())
