"""`tackybox reconcile`: what a site sent against what the archives list, per study and day.

Exit code 0 if every image that an archive has said it has is there, 1 if one is missing, 69 if an
archive could not be asked. With --send what is missing is sent again: from this box if it still has
it, else a mother asks the daughter by a receipt, who sends it again if she still has it.
Does not promise that what an archive lists is what it was sent: `verify --archive` looks at that.
Passes over images without a Study Instance UID, by which an archive is asked.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from mysql_utilities import reports
from mysql_utilities.errors import JournalError
from mysql_utilities.reports import Source
from tackybox.commands import output
from tackybox.commands.calling import add_calling_argument, address_of, calling_aet
from tackybox.commands.expected import EVERY_ARCHIVE, Group, Image, groups
from tackybox.commands.resending import Resent, send_again
from tackybox.commands.sources import add_source_arguments, find, sources_of
from tackybox.config import ArchiveAddress, load_box
from tackybox.dimse.association import AssociationError, Timeouts
from tackybox.dimse.query import Query, QueryError
from tackybox.errors import NotFoundError, UnavailableError, UsageError

NAME = "reconcile"
HELP = "compare what was sent with what the archives list, per study and day; 1 if any is missing"


@dataclass(slots=True)
class Row:
    """One group, compared. Of its `images` an archive said that it has `stored`, which are `listed`
    or `missing`; `not_yet` wait or stand in quarantine. `problem` says why the archive could not be
    asked, "" if it was."""

    day: date
    site: str
    study_instance_uid: str
    outlet: str
    archive: str
    images: int
    stored: int
    not_yet: int
    listed: int = 0
    missing: list[Image] = field(default_factory=list)
    problem: str = ""

    @classmethod
    def of(cls, group: Group, archive: str, stored: int) -> Row:
        """Of a group of which nothing was asked yet."""
        count = group.count()
        return cls(
            group.day, group.site, group.study_instance_uid, group.outlet, archive,
            count, stored, count - len(group.stored),
        )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--day", type=_day, action="append", metavar="YYYY-MM-DD",
        help="what arrived on this day (UTC), several times for several; "
        "unset = yesterday and today",
    )  # fmt: skip
    parser.add_argument("--study", metavar="UID", help="one study, whenever it arrived")
    parser.add_argument(
        "--archive", metavar="AET@host:port", action="append",
        help="ask this archive; unset = those that said they have the images",
    )  # fmt: skip
    parser.add_argument("--send", action="store_true", help="send again what is missing")
    add_source_arguments(parser)
    add_calling_argument(parser)
    parser.add_argument("--timeout", type=float, default=30.0, metavar="S", help="seconds to wait")
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Compare, and with --send send again; 0, 1 or 69. Raises UsageError, NotFoundError."""
    if args.send and args.spool:
        raise UsageError("--send works on this box's own spool; leave --spool out")
    config = None if args.spool else load_box()
    asked = [address_of(text) for text in args.archive or ()]
    aet = calling_aet(args.calling or (config.aet if config else None))
    rows: list[Row] = []
    with sources_of(args) as sources, contextlib.ExitStack() as stack:
        archives = _Archives(aet, Timeouts(min(args.timeout, 10.0), args.timeout), stack)
        for found in _groups(sources, args):
            rows += _compare(found, asked, archives)
    resent = Resent()
    if args.send and config is not None:
        missing = [image for row in rows for image in row.missing]
        resent = send_again(config, missing)
    if args.json:
        output.write_json({"rows": [_as_dict(row) for row in rows], "sent": resent.as_dict()})
    else:
        _print(rows)
        if args.send:
            resent.print(output.console())
    if any(row.problem for row in rows):
        return UnavailableError.exit_code
    return int(any(row.missing for row in rows))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("write a day as YYYY-MM-DD") from None


def _groups(sources: Sequence[Source], args: argparse.Namespace) -> Iterator[list[Group]]:
    """The groups of one study after the other. Raises NotFoundError if there are none."""
    today = datetime.now(UTC).date()
    days = args.day or ([] if args.study else [today - timedelta(days=1), today])
    try:
        studies = {uid for day in days for uid in reports.studies_of_day(sources, day)}
    except JournalError as error:
        raise UnavailableError(str(error)) from error
    if args.study:
        studies = {args.study}
    is_empty = True
    with output.progress("comparing", quiet=args.json) as progress:
        task = progress.add_task("", total=len(studies), note="")
        for study in sorted(studies):
            found = groups(find(sources, study), days)
            is_empty = is_empty and not found
            yield found
            progress.update(task, advance=1)
    if is_empty:
        raise NotFoundError(
            "nothing on record" + (f" of study {args.study}" if args.study else " for these days")
        )


class _Archives:
    """The archives that were asked, each over one association; what one listed, by study."""

    def __init__(self, aet: str, timeouts: Timeouts, stack: contextlib.ExitStack) -> None:
        self._aet = aet
        self._timeouts = timeouts
        self._stack = stack
        self._queries: dict[ArchiveAddress, Query] = {}
        self._down: dict[ArchiveAddress, AssociationError | QueryError] = {}

    def images(self, address: ArchiveAddress, study_instance_uid: str) -> set[str]:
        """SOP Instance UIDs that it lists. One that did not answer is not asked again.

        Raises AssociationError, QueryError.
        """
        if address in self._down:
            raise self._down[address]
        try:
            query = self._queries.get(address)
            if query is None or not query.is_open:
                query = Query.open(address, calling_aet=self._aet, timeouts=self._timeouts)
                self._queries[address] = self._stack.enter_context(query)
            return set(query.images_of(study_instance_uid))
        except (AssociationError, QueryError) as error:
            self._down[address] = error
            raise


def _compare(
    found: Sequence[Group], asked: Sequence[ArchiveAddress], archives: _Archives
) -> Iterator[Row]:
    names = [str(address) for address in asked]
    known = {str(address) for address in asked if any(_is_of(address, one) for one in found)}
    for group in found:
        by_archive: dict[str, list[Image]] = {}
        for image in group.stored:
            by_archive.setdefault(image.archive, []).append(image)
        if not group.stored:
            yield Row.of(group, group.outlet, 0)
        if asked:
            # By another address than those on record an archive is to have everything.
            others = [name for name in names if name not in known]
            by_archive = {name: by_archive[name] for name in known & by_archive.keys()}
            by_archive |= dict.fromkeys(others, group.stored)
        for name, images in by_archive.items():
            if images:
                yield _ask(group, name, images, archives)


def _is_of(address: ArchiveAddress, group: Group) -> bool:
    """Whether the group's outlet is this archive's, as far as the journal says."""
    return address.name in group.outlet or str(address) in {one.archive for one in group.images}


def _ask(group: Group, name: str, images: Sequence[Image], archives: _Archives) -> Row:
    row = Row.of(group, name, len(images))
    if name == EVERY_ARCHIVE:
        raise UsageError(
            "a daughter's journal does not say which archives have the images: name one that can "
            "be reached from here with --archive, or ask on the mother"
        )
    try:
        there = archives.images(address_of(name), group.study_instance_uid)
    except (AssociationError, QueryError) as error:
        row.problem = str(error)
        return row
    row.missing = [image for image in images if image.item.sop_instance_uid not in there]
    row.listed = len(images) - len(row.missing)
    return row


def _print(rows: Sequence[Row]) -> None:
    console = output.console()
    days: dict[tuple[date, str, str], list[Row]] = {}
    for row in rows:
        days.setdefault((row.day, row.site, row.archive), []).append(row)
    columns = ["day (UTC)", "site", "archive", "studies", "images", "stored", "listed", "missing"]
    table = output.table("Per day", [*columns, "not yet"], right=[*columns[3:], "not yet"])
    for (day, site, archive), of_day in sorted(days.items()):
        counts = [len(of_day), sum(row.images for row in of_day)]
        counts += [sum(row.stored for row in of_day), sum(row.listed for row in of_day)]
        counts += [sum(len(row.missing) for row in of_day), sum(row.not_yet for row in of_day)]
        style = "red" if counts[4] or any(row.problem for row in of_day) else ""
        output.add_row(table, [day, site, archive, *counts], style)
    console.print(table)
    columns = ["day (UTC)", "site", "study", "archive", "missing", "SOP instances"]
    gaps = output.table("\nGaps", columns, right=["missing"])
    for row in rows:
        if row.missing:
            uids = [image.item.sop_instance_uid for image in row.missing]
            shown = "\n".join(uids[:3]) + (f"\n… {len(uids) - 3} more" if len(uids) > 3 else "")
            cells = [row.day, row.site, row.study_instance_uid, row.archive, len(uids)]
            gaps.add_row(*map(output.cell, cells), shown)
    if gaps.row_count:
        console.print(gaps)
    for problem in dict.fromkeys(row.problem for row in rows if row.problem):
        console.print(f"\nNot asked: {problem}")


def _as_dict(row: Row) -> dict[str, Any]:
    counts = ("images", "stored", "listed", "not_yet")
    return {
        "day": row.day, "site": row.site, "study_instance_uid": row.study_instance_uid,
        "outlet": row.outlet, "archive": row.archive, "problem": row.problem,
        **{name: getattr(row, name) for name in counts},
        "missing": [
            {"item": image.item.id, "sop_instance_uid": image.item.sop_instance_uid,
             "series_instance_uid": image.series_instance_uid}
            for image in row.missing
        ],
    }  # fmt: skip
