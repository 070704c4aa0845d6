"""Small images, each another content: the same for the same seed."""

from __future__ import annotations

import random
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

_COLUMNS = 64


def write_images(
    directory: Path, count: int, *, seed: int = 0, size_bytes: int = 8192, study: int = 1
) -> list[Path]:
    """`count` CT images of about `size_bytes` in `directory`, all of one study.

    The UIDs are made of `seed`, `study` and the number, so that two calls that differ in one of
    those make other instances.
    """
    directory.mkdir(parents=True, exist_ok=True)
    noise = random.Random(seed * 1000 + study)
    paths = []
    for number in range(1, count + 1):
        uid = f"2.25.{seed + 1}.{study}.{number}"
        path = directory / f"{uid}.dcm"
        _image(uid, noise.randbytes(max(1, size_bytes // (2 * _COLUMNS)) * 2 * _COLUMNS)).save_as(
            path, enforce_file_format=True
        )
        paths.append(path)
    return paths


def _image(uid: str, pixels: bytes) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid
    study, _, number = uid.rpartition(".")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.0"
    dataset.Modality, dataset.PatientID, dataset.PatientName = "CT", "PHANTOM", "Phantom^Faults"
    dataset.AccessionNumber, dataset.StudyID, dataset.SeriesNumber = "PHANTOM", "1", 1
    dataset.InstanceNumber = int(number)
    dataset.StudyDate, dataset.StudyTime = "20260101", "120000"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = len(pixels) // (2 * _COLUMNS), _COLUMNS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels
    return dataset
