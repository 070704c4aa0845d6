"""Files as people keep them."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from tackybox.dimse.files import read_source
from tackybox.errors import DataError
from tests.peers import wheel_files


def named(name: str) -> Path:
    roots = Path(pydicom.__file__).parent
    return next(path for path in roots.rglob(name) if path.is_file())


def test_every_file_of_the_wheels_is_read_or_refused_with_a_sentence() -> None:
    reasons = {}
    for path in wheel_files():
        try:
            source = read_source(path)
        except DataError as error:
            reasons[path.name] = str(error)
        else:
            assert 0 <= source.dataset_offset < path.stat().st_size
    assert set(reasons) == {
        "DICOMDIR-empty.dcm", "empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm",
        "nested_priv_SQ.dcm", "no_meta.dcm",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "offset", "syntax"),
    [
        ("ExplVR_BigEndNoMeta.dcm", 0, "1.2.840.10008.1.2.2"),
        ("ExplVR_LitEndNoMeta.dcm", 0, "1.2.840.10008.1.2.1"),
    ],
)
def test_without_preamble_and_file_meta(name: str, offset: int, syntax: str) -> None:
    source = read_source(named(name))
    assert (source.dataset_offset, source.transfer_syntax_uid) == (offset, syntax)


def test_the_data_set_is_believed_where_the_file_meta_differs(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(named("CT_small.dcm"))
    dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3.4")
    dataset.save_as(tmp_path / "differs.dcm")
    assert read_source(tmp_path / "differs.dcm").sop_instance_uid == dataset.SOPInstanceUID


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\0" * 132, b"\0" * 128 + b"DICM", b"{}\n", bytes(range(256)) * 9]
)
def test_what_is_no_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_source(path)


def test_a_dicomdir_is_told_from_an_object() -> None:
    with pytest.raises(DataError, match="DICOMDIR"):
        read_source(named("DICOMDIR"))
