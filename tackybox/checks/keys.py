"""The keys of both boxes, as files: there, readable, private; known daughters, pinned mothers."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from tackybox.checks.finding import Finding, Level, reason
from tackybox.item import is_box_name
from tackybox.known_hosts import is_pinned


def private_key(setting: str, path: Path) -> Iterator[Finding]:
    """The private key at `path`, which `setting` names."""
    subject = f"{setting} {path}"
    if not path.parent.is_dir():
        seen = f"there is no {path.parent} here"
        yield Finding(Level.WARNING, subject, seen, "check again where the keys are mounted")
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
    if not known_hosts.parent.is_dir():
        remedy = "check again where the keys are mounted"
        return Finding(Level.WARNING, subject, f"there is no {known_hosts.parent} here", remedy)
    if is_pinned(known_hosts, host, port):
        return Finding(Level.PASS, subject, f"her host key is pinned in {known_hosts}")
    remedy = f"join her, or add the line that ssh-keyscan -p {port} {host} gives, checked"
    return Finding(Level.FAIL, subject, f"no host key of hers in {known_hosts}", remedy)
