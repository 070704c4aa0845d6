"""What the journal records: one frozen Event per step of one item on its way.

Contract: an Event is clean the moment it exists. Over-long, NUL-ridden or undecodable values are
cut and cleaned here, once, so that the pending file, SQLite and MySQL hold identical values, and
no value can be refused by a database. Times are aware, UTC, with microseconds.

Not promised: that a value is what DICOM says it should be (a "UID" may hold anything a peer
sent, cleaned); that two events of one item bear ordered times when two boxes' clocks differ.

What others rely on:
- `item` is the item id (see docs/ARCHITECTURE.md), the same on every box; "" where a step has none.
- `destination` is the name of the outlet as configured, on QUEUED and on every later event of
  that outlet; which of several alternatives was used goes into `peer_address`.
- Header attributes (study, accession number, ...) are on QUEUED. An item's other events need not
  repeat them: the reports find them by `item`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import operator
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

MAX_LENGTHS = {
    "box": 64,
    "item": 128,
    "digest": 64,
    "sop_class_uid": 64,
    "transfer_syntax_uid": 64,
    "sop_instance_uid": 64,
    "series_instance_uid": 64,
    "study_instance_uid": 64,
    "accession_number": 64,
    "patient_id": 64,
    "modality": 16,
    "calling_aet": 32,
    "called_aet": 32,
    "peer_address": 255,
    "destination": 255,
    "lane": 16,
    "detail": 1000,
}
"""Characters (not bytes) that each text field keeps; tackybox.sql has the same numbers."""

_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_MAX_DURATION_S = 1e9
_YEAR_MIN = 1000  # the first that a MySQL DATETIME can hold


class Kind(StrEnum):
    """The steps. The sentence after each is what a person reads as its meaning."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Kind:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    RECEIVED = "RECEIVED", "durable in this box's spool; the sender was answered 0x0000"
    REFUSED = "REFUSED", "the receiver answered a failure; the sender still has it"
    QUEUED = "QUEUED", "header read, waiting for this destination"
    PUSHED = "PUSHED", "the mother has signed for it"
    LANDED = "LANDED", "the mother's gate verified and took it"
    MISMATCH = "MISMATCH", "the gate refused it: the bytes differ; it will be sent again"
    FORWARDING = "FORWARDING", "its C-STORE to the archive begins"
    CONVERTED = "CONVERTED", "transfer syntax changed without loss for this archive"
    STORED = "STORED", "the archive answered success or a warning"
    DEFERRED = "DEFERRED", "it did not work this time; it will be tried again"
    QUARANTINED = "QUARANTINED", "can't be delivered as it is; a person must decide"
    RETRIED = "RETRIED", "an operator put it back into the queue"
    REQUEUED = "REQUEUED", "sent again: a mother lost it, or another takes over"
    RELEASED = "RELEASED", "this box has freed its own copy"
    OUTLET_DOWN = "OUTLET_DOWN", "the destination stopped answering"
    OUTLET_UP = "OUTLET_UP", "the destination answers again"
    GAP = "GAP", "events are missing here, the detail says why"


def _clean_text(value: object, max_length: int) -> str:
    if value is None or value == "":
        return ""
    text = str(value)[: 4 * max_length]
    text = _SURROGATES.sub("\ufffd", _CONTROLS.sub(" ", text)).strip()
    if len(text) <= max_length:
        return text
    return text[: max_length - 1].rstrip() + "…"


def _clean_int(value: object, low: int, high: int) -> int | None:
    if value is None:
        return None
    number = operator.index(value)  # type: ignore[arg-type]  # raises TypeError for non-integers
    return number if low <= number <= high else None


def _clean_duration(value: float | None) -> float | None:
    if value is None:
        return None
    seconds = float(value)
    if not math.isfinite(seconds) or abs(seconds) > _MAX_DURATION_S:
        return None
    # Microseconds are exact enough, and a short decimal survives both databases unchanged;
    # adding 0.0 turns the negative zero that MySQL does not keep into the plain one.
    return round(seconds, 6) + 0.0


def _clean_time(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("an event's time must be aware (UTC)")
    try:
        moment = value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("an event's time is outside the calendar") from error
    if moment.year < _YEAR_MIN:
        raise ValueError("an event's time is before the year 1000")
    return moment


def _now() -> datetime:
    return datetime.now(UTC)


def _new_event_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step of one item (or of a destination), on one box, at one moment.

    `duration_s` is in seconds, `size_bytes` in bytes, `status_code` is the DIMSE status (PS3.7
    Annex C) or an exit code. Text is cleaned, numbers outside what the databases hold become
    None. Raises ValueError for a naive time or a malformed event_id, TypeError for a number
    that is none.
    """

    kind: Kind
    box: str
    item: str = ""
    event_id: str = field(default_factory=_new_event_id)
    at: datetime = field(default_factory=_now)
    digest: str = ""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    accession_number: str = ""
    patient_id: str = ""
    modality: str = ""
    calling_aet: str = ""
    called_aet: str = ""
    peer_address: str = ""
    destination: str = ""
    lane: str = ""
    status_code: int | None = None
    size_bytes: int | None = None
    duration_s: float | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "kind", Kind(self.kind))
        if not _EVENT_ID.fullmatch(self.event_id):
            raise ValueError("an event_id is 32 lower-case hexadecimal digits")
        put(self, "at", _clean_time(self.at))
        for name, max_length in MAX_LENGTHS.items():
            put(self, name, _clean_text(getattr(self, name), max_length))
        put(self, "status_code", _clean_int(self.status_code, -(2**31), 2**31 - 1))
        put(self, "size_bytes", _clean_int(self.size_bytes, 0, 2**63 - 1))
        put(self, "duration_s", _clean_duration(self.duration_s))

    def to_json(self) -> str:
        """One line of ASCII JSON without a line end; empty fields are left out."""
        values = {name: getattr(self, name) for name in FIELDS}
        values["at"] = self.at.isoformat(timespec="microseconds")
        return json.dumps(
            {k: value for k, value in values.items() if k == "box" or value not in ("", None)},
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, line: str | bytes) -> Event:
        """The event that `to_json` wrote. Unknown fields are ignored, so that an older version
        reads a newer one's lines. Raises ValueError for anything that is not an event."""
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("not a JSON object")
            known = {name: values[name] for name in FIELDS if name in values}
            known["at"] = datetime.fromisoformat(known["at"])
            # A default would make a new event each time the line is read.
            known["event_id"] = str(known["event_id"])
            return cls(**known)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"not a journal line ({type(error).__name__})") from None

    def to_row(self) -> tuple[Any, ...]:
        """Values in the order of FIELDS, as both databases take them; `at` is UTC text."""
        row = [getattr(self, name) for name in FIELDS]
        row[_KIND] = self.kind.value
        row[_AT] = self.at.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
        return tuple(row)

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Event:
        """The event of a database row in the order of FIELDS; `at` may be text or a naive
        datetime, in UTC. Raises ValueError for a row that is none."""
        values = dict(zip(FIELDS, row, strict=True))
        at = values["at"]
        moment = at if isinstance(at, datetime) else datetime.fromisoformat(str(at))
        values["at"] = moment.replace(tzinfo=UTC)
        return cls(**values)


FIELDS = tuple(f.name for f in dataclasses.fields(Event))
"""Field names in order, which is also the order of the columns in every statement."""
_KIND = FIELDS.index("kind")
_AT = FIELDS.index("at")
