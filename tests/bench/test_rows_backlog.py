"""What waits, before each measurement of a backlog."""

from pathlib import Path

from bench.rows_backlog import _Waiting
from tackybox.item import digest_of
from tackybox.spool import Entry


def test_what_was_delivered_is_replaced_before_the_next_measurement(tmp_path: Path):
    waiting = _Waiting(tmp_path, 6)
    directory = waiting.directory()
    first = {path.name for path in directory.iterdir()}
    assert len(first) == 6
    delivered = sorted(first)[:2]
    for name in delivered:
        (directory / name).unlink()
    assert waiting.directory() == directory
    names = {path.name for path in directory.iterdir()}
    assert len(names) == 6 and not names & set(delivered)
    entries = [Entry.named(directory, name) for name in names]
    assert all(digest_of(entry.path) == entry.item.digest for entry in entries)
