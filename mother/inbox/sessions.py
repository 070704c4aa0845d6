"""The sessions of daughters whose key is gone: found among this machine's processes, and ended.

The gate's script puts into the environment of all that it starts whose key opened the session, and
at which mother. So a session is found whoever runs it by now (the gate, rsync and its children) and
also after another inbox had let it in. Ended is what a session runs; the ssh connection below it
may stay open until the daughter closes it, and each request over it is refused by the gate.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Container
from pathlib import Path

from mother.inbox.gate import DAUGHTER

VARIABLE = "GATE_SESSION"  # "<holder> <name> <fingerprint> <directory of daughters' keys>"
_MOST_ROUNDS = 10


def end_all_but(admitted: Container[tuple[str, str]], daughters: Path) -> set[str]:
    """Kill what runs for keys under `daughters` that are not `admitted` (name, fingerprint).

    Again and again, since what is killed may have forked; returns the names of whom it belonged to.
    """
    names: set[str] = set()
    for _ in range(_MOST_ROUNDS):
        ended = {
            name
            for path in Path("/proc").iterdir()
            if path.name.isdecimal() and (name := _end(int(path.name), admitted, daughters))
        }
        if not ended:
            break
        names |= ended
    return names


def _end(pid: int, admitted: Container[tuple[str, str]], daughters: Path) -> str:
    """Kill the process if it runs for a key that is not admitted; the daughter's name, or ""."""
    with contextlib.suppress(OSError):  # it went, or belongs to another user
        fd = os.pidfd_open(pid)  # so that no other process with the same number is hit
        try:
            holder, name, fingerprint, place = _session(pid)
            if (holder, place) != (DAUGHTER, str(daughters)) or (name, fingerprint) in admitted:
                return ""
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        finally:
            os.close(fd)
        return name
    return ""


def _session(pid: int) -> tuple[str, str, str, str]:
    """What the gate's script has said of a process; four empty words if it never ran it."""
    for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        variable, _, value = entry.decode("utf-8", "surrogateescape").partition("=")
        words = value.split(" ", 3)
        if variable == VARIABLE and len(words) == 4:
            return words[0], words[1], words[2], words[3]
    return "", "", "", ""
