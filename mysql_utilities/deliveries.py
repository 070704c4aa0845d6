"""What one box's journal knows of some SOP instances: each step that bears their UID.

For the daughter's answers to storage commitment requests. What is found is evidence; what is not
found proves nothing. Promises to change nothing, and to miss no step that was noted before the
call, be it still in a pending file. Raises JournalError if the journal can't be read now.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from mysql_utilities.drain import pending_dir, sqlite_path
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event
from mysql_utilities.pending import read_events
from mysql_utilities.sqlite_store import SqliteStore
from mysql_utilities.statements import statements

MOST_STEPS = 1_000
"""Steps of one instance that are looked at; one that has more is not judged."""

_SQL = statements("box.sql")


class Step(NamedTuple):
    """One step of one item of a SOP instance; `kind` is a word of `Kind`, or of a later version."""

    kind: str
    item: str
    digest: str
    destination: str
    sop_class_uid: str
    detail: str
    event_id: str


def steps_of(journal_dir: Path, sop_instance_uids: Collection[str]) -> dict[str, list[Step]]:
    """The steps of each of `sop_instance_uids`, in the order in which they were noted; none for
    one that has more than MOST_STEPS. Raises JournalError."""
    path = sqlite_path(journal_dir)
    try:
        # First, because a step may move from there into the database meanwhile, never back.
        pending = _pending_steps(journal_dir, sop_instance_uids)
    except OSError as error:
        raise JournalError(f"pending events can't be read: {error.strerror}") from error
    found: dict[str, list[Step]] = {}
    with SqliteStore(path, create=False) as store:
        for uid in sop_instance_uids:
            bounds = {"uid": uid, "max_rows": MOST_STEPS + 1}
            rows = store.rows(_SQL["steps_of_instance"], bounds)
            steps = [Step(*map(str, row)) for row in rows]
            known = {step.event_id for step in steps}
            steps += [step for step in pending.get(uid, ()) if step.event_id not in known]
            found[uid] = steps if len(steps) <= MOST_STEPS else []
    return found


def _pending_steps(journal_dir: Path, uids: Collection[str]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for event in read_events(pending_dir(journal_dir)):
        uid = event.sop_instance_uid
        if uid in uids:
            steps = found.setdefault(uid, [])
            if len(steps) <= MOST_STEPS:
                steps.append(_step(event))
    return found


def _step(event: Event) -> Step:
    return Step(
        event.kind, event.item, event.digest, event.destination, event.sop_class_uid,
        event.detail, event.event_id,
    )  # fmt: skip
