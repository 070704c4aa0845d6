"""Receipts: what a mother has signed to one daughter, an append-only log of files.

`<spool>/receipts/<daughter>/<offset>.log` are segments of one endless text, named by the offset at
which they begin; a line is one receipt as JSON. A receipt is durable when `append` returns, and
only what it says may free anything at the daughter. A segment goes when the daughter has asked
for what comes after it: by that she says that she has acted on it, durably.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from tackybox.errors import DataError
from tackybox.spool.durable import directory_lock, fsync_directory, make_directory, names, reserve

SEGMENT_BYTES = 16 << 20
_AHEAD_BYTES = 256 << 10  # more than a thousand receipts
STORED_BY = "stored by "
"""How a daughter's journal says, on RELEASED, that it was a receipt "stored" that let her."""


class ReceiptKind(StrEnum):
    """What became of an item at the mother."""

    LANDED = "landed"  # verified and durable in her spool
    STORED = "stored"  # every archive that it is meant for has it
    QUARANTINED = "quarantined"  # stands in her quarantine; detail names archive and reason
    WANTED = "wanted"  # an archive lacks it, and she has none: it is to be sent again


@dataclass(frozen=True, slots=True)
class Receipt:
    """One answer about one item. `detail` holds archive and reason words, never patient data."""

    kind: ReceiptKind
    item_name: str
    at: str
    detail: str = ""

    @classmethod
    def now(cls, kind: ReceiptKind, item_name: str, detail: str = "") -> Receipt:
        """A receipt of this moment."""
        return cls(kind, item_name, datetime.now(UTC).isoformat(), detail)

    def to_line(self) -> str:
        """One line of JSON, newline included."""
        fields = {"kind": self.kind, "item": self.item_name, "at": self.at, "detail": self.detail}
        return json.dumps(fields, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Receipt:
        """The receipt in `line`; raises DataError if it is none."""
        try:
            fields = json.loads(line)
            return cls(
                ReceiptKind(fields["kind"]), str(fields["item"]), str(fields["at"]),
                str(fields["detail"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("a line of receipts is not a receipt") from error


class ReceiptLog:
    """The log for the daughter named `daughter` in the spool at `root`."""

    def __init__(self, root: Path, daughter: str) -> None:
        self._directory = root / "receipts" / daughter
        make_directory(self._directory)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep others from appending and reading meanwhile, across processes. Not re-entrant."""
        with directory_lock(self._directory):
            yield

    def append(self, receipts: Iterable[Receipt]) -> None:
        """Make `receipts` durable."""
        with self.exclusive():
            self.append_locked(receipts)

    def append_locked(self, receipts: Iterable[Receipt]) -> None:
        """`append` for one who is `exclusive` already."""
        data = "".join(receipt.to_line() for receipt in receipts).encode()
        if not data:
            return
        start, path = self._last_segment()
        with path.open("ab") as file:
            if file.tell() and not _ends_with_newline(path):
                data = b"\n" + data  # a killed writer left half a line: it never was a receipt
            # An item goes when its receipt is written: on a full disk that must still be possible.
            reserve(file.fileno(), file.tell() // _AHEAD_BYTES * _AHEAD_BYTES + 2 * _AHEAD_BYTES)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            size_bytes = file.tell()
        if size_bytes >= SEGMENT_BYTES:
            self._segment(start + size_bytes).touch(exist_ok=True)
        fsync_directory(self._directory)

    def read_after(self, cursor: int) -> Iterator[tuple[int, Receipt]]:
        """The receipts from offset `cursor` on, each with the cursor behind it.

        Raises DataError if the log is shorter than `cursor`: it is not the log that was read.
        """
        with directory_lock(self._directory, shared=True):
            segments = self._segments()
            if cursor and (not segments or cursor > segments[-1] + self._size(segments[-1])):
                raise DataError("the cursor points behind the end of the receipts")
            for start in segments:
                end = start + self._size(start)
                if end > cursor:
                    yield from self._read_segment(start, max(cursor - start, 0))

    def forget_before(self, cursor: int) -> None:
        """Remove the segments that end before `cursor`; the last one always stays."""
        with self.exclusive():
            for start in self._segments()[:-1]:
                if start + self._size(start) <= cursor:
                    self._segment(start).unlink()

    def _read_segment(self, start: int, skip_bytes: int) -> Iterator[tuple[int, Receipt]]:
        with self._segment(start).open("rb") as file:
            file.seek(skip_bytes)
            for line in file:
                if line.endswith(b"\n"):
                    with contextlib.suppress(DataError, UnicodeDecodeError):
                        receipt = Receipt.from_line(line.decode())
                        yield start + file.tell(), receipt

    def _segments(self) -> list[int]:
        return sorted(int(name.removesuffix(".log")) for name in names(self._directory))

    def _segment(self, start: int) -> Path:
        return self._directory / f"{start:020d}.log"

    def _size(self, start: int) -> int:
        return self._segment(start).stat().st_size

    def _last_segment(self) -> tuple[int, Path]:
        start = max(self._segments(), default=0)
        return start, self._segment(start)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
