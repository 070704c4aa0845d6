"""The file `identity` of a spool: "this very disk", and which kind of box works on it.

A UUID as 32 hexadecimal digits, then the kind: `9f86…0a08 mother`. The UUID is made with the spool
and never again, because daughters queue again what another spool had signed for. Whoever finds
anything else in the file refuses to guess: with a new UUID a mother would be sent all of it twice.
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
_TEXT = re.compile(r"([0-9a-f]{32})(?: ([a-z]+))?\n?")


def read_identity(root: Path) -> tuple[str, str]:
    """UUID and kind of box ("" if no daemon has claimed it) of the spool at `root`.

    Raises OSError, and SpoolError if the file is not what a spool's is.
    """
    path = root / "identity"
    with path.open("rb") as file:
        text = file.read(_LONGEST_BYTES + 1).decode("ascii", "replace")
    found = _TEXT.fullmatch(text)
    if found is None:
        raise SpoolError(
            f"{path} is damaged; put it back from a backup, or remove it: then the spool counts as "
            "a new one, and what a mother had signed for is sent to her again"
        )
    return found[1], found[2] or ""


def claim_identity(root: Path, kind: str) -> str:
    """The UUID of the spool at `root`, made if there is none yet, which is `kind`'s from now on.

    With `kind` "" nobody claims it. Raises OSError, and SpoolError if it is another kind's.
    """
    with directory_lock(root):  # two daemons of a new box start at the same moment
        try:
            identity, owner = read_identity(root)
        except FileNotFoundError:
            identity, owner = uuid.uuid4().hex, ""
            _write(root, identity, kind)
        if kind and owner not in ("", kind):
            raise SpoolError(
                f"the spool at {root} is a {owner}'s, and this is a {kind}; give each box a spool "
                "of its own (TACKYBOX_SPOOL)"
            )
        if kind and not owner:
            _claim(root, identity, kind)
    return identity


def _claim(root: Path, identity: str, kind: str) -> None:
    """Write who claims it, unless there is no room: it can wait."""
    try:
        _write(root, identity, kind)
    except OSError as error:
        if error.errno not in FULL:
            raise


def _write(root: Path, identity: str, kind: str) -> None:
    write_atomically(root / "identity", f"{identity} {kind}".strip().encode() + b"\n")
