"""The item: one received SOP instance, as a self-describing Part-10 file.

The server makes the name, never the sender:

    <arrival, UTC>_<origin box>_<sha256>_<SOP Instance UID>

so that a directory listing sorts by arrival, a copy can be checked against its own name on any
box, and no attribute from the network reaches a path unvalidated (CVE-2026-56445 was that).

Promises: `Item.parse` accepts exactly the names that `Item.name` makes; `read_header` and
`digest_of` use bounded memory whatever the file holds. Does not promise that a data set is good
DICOM: a relay carries what it was given, and the archive decides.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tackybox.errors import DataError
from tackybox.leading import first_tag, plain_values

IMPLEMENTATION_CLASS_UID = "2.25.124178120563117412498221130722563419057"
IMPLEMENTATION_VERSION_NAME = "TACKYBOX_0_1"  # PS3.7 D.3.3.2.3: at most 16 characters

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ARRIVAL_CHARACTERS = len("2026-11-21T03:54:12.123456")
_UID = re.compile(r"[0-9][0-9.]{0,63}")
_BOX = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_NAME = re.compile(
    r"(?P<arrival>\d{8}T\d{6}\.\d{6}Z)_(?P<origin>[a-z0-9][a-z0-9-]{0,31})"
    r"_(?P<digest>[0-9a-f]{64})_(?P<uid>[0-9][0-9.]{0,63})"
)
_CHUNK_BYTES = 1 << 18
_PLAIN_BYTES = 1 << 14  # nearly always reaches beyond the leading attributes
_HEAD_BYTES = 1 << 18  # what is inflated of a deflated data set to find its leading attributes


def is_uid(text: str) -> bool:
    """Whether `text` is made of a UID's characters and no longer than one (PS3.5 section 9.1).

    Components with leading zeros, which the standard forbids and scanners send, are let through.
    """
    return _UID.fullmatch(text) is not None


def is_box_name(text: str) -> bool:
    """Whether `text` can name a box: lower-case letters, digits, hyphens, at most 32."""
    return _BOX.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """What an item's name says. Ordered by arrival."""

    arrived_at: datetime
    origin: str
    digest: str
    sop_instance_uid: str

    @classmethod
    def parse(cls, name: str) -> Item:
        """The item that `name` names; raises DataError for any other text."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise DataError("a file in the spool has a name that is not an item's")
        try:
            arrived_at = datetime.fromisoformat(match["arrival"])
        except ValueError as error:
            raise DataError("an item's name has an arrival time that is no time") from error
        return cls(arrived_at, match["origin"], match["digest"], match["uid"])

    @property
    def name(self) -> str:
        """The file name."""
        return f"{self._arrival}_{self.origin}_{self.digest}_{self.sop_instance_uid}"

    @property
    def id(self) -> str:
        """The correlation id for logs and journal: the name without the SOP Instance UID."""
        return f"{self._arrival}_{self.origin}_{self.digest[:16]}"

    @property
    def reception_id(self) -> str:
        """The event id of its RECEIVED: always the same, so that one made again is no second one.

        Begins with the time of arrival, as other event ids do with theirs.
        """
        since = self.arrived_at - _EPOCH
        in_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        return (
            f"{in_us // 1000:012x}{in_us % 1000:03x}{zlib.crc32(self.origin.encode()):08x}"
            f"{self.digest[:9]}"
        )

    @property
    def _arrival(self) -> str:
        written = self.arrived_at.isoformat(timespec="microseconds")[:_ARRIVAL_CHARACTERS]
        return written.replace("-", "").replace(":", "") + "Z"


@dataclass(frozen=True, slots=True)
class Header:
    """What the file meta and the leading attributes of an item say; "" where they don't.

    `dataset_offset` is where the encoded data set begins, in bytes. `problem` says why leading
    attributes could not be read, without quoting any of them.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_offset: int
    calling_aet: str = ""
    called_aet: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    accession_number: str = ""
    patient_id: str = ""
    modality: str = ""
    problem: str = ""

    def event_fields(self) -> dict[str, str]:
        """The attributes as the journal's event fields."""
        return {
            "sop_class_uid": self.sop_class_uid,
            "sop_instance_uid": self.sop_instance_uid,
            "transfer_syntax_uid": self.transfer_syntax_uid,
            "calling_aet": self.calling_aet,
            "called_aet": self.called_aet,
            "study_instance_uid": self.study_instance_uid,
            "series_instance_uid": self.series_instance_uid,
            "accession_number": self.accession_number,
            "patient_id": self.patient_id,
            "modality": self.modality,
        }


_LEADING = {
    0x00080060: "modality",
    0x00080050: "accession_number",
    0x00100020: "patient_id",
    0x0020000D: "study_instance_uid",
    0x0020000E: "series_instance_uid",
}
# Whole data sets deflated (PS3.5 A.5, and JPIP's two kinds of it).
_DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_SPECIFIC_CHARACTER_SET = 0x00080005
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_LAST_OF_GROUP_8 = 0x0008FFFF
_WANTED = {
    _SOP_CLASS_UID: b"UI",
    _SOP_INSTANCE_UID: b"UI",
    0x00080060: b"CS",
    0x00080050: b"SH",
    0x00100020: b"LO",
    0x0020000D: b"UI",
    0x0020000E: b"UI",
}

_META_BEGIN = b"DICM\x02\x00\x00\x00UL\x04\x00"  # prefix, and group length's tag, VR and length
_MEDIA_SOP_CLASS_UID = 0x00020002
_MEDIA_SOP_INSTANCE_UID = 0x00020003
_TRANSFER_SYNTAX_UID = 0x00020010
_SOURCE_AET = 0x00020016
_RECEIVING_AET = 0x00020018
_SAME_IN_META = {
    _SOP_CLASS_UID: _MEDIA_SOP_CLASS_UID,
    _SOP_INSTANCE_UID: _MEDIA_SOP_INSTANCE_UID,
}
_META_UIDS = (_MEDIA_SOP_CLASS_UID, _MEDIA_SOP_INSTANCE_UID, _TRANSFER_SYNTAX_UID)
_META = {**dict.fromkeys(_META_UIDS, b"UI"), _SOURCE_AET: b"AE", _RECEIVING_AET: b"AE"}


def content_digest(transfer_syntax_uid: str) -> Any:
    """A SHA-256 object already fed with the transfer syntax; feed it the encoded data set.

    The identity of content is SHA-256(transfer syntax UID, one NUL, encoded data set).
    """
    return hashlib.sha256(transfer_syntax_uid.encode("ascii") + b"\0")


def part10_head(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    calling_aet: str,
    called_aet: str,
) -> bytes:
    """Preamble, prefix and File Meta Information (PS3.10 section 7.1) for a received data set."""
    meta = b"".join(
        (
            b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\x00\x01",  # File Meta Information Version
            _meta_element(0x02, b"UI", sop_class_uid),
            _meta_element(0x03, b"UI", sop_instance_uid),
            _meta_element(0x10, b"UI", transfer_syntax_uid),
            _meta_element(0x12, b"UI", IMPLEMENTATION_CLASS_UID),
            _meta_element(0x13, b"SH", IMPLEMENTATION_VERSION_NAME),
            _meta_element(0x16, b"AE", calling_aet),  # of the source, and of the sender
            _meta_element(0x17, b"AE", calling_aet),
            _meta_element(0x18, b"AE", called_aet),
        )
    )
    return b"\0" * 128 + _META_BEGIN + struct.pack("<L", len(meta)) + meta


def _meta_element(number: int, vr: bytes, text: str) -> bytes:
    """An element (0002,`number`) with a short length, in Explicit VR Little Endian."""
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


def read_header(path: Path) -> Header:
    """The header of the Part-10 file at `path`.

    Raises DataError if the file meta is not good, or names another SOP class or instance than the
    data set; a data set that can't be read only leaves its attributes empty and `problem` set.
    Raises OSError as the file system does.
    """
    with path.open("rb", buffering=0) as file:
        head = file.read(_PLAIN_BYTES) or b""
        meta, offset = _read_meta(file, head)
        transfer_syntax_uid = meta[_TRANSFER_SYNTAX_UID]
        found = _plain(head[offset:], transfer_syntax_uid, max(_LEADING))
        problem = ""
        if found is None:
            found, problem = _leading_attributes(file, offset, transfer_syntax_uid)
    _check_same(meta, found)
    return Header(
        sop_class_uid=meta[_MEDIA_SOP_CLASS_UID],
        sop_instance_uid=meta[_MEDIA_SOP_INSTANCE_UID],
        transfer_syntax_uid=transfer_syntax_uid,
        dataset_offset=offset,
        calling_aet=meta.get(_SOURCE_AET, ""),
        called_aet=meta.get(_RECEIVING_AET, ""),
        problem=problem,
        **{field: found[tag] for tag, field in _LEADING.items() if tag in found},
    )


def digest_of(path: Path) -> str:
    """The content digest of the Part-10 file at `path`, read in pieces.

    Raises DataError if it is not a Part-10 file, or its file meta, which no digest covers, is
    plainly not that of its data set; OSError as the file system does.
    """
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        head = file.read(_PLAIN_BYTES) or b""
        meta, offset = _read_meta(file, head)
        _check_same(meta, _plain(head[offset:], meta[_TRANSFER_SYNTAX_UID], _SOP_INSTANCE_UID))
        digest = content_digest(meta[_TRANSFER_SYNTAX_UID])
        file.seek(offset)
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return str(digest.hexdigest())


def _check_same(meta: dict[int, str], found: dict[int, str] | None) -> None:
    """Raise DataError if the data set's attributes `found` name another instance than `meta`."""
    for tag, in_meta in _SAME_IN_META.items():
        if found and found.get(tag, meta[in_meta]) != meta[in_meta]:
            raise DataError("the file meta information contradicts the data set")


def command_contradiction(
    head: bytes, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
) -> int | None:
    """The C-STORE status for a data set that can't be what its command says, else None.

    `head` is the beginning of the encoded data set. 0xC000 (cannot understand) if it is not a
    data set at all, which begins with group 0008 or lower; 0xA900 (data set does not match SOP
    class, PS3.4 table B.2-1) if it names another SOP class or instance. An attribute that is
    absent contradicts nothing.
    """
    found = _plain(head, transfer_syntax_uid, _SOP_INSTANCE_UID)
    if found is None or first_tag(head) > _LAST_OF_GROUP_8:
        tags: list[int] = []
        try:
            if transfer_syntax_uid in _DEFLATED:
                head = _inflate(head)
            found = _parse(io.BytesIO(head), transfer_syntax_uid, _SOP_INSTANCE_UID, tags)
        except Exception:  # pydicom raises many classes for bytes that are no data set
            return 0xC000
        if not tags or tags[0] > _LAST_OF_GROUP_8:
            return 0xC000
    for tag, expected in ((_SOP_CLASS_UID, sop_class_uid), (_SOP_INSTANCE_UID, sop_instance_uid)):
        if tag in found and found[tag] != expected:
            return 0xA900
    return None


def _read_meta(file: IO[bytes], head: bytes) -> tuple[dict[int, str], int]:
    """File meta by tag, and the offset behind it as its group length says (PS3.10 table 7.1-1).

    `head` is what `file` begins with.
    """
    if len(head) < 144 or head[128:140] != _META_BEGIN:
        raise DataError("not a Part-10 file as this spool writes them")
    offset = 144 + int.from_bytes(head[140:144], "little")
    if offset > _HEAD_BYTES:
        raise DataError("the file meta information is longer than any can be")
    meta = None
    if offset <= len(head):
        meta = plain_values(
            head[144:offset], _META, implicit=False, last_tag=0x0002FFFF, whole=True
        )
    if meta is None:
        meta = _meta_by_pydicom(file, offset)
    if not all(is_uid(meta.get(tag, "")) for tag in _META_UIDS):
        raise DataError("the file meta information lacks a UID that it must have")
    return meta, offset


def _meta_by_pydicom(file: IO[bytes], offset: int) -> dict[int, str]:
    from tackybox import by_pydicom  # noqa: PLC0415 - rarely needed, and slow to load

    file.seek(0)
    try:
        return by_pydicom.file_meta(file.read(offset), _META)
    except Exception as error:  # pydicom raises many classes for bad bytes
        raise DataError("the file meta information can't be read") from error


def _plain(head: bytes, transfer_syntax_uid: str, last_tag: int) -> dict[int, str] | None:
    """The wanted attributes up to `last_tag`; None if they must be read the long way."""
    if transfer_syntax_uid in _DEFLATED or transfer_syntax_uid == _BIG_ENDIAN:
        return None
    implicit = transfer_syntax_uid == _IMPLICIT_LITTLE_ENDIAN
    return plain_values(head, _WANTED, implicit=implicit, last_tag=last_tag)


def _leading_attributes(
    file: IO[bytes], offset: int, transfer_syntax_uid: str
) -> tuple[dict[int, str], str]:
    file.seek(offset)
    try:
        source: IO[bytes] = file
        if transfer_syntax_uid in _DEFLATED:
            source = io.BytesIO(_inflate(file.read(_HEAD_BYTES)))
        return _parse(source, transfer_syntax_uid, max(_LEADING)), ""
    except Exception as error:  # pydicom raises many classes for bad bytes, and quotes values
        return {}, f"leading attributes can't be read ({type(error).__name__})"


def _inflate(head: bytes) -> bytes:
    return zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(head, _HEAD_BYTES)


def _parse(
    source: IO[bytes], transfer_syntax_uid: str, last_tag: int, tags: list[int] | None = None
) -> dict[int, str]:
    """The wanted attributes up to `last_tag` as text, values over 1 KiB left out.

    The tags met on the way are appended to `tags`.
    """
    from tackybox import by_pydicom  # noqa: PLC0415 - rarely needed, and slow to load

    wanted = (_SPECIFIC_CHARACTER_SET, *_WANTED)
    return by_pydicom.attributes(source, transfer_syntax_uid, wanted, last_tag, tags)
