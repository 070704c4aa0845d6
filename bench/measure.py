"""What a measurement costs the measured: CPU time and memory of a process and its descendants.

All figures are the kernel's own, from /proc. Not promised: the CPU time of a child that had ended
before it was asked about, unless its parent waited for it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """User and system seconds; peak and present resident memory of the largest, and of all."""

    cpu_s: float
    peak_largest_bytes: int
    peak_sum_bytes: int
    resident_largest_bytes: int
    resident_sum_bytes: int


def descendants(pid: int) -> list[int]:
    """`pid` and all that it started, and what those started, as far as they live."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(_stat_fields(path)[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found, front = [pid], [pid]
    while front:
        front = [child for parent in front for child in children.get(parent, [])]
        found += front
    return found


def births(*roots: int) -> dict[int, str]:
    """When each of `roots` and their descendants began, by process id: together they are unique."""
    found = {}
    for pid in {pid for root in roots for pid in descendants(root)}:
        with contextlib.suppress(OSError):
            found[pid] = _stat_fields(Path(f"/proc/{pid}/stat"))[19]
    return found


def kill_left_over(born: Mapping[int, str]) -> None:
    """End those of `born` that still live: what outlived the daemon that had started it."""
    for pid, begin in born.items():
        if births(pid).get(pid) == begin:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def usage(*roots: int) -> Usage:
    """What the processes `roots` and their descendants have used so far."""
    ticks, peaks, residents = 0, [0], [0]
    for pid in {pid for root in roots for pid in descendants(root)}:
        with contextlib.suppress(OSError):  # it has ended; its parent has its time
            # utime, stime and those of children that were waited for: proc_pid_stat(5).
            ticks += sum(map(int, _stat_fields(Path(f"/proc/{pid}/stat"))[11:15]))
            sizes = _sizes_bytes(pid)
            peaks.append(sizes.get("VmHWM", 0))
            residents.append(sizes.get("VmRSS", 0))
    return Usage(ticks / _TICKS, max(peaks), sum(peaks), max(residents), sum(residents))


def _stat_fields(path: Path) -> list[str]:
    """The fields behind the command's name; the first is the state."""
    return path.read_text().rpartition(")")[2].split()


def _sizes_bytes(pid: int) -> dict[str, int]:
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value.split()[0]) * 1024
    return found


def machine_model() -> str:
    """Cores, their model, and memory."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores of {model}, {memory_gib:.0f} GiB"
