"""Proof that what was sent is what the archive has: data sets compared byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tackybox.dimse.scu import Source
from tackybox.errors import DataError
from tackybox.item import content_digest, read_header

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """How the data sets that were sent compare with those archived; the rest is missing."""

    sent: int
    identical: int
    size_bytes: int
    missing: tuple[Path, ...]

    @property
    def is_proof(self) -> bool:
        """Whether all of them arrived identical."""
        return self.identical == self.sent


def compare(sources: Iterable[Source], archive: Path) -> Evidence:
    """Look in the `archive` directory (of `tackybox.dimse.archive`) for every one of `sources`.

    Files are paired by SOP Instance UID, transfer syntax and digest; then their bytes are compared.
    """
    kept: dict[tuple[str, str], list[Path]] = {}
    for path, uid, syntax in _kept(archive):
        kept.setdefault((uid, syntax), []).append(path)
    sent = identical = size_bytes = 0
    missing = []
    for source in sources:
        sent += 1
        size_bytes += source.path.stat().st_size - source.dataset_offset
        candidates = kept.get((source.sop_instance_uid, source.transfer_syntax_uid), [])
        if any(_same_dataset(source, candidate) for candidate in candidates):
            identical += 1
        else:
            missing.append(source.path)
    return Evidence(sent, identical, size_bytes, tuple(missing))


def archived(archive: Path) -> int:
    """How many files the `archive` directory has."""
    return sum(1 for path in archive.iterdir() if not path.name.startswith("."))


def expected(sources: Iterable[Source]) -> int:
    """How many files `sources` become in an archive that keeps each content once."""
    return len({(source.sop_instance_uid, _digest(source)) for source in sources})


def _digest(source: Source) -> str:
    digest = content_digest(source.transfer_syntax_uid)
    for piece in _pieces(source.path, source.dataset_offset):
        digest.update(piece)
    return str(digest.hexdigest())


def _kept(archive: Path) -> Iterator[tuple[Path, str, str]]:
    for path in archive.iterdir():
        if path.name.startswith("."):
            continue
        try:
            header = read_header(path)
        except DataError:
            continue
        yield path, header.sop_instance_uid, header.transfer_syntax_uid


def _same_dataset(source: Source, candidate: Path) -> bool:
    offset = read_header(candidate).dataset_offset
    if candidate.stat().st_size - offset != source.path.stat().st_size - source.dataset_offset:
        return False
    ours = _pieces(source.path, source.dataset_offset)
    return all(one == other for one, other in zip(ours, _pieces(candidate, offset), strict=True))


def _pieces(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(_PIECE_BYTES):
            yield piece
