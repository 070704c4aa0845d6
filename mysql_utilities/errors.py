"""What can go wrong with a journal database, as callers may tell apart.

No message carries a password, a bound value or anything else of an event.
"""

from __future__ import annotations


class JournalError(Exception):
    """The database can't do it now (down, busy, full, slow); trying again later makes sense."""


class JournalCorruptError(JournalError):
    """The SQLite file is not a sound database any more; only a fresh one helps."""


class JournalSchemaError(JournalError):
    """The server lacks the tables or has older ones; loading tackybox.sql there helps."""
