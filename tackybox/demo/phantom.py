"""Generated images: a CT study of ellipses, so that a demonstration needs no patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

_SIZE = 512
# Centre x, y, half axes, and what it adds, in units of the field of view and Hounsfield units.
_ELLIPSES = (
    (0.0, 0.0, 0.72, 0.88, 1040),
    (0.0, -0.02, 0.66, 0.82, -20),
    (0.22, 0.0, 0.12, 0.32, -180),
    (-0.22, 0.0, 0.16, 0.40, -180),
    (0.0, 0.35, 0.20, 0.24, 40),
    (0.0, -0.55, 0.06, 0.05, 700),
)


@dataclass(frozen=True, slots=True)
class Marks:
    """The attributes by which a person sees that it is no patient's study."""

    patient_name: str
    patient_id: str
    accession_number: str
    description: str


PHANTOM = Marks("Phantom^Tackybox", "PHANTOM", "PHANTOM", "Generated phantom, no patient")
RELAY_TEST = Marks(
    "TACKYBOX^TEST", "TACKYBOX-TEST", "", "Test of the relay, no patient; may be deleted"
)


def write_ct_study(directory: Path, slices: int, marks: Marks = PHANTOM) -> tuple[str, list[Path]]:
    """Write a CT study of `slices` images, 512 x 512 x 16 bit, into `directory`, with new UIDs.

    Returns its Study Instance UID and the files. Bears `marks` where a person would look; the
    noise makes it as hard to compress as a real one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    paths = []
    for number, pixels in enumerate(_slices(slices), start=1):
        dataset = _image(number, study, series, frame, marks)
        dataset.PixelData = pixels.tobytes()
        path = directory / f"slice-{number:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return study, paths


def _slices(count: int) -> Iterator[np.ndarray]:
    axis = np.linspace(-1.0, 1.0, _SIZE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    noise = np.random.default_rng(2026)
    for z in np.linspace(-0.9, 0.9, count, dtype=np.float32):
        image = np.zeros((_SIZE, _SIZE), np.float32)
        for centre_x, centre_y, half_x, half_y, value in _ELLIPSES:
            shrink = float(np.sqrt(1.0 - z * z))
            inside = ((x - centre_x) / (half_x * shrink)) ** 2 + (
                (y - centre_y) / (half_y * shrink)
            ) ** 2
            image[inside <= 1.0] += value
        image += noise.normal(0.0, 12.0, image.shape).astype(np.float32)
        yield np.clip(image, 0, 4095).astype("<u2")


def _image(number: int, study: str, series: str, frame: str, marks: Marks) -> Dataset:
    now = datetime.now(UTC)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyDate = dataset.SeriesDate = now.strftime("%Y%m%d")
    dataset.StudyTime = dataset.SeriesTime = now.strftime("%H%M%S")
    dataset.AccessionNumber = marks.accession_number
    dataset.Modality = "CT"
    dataset.Manufacturer = "Tackybox"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = marks.description
    dataset.PatientName = marks.patient_name
    dataset.PatientID = marks.patient_id
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.SliceThickness = "1.0"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number
    dataset.ImagePositionPatient = [-256.0, -256.0, float(number)]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.FrameOfReferenceUID = frame
    dataset.PositionReferenceIndicator = ""
    dataset.PixelSpacing = [1.0, 1.0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = _SIZE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    return dataset
