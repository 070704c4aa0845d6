"""The processes of a relay on one machine: started, watched, stopped by their own process ids."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tackybox.config import child_environment
from tackybox.errors import UnavailableError

LOOPBACK = "127.0.0.1"
_CHILDREN_S = 5.0
_READY_S = 30.0
_GRACE_S = 40.0
_TOOLS = {
    "rsync": "rsync",
    "rrsync": "rsync",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
}


def free_port() -> int:
    """A TCP port on loopback that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


def require_tools() -> None:
    """Raise UnavailableError, with the line to run, if a program that a relay needs is missing."""
    path = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
    missing = sorted({pkg for tool, pkg in _TOOLS.items() if not shutil.which(tool, path=path)})
    if missing:
        raise UnavailableError(
            f"programs are missing; as root run: apt-get install -y {' '.join(missing)}"
        )


@dataclass
class Daemon:
    """One of our processes: how it is started again, and where its log lines go."""

    name: str
    command: Sequence[str]
    settings: dict[str, object]
    log: Path
    port: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        with self.log.open("ab") as log:
            # A session of its own: a terminal's Ctrl-C is the stack's to act on.
            self.process = subprocess.Popen(
                self.command, env=child_environment(self.settings), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wait_ready(self) -> None:
        """Wait until its port takes connections; raises UnavailableError with its last words."""
        until_s = time.monotonic() + _READY_S
        while self.port is not None:
            if self.process is None or self.process.poll() is not None:
                raise UnavailableError(f"{self.name} did not start: {self.last_words()}")
            with socket.socket() as sock:
                if sock.connect_ex((LOOPBACK, self.port)) == 0:
                    return
            if time.monotonic() > until_s:
                raise UnavailableError(f"{self.name} is not ready after {_READY_S:.0f} s")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, by its own process id."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self, timeout_s: float = _GRACE_S) -> int | None:
        """Wait for its end, kill it if it takes too long; its exit code."""
        if self.process is None:
            return None
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._wait_for_children()
        return code

    def _wait_for_children(self) -> None:
        """They die with it, but a killed one's have its port for a moment more."""
        until_s = time.monotonic() + _CHILDREN_S
        with contextlib.suppress(ProcessLookupError):  # nobody is left
            while self.process is not None and time.monotonic() < until_s:
                os.killpg(self.process.pid, 0)
                time.sleep(0.01)

    def restart(self) -> None:
        """Start it again after it ended, and wait until it is ready."""
        self.start()
        self.wait_ready()

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else "it said nothing"


@dataclass(frozen=True)
class Mother:
    """A mother of the stack: her daemons, her spool, and how a daughter reaches her."""

    name: str
    spool: Path
    destination: str
    inbox: Daemon
    forwarder: Daemon


@dataclass(frozen=True)
class Daughter:
    """A daughter of the stack: her daemons, her spool, and her DICOM port."""

    name: str
    spool: Path
    aet: str
    port: int
    receiver: Daemon
    pusher: Daemon


class Stack:
    """Everything under `workdir`; leaving the context stops all that it started."""

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir
        self.daemons: list[Daemon] = []
        for part in ("logs", "keys/daughters"):
            (workdir / part).mkdir(parents=True, exist_ok=True)
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self._known_hosts = workdir / "keys" / "known_hosts"

    def __enter__(self) -> Stack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM to all, in the order of the journey; each is waited for."""
        for daemon in reversed(self.daemons):
            daemon.signal(signal.SIGTERM)
        for daemon in reversed(self.daemons):
            daemon.wait()

    def start_archive(self, name: str, aet: str) -> tuple[str, Path]:
        """Start our own small archive; its address and the directory that it keeps files in."""
        directory, port = self.workdir / name, free_port()
        command = [
            sys.executable, "-m", "tackybox.dimse.archive",
            "--aet", aet, "--port", str(port), "--dir", str(directory),
        ]  # fmt: skip
        self.start(name, command, {}, port)
        return f"{aet}@{LOOPBACK}:{port}", directory

    def start_mother(self, name: str, archives: str, **settings: object) -> Mother:
        """Start the inbox and the forwarder of a mother beside `archives`."""
        spool, port = self.workdir / name, free_port()
        host_key = self.key(f"{name}-host")
        public = host_key.with_suffix(".pub").read_text().split()[:2]
        with self._known_hosts.open("a") as file:
            file.write(f"[{LOOPBACK}]:{port} {' '.join(public)}\n")
        settings = {
            "name": name, "aet": name.upper()[:16], "spool": spool, "archives": archives,
            "ssh_port": port, "ssh_bind": LOOPBACK, "host_key": host_key,
            "daughters": self.workdir / "keys" / "daughters", "min_free_mib": 64, **settings,
        }  # fmt: skip
        inbox = self.start(f"{name}-inbox", python("mother.inbox"), settings, port)
        forwarder = self.start(f"{name}-forwarder", python("mother.forwarder"), settings)
        destination = f"{self.user}@{LOOPBACK}:{port}"
        return Mother(name, spool, destination, inbox, forwarder)

    def start_daughter(
        self, name: str, destinations: str, port: int | None = None, **settings: object
    ) -> Daughter:
        """Start the receiver and the pusher of a daughter; her key is known to every mother."""
        spool, port = self.workdir / name, port or free_port()
        aet = str(settings.pop("aet", "TACKYBOX"))
        settings = {
            "name": name, "aet": aet, "spool": spool, "port": port, "bind": LOOPBACK,
            "destinations": destinations, "modalities": "any", "min_free_mib": 64,
            "ssh_key": self.daughter_key(name), "known_hosts": self._known_hosts, **settings,
        }  # fmt: skip
        receiver = self.start(f"{name}-receiver", python("daughter.receiver"), settings, port)
        pusher = self.start(f"{name}-pusher", python("daughter.pusher"), settings)
        return Daughter(name, spool, aet, port, receiver, pusher)

    def daughter_key(self, name: str) -> Path:
        """The private key of the daughter `name`, made and let in at the mothers if need be."""
        key = self.key(name)
        (self.workdir / "keys" / "daughters" / f"{name}.pub").write_bytes(
            key.with_suffix(".pub").read_bytes()
        )
        return key

    def start(
        self, name: str, command: list[str], settings: dict[str, object], port: int | None = None
    ) -> Daemon:
        """Start one daemon and wait until it is ready; the stack stops it at its end."""
        if "spool" in settings:
            Path(str(settings["spool"])).mkdir(parents=True, exist_ok=True)
        daemon = Daemon(name, command, settings, self.workdir / "logs" / f"{name}.log", port)
        self.daemons.append(daemon)
        daemon.start()
        daemon.wait_ready()
        return daemon

    def key(self, name: str) -> Path:
        """The private key called `name`, made if need be; its public half lies beside it."""
        key = self.workdir / "keys" / name
        if not key.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)],
                check=True, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        return key


def python(module: str) -> list[str]:
    """The command that runs `module` with this interpreter."""
    return [sys.executable, "-m", module]
