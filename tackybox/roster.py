"""Who may send to this mother: the daughters' keys, and the invitations that are still open.

    <daughters>/<name>.pub      the key of the daughter called <name>, one line as OpenSSH has it
    <enrolments>/<name>.pub     the public half of a code for <name>, and until when it counts

The files are all there is; a person may put and remove keys by hand. Promises: a code lets in one
key, once, also when two come with it at a time or the power fails; a code that has run out, was
withdrawn or was followed by another one lets in none; what is written is durable. Who changes
something holds the lock of the daughters' directory meanwhile. Not promised: that a session ends
whose key is gone (mother/inbox does that), or that a name without a key never had one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tackybox.errors import ConfigError, DataError, NotFoundError
from tackybox.item import is_box_name
from tackybox.keys import PublicKey
from tackybox.spool.durable import (
    directory_lock,
    fsync_directory,
    make_directory,
    write_atomically,
)


@dataclass(frozen=True, slots=True)
class Known:
    """A daughter's key file; `key` is None, and she not let in, if it can't be understood."""

    name: str
    key: PublicKey | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Invited:
    """An open invitation: whoever has the code of `key` may give the key of daughter `name`."""

    name: str
    key: PublicKey
    until: datetime


class Roster:
    """The two directories. One that does not exist holds nobody, and is made when it is needed."""

    def __init__(self, daughters: Path, enrolments: Path) -> None:
        self._daughters = daughters
        self._enrolments = enrolments

    def known(self) -> list[Known]:
        """Every key file, by name."""
        found = []
        for path in sorted(self._daughters.glob("*.pub")):
            with contextlib.suppress(FileNotFoundError):  # it went while we looked
                since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                key = _read(path)
                found.append(Known(path.stem, key[0] if key else None, since))
        return found

    def invited(self) -> list[Invited]:
        """The invitations that have not run out, by name."""
        now = datetime.now(UTC)
        return [invited for invited in self._invitations() if invited.until > now]

    def holds(self, name: str, fingerprint: str) -> bool:
        """Whether the daughter `name` still has the key with this fingerprint."""
        found = _read(self._daughters / f"{name}.pub")
        return found is not None and found[0].fingerprint == fingerprint

    def state(self) -> tuple[tuple[str, int, int, int], ...]:
        """Changes whenever a key or an invitation was added, changed or removed."""
        found = []
        for directory in (self._daughters, self._enrolments):
            for path in directory.glob("*.pub"):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    found.append((str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(sorted(found))

    def invite(self, name: str, key: PublicKey, until: datetime) -> None:
        """Let in whoever has the code of `key` as `name`, once; an earlier code counts no more."""
        with self._changing():
            line = f"{key} {until.isoformat(timespec='seconds')}\n"
            write_atomically(self._enrolments / f"{name}.pub", line.encode())

    def admit(self, name: str, code_fingerprint: str, key: PublicKey) -> None:
        """Use the code with this fingerprint to make `key` the key of the daughter `name`.

        Raises NotFoundError if the code counts no more, DataError, and the code stays good, if
        another daughter has `key`.
        """
        with self._changing():
            codes = {(i.name, i.key.fingerprint): i for i in self.invited()}
            if (name, code_fingerprint) not in codes:
                raise NotFoundError("this code was used, was withdrawn, or has run out")
            taken = {one.key for one in self.known() if one.name != name}
            if key in taken | {invited.key for invited in codes.values()}:
                raise DataError("this key is known already, for something else")
            (self._enrolments / f"{name}.pub").unlink()
            fsync_directory(self._enrolments)
            write_atomically(self._daughters / f"{name}.pub", f"{key} {name}\n".encode())

    def revoke(self, name: str) -> tuple[bool, bool]:
        """Remove key and invitation of `name`; whether there was the one, the other.

        Raises NotFoundError, with the names there are, if there was neither.
        """
        with self._changing():
            removed = [
                is_box_name(name) and _remove(directory / f"{name}.pub")
                for directory in (self._daughters, self._enrolments)
            ]
            names = {one.name for one in self.known()} | {one.name for one in self.invited()}
        if not any(removed):
            there = f"there are {', '.join(sorted(names))}" if names else "there is none at all"
            raise NotFoundError(f"no daughter is called {name}; {there}")
        return removed[0], removed[1]

    def forget_expired(self) -> None:
        """Remove the invitations that have run out."""
        now = datetime.now(UTC)
        if any(invited.until <= now for invited in self._invitations()):
            with self._changing():
                for invited in self._invitations():
                    if invited.until <= now:
                        _remove(self._enrolments / f"{invited.name}.pub")

    def _invitations(self) -> Iterator[Invited]:
        for path in sorted(self._enrolments.glob("*.pub")):
            found = _read(path)
            with contextlib.suppress(ValueError):  # no time, or none with a zone: not one of ours
                if found and (until := datetime.fromisoformat(found[1])).tzinfo:
                    yield Invited(path.stem, found[0], until)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Be the only one who changes something; raises ConfigError if nothing can be changed."""
        try:
            for directory in (self._daughters, self._enrolments):
                make_directory(directory)
            with directory_lock(self._daughters):
                yield
        except OSError as error:
            raise ConfigError(
                f"TACKYBOX_DAUGHTERS, TACKYBOX_ENROLMENTS: {self._daughters} and "
                f"{self._enrolments} can't be written ({error.strerror}); give them to this user"
            ) from None


def _read(path: Path) -> tuple[PublicKey, str] | None:
    """The key in a box's file and the word after it; None if it is none, or not understood."""
    if not is_box_name(path.stem):
        return None
    try:
        text = path.read_text()
        return PublicKey.parse(text), " ".join(text.split()[2:3])
    except (OSError, ValueError):
        return None


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    fsync_directory(path.parent)
    return True
