"""Real peers for the tests: each on a free loopback port, in its own directory, stopped by pid."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pynetdicom
import pytest

from tackybox.demo.stack import LOOPBACK, free_port

_READY_S = 30.0


def require(tool: str, package: str) -> str:
    """The path of `tool`, or a skip that says which Debian package has it."""
    path = shutil.which(tool, path="/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{tool} is not installed: apt-get install {package}")
    return path


def wheel_files() -> list[Path]:
    """Every DICOM file that ships inside pydicom's and pynetdicom's wheels."""
    roots = [Path(package.__file__).parent for package in (pydicom, pynetdicom)]
    return sorted(path for root in roots for path in root.rglob("*.dcm"))


def pids_of(*words: str) -> list[int]:
    """Processes of this machine whose command line has each of `words` in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if all(word in line for word in words):
                found.append(int(path.parent.name))
    return found


def is_frozen(pid: int) -> bool:
    """Whether every thread of the process stands."""
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return {stat.read_text().rpartition(")")[2].split()[0] for stat in stats} == {"T"}


def freeze(pid: int) -> None:
    """SIGSTOP; returns when every thread stands: kill returns before, and one may answer yet."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_frozen(pid), f"{pid} is frozen")


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait for `condition`; fail, naming `what`, if it does not come."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            pytest.fail(f"not after {timeout_s:.0f} s: {what}")
        time.sleep(0.05)


@dataclass(frozen=True)
class Peer:
    """A running peer: where it listens, and where it keeps what it gets."""

    aet: str
    port: int
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        """AET@host:port."""
        return f"{self.aet}@{LOOPBACK}:{self.port}"


@contextlib.contextmanager
def running(
    command: Sequence[str], aet: str, port: int, directory: Path, *, kill: bool = False
) -> Iterator[Peer]:
    """Run `command` until the block ends; ready when `port` takes connections.

    Told to end then, or with `kill` killed: what takes seconds to end holds every test up.
    """
    with (directory / "peer.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, f"{command[0]} listens")
        if process.poll() is not None:
            pytest.fail(f"{command[0]} ended: {(directory / 'peer.log').read_text()[-2000:]}")
        yield Peer(aet, port, directory, process)
    finally:
        process.kill() if kill else process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def storescp(directory: Path, *options: str, port: int | None = None) -> Iterator[Peer]:
    """DCMTK's storescp: every transfer syntax, bytes kept as they come, unless `options` differ."""
    tool = require("storescp", "dcmtk")
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    options = options or ("+xa", "-pm", "+B", "-uf")
    command = [tool, *options, "-aet", "STORESCP", "-od", str(directory), str(port)]
    with running(command, "STORESCP", port, directory) as peer:
        yield peer


@contextlib.contextmanager
def orthanc(directory: Path, **more: object) -> Iterator[Peer]:
    """Orthanc, with DICOM and HTTP on loopback; `more` are settings of its own."""
    tool = require("Orthanc", "orthanc")
    directory.mkdir(parents=True, exist_ok=True)
    port, http_port = free_port(), free_port()
    settings = {
        "Name": "test", "StorageDirectory": str(directory / "db"),
        "IndexDirectory": str(directory / "db"), "DicomAet": "ORTHANC", "DicomPort": port,
        "HttpPort": http_port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True,
        "DicomCheckCalledAet": False, "Plugins": [],
        "UnknownSopClassAccepted": True, "OverwriteInstances": False, "StorageCompression": False,
        **more,
    }  # fmt: skip
    (directory / "orthanc.json").write_text(json.dumps(settings))
    (directory / "http_port").write_text(str(http_port))
    command = [tool, str(directory / "orthanc.json")]
    with running(command, "ORTHANC", port, directory, kill=True) as peer:
        wait_until(lambda: _listens(http_port), "Orthanc's HTTP listens")
        yield peer


@contextlib.contextmanager
def dcmqrscp(directory: Path) -> Iterator[Peer]:
    """DCMTK's archive: C-STORE, C-FIND, C-GET."""
    tool = require("dcmqrscp", "dcmtk")
    kept = directory / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (directory / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {kept} RW (200, 1024mb) ANY\nAETable END\n"
    )
    command = [tool, "-c", str(directory / "dcmqrscp.cfg")]
    with running(command, "QRSCP", port, directory) as peer:
        yield peer


@contextlib.contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory for the block, which runs as a user to whom permissions apply, not as root."""
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() != 0:
            yield Path(name)
            return
        os.chown(name, nobody, nobody)
        os.setegid(nobody)
        os.seteuid(nobody)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)
            os.setegid(0)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((LOOPBACK, port)) == 0
