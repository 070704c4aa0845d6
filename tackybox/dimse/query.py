"""What an archive says that it has: C-FIND as its user (PS3.4 Annex C, PS3.7 9.1.2), Study Root.

Asks for UIDs and counts only, so that no answer holds patient data that anybody asked for and none
depends on a character set. Promises: every question ends in bounded time, with a bounded number of
matches (`most`; beyond it the archive is told to cancel, and QueryError is raised: a part of an
answer is never taken for the whole), each of bounded size. What an archive adds to an answer, and
matches whose UID is none, are passed over.
Does not promise that an archive has what it lists, or lists what it has. Give all keys down to the
level (PS3.4 C.4.1.2.1): some archives find no image unless its study and series are named.
"""

from __future__ import annotations

import io
import itertools
import struct
import time
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from pydicom.uid import ImplicitVRLittleEndian

from tackybox import by_pydicom
from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.association import (
    Association,
    AssociationError,
    Failure,
    Pair,
    Timeouts,
)
from tackybox.dimse.messages import (
    MalformedMessage,
    Request,
    cancel_command,
    find_request,
    uid_value,
)
from tackybox.dimse.scu import DEFAULT_MAX_PDU_BYTES
from tackybox.errors import UnavailableError
from tackybox.item import is_uid
from tackybox.leading import plain_values

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # PS3.4 C.6.2.1
MOST_MATCHES = 100_000
_LONGEST_S = 600.0
_CANCELLING_S = 10.0
_PENDING = frozenset({0xFF00, 0xFF01})  # PS3.4 table C.4-1
_SUCCESS = 0x0000

_CONTEXT = Pair(STUDY_ROOT_FIND, str(ImplicitVRLittleEndian))
_LEVEL = 0x00080052
_SOP_INSTANCE_UID = 0x00080018
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_IMAGES_OF_STUDY = 0x00201208
_IMAGES_OF_SERIES = 0x00201209
_KEYS = (_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID, _SOP_INSTANCE_UID)  # from the top
_COUNTS = (_IMAGES_OF_STUDY, _IMAGES_OF_SERIES)
_WANTED = {**dict.fromkeys(_KEYS, b"UI"), **dict.fromkeys(_COUNTS, b"IS")}
_LAST = max(_WANTED)


class QueryError(UnavailableError):
    """The archive has not answered a question whole; exit code 69. The message is for people."""


class Level(StrEnum):
    """What a question is about, PS3.4 table C.6-4."""

    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Match:
    """One thing that the archive lists; "" and None where it doesn't say or wasn't asked.

    `images` is how many images the study or series has, as far as the archive counts them.
    """

    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    images: int | None = None


class Query:
    """An association for C-FIND, kept open until `close`; for one thread at a time."""

    def __init__(self, association: Association, address: ArchiveAddress) -> None:
        self._association = association
        self._address = address

    @classmethod
    def open(
        cls, address: ArchiveAddress, *, calling_aet: str, timeouts: Timeouts | None = None
    ) -> Query:
        """Raises AssociationError; QueryError if the archive offers no C-FIND to us."""
        association = Association.open(
            address,
            [_CONTEXT],
            calling_aet=calling_aet,
            timeouts=timeouts or Timeouts(),
            max_pdu_bytes=DEFAULT_MAX_PDU_BYTES,
        )
        if not association.accepted:
            raise QueryError(f"{address} does not offer C-FIND (Study Root) to {calling_aet}")
        return cls(association, address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether a question can be tried."""
        return self._association.is_open

    def has_image(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> bool:
        """Whether the archive lists this very image. Raises as `find` does."""
        matches = self.find(Level.IMAGE, study_instance_uid, series_instance_uid, sop_instance_uid)
        return any(match.sop_instance_uid == sop_instance_uid for match in matches)

    def images_of(self, study_instance_uid: str) -> dict[str, str]:
        """The series of each image that the archive lists for a study, by SOP Instance UID.

        Asked for series by series. Raises as `find` does.
        """
        found: dict[str, str] = {}
        for series in self.find(Level.SERIES, study_instance_uid):
            uid = series.series_instance_uid
            matches = self.find(Level.IMAGE, study_instance_uid, uid)
            found |= dict.fromkeys((match.sop_instance_uid for match in matches), uid)
        return found

    def find(
        self,
        level: Level,
        study_instance_uid: str = "",
        series_instance_uid: str = "",
        sop_instance_uid: str = "",
        *,
        most: int = MOST_MATCHES,
    ) -> list[Match]:
        """What the archive lists at `level` that has these UIDs; "" fits all.

        Raises QueryError if it refuses or if there are more than `most`, AssociationError if no
        answer comes (the association is over then), ValueError for a UID that is none.
        """
        asked = identifier(level, study_instance_uid, series_instance_uid, sop_instance_uid)
        request = find_request(self._association.next_message_id(), STUDY_ROOT_FIND)
        context_id = self._association.accepted[_CONTEXT]
        self._association.send(request.command, context_id, asked)
        found: list[Match] = []
        until_s = time.monotonic() + _LONGEST_S
        for number in itertools.count(1):
            status, answer = self._next(request)
            if status not in _PENDING:
                break
            if number > most or time.monotonic() > until_s:
                self._cancel(request, context_id)
                raise QueryError(f"{self._address} lists more than {most} matches, or for too long")
            match = _match(level, answer)
            found += [match] if match is not None else []
        if status != _SUCCESS:
            raise QueryError(f"{self._address} answered C-FIND with status 0x{status:04X}")
        return found

    def close(self) -> None:
        """Release the association; bounded, never raises for what the archive does."""
        self._association.release()

    def _next(self, request: Request) -> tuple[int, bytes]:
        """The next response's status and identifier."""
        identifier = bytearray()
        message = self._association.receive(lambda _, piece: identifier.extend(piece))
        try:
            return message.status_of(request), bytes(identifier)
        except MalformedMessage as error:
            self._association.abort()
            words = f"{self._address} answered C-FIND with something that does not fit"
            raise AssociationError(Failure.MALFORMED, words) from error

    def _cancel(self, request: Request, context_id: int) -> None:
        """Tell the archive to stop and read its last words, or abort (PS3.7 9.3.2.3)."""
        until_s = time.monotonic() + _CANCELLING_S
        self._association.send(cancel_command(request.message_id), context_id)
        while self._next(request)[0] in _PENDING:
            if time.monotonic() > until_s:
                self._association.abort()
                return


def identifier(level: Level, *uids: str) -> bytes:
    """What is asked, PS3.4 C.4.1.1.3: the level, and the UIDs of study, series and SOP instance
    down to it, "" for all. Raises ValueError for what is no UID."""
    if not all(is_uid(uid) for uid in uids if uid):
        raise ValueError("what is asked for is no UID")
    depth = tuple(Level).index(level)
    asked = {_LEVEL: _even(level.encode(), b" ")}
    asked |= {tag: uid_value(uid) for tag, uid in zip(_KEYS[: depth + 1], uids, strict=False)}
    if level is not Level.IMAGE:
        asked[_COUNTS[depth]] = b""
    return b"".join(
        struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
        for tag, value in sorted(asked.items())
    )


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)


def _match(level: Level, identifier: bytes) -> Match | None:
    """What one answer lists; None if it does not say what."""
    found = plain_values(identifier, _WANTED, implicit=True, last_tag=_LAST, whole=True)
    if found is None:
        try:
            source = io.BytesIO(identifier)
            found = by_pydicom.attributes(
                source, _CONTEXT.transfer_syntax_uid, _WANTED, _LAST, None
            )
        except Exception:  # pydicom raises many classes for bad bytes
            return None
    depth = tuple(Level).index(level)
    uids = [found.get(tag, "") for tag in _KEYS]
    if not is_uid(uids[depth]):
        return None
    study, series, image = (uid if is_uid(uid) else "" for uid in uids)
    count = "" if level is Level.IMAGE else found.get(_COUNTS[depth], "")
    return Match(study, series, image, int(count) if count.isdecimal() else None)
