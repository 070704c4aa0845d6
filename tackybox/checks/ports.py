"""The port that this box listens on: free, or its own daemon's."""

from __future__ import annotations

import errno
import socket
import subprocess
import time

from tackybox.checks.finding import Finding, Level, reason
from tackybox.config import ArchiveAddress, DaughterConfig, MotherConfig
from tackybox.dimse.association import Failure, Timeouts
from tackybox.dimse.scu import EchoResult, echo
from tackybox.item import IMPLEMENTATION_CLASS_UID

CONNECT_S = 5.0
_PORT_REMEDY = "stop what has it, or set another port"
_LONGEST_BANNER_BYTES = 8192  # lines before the banner included, RFC 4253 section 4.2


def receiver_address(config: DaughterConfig) -> ArchiveAddress:
    """Where this box's own receiver is reached from here."""
    if config.receiver is not None:
        return ArchiveAddress(config.aet, config.receiver.host, config.receiver.port)
    return ArchiveAddress(config.aet, reachable(config.bind), config.port)


def dicom_port(config: DaughterConfig) -> Finding:
    """A daughter's port, or where `receiver` says that her receiver is."""
    address = receiver_address(config)
    if config.receiver is None:
        subject = f"port {config.port}"
        error = _bind_error(config.bind, config.port)
        if error is None:
            return Finding(Level.PASS, subject, "is free; no receiver is running here")
        if error.errno != errno.EADDRINUSE:
            seen = f"can't be listened on: {reason(error)}"
            return Finding(Level.FAIL, subject, seen, _PORT_REMEDY)
    else:
        subject = f"receiver {config.receiver}"
    result = echo(address, calling_aet=config.aet, timeouts=Timeouts(CONNECT_S, CONNECT_S))
    return _whose(result, subject, config)


def _whose(result: EchoResult, subject: str, config: DaughterConfig) -> Finding:
    """Ours shows itself by its implementation class UID, and lets in our own AE title."""
    if result.reachable and result.peer_implementation == IMPLEMENTATION_CLASS_UID:
        seen = f"our own receiver answers C-ECHO, called by our AE title {config.aet}"
        return Finding(Level.PASS, subject, seen)
    is_elsewhere = config.receiver is not None
    remedy = "correct TACKYBOX_RECEIVER" if is_elsewhere else _PORT_REMEDY
    if result.reachable:
        return Finding(Level.FAIL, subject, "is another DICOM application's", remedy)
    if result.failure is Failure.REJECTED and is_elsewhere:
        seen = "a DICOM receiver answers, and does not let this container in"
        remedy = "whether it is ours, tackybox check says in the receiver's container"
        return Finding(Level.WARNING, subject, seen, remedy)
    if result.failure is Failure.REJECTED:
        seen = f"is a DICOM receiver's that is not this box's: {result.message}"
        return Finding(Level.FAIL, subject, seen, _PORT_REMEDY)
    if is_elsewhere:
        seen, remedy = result.message, "is the receiver running? is TACKYBOX_RECEIVER right?"
        return Finding(Level.FAIL, subject, seen, remedy)
    seen = "is taken by something that does not answer as a DICOM receiver"
    return Finding(Level.FAIL, subject, seen, _PORT_REMEDY)


def ssh_port(config: MotherConfig) -> Finding:
    """A mother's port: ours shows our host key."""
    subject = f"port {config.ssh_port}"
    error = _bind_error(config.ssh_bind, config.ssh_port)
    if error is None:
        return Finding(Level.PASS, subject, "is free; no inbox is running here")
    if error.errno != errno.EADDRINUSE:
        return Finding(Level.FAIL, subject, f"can't be listened on: {reason(error)}", _PORT_REMEDY)
    host = reachable(config.ssh_bind)
    try:
        banner = ssh_banner(host, config.ssh_port)
    except OSError:
        banner = ""
    if not banner:
        return Finding(Level.FAIL, subject, "is taken by something that is not ssh", _PORT_REMEDY)
    shown = _words(["ssh-keyscan", "-T", "5", "-p", str(config.ssh_port), host])
    ours = _words(["ssh-keygen", "-y", "-P", "", "-f", str(config.host_key)])
    if not shown or not ours:
        seen = "an ssh server answers; whether it is ours can't be told here"
        remedy = "check again where the host key can be read"
        return Finding(Level.WARNING, subject, seen, remedy)
    if ours[1] in shown:
        return Finding(Level.PASS, subject, "our own inbox answers: it shows our host key")
    seen = "is another ssh server's: its host key is not ours"
    return Finding(Level.FAIL, subject, seen, _PORT_REMEDY)


def ssh_banner(host: str, port: int) -> str:
    """The identification string of an ssh server, "" if what answers is none; raises OSError."""
    with socket.create_connection((host, port), CONNECT_S) as connection:
        received = b""
        until_s = time.monotonic() + CONNECT_S
        while len(received) < _LONGEST_BANNER_BYTES and time.monotonic() < until_s:
            try:
                piece = connection.recv(256)
            except TimeoutError:
                break
            received += piece
            for line in received.splitlines():
                if line.startswith(b"SSH-2.0-"):
                    return line.decode("ascii", "replace")
            if not piece:
                break
    return ""


def _words(command: list[str]) -> list[str]:
    """What a program says, in words; nothing if it can't be run or fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=4 * CONNECT_S,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def _bind_error(bind: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            return error
    return None


def reachable(bind: str) -> str:
    """The address at which a server that is bound to `bind` answers on this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104
