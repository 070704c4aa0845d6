"""`tackybox send`: C-STORE files and folders to an archive or a daughter.

Each file's data set goes out byte for byte as it stands in the file, in the transfer syntax that
it is written in; files without preamble or file meta, too. Exit code 0 if all were taken,
65 (EX_DATAERR) if some were not because of what they are, 69 (EX_UNAVAILABLE) if some were not
because of the peer.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tackybox.commands import output
from tackybox.commands.calling import add_calling_argument, address_of, calling_aet
from tackybox.dimse.files import read_source
from tackybox.dimse.scu import Source
from tackybox.dimse.sending import Sender, Sent
from tackybox.errors import DataError, NotFoundError, UnavailableError
from tackybox.spool import Lane

NAME = "send"
HELP = "send DICOM files and folders (C-STORE), each data set byte for byte as it is"
_FAILURES_SHOWN = 50


@dataclass(slots=True)
class Report:
    """What became of the files. `skipped`: (path, why it can't be sent)."""

    sent: list[Sent] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    size_bytes: int = 0
    duration_s: float = 0.0

    @property
    def delivered(self) -> int:
        """How many were taken."""
        return sum(sent.delivered for sent in self.sent)

    @property
    def exit_code(self) -> int:
        """0, or the code of the worse kind of failure."""
        if any(sent.unavailable for sent in self.sent):
            return UnavailableError.exit_code
        return DataError.exit_code if self.skipped or self.delivered < len(self.sent) else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("peer", metavar="AET@host:port", help="whom to send to")
    parser.add_argument("path", nargs="+", type=Path, metavar="PATH", help="files and folders")
    add_calling_argument(parser)
    parser.add_argument(
        "--priority", choices=[lane.value for lane in Lane], default=Lane.MEDIUM.value,
        help="DIMSE priority",
    )  # fmt: skip
    parser.add_argument(
        "--associations", type=int, default=1, metavar="N", help="associations at once (1)"
    )
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Send; see the module for the exit code."""
    sender = Sender(
        address=address_of(args.peer),
        calling_aet=calling_aet(args.calling),
        priority=Lane(args.priority).priority,
        associations=max(1, args.associations),
    )
    report = Report()
    sources = _sources(args.path, report, quiet=args.json)
    started_s = time.monotonic()
    with output.progress("sending", quiet=args.json) as progress:
        task = progress.add_task("", total=len(sources), note="")

        def note(sent: Sent) -> None:
            report.sent.append(sent)
            report.size_bytes += _dataset_size(sent.source) if sent.delivered else 0
            progress.update(task, advance=1, note=output.size(report.size_bytes))

        sender.send(sources, note)
    report.duration_s = time.monotonic() - started_s
    if args.json:
        output.write_json(as_json(str(sender.address), report))
    else:
        _print(str(sender.address), report)
    return report.exit_code


def files_below(path: Path) -> Iterator[Path]:
    """`path` if it is a file, else every file below it, in order. Raises NotFoundError."""
    if not path.exists():
        raise NotFoundError(f"{path} is not there")
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def as_json(peer: str, report: Report) -> dict[str, Any]:
    """The report as JSON has it."""
    return {
        "peer": peer,
        "delivered": report.delivered,
        "refused": len(report.sent) - report.delivered,
        "skipped": len(report.skipped),
        "size_bytes": report.size_bytes,
        "duration_s": round(report.duration_s, 6),
        "files": [_file_as_json(sent) for sent in report.sent]
        + [
            {"path": str(path), "delivered": False, "status": None, "message": why}
            for path, why in report.skipped
        ],
    }


def _file_as_json(sent: Sent) -> dict[str, Any]:
    return {
        "path": str(sent.source.path),
        "delivered": sent.delivered,
        "status": sent.status,
        "message": sent.message,
        "sop_class_uid": sent.source.sop_class_uid,
        "sop_instance_uid": sent.source.sop_instance_uid,
        "transfer_syntax_uid": sent.source.transfer_syntax_uid,
        "duration_s": round(sent.duration_s, 6),
    }


def _sources(paths: list[Path], report: Report, *, quiet: bool) -> list[Source]:
    sources: list[Source] = []
    with output.progress("reading", quiet=quiet) as progress:
        task = progress.add_task("", total=None, note="")
        for path in (file for given in paths for file in files_below(given)):
            try:
                sources.append(read_source(path))
            except DataError as error:
                report.skipped.append((path, str(error)))
            except OSError as error:
                report.skipped.append((path, f"can't be read: {error.strerror}"))
            progress.update(task, advance=1)
    return sources


def _dataset_size(source: Source) -> int:
    try:
        return source.path.stat().st_size - source.dataset_offset
    except OSError:  # gone since it was sent
        return 0


def _print(peer: str, report: Report) -> None:
    console = output.console()
    failures = [(sent.source.path, sent.status, sent.message) for sent in report.sent
                if not sent.delivered]  # fmt: skip
    failures += [(path, None, why) for path, why in report.skipped]
    if failures:
        table = output.table("Not delivered", ["status", "file", "reason"])
        for path, status, why in failures[:_FAILURES_SHOWN]:
            output.add_row(table, ["" if status is None else f"0x{status:04X}", path, why])
        console.print(table)
    if len(failures) > _FAILURES_SHOWN:
        console.print(f"… and {len(failures) - _FAILURES_SHOWN} more; --json lists them all")
    rate = output.size(report.size_bytes / report.duration_s) if report.duration_s else "-"
    console.print(
        output.cell(
            f"{report.delivered} of {len(report.sent) + len(report.skipped)} files delivered to "
            f"{peer}, {output.size(report.size_bytes)} in {report.duration_s:.1f} s ({rate}/s)"
        )
    )
