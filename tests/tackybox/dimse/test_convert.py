"""Conversion: proved against DCMTK's decoders and the reader that archives use, or refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tackybox.dimse.convert import TARGETS, convert, is_convertible
from tackybox.dimse.elements import NotConvertible
from tackybox.dimse.files import read_source
from tackybox.dimse.scu import Source
from tackybox.errors import DataError
from tests.peers import require, wheel_files

WheelFile = Callable[[str], Source]
EXPLICIT_LE, IMPLICIT_LE = TARGETS
CHANGED = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration"}
DECODERS = {
    "MR_small_RLE.dcm": "dcmdrle",
    "SC_rgb_rle_16bit_2frame.dcm": "dcmdrle",
    "SC_rgb_rle.dcm": "dcmdrle",
    "SC_rgb_jpeg_gdcm.dcm": "dcmdjpeg",
    "MR_small_jpeg_ls_lossless.dcm": "dcmdjpls",
    "MR_small_bigendian.dcm": "dcmconv",
    "image_dfl.dcm": "dcmconv",
    "SC_rgb_small_odd_big_endian.dcm": "dcmconv",
}


def sources() -> list[Source]:
    found = []
    for path in wheel_files():
        try:
            found.append(read_source(path))
        except DataError:
            continue
    return found


def dcmtk(tool: str, source: Path, target: Path) -> pydicom.Dataset:
    subprocess.run([require(tool, "dcmtk"), str(source), str(target)], check=True, timeout=60)
    return pydicom.dcmread(target)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("syntax", TARGETS)
def test_pixels_are_those_that_dcmtk_decodes(
    wheel_file: WheelFile, tmp_path: Path, name: str, syntax: str
) -> None:
    source = wheel_file(name)
    converted = convert(source, tmp_path / "converted.dcm", syntax)
    ours = pydicom.dcmread(converted.path)
    theirs = dcmtk(DECODERS[name], source.path, tmp_path / "dcmtk.dcm")
    assert ours.file_meta.TransferSyntaxUID == syntax
    assert not ours["PixelData"].is_undefined_length
    assert np.array_equal(ours.pixel_array, theirs.pixel_array)
    assert ours.PhotometricInterpretation == theirs.PhotometricInterpretation


def test_jpeg_2000_lossless_is_what_it_was_made_from(wheel_file: WheelFile, tmp_path: Path) -> None:
    converted = convert(wheel_file("MR_small_jp2klossless.dcm"), tmp_path / "c.dcm", EXPLICIT_LE)
    before = pydicom.dcmread(wheel_file("MR_small.dcm").path)
    assert np.array_equal(pydicom.dcmread(converted.path).pixel_array, before.pixel_array)


def test_colour_of_reversibly_transformed_jpeg_2000_is_named_as_decoded(
    wheel_file: WheelFile, tmp_path: Path
) -> None:
    source = wheel_file("examples_jpeg2k.dcm")
    assert pydicom.dcmread(source.path).PhotometricInterpretation == "YBR_RCT"
    converted = pydicom.dcmread(convert(source, tmp_path / "c.dcm", EXPLICIT_LE).path)
    assert converted.PhotometricInterpretation == "RGB"


def test_every_wheel_file_is_converted_with_all_its_values_or_refused(tmp_path: Path) -> None:
    converted = 0
    for source in sources():
        for syntax in TARGETS:
            target = tmp_path / "c.dcm"
            target.unlink(missing_ok=True)
            try:
                result = convert(source, target, syntax)
            except NotConvertible as error:
                assert str(error)
                assert not target.exists()
                continue
            converted += 1
            assert read_source(result.path) == result
    assert converted > 130


def test_attributes_are_the_same_for_who_reads_them(wheel_file: WheelFile, tmp_path: Path) -> None:
    for name in ("MR_small_RLE.dcm", "test-SR.dcm", "rtplan.dcm", "MR_small_expb.dcm"):
        source = wheel_file(name)
        before = pydicom.dcmread(source.path)
        for syntax in TARGETS:
            after = pydicom.dcmread(convert(source, tmp_path / "c.dcm", syntax).path)
            for dataset in (before, after):
                for keyword in CHANGED:
                    if keyword in dataset:
                        del dataset[keyword]
            before.remove_private_tags()
            after.remove_private_tags()
            assert before.to_json_dict() == after.to_json_dict()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", "may be lossy"),
        ("JPEG2000.dcm", "may be lossy"),
        ("JPEGLSNearLossless_08.dcm", "may be lossy"),
        ("rtdose_expb.dcm", "not certain"),
        ("J2K_pixelrep_mismatch.dcm", "can't be decoded"),
    ],
)
def test_in_doubt_nothing_is_written(
    wheel_file: WheelFile, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(NotConvertible, match=reason):
        convert(wheel_file(name), tmp_path / "c.dcm", EXPLICIT_LE)
    assert not list(tmp_path.iterdir())


def test_compressed_data_that_is_cut_off_is_refused(wheel_file: WheelFile, tmp_path: Path) -> None:
    whole = wheel_file("MR_small_RLE.dcm")
    cut = tmp_path / "cut.dcm"
    for missing_bytes in (1, 100, 2000, 6000):
        cut.write_bytes(whole.path.read_bytes()[:-missing_bytes])
        with pytest.raises(NotConvertible):
            convert(replace(whole, path=cut), tmp_path / "c.dcm", EXPLICIT_LE)


def test_which_syntaxes_may_be_converted() -> None:
    assert is_convertible("1.2.840.10008.1.2.5")
    assert not is_convertible("1.2.840.10008.1.2.4.50")
    assert not is_convertible("1.3.46.670589.33.1.4.1")
