"""Storage commitment's data sets: read whatever comes, written as another implementation reads."""

from __future__ import annotations

import contextlib
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tackybox.dimse.commitment_provider import (
    EXPLICIT_LE,
    IMPLICIT_LE,
    Result,
    data_set,
    read_request,
)
from tackybox.errors import DataError
from tests.modality import request

SYNTAXES = [EXPLICIT_LE, IMPLICIT_LE]
CT = "1.2.840.10008.5.1.4.1.1.2"
REFERENCES = ((CT, "1.2.3"), (CT, "1.2.34"))


def encoded(data: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, syntax == IMPLICIT_LE
    write_dataset(buffer, data)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("is_undefined_length", [True, False])
def test_what_a_modality_asks(syntax: str, is_undefined_length: bool) -> None:
    data = request([*REFERENCES, REFERENCES[0]], "1.2.9")
    data["ReferencedSOPSequence"].is_undefined_length = is_undefined_length
    step = Dataset()
    step.ReferencedSOPClassUID, step.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.3", "1.2.7"
    data.ReferencedPerformedProcedureStepSequence = [step]
    data.StorageMediaFileSetID = "DISK1"
    data.add_new(0x00090010, "LO", "VENDOR")
    data.add_new(0x00091001, "UN", b"\x01\x02")
    assert read_request(encoded(data, syntax), syntax, 3) == ("1.2.9", REFERENCES)


def _without(keyword: str) -> Dataset:
    data = request(REFERENCES, "1.2.9")
    delattr(data, keyword)
    return data


def _with_item(**values: str) -> Dataset:
    data = request(REFERENCES, "1.2.9")
    for keyword, value in values.items():
        setattr(data.ReferencedSOPSequence[1], keyword, value)
    return data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_without("TransactionUID"), "lacks a UID"),
        (_without("ReferencedSOPSequence"), "names no images"),
        (request([], "1.2.9"), "names no images"),
        (request([*REFERENCES, (CT, "1.2.5")], "1.2.9"), "more than 2 images"),
        (_with_item(ReferencedSOPInstanceUID=""), "lacks a UID"),
        (_with_item(ReferencedSOPClassUID="CT Image"), "lacks a UID"),
        (_with_item(ReferencedSOPInstanceUID="1" * 66), "lacks a UID"),
    ],
)
def test_what_is_no_request_is_said_in_words(data: Dataset, why: str) -> None:
    with pytest.raises(DataError, match=why):
        read_request(encoded(data, EXPLICIT_LE), EXPLICIT_LE, 2)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_deep_nesting_is_refused(syntax: str) -> None:
    head = b"\x08\x00\x99\x11" + (b"SQ\0\0" if syntax == EXPLICIT_LE else b"") + b"\xff" * 4
    with pytest.raises(DataError):
        read_request((head + b"\xfe\xff\x00\xe0" + b"\xff" * 4) * 50_000, syntax, 2)


GOOD = {syntax: encoded(request(REFERENCES, "1.2.9"), syntax) for syntax in SYNTAXES}


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(SYNTAXES),
    st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=6)), max_size=6),
    st.integers(0, 500),
)
def test_mutilated_requests_are_read_or_refused(
    syntax: str, changes: list[tuple[int, bytes]], length: int
) -> None:
    data = bytearray(GOOD[syntax])
    for position, piece in changes:
        data[position : position + len(piece)] = piece
    with contextlib.suppress(DataError):
        transaction_uid, references = read_request(bytes(data[:length]), syntax, 100)
        assert transaction_uid and references


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(SYNTAXES), st.binary(max_size=200))
def test_garbage_is_refused(syntax: str, data: bytes) -> None:
    with pytest.raises(DataError):
        read_request(data, syntax, 100)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_result_is_what_pydicom_reads(syntax: str) -> None:
    result = Result("1.2.9", [REFERENCES[0]], [(REFERENCES[1], 0x0112)])
    data = data_set(result, implicit=syntax == IMPLICIT_LE)
    found = dcmread(BytesIO(_file_meta(syntax) + data), force=True)
    assert found.TransactionUID == "1.2.9"
    (committed,) = found.ReferencedSOPSequence
    (failed,) = found.FailedSOPSequence
    assert (committed.ReferencedSOPClassUID, committed.ReferencedSOPInstanceUID) == REFERENCES[0]
    assert (failed.ReferencedSOPClassUID, failed.ReferencedSOPInstanceUID) == REFERENCES[1]
    assert failed.FailureReason == 0x0112
    assert [element.tag for element in found] == sorted(element.tag for element in found)
    only = dcmread(
        BytesIO(
            _file_meta(syntax)
            + data_set(Result("1.2.9", REFERENCES, []), implicit=syntax == IMPLICIT_LE)
        ),
        force=True,
    )
    assert "FailedSOPSequence" not in only and len(only.ReferencedSOPSequence) == 2


def _file_meta(syntax: str) -> bytes:
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
    group_length = b"\x02\x00\x00\x00UL\x04\x00" + len(element).to_bytes(4, "little")
    return b"\0" * 128 + b"DICM" + group_length + element
