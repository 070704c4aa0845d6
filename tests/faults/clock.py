"""A wall clock of a box's own, which jumps on cue.

    clock = Clock(tmp_path)
    clock.give_to(relay, relay.mother)
    clock.jump(-86_400)

All daemons of the box, their children and what these run, the gate's sessions included, see the
real time and as many seconds more. Not promised: that files' times follow, which the kernel gives
them; that a program which asks the kernel without libc sees it.
"""

from __future__ import annotations

import mmap
import signal
import struct
import subprocess
from pathlib import Path

from tackybox.demo.stack import Daughter, Mother
from tests.faults.preload import export_to_gate
from tests.faults.relay import Relay
from tests.peers import require

_SOURCE = Path(__file__).with_name("clock.c")
_AHEAD = struct.Struct("<q")


class Clock:
    """The library, built in `directory`, and the seconds that it is ahead."""

    def __init__(self, directory: Path) -> None:
        compiler = require("gcc", "gcc libc6-dev")
        library, file = directory / "clock.so", directory / "clock"
        command = [compiler, "-shared", "-fPIC", "-O2", "-w", "-o", str(library), str(_SOURCE)]
        subprocess.run([*command, "-ldl"], check=True, timeout=60)
        file.write_bytes(_AHEAD.pack(0))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _AHEAD.size)
        self._environment = {"LD_PRELOAD": str(library), "FAULT_CLOCK": str(file)}

    def jump(self, ahead_s: int) -> None:
        """From now on so many seconds ahead of the real time; behind, where negative."""
        self._map[:] = _AHEAD.pack(ahead_s)

    def give_to(self, relay: Relay, box: Daughter | Mother) -> None:
        """Start the daemons of `box` again with this clock."""
        daemons = (
            [box.inbox, box.forwarder] if isinstance(box, Mother) else [box.receiver, box.pusher]
        )
        prefix = ["env", *(f"{key}={value}" for key, value in self._environment.items())]
        for daemon in daemons:
            relay.restart(daemon, prefix=prefix)
        if isinstance(box, Mother):
            export_to_gate(self._environment, relay.processes("sshd"))
            for session in relay.processes("mother.inbox.gate"):  # begun before it was told
                session.signal(signal.SIGKILL)
