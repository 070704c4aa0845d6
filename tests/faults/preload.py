"""A preloaded library that makes the n-th call of some kinds fail, or kills the process there.

    preload = Preload(tmp_path)
    relay.restart(relay.daughter.receiver, prefix=preload.prefix)
    preload.arm(RENAME, str(relay.daughter.spool / "new"), n=3, action=Action.KILL_BEFORE)
    …                       the third rename into new/, by whichever thread or child, kills it there
    preload.disarm()

Armed and disarmed at any time, without another start. Calls count over all threads, forked
children and programs of whatever was started with `prefix` (of one or of several daemons), as far
as the command line of the process has `program` in it. A rename or link is matched by the path
that it makes. What is called directly in the kernel, without libc, is not seen.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from collections.abc import Mapping
from enum import IntEnum, IntFlag
from pathlib import Path

from tests.faults.processes import Process
from tests.peers import require

_SOURCE = Path(__file__).with_name("preload.c")
_LOGGED = 8192
_FIXED = struct.Struct("<iIqqqii512s128s64s")
_LINE = struct.Struct("<12s244s")
_COUNT_AT, _FIRED_AT = 16, 24


class Action(IntEnum):
    """What happens at the n-th call."""

    OFF = 0
    COUNT = 1  # nothing: calls are counted and logged
    FAIL = 2
    KILL_BEFORE = 3
    KILL_AFTER = 4


class Call(IntFlag):
    """Kinds of calls."""

    FSYNC = 1  # fdatasync too
    RENAME = 2
    LINK = 4
    OPEN = 8  # opendir too
    WRITE = 16
    UNLINK = 32
    MKDIR = 64
    SYNC_RANGE = 128


class Preload:
    """The library, built in `directory`, and its control."""

    def __init__(self, directory: Path) -> None:
        compiler = require("gcc", "gcc libc6-dev")
        library = directory / "preload.so"
        self._control = directory / "control"
        command = [compiler, "-shared", "-fPIC", "-O2", "-w", "-o", str(library), str(_SOURCE)]
        subprocess.run([*command, "-ldl"], check=True, timeout=60)
        size_bytes = _FIXED.size + _LOGGED * _LINE.size
        with self._control.open("w+b") as file:
            file.truncate(size_bytes)
            self._map = mmap.mmap(file.fileno(), size_bytes)
        self.environment = {"LD_PRELOAD": str(library), "FAULT_CONTROL": str(self._control)}

    @property
    def prefix(self) -> list[str]:
        """Before the command of a daemon that is to have it."""
        return ["env", *(f"{key}={value}" for key, value in self.environment.items())]

    def add_to_gate(self, inbox: list[Process]) -> None:
        """As `export_to_gate`, of this library."""
        export_to_gate(self.environment, inbox)

    def arm(
        self,
        calls: Call,
        path: str,
        *,
        n: int = 1,
        action: Action = Action.COUNT,
        error: int = 0,
        lasting: bool = False,
        except_path: str = "",
        program: str = "python",
    ) -> None:
        """From now on count `calls` on paths with `path` in them (and without `except_path`), from
        1; do `action` at the `n`-th: with `lasting` at all from that on."""
        self.disarm()
        fixed = _FIXED.pack(
            0, calls, n, 0, 0, error, lasting, path.encode(), except_path.encode(), program.encode()
        )
        self._map[:] = fixed + bytes(len(self._map) - len(fixed))
        self._map[:4] = struct.pack("<i", action)

    def disarm(self) -> None:
        """Nothing more fails, dies, or is counted."""
        self._map[:4] = struct.pack("<i", Action.OFF)

    @property
    def count(self) -> int:
        """How many calls matched since it was armed."""
        return int(struct.unpack_from("<q", self._map, _COUNT_AT)[0])

    @property
    def fired(self) -> int:
        """How many of them failed or were died at."""
        return int(struct.unpack_from("<q", self._map, _FIRED_AT)[0])

    def calls(self) -> list[str]:
        """The calls that matched, in order: "rename <path>"."""
        found = []
        for number in range(min(self.count, _LOGGED)):
            kind, path = _LINE.unpack_from(self._map, _FIXED.size + number * _LINE.size)
            found.append(f"{_text(kind)} {_text(path)}")
        return found


def export_to_gate(environment: Mapping[str, str], inbox: list[Process]) -> None:
    """Have the gate's sessions have `environment`, from the next one on, until the inbox starts
    again.

    `inbox` are the inbox's processes; sshd gives its sessions an environment of their own.
    """
    configs = [word for p in inbox for word in p.command.split() if "sshd_config" in word]
    if not configs:  # it is being started just now
        return
    gate = Path(configs[0]).with_name("gate")
    exports = "".join(f"export {key}={value}\n" for key, value in environment.items())
    text = gate.read_text()
    if exports not in text:
        changed = gate.with_name("gate.changed")
        changed.write_text(exports + text)
        changed.replace(gate)


def _text(raw: bytes) -> str:
    return os.fsdecode(raw.rstrip(b"\0"))
