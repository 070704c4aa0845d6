"""Our receiver with the simplest correct order: what sharing directory syncs is measured against.

    python -m bench.simple_receiver        (settings as for daughter.receiver)

Each item is stored by: write, fsync the file, rename, fsync the directory; one item after the
other, on the whole box. With BENCH_SIDE_BY_SIDE set, several associations may do so at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from daughter.receiver.__main__ import run
from tackybox import service
from tackybox.item import Item
from tackybox.spool.draft import Draft
from tackybox.spool.durable import directory_lock, fsync_directory
from tackybox.spool.entry import Entry, Lane


def accept(draft: Draft, lane: Lane, sop_instance_uid: str) -> Entry:
    """As Draft.accept, one step after the other."""
    directory = Path(draft._new) / lane
    side_by_side = "BENCH_SIDE_BY_SIDE" in os.environ
    with contextlib.nullcontext() if side_by_side else directory_lock(directory):
        os.fsync(draft._open_fd())
        digest = draft._digest.hexdigest()
        item = Item(datetime.now(UTC), draft._origin, digest, sop_instance_uid)
        path = directory / item.name
        Path(draft._path).rename(path)
        fsync_directory(directory)
    draft._is_item = True
    return Entry(item, lane, path)


if __name__ == "__main__":
    Draft.accept = accept  # type: ignore[assignment, method-assign]
    sys.exit(service.main(run))
