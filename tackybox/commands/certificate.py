"""Delivery certificates: what the journals prove of a study's way, as a file that others can check.

A certificate says for each image which content (SHA-256 of transfer syntax and data set) was
received, was verified at the mother, was sent to each archive, and what that answered, with times.
Its own `sha256` is over all the rest of it, so that a change shows. What it proves, and what not,
is in docs/OPERATING.md: it is only as true as the journals that it was made from.
UIDs, names of boxes and AE titles are all that it holds: no patient's name, ID or accession number.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mysql_utilities.events import Event, Kind
from mysql_utilities.reports import History
from tackybox import statuses
from tackybox.commands.expected import EVERY_ARCHIVE, Image, images, item_of
from tackybox.errors import DataError, NotFoundError
from tackybox.item import is_uid

VERSION = 1
_KEY = "tackybox_certificate"
_SEAL = "sha256"
_LARGEST_BYTES = 256 << 20
_HEX = re.compile(r"[0-9a-f]{64}")


def certify(study_instance_uid: str, histories: Sequence[History]) -> dict[str, Any]:
    """The certificate of a study, from its items' histories."""
    certified = [one for history in histories if (one := _image(history)) is not None]
    _note_rivals(certified)
    boxes = {event.box for history in histories for event in history.events}
    proved = sum(1 for one in certified if not one["gaps"])
    return sealed(
        {
            _KEY: VERSION,
            "made_at": datetime.now(UTC).isoformat(),
            "study_instance_uid": study_instance_uid,
            "boxes_on_record": sorted(boxes),
            "images_on_record": len(certified),
            "images_proved": proved,
            "images": certified,
        }
    )


def sealed(certificate: dict[str, Any]) -> dict[str, Any]:
    """`certificate` with the digest over all the rest of it."""
    return {**certificate, _SEAL: _digest(certificate)}


@dataclass(frozen=True, slots=True)
class Certified:
    """One image of a certificate, to be looked for in an archive. `originals`: the content digests
    that its copy may have, each with the transfer syntax that it was computed in."""

    item: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    originals: dict[str, str]


def images_of(certificate: dict[str, Any]) -> list[Certified]:
    """What an archive is to have: each SOP instance once, with the digests of all that was sent
    under its UID. Raises DataError for a certificate that can't be."""
    found: dict[str, Certified] = {}
    try:
        for one in certificate["images"]:
            originals = {one["content_sha256"]: one["transfer_syntax_uid"]}
            for archive in one["archives"]:
                if archive["sent_transfer_syntax_uid"]:
                    originals[archive["sent_digest"]] = archive["sent_transfer_syntax_uid"]
            uids = (one["series_instance_uid"], one["sop_instance_uid"], one["sop_class_uid"])
            if not all(_HEX.fullmatch(digest) for digest in originals):
                raise ValueError
            if not all(not uid or is_uid(uid) for uid in (*uids, *originals.values())):
                raise ValueError
            image = Certified(one["item"], certificate["study_instance_uid"], *uids, originals)
            found.setdefault(image.sop_instance_uid, image).originals.update(originals)
    except (KeyError, TypeError, ValueError):
        raise DataError("the certificate's images are not as they must be") from None
    return list(found.values())


def as_text(certificate: dict[str, Any]) -> str:
    """For a file: JSON, as `read` takes it."""
    return json.dumps(certificate, indent=1) + "\n"


def read(path: Path) -> dict[str, Any]:
    """The certificate at `path`; raises DataError if it is none or was changed, NotFoundError."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise NotFoundError(f"{path} can't be read: {error.strerror}") from None
    try:
        if len(data) > _LARGEST_BYTES:
            raise ValueError
        found = json.loads(data)
        version = found[_KEY]
        listed = [(one["sop_instance_uid"], one["series_instance_uid"]) for one in found["images"]]
        uids = {found["study_instance_uid"], *(uid for pair in listed for uid in pair)}
        if not all(isinstance(uid, str) and is_uid(uid) for uid in uids):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path} is no delivery certificate") from None
    if version != VERSION:
        raise DataError(f"{path} is a certificate of version {version}; this is for {VERSION}")
    if found.get(_SEAL) != _digest(found):
        raise DataError(f"{path} was changed after it was made: its own digest differs")
    return dict(found)


def _digest(certificate: dict[str, Any]) -> str:
    """Over the rest, as JSON without spaces, keys in order, ASCII only."""
    rest = {key: value for key, value in certificate.items() if key != _SEAL}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _image(history: History) -> dict[str, Any] | None:
    item = item_of(history)
    if item is None:
        return None
    archives = [_archive(history, image) for image in images(history)]
    received = next((e for e in history.events if e.kind is Kind.RECEIVED), None)
    landed = [event for event in history.events if event.kind is Kind.LANDED]
    return {
        "item": history.item,
        "sop_instance_uid": item.sop_instance_uid,
        "series_instance_uid": history.first("series_instance_uid"),
        "sop_class_uid": history.first("sop_class_uid"),
        "transfer_syntax_uid": _syntax(history),
        "site": item.origin,
        "content_sha256": item.digest,
        "received": {
            "at": item.arrived_at.isoformat(),
            "from": received.calling_aet if received else "",
            "digest": received.digest if received else item.digest,
            "evidence": "journal" if received else "item name, verified by the mother",
        },
        "at_mother": [
            {"at": event.at.isoformat(), "box": event.box, "digest": event.digest}
            for event in landed
        ],
        "archives": archives,
        "gaps": _gaps(item.digest, received, landed, archives),
    }


def _note_rivals(certified: Sequence[dict[str, Any]]) -> None:
    """Where other content came under the same SOP Instance UID, an archive may keep either."""
    contents: dict[str, set[str]] = {}
    for one in certified:
        contents.setdefault(one["sop_instance_uid"], set()).add(one["content_sha256"])
    for one in certified:
        if len(contents[one["sop_instance_uid"]]) > 1:
            one["gaps"].append(
                "other content was sent under the same SOP Instance UID; most archives keep one: "
                "tackybox verify --archive tells whether it is one of them"
            )


def _syntax(history: History) -> str:
    """The transfer syntax as received: a conversion for an archive has another."""
    events = (e for e in history.events if e.kind is not Kind.CONVERTED)
    return next((e.transfer_syntax_uid for e in events if e.transfer_syntax_uid), "")


def _archive(history: History, image: Image) -> dict[str, Any]:
    """What is on record of one delivery."""
    place = (image.box, image.outlet)
    steps = [e for e in history.events if (e.box, e.destination) == place]
    stored = _last(steps, Kind.STORED)
    until = steps[: steps.index(stored)] if stored else steps
    sent = _last(until, Kind.FORWARDING)
    before = until[: until.index(sent)] if sent else []
    converted = before[-1] if before and before[-1].kind is Kind.CONVERTED else None
    released = None if stored else _last(steps, Kind.RELEASED)
    committed = [event for event in steps if event.kind is Kind.COMMITTED]
    # Where the archive had to prove that it keeps it, it had answered before.
    told = (_last(until, Kind.TAKEN) if stored else None) or stored or released
    return {
        "archive": image.archive or image.outlet,
        "box": image.box,
        "sent_at": sent.at.isoformat() if sent else None,
        "sent_digest": (converted or sent).digest if sent else None,
        "sent_transfer_syntax_uid": converted.transfer_syntax_uid if converted else None,
        "answered_at": told.at.isoformat() if told and image.archive else None,
        "status": told.status_code if stored and told else None,
        "answer": told.detail if told and image.archive else "",
        "committed_at": committed[-1].at.isoformat() if committed else None,
        "state": str(image.state),
    }


def _last(steps: Sequence[Event], kind: Kind) -> Event | None:
    return next((event for event in reversed(steps) if event.kind is kind), None)


def _gaps(
    digest: str,
    received: Event | None,
    landed: Sequence[Event],
    archives: Sequence[dict[str, Any]],
) -> list[str]:
    """What is lacking for a proof, in words; nothing if it is whole."""
    gaps = []
    if received and received.digest != digest:
        gaps.append("its reception is on record with another digest")
    if any(event.digest != digest for event in landed):
        gaps.append("its arrival at the mother is on record with another digest")
    if not (received or landed):
        gaps.append("neither its reception nor its arrival at a mother is on record")
    if not archives:
        gaps.append("no delivery to an archive is on record")
    for one in archives:
        if one["archive"] == EVERY_ARCHIVE:
            gaps.append("the archives' answers are in the mother's journal; here is her receipt")
        elif one["status"] is None:
            gaps.append(f"{one['archive']} has not said that it has it: {one['state']}")
        elif not statuses.disposition(one["status"]).delivered:
            gaps.append(f"{one['archive']} answered 0x{one['status']:04X}, which is no success")
        elif one["sent_digest"] is None:
            gaps.append(f"what was sent to {one['archive']} is not on record")
        elif one["sent_digest"] != digest and one["sent_transfer_syntax_uid"] is None:
            gaps.append(f"what was sent to {one['archive']} is on record with another digest")
    return gaps
