"""The keys of both boxes, as files: there, readable, private; known daughters, pinned mothers."""

from __future__ import annotations

import contextlib
import importlib.util
import stat
from collections.abc import Iterator
from pathlib import Path

from tackybox.checks.finding import Finding, Level, reason
from tackybox.item import is_box_name
from tackybox.known_hosts import is_pinned

PUSHER = "daughter.pusher.probe"
INBOX = "mother.inbox.gate"


def is_installed(module: str) -> bool:
    """Whether a part's module is here: each container has its own part alone."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _elsewhere(subject: str, path: Path, part: str) -> Finding | None:
    """What to say where the file or directory is not there, and is another container's."""
    with contextlib.suppress(OSError):
        if is_installed(part) or path.exists():
            return None
    room = part.split(".")[1]
    remedy = f"check again in the {room}'s container"
    return Finding(Level.WARNING, subject, f"is not here: only the {room} needs it", remedy)


def private_key(setting: str, path: Path, part: str) -> Iterator[Finding]:
    """The private key at `path`, which `setting` names and `part` needs."""
    subject = f"{setting} {path}"
    if elsewhere := _elsewhere(subject, path, part):
        yield elsewhere
        return
    try:
        with path.open("rb") as file:
            head = file.read(64)
        mode = path.stat().st_mode
    except OSError as error:
        remedy = f"make it: ssh-keygen -t ed25519 -N '' -f {path}"
        yield Finding(Level.FAIL, subject, f"can't be read: {reason(error)}", remedy)
        return
    if not head.startswith(b"-----BEGIN ") or b"PRIVATE KEY" not in head:
        yield Finding(Level.FAIL, subject, "is not a private key", "is it the .pub file?")
    elif stat.S_IMODE(mode) & 0o077:
        remedy = f"chmod 600 {path}"
        yield Finding(Level.FAIL, subject, "others may read it, so ssh refuses it", remedy)
    else:
        yield Finding(Level.PASS, subject, "is a private key, and private")


def daughters(directory: Path) -> Finding:
    """The daughters that may push."""
    subject = f"daughters {directory}"
    if elsewhere := _elsewhere(subject, directory, INBOX):
        return elsewhere
    names = [path.stem for path in directory.glob("*.pub")] if directory.is_dir() else []
    wrong = [name for name in names if not is_box_name(name)]
    if wrong:
        remedy = "name each file <box name>.pub"
        return Finding(Level.FAIL, subject, f"{len(wrong)} files have no box's name", remedy)
    if not names:
        remedy = "invite one with tackybox enrol, or put her public key there as <box name>.pub"
        return Finding(Level.WARNING, subject, "no daughter may push", remedy)
    return Finding(Level.PASS, subject, f"{len(names)} may push")


def pinned(subject: str, known_hosts: Path, host: str, port: int) -> Finding:
    """The pinned host key of a mother."""
    if elsewhere := _elsewhere(f"{subject}, {known_hosts}", known_hosts, PUSHER):
        return elsewhere
    if is_pinned(known_hosts, host, port):
        return Finding(Level.PASS, subject, f"her host key is pinned in {known_hosts}")
    remedy = f"join her, or add the line that ssh-keyscan -p {port} {host} gives, checked"
    return Finding(Level.FAIL, subject, f"no host key of hers in {known_hosts}", remedy)
