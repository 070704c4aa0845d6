"""known_hosts, where a daughter pins her mothers' host keys: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.

Promises: `pin` replaces what was pinned for that host and port, hashed or not, and leaves all else
as it stands. Not promised: that patterns (`*.example`) are understood; ssh does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

from tackybox.keys import PublicKey
from tackybox.spool.durable import write_atomically

_SSH_PORT = 22


def line_for(host: str, port: int, key: PublicKey, mark: str = "") -> str:
    """The line that pins `key`, newline included; `mark` becomes its comment."""
    return f"{_name(host, port)} {key} {mark}".rstrip() + "\n"


def is_pinned(path: Path, host: str, port: int) -> bool:
    """Whether the file has a key for this host and port."""
    name = _name(host, port)
    for line in _lines(path):
        names, rest = _parts(line)
        if len(rest.split()) >= 2 and any(_fits(pattern, name) for pattern in names):
            return True
    return False


def has_mark(path: Path, mark: str) -> bool:
    """Whether a key is pinned with this mark."""
    return any(line.split()[3:4] == [mark] for line in _lines(path))


def pin(path: Path, host: str, port: int, key: PublicKey, mark: str) -> None:
    """Pin `key` as the only one for this host and port; durable. Raises OSError."""
    name = _name(host, port)
    kept = []
    for line in _lines(path):
        names, rest = _parts(line)
        left = [pattern for pattern in names if not _fits(pattern, name)]
        if left == names:
            kept.append(f"{line}\n")
        elif left:
            kept.append(f"{','.join(left)} {rest}\n")
    text = "".join(kept) + line_for(host, port, key, mark)
    write_atomically(path, text.encode("utf-8", "surrogateescape"), mode=0o644)


def _name(host: str, port: int) -> str:
    return host if port == _SSH_PORT else f"[{host}]:{port}"


def _lines(path: Path) -> list[str]:
    """The file's lines; none if there is no file, or none that can be read."""
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def _parts(line: str) -> tuple[list[str], str]:
    """The names that a line is for, and the rest; no names in comments and lines with a marker."""
    names, _, rest = line.strip().partition(" ")
    if not rest or names.startswith(("#", "@")):
        return [], ""
    return names.split(","), rest.strip()


def _fits(pattern: str, name: str) -> bool:
    if not pattern.startswith("|1|"):
        return pattern.lower() == name
    try:
        salt, digest = (base64.b64decode(part) for part in pattern[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
