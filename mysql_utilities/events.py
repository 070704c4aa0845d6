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
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
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

_ESSENTIAL = frozenset({"kind", "box", "event_id", "at"})
_UNIQUE = frozenset({"item", "digest", "sop_instance_uid"})  # hardly two images share them
_HEX_ID = re.compile(r"[0-9a-f]{32}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_MAX_DURATION_S = 1e9
_LINES_AT_ONCE = 64  # decoded in one call, which no other thread can interrupt
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
    TAKEN = "TAKEN", "the archive answered success or a warning; its proof is awaited"
    COMMITTED = "COMMITTED", "the archive proved that it keeps it"
    STORED = "STORED", "the archive answered success or a warning"
    DEFERRED = "DEFERRED", "it did not work this time; it will be tried again"
    QUARANTINED = "QUARANTINED", "can't be delivered as it is; a person must decide"
    RETRIED = "RETRIED", "an operator put it back into the queue"
    REQUEUED = "REQUEUED", "sent again: a mother lost it, or another takes over"
    RELEASED = "RELEASED", "this box has freed its own copy"
    OUTLET_DOWN = "OUTLET_DOWN", "the destination stopped answering"
    OUTLET_UP = "OUTLET_UP", "the destination answers again"
    ASKED = "ASKED", "a modality asked for storage commitment"
    ANSWERED = "ANSWERED", "the modality was told which of its images the archives have"
    UNANSWERED = "UNANSWERED", "the modality did not take that answer, and will not get it"
    GAP = "GAP", "events are missing here, the detail says why"


def _clean_text(value: object, max_length: int) -> str:
    if value is None:
        return ""
    text = str(value)
    # What is printable holds neither controls nor surrogates; nearly every value is.
    if len(text) <= max_length and text.isprintable():
        return text.strip()
    text = text[: 4 * max_length]
    text = _SURROGATES.sub("\ufffd", _CONTROLS.sub(" ", text)).strip()
    if len(text) <= max_length:
        return text
    return text[: max_length - 1].rstrip() + "…"


def _clean_int(value: object, low: int, high: int) -> int | None:
    if value is None:
        return None
    number = int(operator.index(value))  # type: ignore[arg-type]  # TypeError for what is none
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
        moment = value if value.tzinfo is UTC else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("an event's time is outside the calendar") from error
    if moment.year < _YEAR_MIN:
        raise ValueError("an event's time is before the year 1000")
    return moment


def _now() -> datetime:
    return datetime.now(UTC)


def _new_event_id() -> str:
    """48 bits of milliseconds, 80 random ones: ids made at about the same time stand side by side
    in the databases' indexes, instead of each on a page of its own."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def _check_event_id(value: str) -> str:
    if not _HEX_ID.fullmatch(value):
        raise ValueError("an event_id is 32 lower-case hexadecimal digits")
    return value


_OTHERS: dict[str, Callable[[Any], Any]] = {
    "kind": Kind,
    "event_id": _check_event_id,
    "at": _clean_time,
    "status_code": lambda value: _clean_int(value, -(2**31), 2**31 - 1),
    "size_bytes": lambda value: _clean_int(value, 0, 2**63 - 1),
    "duration_s": _clean_duration,
}
"""How the fields that are no text are checked and cleaned."""


def _cleaned(values: Mapping[str, Any]) -> dict[str, Any]:
    """These fields as an Event has them. Raises as Event does; KeyError for no field."""
    clean: dict[str, Any] = {}
    for name, value in values.items():
        max_length = MAX_LENGTHS.get(name)
        if max_length is None:
            clean[name] = _OTHERS[name](value)
        elif type(value) is str and len(value) <= max_length and value.isprintable():
            clean[name] = value.strip()  # what _clean_text does, without the call
        else:
            clean[name] = _clean_text(value, max_length)
    return clean


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
        for name, value in _cleaned({name: getattr(self, name) for name in FIELDS}).items():
            object.__setattr__(self, name, value)

    def to_json(self) -> str:
        """One line of ASCII JSON without a line end; empty fields are left out."""
        return line_and_row(self.kind, {name: getattr(self, name) for name in FIELDS})[0]

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
        row[_AT] = _at_text(self.at)
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
_EVENT_ID = FIELDS.index("event_id")
_PLACES = {name: place for place, name in enumerate(FIELDS)}
_EMPTY: dict[str, Any] = {name: "" if name in MAX_LENGTHS else None for name in FIELDS}
_EMPTY_ROW = tuple(_EMPTY.values())
_as_row: Callable[[dict[str, Any]], tuple[Any, ...]] = operator.itemgetter(*FIELDS)
_AT_CHARS = 26  # YYYY-MM-DD HH:MM:SS.ffffff, without the offset from UTC, which is 0
_TEXT_LENGTHS = (*MAX_LENGTHS.values(), 32, _AT_CHARS)
_texts: Callable[[tuple[Any, ...]], tuple[Any, ...]] = operator.itemgetter(
    *map(FIELDS.index, (*MAX_LENGTHS, "event_id", "at"))
)
_KINDS = frozenset(kind.value for kind in Kind)
_quoted = json.encoder.encode_basestring_ascii


def line_and_row(kind: Kind, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """What `to_json` (but for the order) and `to_row` of `Event(kind=kind, **values)` are, at a
    fraction of the cost: nothing on an image's path makes an Event. Raises as Event does;
    KeyError for what is no field, or for a missing box."""
    if "box" not in values:
        raise KeyError("box")
    row, parts = [*_EMPTY_ROW], []
    for name, value in values.items():
        if name not in MAX_LENGTHS:
            clean = _OTHERS[name](value)
            if clean is not None and name not in _ESSENTIAL:
                parts.append(f',"{name}":{clean!r}')
        elif isinstance(value, str) and name not in _UNIQUE:
            clean, part = _kept_text_and_part(name, value)
            parts.append(part)
        else:
            clean, part = _text_and_part(name, value)
            parts.append(part)
        row[_PLACES[name]] = clean
    row[_KIND] = Kind(kind).value
    row[_EVENT_ID] = row[_EVENT_ID] or _new_event_id()
    at = (row[_AT] or _now()).isoformat("T", "microseconds")
    row[_AT] = f"{at[:10]} {at[11:_AT_CHARS]}"
    head = f'{{"kind":"{row[_KIND]}","at":"{at}","event_id":"{row[_EVENT_ID]}"'
    return f"{head}{''.join(parts)}}}", row


def _text_and_part(name: str, value: object) -> tuple[str, str]:
    """A text field, cleaned, and what it is in a line: nothing if it is empty."""
    text = _clean_text(value, MAX_LENGTHS[name])
    return text, f',"{name}":{_quoted(text)}' if text or name == "box" else ""


_kept_text_and_part = lru_cache(maxsize=512)(_text_and_part)  # mostly those of the image before


def rows_of(lines: Sequence[bytes]) -> Iterator[tuple[Any, ...] | None]:
    """For each line the row of `Event.from_json(line).to_row()`, None if it is no event. Lazy, so
    that a thread which inserts the rows never keeps other threads waiting for long."""
    for start in range(0, len(lines), _LINES_AT_ONCE):
        some = lines[start : start + _LINES_AT_ONCE]
        try:
            decoded = json.loads(b"[%b]" % b",".join(some))
        except (ValueError, RecursionError):
            decoded = []
        if len(decoded) == len(some):
            yield from map(_row, decoded)
        else:  # at least one of them is no JSON
            yield from map(_row_of_line, some)


def clean_row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A database row in the order of FIELDS as `Event.from_row(row).to_row()`, which it is already
    unless somebody wrote into the database by hand. Raises ValueError for a row that is none."""
    try:
        texts = _texts(row)
        is_clean = "".join(texts).isprintable() and row[_KIND] in _KINDS
        if is_clean and all(map(operator.le, map(len, texts), _TEXT_LENGTHS)):
            return row
    except (IndexError, TypeError):
        pass
    return Event.from_row(row).to_row()


def _row(decoded: Any) -> tuple[Any, ...] | None:
    try:
        if not decoded.keys() >= _ESSENTIAL:
            return None
        values = {name: value for name, value in decoded.items() if name in _EMPTY}
        values["event_id"] = str(values["event_id"])
        values["at"] = datetime.fromisoformat(values["at"])
        clean = _cleaned(values)
    except (AttributeError, TypeError, ValueError):
        return None
    clean["kind"] = clean["kind"].value
    clean["at"] = _at_text(clean["at"])
    return _as_row({**_EMPTY, **clean})


def _row_of_line(line: bytes) -> tuple[Any, ...] | None:
    try:
        return Event.from_json(line).to_row()
    except ValueError:
        return None


def _at_text(at: datetime) -> str:
    return at.isoformat(" ", "microseconds")[:_AT_CHARS]
