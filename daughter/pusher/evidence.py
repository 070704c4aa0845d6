"""Whether every archive has an image, as far as this box can prove it.

What proves it is a mother's receipt "stored", which the journal keeps on RELEASED, for each content
that came under the image's SOP Instance UID, and for each destination: those that it was queued
for, and those that are configured now. The journal may have lost events and never invents them:
what is not in it proves nothing, and a copy in the spool counts against it (docs/decisions/0022).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from mysql_utilities.deliveries import Step, steps_of
from mysql_utilities.events import Kind
from tackybox.spool import STORED_BY, Spool, Whereabouts, whereabouts

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""

_OF_A_COPY = frozenset(
    {
        *(Kind.RECEIVED, Kind.QUEUED, Kind.PUSHED, Kind.RELEASED),
        *(Kind.QUARANTINED, Kind.RETRIED, Kind.REQUEUED),
    }
)


class Finding(StrEnum):
    """What is known of one image."""

    COMMITTED = "committed"  # every archive has it, whichever content came under its UID
    WAITING = "waiting"  # it came here; not every archive has it yet
    QUARANTINED = "quarantined"  # it waits for a person, here or at a mother
    CONFLICT = "conflict"  # it came as another SOP class
    UNKNOWN = "unknown"  # nothing here knows it


def findings(
    spool: Spool, outlets: Collection[str], references: Collection[Reference]
) -> dict[Reference, Finding]:
    """What is known of each of `references`; raises JournalError, OSError."""
    uids = {uid for _, uid in references}
    copies: dict[str, list[Whereabouts]] = {}
    # The spool first: what it has lost by the time the journal is read was noted there before.
    for copy in whereabouts(spool.root, uids):
        copies.setdefault(copy.item.sop_instance_uid, []).append(copy)
    steps = steps_of(spool.journal, uids)
    return {
        (sop_class_uid, uid): judge(sop_class_uid, steps[uid], copies.get(uid, []), outlets)
        for sop_class_uid, uid in references
    }


def judge(
    sop_class_uid: str,
    steps: Sequence[Step],
    copies: Sequence[Whereabouts],
    outlets: Collection[str],
) -> Finding:
    """What `steps` of the journal and `copies` in the spool say of one image."""
    by_digest: dict[str, list[Step]] = {copy.item.digest: [] for copy in copies}
    for step in steps:
        if step.kind in _OF_A_COPY and step.digest:
            by_digest.setdefault(step.digest, []).append(step)
    if not by_digest:
        return Finding.UNKNOWN
    classes = {step.sop_class_uid for step in steps if step.sop_class_uid and step.digest}
    if classes and sop_class_uid not in classes:
        return Finding.CONFLICT
    unproven = {digest for digest, some in by_digest.items() if not _is_proven(some, outlets)}
    if not unproven:
        return Finding.COMMITTED
    stuck = {copy.item.digest for copy in copies if copy.is_quarantined}
    stuck |= {digest for digest, some in by_digest.items() if _is_quarantined(some)}
    return Finding.QUARANTINED if stuck & unproven else Finding.WAITING


def _is_proven(steps: Sequence[Step], outlets: Collection[str]) -> bool:
    """Whether each destination of one content has signed that it is stored, and none has wanted it
    again or set it aside since."""
    wanted, signed = set(outlets), set()
    for step in steps:
        if step.kind == Kind.QUEUED:
            wanted.add(step.destination)
        elif step.kind == Kind.RELEASED and step.detail.startswith(STORED_BY):
            signed.add(step.destination)
        elif step.kind in (Kind.REQUEUED, Kind.QUARANTINED):
            signed.discard(step.destination)
    return bool(wanted) and wanted <= signed


def _is_quarantined(steps: Sequence[Step]) -> bool:
    """Whether the last step at any of its destinations was into quarantine."""
    last: Mapping[tuple[str, str], str] = {
        (step.item, step.destination): step.kind for step in steps
    }
    return Kind.QUARANTINED in last.values()
