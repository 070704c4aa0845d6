"""Whether an archive must vouch for an item before it counts as stored there.

    commitment   = part *( ";" part )
    part         = word / archive "=" word       the first form is for all others
    word         = "auto" / "required" / "find" / "off"

`docs/OPERATING.md` says what each of them costs and gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tackybox.config import values
from tackybox.config.addresses import ArchiveAddress, parse_archive


class Proof(StrEnum):
    """What must be there, beside the archive's Success, before an item counts as stored."""

    AUTO = "auto"  # its commitment, where it offers that and we have a port to be told at
    REQUIRED = "required"  # its commitment, however long that takes
    FIND = "find"  # that a C-FIND lists it
    OFF = "off"  # nothing


@dataclass(frozen=True, slots=True)
class Commitment:
    """The proof that is asked of each archive: `others` of those that are not in `by_archive`."""

    others: Proof = Proof.AUTO
    by_archive: Mapping[ArchiveAddress, Proof] = field(default_factory=dict, hash=False)

    def of(self, archive: ArchiveAddress) -> Proof:
        """What is asked of `archive`."""
        return self.by_archive.get(archive, self.others)

    def __str__(self) -> str:
        parts = [f"{archive}={proof}" for archive, proof in self.by_archive.items()]
        return ";".join([str(self.others), *parts])


AUTO = Commitment()


def parse_commitment(raw: object) -> Commitment:
    """As the grammar has it; raises ValueError."""
    others, by_archive = Proof.AUTO, {}
    # YAML takes a bare off for false.
    for part in values.joined("off" if raw is False else raw).split(";"):
        archive, _, word = part.rpartition("=")
        try:
            proof = Proof(word.strip().lower())
        except ValueError:
            words = ", ".join(Proof)
            raise ValueError(f"{word.strip()!r} is not known; write one of {words}") from None
        if archive:
            by_archive[parse_archive(archive.strip())] = proof
        else:
            others = proof
    return Commitment(others, by_archive)
