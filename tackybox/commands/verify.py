"""`tackybox verify`: read every item in a spool again, and say which is not what its name says.

Exit code 0 if all are, 65 if any is not. Promises to change nothing, and to read each item once
however many outlets hold a link to it. An item that moves on while a box runs may be passed over;
stop the box where every single one must be seen.
With --archive it is an archive's copies that are read: `tackybox.commands.archived`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tackybox.commands import output
from tackybox.commands.calling import add_calling_argument
from tackybox.commands.opening import add_spool_argument, open_spool
from tackybox.errors import DataError
from tackybox.item import digest_of, read_header
from tackybox.spool import Entry, Lane
from tackybox.spool.durable import names

NAME = "verify"
HELP = "read every item in a spool, or an archive's copies, and check digests; 65 if one differs"

_NO_ITEMS_IN = frozenset({"tmp", "arriving", "receipts", "journal"})


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not what its name says; `item` is its id, "" where the name is no item's."""

    item: str
    path: str
    problem: str


@dataclass(slots=True)
class Report:
    """What was read."""

    items: int = 0
    size_bytes: int = 0
    faults: list[Fault] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_spool_argument(parser)
    parser.add_argument(
        "--archive", metavar="AET@host:port", help="verify this archive's copies, not the spool"
    )
    parser.add_argument(
        "--certificate", type=Path, metavar="FILE",
        help="what it is to have, as tackybox proof wrote it",
    )  # fmt: skip
    parser.add_argument("--study", metavar="UID", help="the same of a study on record here")
    parser.add_argument("--sql", action="store_true", help="on record at the server")
    add_calling_argument(parser)
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds to wait")
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Verify; 0, or 65 (EX_DATAERR) if anything differs."""
    if args.archive or args.certificate or args.study or args.sql:
        from tackybox.commands import archived  # noqa: PLC0415 - it loads pynetdicom

        return archived.run(args)
    spool, _ = open_spool(args)
    report = Report()
    with output.progress("verifying", quiet=args.json) as progress:
        total = None if progress.disable else sum(1 for _ in item_paths(spool.root))
        task = progress.add_task("", total=total, note="")
        for path in item_paths(spool.root):
            _verify(path, report)
            progress.update(task, advance=1, note=output.size(report.size_bytes))
    if args.json:
        output.write_json({"spool": str(spool.root), **asdict(report)})
    else:
        _print(report)
    return DataError.exit_code if report.faults else 0


def item_paths(root: Path) -> Iterator[Path]:
    """Every file in a lane's directory of the spool at `root`, one link of each."""
    seen: set[int] = set()
    for directory in _lane_directories(root):
        for name in names(directory):
            path = directory / name
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if found.st_nlink > 1:
                if found.st_ino in seen:
                    continue
                seen.add(found.st_ino)
            yield path


def _lane_directories(directory: Path, depth: int = 0) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if not path.is_dir() or path.is_symlink() or (depth == 0 and path.name in _NO_ITEMS_IN):
            continue
        if depth and path.name in tuple(Lane):
            yield path
        else:
            yield from _lane_directories(path, depth + 1)


def _verify(path: Path, report: Report) -> None:
    try:
        entry = Entry.at(path)
    except DataError as error:
        report.faults.append(Fault("", str(path), str(error)))
        return
    try:
        problem = _problem(entry)
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        return
    except OSError as error:
        problem, size_bytes = f"can't be read: {error.strerror}", 0
    report.items += 1
    report.size_bytes += size_bytes
    if problem:
        report.faults.append(Fault(entry.item.id, str(path), problem))


def _problem(entry: Entry) -> str:
    """What is wrong with the file at `entry`; "" if nothing is."""
    try:
        header = read_header(entry.path)
        if digest_of(entry.path) != entry.item.digest:
            return "its content is not what was received: the digest differs"
    except DataError as error:
        return str(error)
    if header.sop_instance_uid != entry.item.sop_instance_uid:
        return "its file meta information names another SOP instance than its name does"
    return ""


def _print(report: Report) -> None:
    console = output.console()
    if report.faults:
        faults = output.table("Not what they must be", ["item", "problem", "file"])
        for fault in report.faults:
            output.add_row(faults, [fault.item, fault.problem, fault.path])
        console.print(faults)
    differ = f"{len(report.faults)} differ" if report.faults else "all as received"
    console.print(f"{report.items} items, {output.size(report.size_bytes)} read again: {differ}")
