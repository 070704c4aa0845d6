"""Why an item stands in quarantine: a directory name each, and a sentence for people.

A reason is one of the words below, or `status-XXXX` for an archive's C-STORE answer, whose
sentence is in the table of statuses.
"""

from __future__ import annotations

import re
from enum import StrEnum

from tackybox import statuses

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Reason(StrEnum):
    """Reasons that we find ourselves. The value is the directory's name."""

    UNREADABLE = "unreadable"
    DIGEST_DIFFERS = "digest-differs"
    SOP_CLASS_REFUSED = "sop-class-refused"
    TRANSFER_SYNTAX_REFUSED = "transfer-syntax-refused"
    ARCHIVE_ABORTS = "archive-aborts"
    NOT_COMMITTED = "not-committed"
    ARRIVES_DAMAGED = "arrives-damaged"


DAMAGED = (Reason.UNREADABLE, Reason.DIGEST_DIFFERS)
"""It is the file here that is bad: a good copy of the item, if there is one, takes its place."""


_SENTENCES = {
    Reason.UNREADABLE: "The file in the spool can't be read as DICOM Part 10; look at the disk.",
    Reason.DIGEST_DIFFERS: "The bytes are no longer those that were received; look at the disk.",
    Reason.SOP_CLASS_REFUSED: (
        "The archive does not accept this kind of object (SOP class); "
        "have it enabled there, then retry."
    ),
    Reason.TRANSFER_SYNTAX_REFUSED: (
        "The archive does not accept this encoding (transfer syntax) and it can't be converted "
        "without loss; have it enabled there, then retry."
    ),
    Reason.ARCHIVE_ABORTS: (
        "The archive breaks the association each time it gets this object, "
        "and not with others; ask its vendor, then retry."
    ),
    Reason.NOT_COMMITTED: (
        "The archive answers success for this object each time and then says that it does not "
        "keep it; ask its vendor, then retry."
    ),
    Reason.ARRIVES_DAMAGED: (
        "Other bytes arrive at the mother than we send, each time, and only for this object; "
        "look at her disk and memory, then retry."
    ),
}


def for_status(status: int) -> str:
    """The reason for an archive's C-STORE `status`."""
    return f"status-{status:04x}"


def is_reason(slug: str) -> bool:
    """Whether `slug` can be a reason's directory name."""
    return _SLUG.fullmatch(slug) is not None


def explain(slug: str) -> str:
    """The sentence for a reason; for one that this version does not know, the word itself."""
    if slug in _SENTENCES:
        return _SENTENCES[Reason(slug)]
    if match := re.fullmatch(r"status-([0-9a-f]{4})", slug):
        return statuses.disposition(int(match[1], 16)).meaning
    return slug
