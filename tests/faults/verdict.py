"""The ledger against what is there: nothing lost, nothing altered, the journal in agreement.

`judge` looks once, at a relay that is quiet (or stopped). An answered content is kept if, for each
archive, it stands in that archive, or in that archive's queue or quarantine on the mother, or on
the way there: in the mother's `new/` or `landing/`, anywhere in the daughter's `new/`, `out/` and
`quarantine/`, or as a finished draft in her `tmp/receiver/`, which the next receiver takes over.
What counts is always the digest of the bytes that are read, never a name.

Altered is a delivered or held file whose content nobody offered. Not counted: what lies in
`landing/`, `tmp/` (nobody vouches for it yet), and in quarantine as `digest-differs` or
`unreadable` (marked).

The journal is in agreement if
- each answered data set has its RECEIVED at the daughter, and each RECEIVED was offered;
- each content in an archive has its STORED for that archive at the mother, and the other way round;
- what the daughter RELEASED because it was stored is in every archive;
- each item that came to a box (RECEIVED, LANDED) and stands there no more has all its steps: QUEUED
  and RELEASED at the daughter, QUEUED and STORED for each archive at the mother.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mysql_utilities.events import Event, Kind
from mysql_utilities.sqlite_store import SqliteStore
from tackybox.config.addresses import parse_archives
from tackybox.errors import DataError
from tackybox.item import Item, digest_of
from tackybox.reasons import DAMAGED
from tackybox.spool import STORED_BY
from tests.faults.ledger import Ledger, digest_of_file

_UNTRUSTED = ("landing", "tmp")
_NO_ITEMS_IN = ("journal", "receipts", "arriving")


@dataclass(frozen=True)
class Archive:
    """An archive of the relay, its files, and its log of what it kept."""

    address: str
    directory: Path
    log: Path
    known: dict[tuple[str, int, int], str] = field(default_factory=dict, compare=False, repr=False)
    """Digests that were read before, by name, size and time of change."""

    @property
    def outlet(self) -> str:
        """The name of its queue on the mother."""
        return str(parse_archives(self.address)[0].name)

    def contents(self) -> set[str]:
        """Digests of all that it keeps."""
        found = set()
        for path in self.directory.iterdir():
            if not path.name.startswith("."):
                stat = path.stat()
                key = (path.name, stat.st_size, stat.st_mtime_ns)
                if key not in self.known:
                    self.known[key] = digest_of_file(path)
                found.add(self.known[key])
        return found

    def log_lines(self) -> list[dict[str, object]]:
        """What it was asked, in order (tests/scripted_archive.py)."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def deliveries(self) -> Counter[str]:
        """How often it took each content."""
        return Counter(str(e["digest"]) for e in self.log_lines() if e["kind"] == "kept")


@dataclass(frozen=True)
class Held:
    """A file of an item in a spool: where it stands, and the digest of its bytes ("": unreadable).

    `place` is the path below the spool without the file's name: ("out", outlet, "new", lane).
    """

    item: Item
    place: tuple[str, ...]
    digest: str

    @property
    def is_vouched_for(self) -> bool:
        """Whether somebody says that these are the bytes that were sent."""
        return self.place[0] not in _UNTRUSTED and not set(DAMAGED) & set(self.place)


@dataclass(frozen=True)
class Verdict:
    """What was found. `answered` counts data sets; `lost` are contents; `altered` are places.

    `duplicated` counts deliveries of a content to an archive beyond the times it was answered (a
    scanner that got no answer sends again: allowed, and counted). `stored_again` are items that
    one archive took more than once.
    """

    answered: int
    lost: Sequence[str]
    altered: Sequence[str]
    duplicated: int
    stored_again: Sequence[str]
    journal: Sequence[str]

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.altered or self.journal)

    def since(self, before: Verdict) -> Verdict:
        """With counts from the `before` of the same relay on: for one that lives through many
        faults. What is lost or altered stays so."""
        again = Counter(self.stored_again)
        again.subtract(before.stored_again)
        return replace(
            self,
            answered=self.answered - before.answered,
            duplicated=self.duplicated - before.duplicated,
            stored_again=sorted(again.elements()),
        )

    def __str__(self) -> str:
        return (
            f"{self.answered} answered; lost: {self.lost}; altered: {self.altered}; "
            f"duplicated: {self.duplicated}; journal: {'; '.join(self.journal[:5]) or 'agrees'}"
        )


def held(spool: Path) -> list[Held]:
    """Every item in the spool, wherever, each inode read once; look when nothing moves."""
    for _ in range(10):
        try:
            return list(_held(spool))
        except FileNotFoundError:  # it moved on while we looked
            continue
    raise AssertionError(f"the spool {spool.name} does not stand still")


def judge(
    ledger: Ledger,
    daughter: Path,
    mother: Path,
    archives: Sequence[Archive],
    *,
    journal: bool = True,
) -> Verdict:
    """The verdict on the spools `daughter` and `mother` and on `archives`.

    `journal=False` where the fault is the journal's own, or one that it may forget after (a power
    cut takes its last moments).
    """
    here, there = held(daughter), held(mother)
    contents = {archive.outlet: archive.contents() for archive in archives}
    stored = events(mother, Kind.STORED) if journal else []
    again = Counter((event.item, event.destination) for event in stored)
    disagreements: list[str] = []
    if journal:
        disagreements = [
            *_disagreements(ledger, daughter, stored, contents),
            *_gaps(daughter, {h.item.id for h in here}, Kind.RECEIVED, Kind.RELEASED, None),
            *_gaps(mother, {h.item.id for h in there}, Kind.LANDED, Kind.STORED, list(contents)),
        ]
    return Verdict(
        ledger.answered.total(),
        sorted(_lost(ledger, here, there, contents)),
        list(_altered(ledger, (*here, *there), contents)),
        _duplicated(ledger, archives),
        sorted(item for (item, _), count in again.items() if count > 1),
        disagreements,
    )


def _lost(
    ledger: Ledger, here: Sequence[Held], there: Sequence[Held], contents: Mapping[str, set[str]]
) -> set[str]:
    """What was answered and is, for some archive, neither in it nor on the way to it."""
    upstream = {h.digest for h in here}
    queued: dict[str, set[str]] = defaultdict(set)
    for one in there:
        if one.place[0] in ("new", "landing") or one.place[1] == "_box":
            upstream.add(one.digest)
        else:
            queued[one.place[1]].add(one.digest)
    return {
        digest
        for digest in ledger.answered
        for outlet, found in contents.items()
        if digest not in found | upstream | queued[outlet]
    }


def _altered(
    ledger: Ledger, everywhere: Sequence[Held], contents: Mapping[str, set[str]]
) -> Iterator[str]:
    """Where something is that nobody offered."""
    for one in everywhere:
        if one.is_vouched_for and one.digest not in ledger.offered:
            yield "/".join(one.place)
    for outlet, found in contents.items():
        yield from (f"{outlet} has {digest}" for digest in found - set(ledger.offered))


def _duplicated(ledger: Ledger, archives: Sequence[Archive]) -> int:
    """Deliveries beyond the times that a content was answered."""
    return sum(
        max(0, count - max(1, ledger.answered[digest]))
        for archive in archives
        for digest, count in archive.deliveries().items()
    )


def events(spool: Path, *kinds: Kind) -> list[Event]:
    """Events of the embedded journal in the order of their commits; of all kinds if none is
    named."""
    with SqliteStore(spool / "journal" / "events.sqlite", create=False) as store:
        found = (event for _, event in store.read_after(0, 10_000_000))
        return [event for event in found if not kinds or event.kind in kinds]


def _disagreements(
    ledger: Ledger, daughter: Path, stored: Sequence[Event], contents: Mapping[str, set[str]]
) -> Iterator[str]:
    received = Counter(event.digest for event in events(daughter, Kind.RECEIVED))
    for digest, count in ledger.answered.items():
        if received[digest] < count:
            yield f"{digest} was answered {count} times, RECEIVED {received[digest]} times"
    yield from (f"{d} is RECEIVED, nobody sent it" for d in received.keys() - set(ledger.offered))
    claims = {(event.digest, event.destination) for event in stored}
    facts = {(digest, outlet) for outlet, found in contents.items() for digest in found}
    yield from (f"{digest} is in {outlet}, not STORED" for digest, outlet in facts - claims)
    yield from (f"{digest} is STORED, not in {outlet}" for digest, outlet in claims - facts)
    for event in events(daughter, Kind.RELEASED):
        if event.detail.startswith(STORED_BY):
            missing = [outlet for outlet, found in contents.items() if event.digest not in found]
            yield from (f"{event.item} is RELEASED, not in {outlet}" for outlet in missing)


def _gaps(
    spool: Path, held: set[str], came: Kind, left: Kind, outlets: Sequence[str] | None
) -> Iterator[str]:
    """Items that `came`, are not `held` any more, and lack a step; `outlets` None: of any."""
    steps: dict[Kind, set[tuple[str, str]]] = defaultdict(set)
    for event in events(spool, came, Kind.QUEUED, left):
        steps[event.kind].add((event.item, event.destination if outlets is not None else ""))
    for item, _ in sorted(steps[came]):
        if item not in held:
            for outlet in outlets if outlets is not None else [""]:
                for kind in (Kind.QUEUED, left):
                    if (item, outlet) not in steps[kind]:
                        yield f"{item} came and went without {kind} {outlet}"


def _held(spool: Path) -> Iterator[Held]:
    digests: dict[int, str] = {}
    for directory, subdirectories, names in os.walk(spool, onerror=_raise):
        place = Path(directory).relative_to(spool).parts
        if place[:1] and place[0] in _NO_ITEMS_IN:
            subdirectories.clear()
            continue
        for name in names:
            item = _item(name)
            if item is None or not place:
                continue
            path = Path(directory, name)
            inode = path.stat().st_ino
            if inode not in digests:
                digests[inode] = _digest(path)
            yield Held(item, place, digests[inode])


def _raise(error: OSError) -> None:
    raise error


def _item(name: str) -> Item | None:
    """The item in an entry's name, or in a finished draft's, which has its lane before it."""
    for part in name.split("~"):
        try:
            return Item.parse(part)
        except DataError:
            continue
    return None


def _digest(path: Path) -> str:
    try:
        return str(digest_of(path))
    except DataError:
        return ""
