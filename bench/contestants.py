"""Who receives: our daemon as it is deployed, and the receivers that it is measured against.

Each run of a contestant is a process of its own on a free loopback port, in a directory of its own
that is removed afterwards. What it holds at the end is counted; ours must hold the very content.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.corpora import Image
from bench.measure import Usage, usage
from bench.waiting import listens, wait_until
from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK, free_port
from tackybox.item import Item

NODELAY = {"TCP_NODELAY": "1"}  # DCMTK and Orthanc leave Nagle's algorithm on without it
_TOOL_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_GRACE_S = 20.0


class BenchError(Exception):
    """A measurement that can't count: something is missing, failed, or lost images."""


def tool(name: str, package: str) -> str:
    """The path of the program `name`; raises BenchError with the package that has it."""
    path = shutil.which(name, path=_TOOL_PATH)
    if path is None:
        raise BenchError(f"{name} is not installed: apt-get install {package}")
    return path


@dataclass(frozen=True)
class Run:
    """A started contestant."""

    aet: str
    port: int
    directory: Path
    process: subprocess.Popen[bytes]

    def usage(self) -> Usage:
        """What it and its children have used so far."""
        return usage(self.process.pid)


Command = Callable[[Path, int], Sequence[str]]


@dataclass(frozen=True)
class Contestant:
    """A receiver: how it is started, what it holds, and what it promises with its Success."""

    name: str
    is_ours: bool
    command: Command
    held: Callable[[Run], int]
    aet: str = "BENCH"
    settings: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    preloaded: str = ""  # a C source beside this file, into the receiver

    def check(self, run: Run, images: Sequence[Image]) -> None:
        """Raise BenchError unless it holds all of `images`."""
        expected = len({image.sop_instance_uid for image in images})
        if self.is_ours:
            expected = len(images)
            digests = {Item.parse(path.name).digest for path in our_items(run.directory)}
            if digests != {image.digest for image in images}:
                raise BenchError(f"{self.name} holds other content than was sent")
        wait_until(lambda: self.held(run) >= expected, f"{self.name} holds all")
        if (count := self.held(run)) != expected:
            raise BenchError(f"{self.name} holds {count} of {expected}")


@contextlib.contextmanager
def started(contestant: Contestant, scratch: Path, **environment: str) -> Iterator[Run]:
    """`contestant`, taking connections, until the block ends; its files are removed then."""
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=scratch))
    (directory / "spool").mkdir()
    port = free_port()
    settings = {"name": "bench", "aet": contestant.aet, "port": port, "bind": LOOPBACK,
                "spool": directory / "spool", "destinations": "nobody@127.0.0.1:1",
                "modalities": "any", "min_free_mib": 64, "ssh_key": directory / "none",
                "known_hosts": directory / "none", "log_level": "info"}  # fmt: skip
    variables = child_environment({**settings, **contestant.settings})
    variables |= {**contestant.environment, **environment}
    log = directory / "bench.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            contestant.command(directory, port), cwd=directory, env=variables,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(
            lambda: listens(port) or process.poll() is not None, f"{contestant.name} listens"
        )
        if process.poll() is not None:
            raise BenchError(f"{contestant.name} ended: {log.read_text(errors='replace')[-800:]}")
        yield Run(contestant.aet, port, directory, process)
    finally:
        stop(process)
        shutil.rmtree(directory, ignore_errors=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End `process` and whatever else is left of its session."""
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the session was made for it alone


def our_items(directory: Path) -> list[Path]:
    """What our receiver has accepted."""
    return [path for path in (directory / "spool" / "new").glob("*/*") if path.is_file()]


def _files(run: Run) -> int:
    return sum(1 for _ in (run.directory / "stored").iterdir())


def _storescp(*options: str) -> Command:
    def command(directory: Path, port: int) -> Sequence[str]:
        (directory / "stored").mkdir()
        program = tool("storescp", "dcmtk")
        return [program, *options, "-od", str(directory / "stored"), str(port)]

    return command


def _pynetdicom(directory: Path, port: int) -> Sequence[str]:
    (directory / "stored").mkdir()
    stored = str(directory / "stored")
    return [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", stored]


def _orthanc(directory: Path, port: int) -> Sequence[str]:
    settings = {
        "Name": "bench", "StorageDirectory": str(directory / "db"),
        "IndexDirectory": str(directory / "db"), "DicomAet": "BENCH", "DicomPort": port,
        "HttpPort": free_port(),
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True, "Plugins": [],
    }  # fmt: skip
    (directory / "orthanc.json").write_text(json.dumps(settings))
    return [tool("Orthanc", "orthanc"), str(directory / "orthanc.json")]


def _orthanc_holds(run: Run) -> int:
    port = json.loads((run.directory / "orthanc.json").read_text())["HttpPort"]
    wait_until(lambda: listens(port), "Orthanc answers")
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/statistics", timeout=60) as answer:
        return int(json.load(answer)["CountInstances"])


def _module(name: str) -> Command:
    return lambda _directory, _port: [sys.executable, "-m", name]


OURS = Contestant(
    "Tackybox", True, _module("daughter.receiver"), lambda run: len(our_items(run.directory))
)
STORESCP = Contestant("DCMTK storescp", False, _storescp(), _files)
STORESCP_B = Contestant("DCMTK storescp +B", False, _storescp("+B"), _files)
STORESCP_FORK = Contestant("DCMTK storescp --fork", False, _storescp("--fork"), _files)
STORESCP_FORK_B = Contestant("DCMTK storescp --fork +B", False, _storescp("--fork", "+B"), _files)
# What it costs DCMTK to promise what we do.
STORESCP_PROMISING = Contestant(
    "DCMTK storescp +B, with our promise", False, _storescp("+B"), _files,
    preloaded="keep_promise.c",
)  # fmt: skip
STORESCP_FORK_PROMISING = Contestant(
    "DCMTK storescp --fork +B, with our promise", False, _storescp("--fork", "+B"), _files,
    preloaded="keep_promise.c",
)  # fmt: skip
ORTHANC = Contestant("Orthanc", False, _orthanc, _orthanc_holds)
PYNETDICOM = Contestant("pynetdicom storescp", False, _pynetdicom, _files)
# Ours, with each item with our promise by itself, the plain way; bench/simple_receiver.py.
SIMPLE = Contestant("simplest correct order", True, _module("bench.simple_receiver"), OURS.held)
SIMPLE_PARALLEL = Contestant(
    "the same, items side by side", True, _module("bench.simple_receiver"), OURS.held,
    environment={"BENCH_SIDE_BY_SIDE": "1"},
)  # fmt: skip

GUARANTEES = {
    OURS.name: "content is hashed, file and directory entry are durable: fsync of both",
    SIMPLE.name: "the same, by fsync file, rename, fsync directory, one item after the other",
    SIMPLE_PARALLEL.name: "the same order for each item, without a lock around it",
    STORESCP.name: "nothing: the file is in the kernel's cache; data sets are decoded and encoded",
    STORESCP_B.name: "nothing: the file is in the kernel's cache; bytes kept as they came",
    STORESCP_FORK.name: "nothing: the file is in the kernel's cache; a process per association",
    STORESCP_FORK_B.name: "nothing: the same, bytes kept as they came",
    STORESCP_PROMISING.name: "content is hashed, file and directory entry are durable: preloaded",
    STORESCP_FORK_PROMISING.name: "the same; a process per association",
    ORTHANC.name: "the file's content is durable (fdatasync); directory entry and index are not",
    PYNETDICOM.name: "nothing: the file is in the kernel's cache",
}
