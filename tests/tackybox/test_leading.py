"""The short way of reading leading attributes: it says what pydicom says, or nothing."""

from __future__ import annotations

import io
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import UID

from tackybox import item
from tackybox.item import part10_head
from tackybox.leading import plain_values
from tests.peers import wheel_files

EXPLICIT_LE, IMPLICIT_LE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
LAST = max(item._LEADING)

texts = st.text(max_size=20) | st.sampled_from(["1.2.3", "CT", "A\\B", "ÄÖ", " x ", "\0"])
keywords = st.sampled_from(
    ["SOPClassUID", "SOPInstanceUID", "Modality", "AccessionNumber", "PatientID",
     "StudyInstanceUID", "SeriesInstanceUID", "ImageType", "StudyDescription", "PatientName"]
)  # fmt: skip


def by_pydicom(encoded: bytes, syntax: str) -> dict[int, str] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = item._parse(io.BytesIO(encoded), syntax, LAST)
        except Exception:
            return None
    return {tag: value for tag, value in found.items() if tag in item._WANTED}


def agrees(encoded: bytes, syntax: str) -> bool:
    """True if the short way said something; what it says must be what pydicom says."""
    plain = item._plain(encoded, syntax, LAST)
    if plain is not None:
        assert plain == by_pydicom(encoded, syntax)
    return plain is not None


def test_of_real_files_most_are_read_the_short_way() -> None:
    plain = 0
    files = wheel_files()
    for path in files:
        raw = path.read_bytes()
        if raw[128:140] == item._META_BEGIN:
            begin = 144 + int.from_bytes(raw[140:144], "little")
            meta = plain_values(raw[144:begin], item._META, implicit=False, last_tag=0x0002FFFF)
            syntax = (meta or {}).get(item._TRANSFER_SYNTAX_UID, EXPLICIT_LE)
            plain += agrees(raw[begin : begin + item._PLAIN_BYTES], syntax)
    assert plain > len(files) // 3


@given(st.dictionaries(keywords, texts), st.sampled_from([EXPLICIT_LE, IMPLICIT_LE]), st.booleans())
def test_of_any_values_it_says_what_pydicom_says(
    values: dict[str, str], syntax: str, undefined: bool
) -> None:
    dataset, inner = Dataset(), Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
        setattr(inner, keyword, value)
    dataset.ReferencedImageSequence = Sequence([inner, Dataset()])
    dataset["ReferencedImageSequence"].is_undefined_length = undefined
    inner.is_undefined_length_sequence_item = undefined
    dataset.Rows = 1
    dataset.SpecificCharacterSet = "ISO_IR 192"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, syntax == IMPLICIT_LE
    try:
        write_dataset(buffer, dataset)
    except Exception:
        return  # pydicom does not write it
    agrees(buffer.getvalue(), syntax)


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT_LE, IMPLICIT_LE]))
def test_of_any_bytes_it_says_what_pydicom_says(encoded: bytes, syntax: str) -> None:
    agrees(encoded, syntax)
    agrees(b"\x08\x00\x18\x00UI\x06\x001.2.3\x00" + encoded, syntax)


@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_are_passed_over(undefined: bool) -> None:
    inner, dataset = Dataset(), Dataset()
    inner.ReferencedSOPInstanceUID = "1.2"
    inner.is_undefined_length_sequence_item = undefined
    dataset.SOPInstanceUID = "1.2.3"
    dataset.ReferencedImageSequence = Sequence([inner])
    dataset["ReferencedImageSequence"].is_undefined_length = undefined
    dataset.PatientID = "P1"
    dataset.Rows = 1
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, syntax == IMPLICIT_LE
        write_dataset(buffer, dataset)
        assert item._plain(buffer.getvalue(), syntax, LAST) == {
            0x00080018: "1.2.3",
            0x00100020: "P1",
        }


aets = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=16)
uids = st.from_regex(r"[0-9][0-9.]{0,63}", fullmatch=True)


@given(uids, uids, uids, aets, aets)
def test_a_head_is_byte_for_byte_what_pydicom_writes(
    sop_class: str, instance: str, syntax: str, calling: str, called: str
) -> None:
    calling, called = calling.replace("\\", ""), called.replace("\\", "")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID = UID(item.IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = item.IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = calling
    meta.SendingApplicationEntityTitle = calling
    meta.ReceivingApplicationEntityTitle = called
    buffer = DicomBytesIO()
    buffer.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(buffer, meta)
    assert buffer.getvalue() == part10_head(
        sop_class_uid=sop_class, sop_instance_uid=instance, transfer_syntax_uid=syntax,
        calling_aet=calling, called_aet=called,
    )  # fmt: skip
