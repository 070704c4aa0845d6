"""What the demonstration sends when nothing is named."""

from __future__ import annotations

from pathlib import Path

import pydicom.data
from pydicom import dcmread

from tackybox.demo.phantom import write_ct_study
from tackybox.dimse.files import read_source
from tackybox.dimse.scu import Source
from tackybox.errors import DataError
from tackybox.item import command_contradiction

_SLICES = 200


def make(directory: Path) -> tuple[list[Source], str]:
    """The DICOM files that ship with pydicom, as far as DICOM can send them, and a CT study.

    Returns what to send, and the CT study's UID.
    """
    study, slices = write_ct_study(directory / "ct", _SLICES)
    shipped = Path(next(iter(pydicom.data.__path__))) / "test_files"
    sources = [source for path in sorted(shipped.rglob("*.dcm")) if (source := _sendable(path))]
    return sources + [read_source(path) for path in slices], study


def _sendable(path: Path) -> Source | None:
    """Some of the files are broken on purpose; a scanner could not send them either."""
    try:
        source = read_source(path)
    except DataError:
        return None
    with path.open("rb") as file:
        file.seek(source.dataset_offset)
        contradiction = command_contradiction(
            file.read(1 << 16),
            source.sop_class_uid,
            source.sop_instance_uid,
            source.transfer_syntax_uid,
        )
    return source if contradiction is None else None


def study_of(source: Source) -> str:
    """The Study Instance UID of `source`, or its SOP Instance UID if it has none."""
    dataset = dcmread(source.path, force=True, stop_before_pixels=True)
    return str(dataset.get("StudyInstanceUID", "") or source.sop_instance_uid)
