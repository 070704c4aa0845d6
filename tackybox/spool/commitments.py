"""Storage commitment requests of modalities (PS3.4 Annex J), kept until they are answered.

`<spool>/commitment/<key>_<content>.json` is one request: `key` stands for who asks and its
Transaction UID, `content` for what it asks about, so that the same request sent twice is kept once.
A request is durable when `keep` returns; it goes with `done`, and nothing else removes it.
Bounded: at most MOST_OPEN requests of at most MOST_REFERENCES references each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tackybox.errors import DataError
from tackybox.item import is_uid
from tackybox.spool.durable import make_directory, names, write_atomically

MOST_OPEN = 1_000
MOST_REFERENCES = 20_000
_SUFFIX = ".json"
_KEY_CHARACTERS = 32
_ABANDONED_S = 3600.0


class TooManyRequestsError(OSError):
    """As many requests are open as may be."""


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What a modality asked: whether each of `references` (SOP Class UID, SOP Instance UID) is
    stored. `is_duplicate`: another request with this Transaction UID was open when it came."""

    transaction_uid: str
    calling_aet: str
    called_aet: str
    peer_address: str
    arrived_at: datetime
    references: tuple[tuple[str, str], ...]
    is_duplicate: bool = False

    @property
    def name(self) -> str:
        """Its file's name."""
        asker = f"{self.calling_aet}\0{self.transaction_uid}"
        content = "\0".join(part for reference in self.references for part in reference)
        return f"{_digest(asker)}_{_digest(content)}{_SUFFIX}"

    def to_json(self) -> bytes:
        """The file's content."""
        fields = {
            "transaction_uid": self.transaction_uid, "calling_aet": self.calling_aet,
            "called_aet": self.called_aet, "peer_address": self.peer_address,
            "arrived_at": self.arrived_at.isoformat(), "is_duplicate": self.is_duplicate,
            "references": self.references,
        }  # fmt: skip
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> CommitmentRequest:
        """The request that `to_json` wrote; raises DataError for anything else."""
        try:
            fields = json.loads(data)
            references = tuple((str(one), str(other)) for one, other in fields["references"])
            arrived_at = datetime.fromisoformat(fields["arrived_at"]).astimezone(UTC)
            transaction_uid = str(fields["transaction_uid"])
            uids = [transaction_uid, *(part for pair in references for part in pair)]
            if not references or not all(map(is_uid, uids)):
                raise ValueError
            return cls(
                transaction_uid, str(fields["calling_aet"]), str(fields["called_aet"]),
                str(fields["peer_address"]), arrived_at, references, bool(fields["is_duplicate"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise DataError("a kept storage commitment request can't be read") from error


class CommitmentRequests:
    """The open requests in the spool at `root`."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "commitment"

    def keep(self, request: CommitmentRequest) -> None:
        """Make `request` durable; raises OSError, TooManyRequestsError among them.

        One that is kept already, word for word, stays as it is.
        """
        make_directory(self.directory)
        name, others = request.name, self.names()
        if name in others:
            return
        if len(others) >= MOST_OPEN:
            raise TooManyRequestsError(f"{MOST_OPEN} storage commitment requests are open")
        key = name[:_KEY_CHARACTERS]
        is_duplicate = any(other.startswith(key) for other in others)
        request = replace(request, is_duplicate=is_duplicate)
        write_atomically(self.directory / name, request.to_json())

    def names(self) -> list[str]:
        """The names of those that are open, unsorted."""
        return [name for name in names(self.directory) if name.endswith(_SUFFIX)]

    def read(self, name: str) -> CommitmentRequest:
        """The request called `name`; raises DataError, FileNotFoundError if it is not open."""
        return CommitmentRequest.from_json((self.directory / name).read_bytes())

    def done(self, name: str) -> None:
        """It is answered, or given up."""
        (self.directory / name).unlink(missing_ok=True)

    def tally(self) -> tuple[int, datetime | None]:
        """How many are open, and when the oldest came; None if none is."""
        found = [self.directory / name for name in self.names()]
        times_s = []
        for path in found:
            with contextlib.suppress(FileNotFoundError):  # answered this moment
                times_s.append(path.stat().st_mtime)
        return len(times_s), datetime.fromtimestamp(min(times_s), UTC) if times_s else None

    def sweep(self) -> None:
        """Remove what killed writers have left; nobody was answered for it."""
        for path in self.directory.glob(".*"):
            if path.stat().st_mtime < time.time() - _ABANDONED_S:
                path.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_CHARACTERS]
