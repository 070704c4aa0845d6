"""Who sends: DCMTK's storescu and dcmsend, and a raw sender that has every byte ready.

What is timed differs, because only one of them is ours to instrument:
raw       from the first byte of the first C-STORE to the last answer of all associations.
storescu, from the start of the processes to the end of the last of them, less what the same
dcmsend   command takes when nothing listens at the port: start-up, and the look at the files
          that they take before they connect.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.contestants import NODELAY, BenchError, tool
from bench.corpora import Image
from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK, free_port

_PATIENCE_S = 600.0


@dataclass(frozen=True)
class Sender:
    """How a sender is started; `environment` is beside the usual one."""

    name: str
    program: str
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    preloaded: str = ""  # a C source beside this file, into the sender

    def command(self, aet: str, port: int, paths: Sequence[Path]) -> list[str]:
        """The command line that sends `paths`."""
        files = [str(path) for path in paths]
        if self.program == "raw":
            return [sys.executable, "-m", "bench.raw_sender", LOOPBACK, str(port), aet, *files]
        program = tool(self.program, "dcmtk")
        return [program, *self.options, "-aec", aet, LOOPBACK, str(port), *files]


RAW = Sender("raw sender", "raw")
STORESCU = Sender("storescu with TCP_NODELAY", "storescu", environment=NODELAY)
STORESCU_SHIPPED = Sender("storescu as shipped", "storescu")
DCMSEND = Sender("dcmsend with TCP_NODELAY", "dcmsend", ("-ma",), NODELAY)
# What it costs DCMTK to know what it sends, as we do.
DCMSEND_VERIFYING = replace(DCMSEND, preloaded="hash_opened.c")


def send(
    sender: Sender, aet: str, port: int, images: Sequence[Image], associations: int = 1
) -> float:
    """Send `images`, dealt out to `associations` processes; the seconds that it took.

    Raises BenchError unless every one of them was answered Success.
    """
    shares = [[image.path for image in images[n::associations]] for n in range(associations)]
    commands = [sender.command(aet, port, share) for share in shares if share]
    if sender.program == "raw":
        return _send_raw(commands)
    spent_s, failures = _run(commands, sender)
    if failures:
        raise BenchError(f"{sender.name}: {failures[0][-500:]}")
    return spent_s


def overhead_s(sender: Sender, images: Sequence[Image], associations: int = 1) -> float:
    """What `send` takes without a peer: start-up, and the look at the files."""
    if sender.program == "raw":
        return 0.0
    port = free_port()
    shares = [[image.path for image in images[n::associations]] for n in range(associations)]
    return _run([sender.command("NOBODY", port, share) for share in shares if share], sender)[0]


def _environment(sender: Sender) -> dict[str, str]:
    inherited = {k: v for k, v in child_environment({}).items() if k not in NODELAY}
    return inherited | dict(sender.environment or {})


def _run(commands: Sequence[Sequence[str]], sender: Sender) -> tuple[float, list[str]]:
    """Seconds until the last one ended, and what those said that failed."""
    began_s = time.monotonic()
    processes = [
        subprocess.Popen(
            command, env=_environment(sender), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for command in commands
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=_PATIENCE_S)[0] for process in processes]
        spent_s = time.monotonic() - began_s
    finally:
        for process in processes:
            process.kill()
            process.wait()
    failed = zip(processes, said, strict=True)
    return spent_s, [
        text.decode(errors="replace") for process, text in failed if process.returncode
    ]


def _send_raw(commands: Sequence[Sequence[str]]) -> float:
    processes = [
        subprocess.Popen(
            command, env=_environment(RAW), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for command in commands
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise BenchError("the raw sender did not get an association")
        began_s = time.monotonic()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        answers = []
        for process in processes:
            assert process.stdout is not None
            answers.append(json.loads(process.stdout.readline() or "{}"))
        spent_s = time.monotonic() - began_s
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    statuses = [status for answer in answers for status in answer.get("statuses", [None])]
    if any(status != 0 for status in statuses):
        raise BenchError(f"the raw sender was answered {sorted(set(map(str, statuses)))}")
    return float(answers[0]["seconds"]) if len(answers) == 1 else spent_s
