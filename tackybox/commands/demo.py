"""`tackybox demo`: a complete relay on this one machine, shown at work.

Starts a private sshd with the real gate, receiver, pusher, forwarder and, unless one is given, a
small archive; sends real files through all of it; shows the trace; compares every archived data
set byte for byte with what was sent. Exit code 0 only if all of them arrived identical, else
65 (EX_DATAERR). Needs no container engine, no database and no network.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tackybox import service
from tackybox.commands import output, trace
from tackybox.commands.send import files_below
from tackybox.config.addresses import ArchiveAddress, parse_archive
from tackybox.demo import evidence, samples
from tackybox.demo.stack import LOOPBACK, Daughter, Mother, Stack, require_tools
from tackybox.dimse.files import read_source
from tackybox.dimse.scu import Source
from tackybox.dimse.sending import Sender, Sent
from tackybox.errors import DataError, UsageError
from tackybox.spool import Spool
from tackybox.statuses import disposition

NAME = "demo"
HELP = "run a complete relay on this machine and show images go through it"

_DAUGHTER = "north-clinic"
_SILENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: what was sent and refused, what arrived, how long it took."""

    sent: int
    refused: tuple[Sent, ...]
    proofs: tuple[evidence.Evidence, ...]
    stored: int
    duration_s: float

    @property
    def is_success(self) -> bool:
        """Whether all that was to be sent is in every archive, identical."""
        proven = all(proof.is_proof for proof in self.proofs)
        return self.sent > 0 and not self.refused and proven and self.stored >= self.sent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "path", nargs="*", type=Path, metavar="PATH",
        help="DICOM files and folders (without any: real files that ship with pydicom, and a "
        "generated CT study of 200 slices)",
    )  # fmt: skip
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="keep everything in DIR")
    parser.add_argument("--archive", metavar="AET@host:port", help="your archive instead of ours")
    parser.add_argument("--mothers", type=int, default=1, metavar="N", help="each gets all (1)")
    parser.add_argument("--port", type=int, metavar="P", help="the daughter's DICOM port")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Show the relay; see the module for the exit code."""
    if not 1 <= args.mothers <= 8:
        raise UsageError("--mothers takes a number from 1 to 8")
    require_tools()
    archive = _given_archive(args.archive)
    with _workdir(args.workdir) as workdir, Stack(workdir) as stack:
        console = output.console(quiet=args.json, markup=True)
        sources, study = _sources(args.path, workdir)
        console.print(f"[bold]Tackybox demo[/] in {workdir}")
        started_s = time.monotonic()
        archives, mothers, daughter = _start(stack, archive, args.mothers, args.port)
        console.print(
            f"Started in {time.monotonic() - started_s:.1f} s: scanner → daughter (port "
            f"{daughter.port}) → rsync over ssh → {len(mothers)} mother(s) → archive"
        )
        outcome = _relay(sources, daughter, mothers, archives, quiet=args.json)
        spools = [daughter.spool, *(mother.spool for mother in mothers)]
        if args.json:
            output.write_json(_as_json(outcome, workdir))
        else:
            trace.print_study(spools, study or samples.study_of(sources[0]), console)
            _print(outcome, console)
        if args.keep:
            _keep(daughter, mothers, archives, console)
    return 0 if outcome.is_success else DataError.exit_code


def _given_archive(text: str | None) -> ArchiveAddress | None:
    try:
        return parse_archive(text) if text else None
    except ValueError as error:
        raise UsageError(f"--archive {error}") from error


@contextlib.contextmanager
def _workdir(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        if any(given.iterdir()):
            raise UsageError(f"--workdir: {given} is not empty; name a new directory")
        yield given.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="tackybox-demo-") as directory:
        yield Path(directory)


def _sources(paths: list[Path], workdir: Path) -> tuple[list[Source], str]:
    """What to send, and the study to show the trace of ("" if it is the first file's)."""
    if not paths:
        return samples.make(workdir / "samples")
    sources = []
    for path in (file for given in paths for file in files_below(given)):
        try:
            sources.append(read_source(path))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    if not sources:
        raise UsageError("there is no file in what was named")
    return sources, ""


def _start(
    stack: Stack, given: ArchiveAddress | None, count: int, port: int | None
) -> tuple[list[Path], list[Mother], Daughter]:
    """Archives' directories (none if one was given), mothers, daughter."""
    stack.daughter_key(_DAUGHTER)
    directories, mothers = [], []
    for number in range(1, count + 1):
        suffix = "" if number == 1 else f"-{number}"
        address = str(given)
        if given is None:
            address, directory = stack.start_archive(f"archive{suffix}", "ARCHIVE")
            directories.append(directory)
        mothers.append(stack.start_mother(f"mother{suffix}", address))
    destinations = ";".join(mother.destination for mother in mothers)
    daughter = stack.start_daughter(_DAUGHTER, destinations, port, receipts_interval_s=0.5)
    return directories, mothers, daughter


def _relay(
    sources: list[Source],
    daughter: Daughter,
    mothers: list[Mother],
    archives: list[Path],
    *,
    quiet: bool,
) -> Outcome:
    started_s = time.monotonic()
    refused: list[Sent] = []
    sent: list[Source] = []
    with output.progress("sending ", quiet=quiet) as progress:
        task = progress.add_task("", total=len(sources), note="to the daughter")

        def note(result: Sent) -> None:
            (sent.append(result.source) if result.delivered else refused.append(result))
            progress.update(task, advance=1)

        address = ArchiveAddress(daughter.aet, LOOPBACK, daughter.port)
        Sender(address=address, calling_aet="SCANNER").send(sources, note)
    goal = len(sent) * len(mothers)
    with output.progress("relaying", quiet=quiet) as progress:
        task = progress.add_task("", total=goal, note="into the archive")
        stored = _follow(
            goal, daughter, mothers, lambda done: progress.update(task, completed=done)
        )
    duration_s = time.monotonic() - started_s
    proofs = tuple(evidence.compare(sent, directory) for directory in archives)
    return Outcome(len(sent), tuple(refused), proofs, stored // len(mothers), duration_s)


def _follow(
    goal: int, daughter: Daughter, mothers: list[Mother], note: Callable[[int], None]
) -> int:
    """Wait until nothing more can come, or nothing has for a while; how many are stored.

    The daughter frees an item only when every archive of a mother has it, so what is no longer in
    her spool is stored; what stands in a mother's quarantine will not be.
    """
    spool = Spool.open(daughter.spool)
    stored, moved_s = 0, time.monotonic()
    while time.monotonic() - moved_s < _SILENCE_S:
        left = spool.count_links()
        if goal - left != stored:
            stored, moved_s = goal - left, time.monotonic()
            note(stored)
        if left <= sum(1 for mother in mothers for _ in Spool.open(mother.spool).quarantined()):
            break
        time.sleep(0.1)
    return stored


def _print(outcome: Outcome, console: Console) -> None:
    for sent in outcome.refused:
        why = sent.message or disposition(sent.status).meaning
        console.print(f"[red]Refused[/] {sent.source.path.name}: {why}", markup=True)
    size_bytes = outcome.proofs[0].size_bytes if outcome.proofs else 0
    rate = f", {output.size(size_bytes)}" if size_bytes else ""
    console.print(
        f"Sent {outcome.sent} data sets{rate}; the last was in the archive "
        f"{outcome.duration_s:.1f} s after the first was sent."
    )
    for number, proof in enumerate(outcome.proofs, start=1):
        colour = "green" if proof.is_proof else "red"
        console.print(
            f"[bold {colour}]Archive {number}: {proof.identical} of {proof.sent} data sets "
            "identical, byte for byte[/]"
        )
        for path in proof.missing:
            console.print(f"  [red]missing or different:[/] {path.name}")


def _as_json(outcome: Outcome, workdir: Path) -> dict[str, object]:
    return {
        "workdir": str(workdir),
        "sent": outcome.sent,
        "refused": [str(sent.source.path) for sent in outcome.refused],
        "stored": outcome.stored,
        "identical": [proof.identical for proof in outcome.proofs],
        "missing": [[str(path) for path in proof.missing] for proof in outcome.proofs],
        "duration_s": round(outcome.duration_s, 3),
        "success": outcome.is_success,
    }


def _keep(
    daughter: Daughter, mothers: list[Mother], archives: list[Path], console: Console
) -> None:
    console.print("\n[bold]It keeps running.[/] Send to it, for example with DCMTK:")
    console.print(
        f"  storescu -aec {daughter.aet} {LOOPBACK} {daughter.port} FILE.dcm", style="cyan"
    )
    console.print("Look at it from another terminal:")
    for spool in (daughter.spool, *(mother.spool for mother in mothers)):
        console.print(f"  tackybox status --spool {spool}", style="cyan")
    for directory in archives:
        console.print(f"Archived files: {directory}")
    console.print(f"Spools: {daughter.spool}, {', '.join(str(m.spool) for m in mothers)}")
    console.print("Ctrl-C stops all of it.")
    stop = service.on_signals()
    stop.wait()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the clean end
