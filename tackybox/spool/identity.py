"""The files `identity` and `kind` of a spool: "this very disk", and which box works on it.

`identity` is a UUID as 32 hexadecimal digits and nothing else: versions before `kind` take all of
it for the UUID, and whoever goes back to one must be told the same. It is made with the spool and
never again, because daughters queue again what another spool had signed for. Whoever finds
anything else in it refuses to guess: with a new UUID a mother would be sent all of it twice.
A spool whose `identity` is gone is given a new one, which is on the safe side.
"""

from __future__ import annotations

import errno
import re
import uuid
from pathlib import Path

from tackybox.errors import SpoolError
from tackybox.spool.durable import directory_lock, write_atomically

FULL = (errno.ENOSPC, errno.EDQUOT)
_LONGEST_BYTES = 256
_IDENTITY = re.compile(r"([0-9a-f]{32})(?: ([a-z]+))?\n?")  # one version wrote the kind behind it
_KIND = re.compile(r"([a-z]+)\n?")


def read_identity(root: Path) -> tuple[str, str]:
    """UUID and kind of box ("" if no daemon has claimed it) of the spool at `root`.

    Raises OSError, and SpoolError if a file is not what a spool's is.
    """
    found = _read(
        root / "identity", _IDENTITY,
        "put it back from a backup, or remove it: then the spool counts as a new one, and what a "
        "mother had signed for is sent to her again",
    )  # fmt: skip
    try:
        kind = _read(root / "kind", _KIND, "remove it: the box's next start writes it again")[1]
    except FileNotFoundError:
        kind = found[2] or ""
    return found[1], kind


def _read(path: Path, pattern: re.Pattern[str], remedy: str) -> re.Match[str]:
    with path.open("rb") as file:
        text = file.read(_LONGEST_BYTES + 1).decode("ascii", "replace")
    found = pattern.fullmatch(text)
    if found is None:
        raise SpoolError(f"{path} is damaged; {remedy}")
    return found


def claim_identity(root: Path, kind: str) -> str:
    """The UUID of the spool at `root`, made if there is none yet, which is `kind`'s from now on.

    With `kind` "" nobody claims it. Raises OSError, and SpoolError if it is another kind's.
    """
    with directory_lock(root):  # two daemons of a new box start at the same moment
        try:
            identity, owner = read_identity(root)
        except FileNotFoundError:
            _write(root / "identity", uuid.uuid4().hex)
            identity, owner = read_identity(root)
        if kind and owner not in ("", kind):
            raise SpoolError(
                f"the spool at {root} is a {owner}'s, and this is a {kind}; give each box a spool "
                "of its own (TACKYBOX_SPOOL)"
            )
        if kind:
            _claim(root, identity, kind)
    return identity


def _claim(root: Path, identity: str, kind: str) -> None:
    """Write who claims it, unless there is no room: it can wait."""
    try:
        if not (root / "kind").exists():
            _write(root / "kind", kind)
        if (root / "identity").read_text().strip() != identity:
            _write(root / "identity", identity)
    except OSError as error:
        if error.errno not in FULL:
            raise


def _write(path: Path, text: str) -> None:
    write_atomically(path, f"{text}\n".encode())
