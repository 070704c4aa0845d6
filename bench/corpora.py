"""The images that the bench sends: generated, always the same, as hard to compress as real ones.

Each corpus is one study of Part-10 files, Explicit VR Little Endian. UIDs, pixels and sizes follow
from the corpus's name and the number of the image, so that a longer corpus begins with a shorter
one. No patient, no file of anybody else. Not promised: that a person would diagnose anything.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    generate_uid,
)

from tackybox.item import content_digest

_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of image: its SOP class, rows, columns and frames, at 16 bits a pixel."""

    name: str
    sop_class_uid: str
    modality: str
    rows: int
    columns: int
    frames: int = 1

    @property
    def pixel_bytes(self) -> int:
        """Bytes of pixel data in one image."""
        return 2 * self.rows * self.columns * self.frames


CT = Kind("ct", CTImageStorage, "CT", 512, 512)
MR = Kind("mr", MRImageStorage, "MR", 256, 256)
CR = Kind("cr", ComputedRadiographyImageStorage, "CR", 3520, 2840)
MULTI_FRAME = Kind(
    "multi-frame",
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    "OT",
    1024,
    1024,
    frames=95,
)
TINY = Kind("tiny", CTImageStorage, "CT", 8, 8)
# A day's traffic in small: how many of each kind in twenty images.
MIX = ((CT, 11), (MR, 8), (CR, 1))


@dataclass(frozen=True, slots=True)
class Image:
    """One file of a corpus."""

    path: Path
    size_bytes: int
    digest: str
    sop_class_uid: str
    sop_instance_uid: str


class Corpora:
    """Corpora under `directory`, made when they are first asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[Kind, list[Image]] = {}

    def of(self, kind: Kind, count: int) -> list[Image]:
        """The first `count` images of the corpus of `kind`."""
        images = self._made.setdefault(kind, [])
        if len(images) < count:
            directory = self._directory / kind.name
            directory.mkdir(parents=True, exist_ok=True)
            # A multi-frame takes a good deal of memory while it is made.
            workers = 1 if kind.pixel_bytes > 1 << 26 else _WORKERS
            with ProcessPoolExecutor(workers) as pool:
                make = partial(make_image, directory, kind)
                images += pool.map(make, range(len(images), count), chunksize=8)
        return images[:count]

    def mix(self, count: int) -> list[Image]:
        """`count` images of several kinds, in an order that does not sort them."""
        pools = {kind: iter(self.of(kind, share * count // 20 + share)) for kind, share in MIX}
        deck = [kind for kind, share in MIX for _ in range(share)]
        np.random.default_rng(2026).shuffle(deck)
        return [next(pools[deck[number % len(deck)]]) for number in range(count)]


def make_image(directory: Path, kind: Kind, number: int) -> Image:
    """Write the image `number` of the corpus of `kind` into `directory`."""
    dataset = _attributes(kind, number)
    dataset.PixelData = _pixels(kind, number)
    path = directory / f"{number:05d}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    digest = content_digest(ExplicitVRLittleEndian)
    digest.update(content[dataset_offset(content) :])
    return Image(path, len(content), digest.hexdigest(), kind.sop_class_uid, dataset.SOPInstanceUID)


def dataset_offset(content: bytes) -> int:
    """Where the data set of a Part-10 file begins (PS3.10 table 7.1-1: the group's length)."""
    return 144 + int.from_bytes(content[140:144], "little")


@cache
def _anatomy(rows: int, columns: int) -> np.ndarray:
    """A head in air, roughly: smooth tissue, bone around it, nothing outside."""
    y, x = np.meshgrid(
        np.linspace(-1, 1, rows, dtype=np.float32),
        np.linspace(-1, 1, columns, dtype=np.float32),
        indexing="ij",
    )
    radius = np.sqrt((x / 0.78) ** 2 + (y / 0.92) ** 2)
    image = np.where(radius < 1.0, 1040.0 + 60.0 * np.cos(9 * x) * np.cos(7 * y), 0.0)
    image[(radius > 0.88) & (radius < 1.0)] += 700.0
    return image.astype(np.float32)


def _pixels(kind: Kind, number: int) -> bytes:
    noise = np.random.default_rng([2026, number, kind.rows])
    anatomy = _anatomy(kind.rows, kind.columns)
    frames = []
    for _ in range(kind.frames):
        image = anatomy + 12.0 * noise.standard_normal(anatomy.shape, dtype=np.float32)
        frames.append(np.clip(image, 0, 4095).astype("<u2").tobytes())
    return b"".join(frames)


def _uid(*words: object) -> str:
    return str(generate_uid(entropy_srcs=[str(word) for word in ("tackybox bench", *words)]))


def _attributes(kind: Kind, number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = kind.sop_class_uid
    dataset.SOPInstanceUID = _uid(kind.name, number)
    dataset.StudyDate, dataset.StudyTime = "20260101", "120000"
    dataset.AccessionNumber = "BENCH"
    dataset.Modality = kind.modality
    dataset.Manufacturer = "Tackybox"
    dataset.StudyDescription = "Generated for measuring, no patient"
    dataset.PatientName, dataset.PatientID = "Phantom^Bench", "PHANTOM"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyInstanceUID = _uid(kind.name, "study")
    dataset.SeriesInstanceUID = _uid(kind.name, "series")
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number + 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    if kind.frames > 1:
        dataset.NumberOfFrames = kind.frames
    dataset.Rows, dataset.Columns = kind.rows, kind.columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    return dataset
