"""Lossless conversion of a data set to Explicit or Implicit VR Little Endian, proved or refused.

For an archive that does not accept the transfer syntax that an item came in. Promises: what is
written has every value of the source byte for byte (big endian values in the other order), and
decodes to the same pixels, frame by frame; that is checked by reading the result again. In any
doubt nothing is written and NotConvertible says why, in words without patient data. What changes:
pixel data, its Photometric Interpretation and Planar Configuration as the decoder reports them,
offset tables of compressed frames, group lengths. Reads the whole data set into memory.
Lossy syntaxes are refused: which of several decoders is right is not for a relay to say.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tackybox.dimse.elements import Element, NotConvertible, encode, flatten, parse
from tackybox.dimse.scu import Source
from tackybox.item import part10_head

TARGETS = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
_PLAIN = frozenset(map(str, (*TARGETS, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)))
_LOSSLESS = frozenset(
    map(
        str,
        (
            RLELossless,
            JPEGLossless,
            JPEGLosslessSV1,
            JPEGLSLossless,
            JPEG2000Lossless,
            HTJ2KLossless,
            HTJ2KLosslessRPCL,
        ),
    )
)
_PIXEL_DATA = 0x7FE00010
_OTHER_PIXEL_DATA = (0x7FE00008, 0x7FE00009)  # float and double float
_PHOTOMETRIC_INTERPRETATION = 0x00280004
_PLANAR_CONFIGURATION = 0x00280006
# Extended offset table and its lengths: about compressed frames (PS3.5 A.4).
_OFFSET_TABLES = frozenset((0x7FE00001, 0x7FE00002))


Frame = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Decoded frames, and the top-level elements that replace those of the source."""

    frames: list[Frame] = field(default_factory=list)
    elements: tuple[Element, ...] = ()


def is_convertible(transfer_syntax_uid: str) -> bool:
    """Whether data sets in this transfer syntax may be converted at all."""
    return transfer_syntax_uid in _PLAIN | _LOSSLESS


def convert(source: Source, target: Path, transfer_syntax_uid: str) -> Source:
    """Write `source` to the file `target` in `transfer_syntax_uid` (one of TARGETS).

    Returns what to send. Raises NotConvertible with nothing left at `target`, and OSError.
    """
    syntax = UID(source.transfer_syntax_uid)
    if transfer_syntax_uid not in TARGETS:
        raise NotConvertible("the archive accepts no uncompressed transfer syntax for it")
    if not is_convertible(source.transfer_syntax_uid):
        lossy = "may be lossy, so that decoding it" if syntax.is_compressed else "is unknown, so it"
        raise NotConvertible(f"{syntax.name} {lossy} can't be proved to lose nothing")
    try:
        return _convert(source, target, transfer_syntax_uid)
    except (NotConvertible, OSError):
        target.unlink(missing_ok=True)
        raise
    except Exception as error:  # pydicom and the decoders raise many classes, and quote values
        target.unlink(missing_ok=True)
        raise NotConvertible(f"it can't be decoded ({type(error).__name__})") from error


def _convert(source: Source, target: Path, transfer_syntax_uid: str) -> Source:
    implicit = transfer_syntax_uid == str(ImplicitVRLittleEndian)
    pixels = _pixels(_read(source), implicit)
    left_out = frozenset(element.tag for element in pixels.elements)
    if source.transfer_syntax_uid in _LOSSLESS:
        left_out |= _OFFSET_TABLES
    elements = _elements(source, left_out)
    merged = sorted((*elements, *pixels.elements), key=lambda element: element.tag)
    head = part10_head(
        sop_class_uid=source.sop_class_uid,
        sop_instance_uid=source.sop_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        calling_aet="",
        called_aet="",
    )
    target.write_bytes(head + encode(merged, implicit=implicit))
    converted = replace(
        source, path=target, dataset_offset=len(head), transfer_syntax_uid=transfer_syntax_uid
    )
    _verify(elements, left_out, pixels.frames, converted)
    return converted


def _encoded(source: Source) -> bytes:
    with source.path.open("rb") as file:
        file.seek(source.dataset_offset)
        encoded = file.read()
    if not UID(source.transfer_syntax_uid).is_deflated:
        return encoded
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    inflated = inflater.decompress(encoded)
    if not inflater.eof:
        raise NotConvertible("its deflated data set is cut off")
    return inflated


def _elements(source: Source, left_out: frozenset[int]) -> tuple[Element, ...]:
    syntax = UID(source.transfer_syntax_uid)
    return parse(
        _encoded(source),
        implicit=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        left_out=left_out,
    )


def _read(source: Source) -> Dataset:
    """The data set of `source` as pydicom's decoders want it."""
    syntax = UID(source.transfer_syntax_uid)
    encoded = io.BytesIO(_encoded(source))
    dataset = read_dataset(encoded, syntax.is_implicit_VR, syntax.is_little_endian)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _is_image(dataset: Dataset) -> bool:
    return all(keyword in dataset for keyword in ("Rows", "Columns", "BitsAllocated"))


def _frames(dataset: Dataset) -> tuple[list[Frame], dict[str, Any]]:
    """Each frame as the decoder gives it, colours untouched, and what the decoder says of them."""
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    if not decoder.is_available:
        name = UID(dataset.file_meta.TransferSyntaxUID).name
        raise NotConvertible(f"there is no decoder for {name} here")
    frames: list[Frame] = []
    properties: dict[str, Any] = {}
    for frame, properties in decoder.iter_array(dataset, raw=True):  # noqa: B007
        frames.append(frame.copy())
    if not frames:
        raise NotConvertible("its pixel data has no frame")
    return frames, properties


def _pixels(dataset: Dataset, implicit: bool) -> _Pixels:
    """The frames of `dataset`, and the elements that have to be others after the conversion."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    compressed = syntax in _LOSSLESS
    if not compressed and syntax != str(ExplicitVRBigEndian):
        return _Pixels()  # carried over like any other value
    if compressed and any(tag in dataset for tag in _OTHER_PIXEL_DATA):
        raise NotConvertible("its pixel data is of a kind that is never compressed")
    if _PIXEL_DATA not in dataset or not _is_image(dataset):
        return _Pixels()
    bits = int(dataset.BitsAllocated)
    if syntax == str(ExplicitVRBigEndian) and bits not in (8, 16):
        raise NotConvertible("the order of its pixels' bytes in big endian is not certain")
    frames, properties = _frames(dataset)
    if not compressed:
        return _Pixels(frames)
    return _Pixels(frames, _uncompressed(dataset, frames, properties, implicit))


def _uncompressed(
    dataset: Dataset, frames: list[Frame], properties: dict[str, Any], implicit: bool
) -> tuple[Element, ...]:
    value = b"".join(frame.astype(frame.dtype.newbyteorder("<")).tobytes() for frame in frames)
    bits, samples = int(dataset.BitsAllocated), int(dataset.SamplesPerPixel)
    if len(frames) != int(dataset.get("NumberOfFrames") or 1):
        raise NotConvertible("it has another number of frames than it says")
    if len(value) * 8 != len(frames) * dataset.Rows * dataset.Columns * samples * bits:
        raise NotConvertible("its pixel data does not have the size that it says")
    value += b"\0" * (len(value) % 2)
    if len(value) >= 0xFFFFFFFF:
        raise NotConvertible("it would be longer than a DICOM value can be")
    photometric = str(properties["photometric_interpretation"]).encode("ascii")
    photometric += b" " * (len(photometric) % 2)
    elements = [
        Element(_PHOTOMETRIC_INTERPRETATION, "CS", photometric),
        Element(_PIXEL_DATA, "OW" if implicit or bits > 8 else "OB", value),
    ]
    if samples > 1:
        planar = int(properties["planar_configuration"]).to_bytes(2, "little")
        elements.append(Element(_PLANAR_CONFIGURATION, "US", planar))
    return tuple(elements)


def _verify(
    elements: tuple[Element, ...],
    left_out: frozenset[int],
    frames: list[Frame],
    converted: Source,
) -> None:
    """Read the result again and compare; raises NotConvertible if anything differs."""
    again = _elements(converted, left_out)
    if any(one != other for one, other in zip_longest(flatten(elements), flatten(again))):
        raise NotConvertible("after the conversion an attribute was not the same")
    if not frames:
        return
    frames_again, _ = _frames(_read(converted))
    same = len(frames_again) == len(frames) and all(map(np.array_equal, frames, frames_again))
    if not same:
        raise NotConvertible("after the conversion the pixels were not the same")
