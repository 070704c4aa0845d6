"""Corpora: the same in every run, and what they say they are."""

from pathlib import Path

from pydicom import dcmread

from bench.corpora import MR, TINY, make_image
from tackybox.item import digest_of, read_header


def test_an_image_is_the_same_in_every_run(tmp_path: Path):
    (tmp_path / "again").mkdir()
    first, again = make_image(tmp_path, TINY, 7), make_image(tmp_path / "again", TINY, 7)
    assert first.path.read_bytes() == again.path.read_bytes()
    assert make_image(tmp_path, TINY, 8).sop_instance_uid != first.sop_instance_uid


def test_an_image_is_what_it_says(tmp_path: Path):
    image = make_image(tmp_path, MR, 0)
    assert digest_of(image.path) == image.digest
    assert image.size_bytes == image.path.stat().st_size
    header = read_header(image.path)
    assert header.sop_instance_uid == image.sop_instance_uid
    assert header.problem == ""
    assert dcmread(image.path).pixel_array.shape == (256, 256)
