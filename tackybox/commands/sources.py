"""Which journals a verb asks: those of spools, this box's own, or the server's."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mysql_utilities import reports
from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event
from mysql_utilities.mysql_store import MysqlAddress, MysqlStore
from mysql_utilities.reports import History, Source, StoreSource
from tackybox.config import load_box
from tackybox.errors import NotFoundError, UnavailableError, UsageError

_QUERY_TIMEOUT_S = 60.0
_EVER = datetime.min.replace(tzinfo=UTC)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """The `--spool` and `--sql` of every verb that asks journals."""
    parser.add_argument(
        "--spool", type=Path, action="append", metavar="DIR",
        help="a spool whose journal to read, several times for several boxes; "
        "unset = this box's own",
    )  # fmt: skip
    parser.add_argument("--sql", action="store_true", help="ask the server that TACKYBOX_SQL names")


@contextlib.contextmanager
def sources_of(args: argparse.Namespace) -> Iterator[list[Source]]:
    """What the arguments name. Raises UsageError, and as `opened` does."""
    if args.sql and args.spool:
        raise UsageError("--sql asks the server, --spool a journal; use one of them")
    with opened(args.spool, from_sql=args.sql) as sources:
        yield sources


@contextlib.contextmanager
def opened(spools: list[Path] | None, *, from_sql: bool) -> Iterator[list[Source]]:
    """Open what is to be asked. Raises NotFoundError, UnavailableError, ConfigError."""
    with contextlib.ExitStack() as stack:
        address: MysqlAddress | None = None
        if not spools:
            config = load_box()
            spools, address = [config.spool], config.sql
        if from_sql and address is None:
            raise UsageError("--sql needs TACKYBOX_SQL, user:password@host:port/database")
        journals = [spool / "journal" for spool in spools]
        has_journal = any(journal.is_dir() for journal in journals)
        try:
            if address is not None and (from_sql or not has_journal):
                store = MysqlStore(address, timeout_s=_QUERY_TIMEOUT_S)
                yield [StoreSource(stack.enter_context(contextlib.closing(store)))]
                return
            if not has_journal:
                raise NotFoundError(f"{spools[0]} holds no journal; name a spool with --spool")
            found: list[Source] = []
            for journal in journals:
                embedded = reports.open_embedded(journal)
                if embedded is not None:
                    stack.enter_context(contextlib.closing(embedded))
                found += reports.embedded_sources(journal, embedded)
            yield found
        except JournalError as error:
            raise UnavailableError(str(error)) from error


def find(sources: Sequence[Source], key: str) -> list[History]:
    """As `reports.find`; raises UnavailableError if a journal can't be read."""
    try:
        return reports.find(sources, key)
    except JournalError as error:
        raise UnavailableError(str(error)) from error


def find_gaps(sources: Sequence[Source], found: Sequence[History]) -> list[Event]:
    """What is known to be missing since the first of these steps; all of it where there is none."""
    since = min((history.events[0].at for history in found), default=_EVER)
    try:
        return reports.gaps(sources, since)
    except JournalError as error:
        raise UnavailableError(str(error)) from error
