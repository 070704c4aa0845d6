"""What `tackybox check` tries: one function per thing that a box needs, each with its findings.

Promises: nothing is changed, every try ends within a bounded time, and a failed one is a finding
with what to do, never an exception.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import importlib.util
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mysql_utilities.errors import JournalError, JournalSchemaError
from mysql_utilities.mysql_store import MysqlAddress, MysqlStore
from tackybox.config import (
    ArchiveAddress,
    BoxConfig,
    DaughterConfig,
    MotherAddress,
    MotherConfig,
    same_environment,
)
from tackybox.dimse.association import Failure, Timeouts
from tackybox.dimse.scu import echo
from tackybox.item import is_box_name

_CONNECT_S = 5.0
_ROADS = "daughter.pusher.probe"  # a part, so not ours to import; not in every container
_ROADS_TIMEOUT_S = 120.0
_PORT_REMEDY = "stop what has it, or set another port"
_LONGEST_BANNER_BYTES = 8192  # lines before the banner included, RFC 4253 section 4.2
_NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "afs")
_LOST_FILE_SYSTEMS = {"tmpfs": "memory", "ramfs": "memory", "overlay": "the container's own layer"}


class Level(StrEnum):
    """How a try went."""

    PASS = "pass"  # noqa: S105 - not a password
    WARNING = "warning"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one try: about what, what was seen, and what to do about it."""

    level: Level
    subject: str
    seen: str
    remedy: str = ""


def daughter(config: DaughterConfig) -> Iterator[Finding]:
    """All that a daughter needs, but for the database."""
    yield from spool(config)
    yield _dicom_port(config)
    yield _modalities(config)
    yield from _private_key("ssh_key", config.ssh_key)
    tried = roads()
    for group in config.destinations:
        for address in group.alternatives:
            yield from mother(address, config, tried.get(address.name))


def mother_box(config: MotherConfig) -> Iterator[Finding]:
    """All that a mother needs, but for the database."""
    yield from spool(config)
    yield _ssh_port(config)
    yield from _private_key("host_key", config.host_key)
    yield _daughters(config.daughters)
    for group in config.archives:
        for address in group.alternatives:
            yield archive(address, config)


def spool(config: BoxConfig) -> Iterator[Finding]:
    """The spool's directory: there, ours to write, local, kept, and with room."""
    root = config.spool
    subject = f"spool {root}"
    if not root.is_dir():
        remedy = "make the directory, or mount a volume there, owned by the user of the box"
        yield Finding(Level.FAIL, subject, "is not there", remedy)
        return
    devices = {path.stat().st_dev for path in (root, *root.iterdir()) if path.is_dir()}
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        remedy = f"give it to the user with number {os.geteuid()}"
        yield Finding(Level.FAIL, subject, "can't be written", remedy)
    elif len(devices) > 1:
        remedy = "mount one volume at the spool, none inside it"
        yield Finding(Level.FAIL, subject, "is on several file systems", remedy)
    else:
        seen = "can be written, one file system"
        if not (root / "identity").exists():
            seen += ", not used yet"
        yield Finding(Level.PASS, subject, seen)
    yield from _file_system(root, subject)
    yield _room(config, subject)


def roads() -> dict[str, str]:
    """What came of trying each mother's gate with our key, by her name: "" or what is wrong.

    Empty if that can't be tried from here: where the pusher is not installed.
    """
    try:
        if importlib.util.find_spec(_ROADS) is None:
            return {}
        done = subprocess.run(
            [sys.executable, "-m", _ROADS], env=same_environment(), stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_ROADS_TIMEOUT_S, check=False,
        )  # fmt: skip
        tried = [json.loads(line) for line in done.stdout.splitlines()]
        return {str(road["name"]): str(road["sentence"]) for road in tried}
    except (ModuleNotFoundError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return {}


def mother(address: MotherAddress, config: DaughterConfig, road: str | None) -> Iterator[Finding]:
    """A mother's gate, and whether her host key is pinned; `road` is what `roads` says of her."""
    subject = f"mother {address}"
    if road is None:
        yield from _outside(address, subject)
    elif road:
        remedy = "the relay keeps what waits for her and tries again"
        yield Finding(Level.FAIL, subject, road, remedy)
    else:
        yield Finding(Level.PASS, subject, "her gate lets us in, with the key that is pinned")
    if is_pinned(config.known_hosts, address.host, address.port):
        yield Finding(Level.PASS, subject, f"her host key is pinned in {config.known_hosts}")
    else:
        remedy = f"add the line that ssh-keyscan -p {address.port} {address.host} gives, checked"
        yield Finding(Level.FAIL, subject, f"no host key of hers in {config.known_hosts}", remedy)


def _outside(address: MotherAddress, subject: str) -> Iterator[Finding]:
    """A mother's gate as far as it shows without our key."""
    try:
        banner = _ssh_banner(address.host, address.port)
    except OSError as error:
        remedy = "is her inbox running, and the port open in every firewall between?"
        yield Finding(Level.FAIL, subject, f"can't be reached: {_reason(error)}", remedy)
        return
    if not banner:
        remedy = "is it the port of her inbox?"
        yield Finding(Level.FAIL, subject, "something answers that is not ssh", remedy)
        return
    seen = "ssh answers; whether her gate lets us in can't be tested from here"
    yield Finding(Level.WARNING, subject, seen, "check again in the pusher's container")


def archive(address: ArchiveAddress, config: MotherConfig) -> Finding:
    """Whether an archive answers C-ECHO."""
    timeouts = Timeouts(config.connect_timeout_s, min(config.dimse_timeout_s, 15.0))
    result = echo(address, calling_aet=config.aet, timeouts=timeouts)
    subject = f"archive {address}"
    if result.ok:
        return Finding(Level.PASS, subject, f"C-ECHO answered in {result.duration_s:.3f} s")
    if result.reachable:
        return Finding(Level.WARNING, subject, result.message)
    remedy = f"is it running, and does it know AE title {config.aet} at this address?"
    return Finding(Level.FAIL, subject, result.message, remedy)


def database(address: MysqlAddress) -> Finding:
    """Whether the database lets us in and has the journal's schema."""
    subject = f"database {address}"
    known = f"the {subject} "
    try:
        MysqlStore(address, timeout_s=_CONNECT_S).close()
    except JournalSchemaError as error:
        return Finding(Level.FAIL, subject, str(error).removeprefix(known), "README.md says how")
    except JournalError as error:
        remedy = "the relay goes on without it; the journal is shipped when it answers"
        return Finding(Level.FAIL, subject, str(error).removeprefix(known), remedy)
    return Finding(Level.PASS, subject, "lets us in and has the journal's schema")


def is_pinned(known_hosts: Path, host: str, port: int) -> bool:
    """Whether the file has a key for this host and port; sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""
    name = host if port == 22 else f"[{host}]:{port}"
    try:
        lines = known_hosts.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    for line in lines:
        words = line.split()
        if len(words) < 3 or words[0].startswith(("#", "@")):
            continue
        if any(_is_name(pattern, name) for pattern in words[0].split(",")):
            return True
    return False


def _is_name(pattern: str, name: str) -> bool:
    if not pattern.startswith("|1|"):
        return pattern.lower() == name
    try:
        salt, digest = (base64.b64decode(part) for part in pattern[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def _file_system(root: Path, subject: str) -> Iterator[Finding]:
    kind = _file_system_kind(root)
    if kind in _NETWORK_FILE_SYSTEMS or kind.startswith("fuse."):
        remedy = "use a local disk: here a file may not be durable when it seems so"
        yield Finding(Level.WARNING, subject, f"is on a network file system ({kind})", remedy)
    elif kind in _LOST_FILE_SYSTEMS:
        seen = f"is on {kind}, {_LOST_FILE_SYSTEMS[kind]}"
        yield Finding(Level.WARNING, subject, seen, "mount a volume: this one does not last")


def _file_system_kind(path: Path) -> str:
    """The type of the file system under `path`; proc(5), /proc/pid/mountinfo."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    for line in reversed(mounts):
        words = line.split()
        if words[2] == wanted:
            return words[words.index("-") + 1]
    return ""


def _room(config: BoxConfig, subject: str) -> Finding:
    found = os.statvfs(config.spool)
    free_mib = found.f_bavail * found.f_frsize >> 20
    seen = f"{free_mib} MiB and {found.f_favail} inodes free"
    if free_mib < config.min_free_mib:
        remedy = f"below {config.min_free_mib} MiB (TACKYBOX_MIN_FREE_MIB) nothing is accepted"
        return Finding(Level.FAIL, subject, seen, f"make room: {remedy}")
    if found.f_files and found.f_favail < found.f_files // 50:
        return Finding(Level.WARNING, subject, seen, "each image needs an inode: make room")
    return Finding(Level.PASS, subject, seen)


def _dicom_port(config: DaughterConfig) -> Finding:
    subject = f"port {config.port}"
    error = _bind_error(config.bind, config.port)
    if error is None:
        return Finding(Level.PASS, subject, "is free; no receiver is running here")
    if error.errno != errno.EADDRINUSE:
        return Finding(Level.FAIL, subject, f"can't be listened on: {_reason(error)}", _PORT_REMEDY)
    ours = ArchiveAddress(config.aet, _reachable(config.bind), config.port)
    result = echo(ours, calling_aet=config.aet, timeouts=Timeouts(_CONNECT_S, _CONNECT_S))
    if result.reachable or result.failure is Failure.REJECTED:
        return Finding(Level.PASS, subject, "a DICOM receiver answers")
    seen = "is taken by something that does not answer as a DICOM receiver"
    return Finding(Level.FAIL, subject, seen, _PORT_REMEDY)


def _ssh_port(config: MotherConfig) -> Finding:
    subject = f"port {config.ssh_port}"
    error = _bind_error(config.ssh_bind, config.ssh_port)
    if error is None:
        return Finding(Level.PASS, subject, "is free; no inbox is running here")
    if error.errno != errno.EADDRINUSE:
        return Finding(Level.FAIL, subject, f"can't be listened on: {_reason(error)}", _PORT_REMEDY)
    try:
        banner = _ssh_banner(_reachable(config.ssh_bind), config.ssh_port)
    except OSError:
        banner = ""
    if banner:
        return Finding(Level.PASS, subject, "an ssh server answers")
    return Finding(Level.FAIL, subject, "is taken by something that is not ssh", _PORT_REMEDY)


def _modalities(config: DaughterConfig) -> Finding:
    if config.modalities.anyone:
        seen = "everyone who reaches the port may send"
        return Finding(Level.WARNING, "modalities", seen, "name them in TACKYBOX_MODALITIES")
    if not config.modalities.rules:
        seen = "nobody may send"
        return Finding(Level.WARNING, "modalities", seen, "name them in TACKYBOX_MODALITIES")
    return Finding(Level.PASS, "modalities", f"{len(config.modalities.rules)} rules")


def _private_key(setting: str, path: Path) -> Iterator[Finding]:
    subject = f"{setting} {path}"
    if not path.parent.is_dir():
        seen = f"there is no {path.parent} here"
        yield Finding(Level.WARNING, subject, seen, "check again where the keys are mounted")
        return
    try:
        head = path.open("rb").read(64)
        mode = path.stat().st_mode
    except OSError as error:
        remedy = f"make it: ssh-keygen -t ed25519 -N '' -f {path}"
        yield Finding(Level.FAIL, subject, f"can't be read: {_reason(error)}", remedy)
        return
    if not head.startswith(b"-----BEGIN ") or b"PRIVATE KEY" not in head:
        yield Finding(Level.FAIL, subject, "is not a private key", "is it the .pub file?")
    elif stat.S_IMODE(mode) & 0o077:
        remedy = f"chmod 600 {path}"
        yield Finding(Level.FAIL, subject, "others may read it, so ssh refuses it", remedy)
    else:
        yield Finding(Level.PASS, subject, "is a private key, and private")


def _daughters(directory: Path) -> Finding:
    subject = f"daughters {directory}"
    names = [path.stem for path in directory.glob("*.pub")] if directory.is_dir() else []
    wrong = [name for name in names if not is_box_name(name)]
    if wrong:
        remedy = "name each file <box name>.pub"
        return Finding(Level.FAIL, subject, f"{len(wrong)} files have no box's name", remedy)
    if not names:
        remedy = "put each daughter's public key there as <box name>.pub"
        return Finding(Level.WARNING, subject, "no daughter may push", remedy)
    return Finding(Level.PASS, subject, f"{len(names)} may push")


def _bind_error(bind: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            return error
    return None


def _reachable(bind: str) -> str:
    """The address at which a server that is bound to `bind` answers on this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104


def _ssh_banner(host: str, port: int) -> str:
    """The identification string of an ssh server, "" if what answers is none; raises OSError."""
    with socket.create_connection((host, port), _CONNECT_S) as connection:
        received = b""
        until_s = time.monotonic() + _CONNECT_S
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


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved (DNS)"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return error.strerror or type(error).__name__
