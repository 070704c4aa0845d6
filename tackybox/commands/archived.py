"""`tackybox verify --archive`: an archive's copies against a certificate, or a study on record.

Each image is retrieved by C-GET and hashed as it comes in; nothing of it is kept. Exit code 0 if
the archive has the content that was sent, of every image; 65 if one is missing or differs; 69 if
one could not be looked at. What an archive has rewritten can be told from what is wrong only where
a box still has the original: then the tags that differ are named, never values.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tackybox.commands import certificate, output, proof
from tackybox.commands.calling import address_of, calling_aet
from tackybox.commands.certificate import Certified
from tackybox.commands.sources import opened
from tackybox.config import ArchiveAddress, load_box
from tackybox.dimse.association import AssociationError, Pair, Timeouts
from tackybox.dimse.comparison import Copy, Verdict
from tackybox.dimse.query import Query, QueryError
from tackybox.dimse.retrieval import Retrieval
from tackybox.dimse.scu import FALLBACKS
from tackybox.errors import DataError, UnavailableError, UsageError
from tackybox.item import Item, read_header

_MOST_ROWS = 50
_MOST_TAGS = 12
_CHUNK_BYTES = 1 << 18
_PLACES = ("new/*", "kept/*", "out/*/*/*", "out/*/sent/*/*", "quarantine/*/*/*")


@dataclass(frozen=True, slots=True)
class Found:
    """What an archive's copy of an image is; `tags` of attributes that differ, where known."""

    image: Certified
    verdict: Verdict
    detail: str = ""
    tags: tuple[str, ...] = ()


def run(args: argparse.Namespace) -> int:
    """Verify; 0, 65 or 69. Raises TackyboxError."""
    if not args.archive:
        raise UsageError("whose copies? name the archive with --archive AET@host:port")
    if bool(args.certificate) == bool(args.study):
        raise UsageError("what is it to have? name a --certificate, or a --study on record")
    images = certificate.images_of(_certificate(args))
    root = args.spool or (None if args.certificate else load_box().spool)
    address = address_of(args.archive)
    verifier = _Verifier(
        address, calling_aet(args.calling), Timeouts(min(args.timeout, 10.0), args.timeout), root
    )
    found = []
    with output.progress("verifying", quiet=args.json) as progress:
        task = progress.add_task("", total=len(images), note="")
        for one in verifier.verify(images):
            found.append(one)
            progress.update(task, advance=1)
    if args.json:
        output.write_json([_as_dict(one) for one in found])
    else:
        _print(found, address)
    if any(not one.verdict.is_same and one.verdict is not Verdict.NOT_GIVEN for one in found):
        return DataError.exit_code
    return 0 if all(one.verdict.is_same for one in found) else UnavailableError.exit_code


def _certificate(args: argparse.Namespace) -> dict[str, Any]:
    if args.certificate:
        return certificate.read(args.certificate)
    with opened([args.spool] if args.spool else None, from_sql=args.sql) as sources:
        return proof.of_study(sources, args.study)


class _Verifier:
    """Retrieves images from `address` and compares; `root` is a spool that may have originals."""

    def __init__(
        self, address: ArchiveAddress, aet: str, timeouts: Timeouts, root: Path | None
    ) -> None:
        self._address = address
        self._aet = aet
        self._timeouts = timeouts
        self._root = root

    def verify(self, images: Sequence[Certified]) -> Iterator[Found]:
        """Raises AssociationError or QueryError if the archive can't be asked at all."""
        for contexts, group in _groups(images).items():
            retrieval: Retrieval | None = None
            for image in group:
                if not contexts:
                    yield Found(image, Verdict.NOT_GIVEN, "its SOP class is not on record")
                    continue
                if retrieval is None or not retrieval.is_open:
                    retrieval = Retrieval.open(
                        self._address, contexts, calling_aet=self._aet, timeouts=self._timeouts
                    )
                yield self._one(retrieval, image)
            if retrieval is not None:
                retrieval.close()

    def _one(self, retrieval: Retrieval, image: Certified) -> Found:
        copies: list[Copy] = []

        def begin(syntax: str) -> Callable[[bytes], None]:
            copies.append(Copy(syntax, image.originals))
            return copies[-1].feed

        place = (image.study_instance_uid, image.series_instance_uid, image.sop_instance_uid)
        try:
            status = retrieval.get(*place, begin)
            if not copies:
                return self._nothing_came(image, status)
        except (AssociationError, QueryError) as error:
            return Found(image, Verdict.NOT_GIVEN, str(error))
        return self._compared(image, copies[-1])

    def _nothing_came(self, image: Certified, status: int) -> Found:
        """The archive may lack it, or not be able to give it: its list tells."""
        place = (image.study_instance_uid, image.series_instance_uid, image.sop_instance_uid)
        with Query.open(self._address, calling_aet=self._aet, timeouts=self._timeouts) as query:
            if not query.has_image(*place):
                return Found(image, Verdict.MISSING)
        detail = f"it is listed, but C-GET was answered 0x{status:04X} and brought nothing"
        return Found(image, Verdict.NOT_GIVEN, detail)

    def _compared(self, image: Certified, copy: Copy) -> Found:
        verdict = copy.verdict()
        detail = "" if copy.syntax in image.originals.values() else f"in {copy.syntax}"
        if verdict is not None:
            return Found(image, verdict, detail)
        original = self._original(image)
        if original is None:
            return Found(image, Verdict.DIFFERS, detail)
        verdict, tags = copy.difference_from(original)
        names = tuple(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in tags)
        return Found(image, verdict, detail, names)

    def _original(self, image: Certified) -> Copy | None:
        """What this box still has of it, if it does."""
        if self._root is None:
            return None
        for digest in image.originals:
            arrival_and_origin = image.item.rpartition("_")[0]
            try:
                name = Item.parse(f"{arrival_and_origin}_{digest}_{image.sop_instance_uid}").name
            except DataError:
                continue
            for place in _PLACES:
                for path in self._root.glob(f"{place}/{name}"):
                    try:
                        return _read(path)
                    except (DataError, OSError):
                        continue
        return None


def _groups(images: Sequence[Certified]) -> dict[tuple[Pair, ...], list[Certified]]:
    """Images by the presentation contexts that they need; none where the SOP class is unknown."""
    groups: dict[tuple[Pair, ...], list[Certified]] = {}
    for image in images:
        syntaxes = [syntax for syntax in image.originals.values() if syntax]
        pairs = (Pair(image.sop_class_uid, one) for one in dict.fromkeys([*syntaxes, *FALLBACKS]))
        groups.setdefault(tuple(pairs) if image.sop_class_uid else (), []).append(image)
    return groups


def _read(path: Path) -> Copy:
    header = read_header(path)
    copy = Copy(header.transfer_syntax_uid, {})
    with path.open("rb") as file:
        file.seek(header.dataset_offset)
        while piece := file.read(_CHUNK_BYTES):
            copy.feed(piece)
    return copy


def _print(found: Sequence[Found], address: ArchiveAddress) -> None:
    console = output.console()
    counts = Counter(one.verdict for one in found)
    words = "; ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    console.print(output.cell(f"{len(found)} images at {address}: {words}"))
    table = output.table("\nNot as sent", ["SOP instance", "verdict", "detail", "tags"])
    others = [one for one in found if not one.verdict.is_same]
    for one in others[:_MOST_ROWS]:
        tags = " ".join(one.tags[:_MOST_TAGS])
        tags += f" … {len(one.tags) - _MOST_TAGS} more" if len(one.tags) > _MOST_TAGS else ""
        output.add_row(table, [one.image.sop_instance_uid, one.verdict, one.detail, tags])
    if others:
        console.print(table)
    if len(others) > _MOST_ROWS:
        console.print(f"… and {len(others) - _MOST_ROWS} more; --json has all")


def _as_dict(one: Found) -> dict[str, object]:
    return {
        "item": one.image.item,
        "sop_instance_uid": one.image.sop_instance_uid,
        "series_instance_uid": one.image.series_instance_uid,
        "verdict": str(one.verdict),
        "is_same": one.verdict.is_same,
        "detail": one.detail,
        "tags": list(one.tags),
    }
