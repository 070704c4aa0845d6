"""Images to forward: the wheels' own, and series of them."""

from __future__ import annotations

from pathlib import Path

import pydicom

from tests.peers import wheel_files

CT = "1.2.840.10008.5.1.4.1.1.2"


def wheel(*names: str) -> list[Path]:
    files = {path.name: path for path in wheel_files()}
    return [files[name] for name in names]


def series(directory: Path, count: int, start: int = 0) -> list[Path]:
    """So many CT images that differ."""
    dataset = pydicom.dcmread(wheel("CT_small.dcm")[0])
    paths = []
    for number in range(start, start + count):
        dataset.SOPInstanceUID = f"1.2.826.1.{number}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        paths.append(directory / f"{number}.dcm")
        dataset.save_as(paths[-1])
    return paths
