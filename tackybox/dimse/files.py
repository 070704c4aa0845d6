"""Files as people keep them, read as far as a C-STORE needs: Part 10, or what is left of it.

Promises: finds the transfer syntax, the SOP class and the SOP instance of a DICOM file with or
without preamble and File Meta Information (PS3.10 section 7.1), in bounded memory, or says in one
sentence why it can't be sent; that sentence quotes nothing of the file. Where the data set and the
file meta name different UIDs, the data set is believed, as the receiving side will.
Does not promise that the rest of the data set can be read.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import IO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)
from pydicom.valuerep import VR

from tackybox.dimse.scu import Source
from tackybox.errors import DataError
from tackybox.item import is_uid

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_HEAD_BYTES = 1 << 18
_LONGEST_VALUE_BYTES = 1024
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_LAST_GROUP_TO_BEGIN_WITH = 0x0018  # no data set begins behind its identifying groups
_VALUE_REPRESENTATIONS = frozenset(vr.value.encode() for vr in VR if len(vr.value) == 2)


def read_source(path: Path) -> Source:
    """What the DICOM file at `path` holds; raises DataError if it can't be sent, and OSError."""
    try:
        with path.open("rb") as file:
            return _source(path, file)
    except (DataError, OSError):
        raise
    except Exception as error:  # pydicom raises many classes for bad bytes, and quotes values
        raise DataError("not a DICOM file that can be read") from error


def _source(path: Path, file: IO[bytes]) -> Source:
    meta, offset = _file_meta(file)
    transfer_syntax_uid = _clean(meta, "TransferSyntaxUID") or _guess_syntax(file, offset)
    found = _identity(file, offset, transfer_syntax_uid)
    sop_class_uid = _clean(found, "SOPClassUID") or _clean(meta, "MediaStorageSOPClassUID")
    sop_instance_uid = _clean(found, "SOPInstanceUID") or _clean(meta, "MediaStorageSOPInstanceUID")
    if sop_class_uid == MediaStorageDirectoryStorage:
        raise DataError("a DICOMDIR: the index of a medium, which is not an object to send")
    for uid, name in (
        (sop_class_uid, "SOP Class UID"),
        (sop_instance_uid, "SOP Instance UID"),
        (transfer_syntax_uid, "transfer syntax"),
    ):
        if not uid:
            raise DataError(f"has no {name}, without which DICOM can't send it")
        if not is_uid(uid):
            raise DataError(f"its {name} is not a UID, so DICOM can't send it")
    return Source(path, offset, sop_class_uid, sop_instance_uid, transfer_syntax_uid)


def _file_meta(file: IO[bytes]) -> tuple[Dataset, int]:
    """The file meta, empty if there is none, and where the data set begins."""
    head = file.read(_PREAMBLE_BYTES + len(_PREFIX))
    begin = len(head) if head[_PREAMBLE_BYTES:] == _PREFIX else 0
    file.seek(begin)
    if file.read(2) not in (b"\x02\x00", b"\x00\x02"):
        return Dataset(), begin
    file.seek(begin)
    meta = read_dataset(
        file,  # type: ignore[arg-type]
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=_behind_file_meta,
        defer_size=_LONGEST_VALUE_BYTES,
    )
    return meta, file.tell()


def _behind_file_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 0x0002


def _guess_syntax(file: IO[bytes], offset: int) -> str:
    """The uncompressed transfer syntax that the first element at `offset` is written in."""
    file.seek(offset)
    head = file.read(6)
    little, big = int.from_bytes(head[:2], "little"), int.from_bytes(head[:2], "big")
    explicit = head[4:6] in _VALUE_REPRESENTATIONS
    if len(head) == 6 and 0 < little <= _LAST_GROUP_TO_BEGIN_WITH:
        return str(ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian)
    if explicit and 0 < big <= _LAST_GROUP_TO_BEGIN_WITH:
        return str(ExplicitVRBigEndian)
    raise DataError("not a DICOM file")


def _identity(file: IO[bytes], offset: int, transfer_syntax_uid: str) -> Dataset:
    """SOP class and instance as the data set has them, as far as it can be read."""
    syntax = UID(transfer_syntax_uid)
    known = syntax.is_transfer_syntax and not syntax.is_private
    file.seek(offset)
    source = file
    if syntax == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        source = io.BytesIO(inflater.decompress(file.read(_HEAD_BYTES), _HEAD_BYTES))
    return read_dataset(
        source,  # type: ignore[arg-type]
        is_implicit_VR=syntax.is_implicit_VR if known else False,
        is_little_endian=syntax.is_little_endian if known else True,
        stop_when=lambda tag, _vr, _length: int(tag) > _SOP_INSTANCE_UID,
        defer_size=_LONGEST_VALUE_BYTES,
        specific_tags=[_SOP_CLASS_UID, _SOP_INSTANCE_UID],
    )


def _clean(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword, "") or "").strip(" \0")
