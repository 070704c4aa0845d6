"""Which DICOM files go through the relay, with which sender, into which archive: docs/RELAYED.md.

    python -m bench.relayed [--first N] [--files N] [--output FILE]

Every file that ships in pydicom's and pynetdicom's wheels is sent with DCMTK's storescu and
dcmsend, GDCM's gdcmscu and `tackybox send` to a real daughter, whose mother stores it into three
archives. A cell says "identical" only if the archive's data set has the digest of the bytes that
the daughter took off the wire.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mysql_utilities.events import Event, Kind
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.config import ArchiveAddress
from tackybox.demo.stack import LOOPBACK, Daughter, Mother, Stack
from tackybox.dimse.files import read_source
from tackybox.dimse.sending import Sender
from tackybox.errors import DataError
from tackybox.item import Item
from tackybox.spool import Spool
from tests.journey.conftest import digests, files, waiting
from tests.peers import Peer, orthanc, require, storescp, wheel_files

_PATIENCE_S = 1.0
_REJECTED = "not sent by it"
_LATE = "still tried again when the script went on"
_REWRITTEN = "rewritten by Orthanc itself"
# storescu offers uncompressed syntaxes unless it is told which other one (storescu(1)).
_PROPOSALS = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
# As a person would call it, and how it is asked for one file in the file's own transfer syntax.
SENDERS: dict[str, Callable[[Daughter, Path], list[str]]] = {
    "storescu": lambda d, p: [
        require("storescu", "dcmtk"), *_proposal(p), "-aec", d.aet, LOOPBACK, str(d.port), str(p),
    ],
    "dcmsend": lambda d, p: [
        require("dcmsend", "dcmtk"), "-aec", d.aet, "--decompress-never", "--read-file",
        "--no-uid-checks", LOOPBACK, str(d.port), str(p),
    ],
    "gdcmscu": lambda d, p: [
        require("gdcmscu", "libgdcm-tools"), "--store", "--call", d.aet, LOOPBACK, str(d.port),
        str(p),
    ],
    "tackybox send": lambda d, p: [
        sys.executable, "-m", "tackybox", "send", f"{d.aet}@{LOOPBACK}:{d.port}", str(p),
    ],
}  # fmt: skip
# A file that every archive takes.
GOOD = next(path for path in wheel_files() if path.name == "CT_small.dcm")
ARCHIVES = ("tackybox", "DCMTK storescp", "Orthanc")


@dataclass
class Relay:
    """The running relay and its three archives."""

    daughter: Daughter
    mother: Mother
    own: Path
    scp: Peer
    pacs: Peer
    seen: int = 0
    seen_at_mother: int = 0
    settle_s: float = 120.0
    pacs_port: int = field(init=False)

    def __post_init__(self) -> None:
        self.pacs_port = int((self.pacs.directory / "http_port").read_text())

    def new_events(self) -> list[Event]:
        """What the daughter has noted since the last call."""
        with SqliteStore(self.daughter.spool / "journal" / "events.sqlite") as store:
            found = list(store.read_after(self.seen, 10_000))
        if found:
            self.seen = found[-1][0]
        return [event for _, event in found]

    def archived(self) -> dict[str, list[str]]:
        """Digests that each archive has; then they are emptied."""
        found = {
            "tackybox": digests(files(self.own)),
            "DCMTK storescp": digests(files(self.scp.directory)),
            "Orthanc": [],
        }
        for path in (*files(self.own), *files(self.scp.directory)):
            if path.suffix != ".log":
                path.unlink()
        for instance in json.loads(self.rest("instances")):
            with tempfile.NamedTemporaryFile() as copy:
                copy.write(self.rest(f"instances/{instance}/file"))
                copy.flush()
                found["Orthanc"] += digests([Path(copy.name)])
            self.rest(f"instances/{instance}", method="DELETE")
        return found

    def copy_of(self, item_id: str) -> Path:
        """A copy of the item as the daughter took it off the wire, while she still has it."""
        copy = self.daughter.spool.parent / "copy.dcm"
        copy.unlink(missing_ok=True)
        for path in waiting(self.daughter.spool):
            with contextlib.suppress(FileNotFoundError, DataError):
                if Item.parse(path.name).id == item_id:
                    copy.write_bytes(path.read_bytes())
                    break
        return copy

    def send_another(self) -> None:
        """Send the file that every archive takes."""
        command = SENDERS["dcmsend"](self.daughter, GOOD)
        subprocess.run(command, capture_output=True, timeout=60, check=False)

    def store_directly(self, path: Path) -> None:
        """Store the file at `path` into Orthanc without the relay in between."""
        peer = ArchiveAddress(self.pacs.aet, LOOPBACK, self.pacs.port)
        if path.exists():
            Sender(address=peer, calling_aet="DIRECT").send([read_source(path)], lambda _: None)

    def rest(self, path: str, method: str = "GET") -> bytes:
        """Ask Orthanc's REST API."""
        url = f"http://{LOOPBACK}:{self.pacs_port}/{path}"
        request = urllib.request.Request(url, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def quarantined(self) -> dict[str, str]:
        """Why each archive's outlet has something in quarantine; then that is emptied."""
        held = list(Spool.open(self.mother.spool).quarantined())
        details = dict.fromkeys((one.outlet for one in held), "")
        until_s = time.monotonic() + 5.0  # the journal may be a moment behind the spool
        while not all(details.values()) and time.monotonic() < until_s:
            with SqliteStore(self.mother.spool / "journal" / "events.sqlite") as store:
                found = [event for _, event in store.read_after(self.seen_at_mother, 10_000)]
            self.seen_at_mother += len(found)
            details |= {e.destination: e.detail for e in found if e.kind == Kind.QUARANTINED}
        for one in held:
            one.entry.path.unlink()
        return details


def relay_one(relay: Relay, sender: str, path: Path) -> dict[str, str]:
    """What becomes of one file from one sender in each archive."""
    done = subprocess.run(
        SENDERS[sender](relay.daughter, path), capture_output=True, timeout=60, check=False
    )
    del done  # what counts is what the daughter took
    events = _arrival(relay, path)
    received = [event for event in events if event.kind == Kind.RECEIVED]
    refused = [event for event in events if event.kind == Kind.REFUSED]
    if not received:
        cell = _REJECTED
        if refused:
            cell = f"refused 0x{refused[0].status_code or 0:04X}: {refused[0].detail}"
        return dict.fromkeys(ARCHIVES, cell)
    sent = relay.copy_of(received[0].item)
    until_s = time.monotonic() + relay.settle_s
    others_at_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s and not _settled(relay):
        time.sleep(0.05)
        if time.monotonic() > others_at_s and list(relay.mother.spool.glob("out/*/deferred/*/*")):
            # "Try later" for one item counts against it only when others go through meanwhile.
            relay.send_another()
            others_at_s = time.monotonic() + 1.5
    late = [part for p in waiting(relay.mother.spool) for part in p.parts if "deferred" in p.parts
            or "active" in p.parts]  # fmt: skip
    held, archived = relay.quarantined(), relay.archived()
    _forget(relay)
    cells: dict[str, str] = {}
    for archive, word in zip(ARCHIVES, ("ARCHIVE", "STORESCP", "ORTHANC"), strict=True):
        reason = next((why for outlet, why in held.items() if outlet.startswith(word)), None)
        cells[archive] = "identical" if received[0].digest in archived[archive] else "DIFFERENT"
        if reason is not None:
            cells[archive] = f"quarantine: {reason}"
        elif cells[archive] == "DIFFERENT" and any(part.startswith(word) for part in late):
            cells[archive] = _LATE
    if cells["Orthanc"] == "DIFFERENT" and archived["Orthanc"]:
        relay.store_directly(sent)
        if set(relay.archived()["Orthanc"]) <= set(archived["Orthanc"]):
            cells["Orthanc"] = _REWRITTEN
    return cells


def _arrival(relay: Relay, path: Path) -> list[Event]:
    """The daughter's events of the file at `path`, just sent, once they are in the journal."""
    other = "" if path == GOOD else read_source(GOOD).sop_instance_uid
    until_s = time.monotonic() + 1.0
    events: list[Event] = []
    while time.monotonic() < until_s:
        events += [event for event in relay.new_events() if event.sop_instance_uid != other]
        if any(event.kind in (Kind.RECEIVED, Kind.REFUSED) for event in events):
            break
        time.sleep(0.02)
    return events


def _settled(relay: Relay) -> bool:
    """Whether all has landed, and nothing waits at the mother but in quarantine."""
    arriving = [p for p in waiting(relay.daughter.spool) if "sent" not in p.parts]
    left = [p for p in waiting(relay.mother.spool) if not {"quarantine", "done"} & set(p.parts)]
    return not arriving and not left


def _forget(relay: Relay) -> None:
    """Remove what a quarantined copy has kept on both boxes, so that the next file is alone."""
    for spool in (relay.daughter.spool, relay.mother.spool):
        for path in waiting(spool):
            with contextlib.suppress(FileNotFoundError, DataError):
                Item.parse(path.name)
                path.unlink()


def _proposal(path: Path) -> list[str]:
    """storescu's option for the transfer syntax of the file at `path`; its default for others."""
    try:
        syntax = read_source(path).transfer_syntax_uid
    except DataError:
        return []
    option = _PROPOSALS.get(syntax)
    return [option] if option else []


@contextlib.contextmanager
def running_relay(workdir: Path) -> Iterator[Relay]:
    """A daughter, a mother and the three archives."""
    with (
        storescp(workdir / "storescp") as scp,
        orthanc(workdir / "orthanc") as pacs,
        Stack(workdir) as stack,
    ):
        stack.daughter_key("north")
        address, own = stack.start_archive("archive", "ARCHIVE")
        mother = stack.start_mother(
            "mother",
            ";".join((address, scp.address, pacs.address)),
            backoff_cap_s=1,
            rescan_interval_s=0.5,
            dimse_timeout_s=8,  # Orthanc never answers some of them; five losses are a verdict
        )
        daughter = stack.start_daughter("north", mother.destination, receipts_interval_s=2)
        yield Relay(daughter, mother, own, scp, pacs)


def table(rows: dict[str, dict[str, dict[str, str]]]) -> str:
    """The page: a summary, then a row per file with a column per archive."""
    cells = [
        cell
        for by_sender in rows.values()
        for by_archive in by_sender.values()
        for cell in by_archive.values()
    ]
    lines = [
        "# What goes through",
        "",
        "Made by `python -m bench.relayed`. Each DICOM file that ships inside pydicom's and",
        "pynetdicom's wheels, sent by each sender through daughter and mother into each archive.",
        "*identical*: the archived data set is byte for byte what the sender put on the wire.",
        f"*{_REJECTED}*: the sender itself would not send that file.",
        f"*{_REWRITTEN}*: Orthanc encodes this data set anew when it stores it; sent to it",
        "directly, without the relay, the same bytes become the same archived bytes.",
        "",
        f"{len(rows)} files, {len(SENDERS)} senders, {len(ARCHIVES)} archives: "
        f"{cells.count('identical')} identical, "
        f"{sum(cell.startswith('quarantine') for cell in cells)} in quarantine, "
        f"{sum(cell.startswith('refused') for cell in cells)} refused at the door, "
        f"{cells.count(_REWRITTEN)} rewritten by the archive, {cells.count(_REJECTED)} not sent, "
        f"{cells.count('DIFFERENT')} different.",
        "",
        f"| file | sender | {' | '.join(ARCHIVES)} |",
        f"|---|---|{'---|' * len(ARCHIVES)}",
    ]
    for name, by_sender in rows.items():
        for senders, by_archive in _grouped(by_sender):
            lines.append(f"| {name} | {senders} | {' | '.join(by_archive.values())} |")
    return "\n".join(lines) + "\n"


def _grouped(by_sender: dict[str, dict[str, str]]) -> list[tuple[str, dict[str, str]]]:
    """Senders with the same result on one line."""
    groups: list[tuple[list[str], dict[str, str]]] = []
    for sender, by_archive in by_sender.items():
        same = next((names for names, cells in groups if cells == by_archive), None)
        if same is None:
            groups.append(([sender], by_archive))
        else:
            same.append(sender)
    return [("all" if len(n) == len(SENDERS) else ", ".join(n), cells) for n, cells in groups]


def main() -> int:
    """Make the table; exit code 1 if any data set arrived different."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=0, help="the first file, counted from 0")
    parser.add_argument("--files", type=int, default=None, help="how many files")
    parser.add_argument("--output", type=Path, default=Path("docs/RELAYED.md"))
    parser.add_argument("--settle-s", type=float, default=120.0, help="how long to wait for a file")
    args = parser.parse_args()
    rows: dict[str, dict[str, dict[str, str]]] = {}
    with tempfile.TemporaryDirectory() as directory, running_relay(Path(directory)) as relay:
        relay.settle_s = args.settle_s
        for path in wheel_files()[args.first :][: args.files]:
            name = "/".join(path.parts[-2:])
            rows[name] = {sender: relay_one(relay, sender, path) for sender in SENDERS}
            print(name, json.dumps(_grouped(rows[name])), flush=True)
    args.output.write_text(table(rows))
    return int("| DIFFERENT" in args.output.read_text())


if __name__ == "__main__":
    sys.exit(main())
