"""Compression is decided on the data and the link."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from daughter.pusher.compression import Compression
from tackybox.item import Item
from tackybox.spool import Entry, Lane


def entry(path: Path, data: bytes) -> Entry:
    path.write_bytes(data)
    name = f"20260101T000000.000000Z_north_{'0' * 64}_1.2"
    return Entry(Item.parse(name), Lane.MEDIUM, path)


NOISE = random.Random(1).randbytes(300_000)
SMOOTH = bytes(range(100)) * 3000


def pushed(compression: Compression, compressed: bool, mb_s: float) -> None:
    compression.note(compressed, 10_000_000, 10 / mb_s)


@pytest.mark.parametrize(("data", "expected"), [(SMOOTH, True), (NOISE, False), (b"", False)])
def test_until_something_is_known_what_shrinks_is_compressed(
    tmp_path: Path, data: bytes, expected: bool
) -> None:
    assert Compression().pays([entry(tmp_path / "i", data)] * 5) is expected


def test_on_a_slow_link_it_goes_on_without_trying_anything_else(tmp_path: Path) -> None:
    compression, smooth = Compression(), [entry(tmp_path / "i", SMOOTH)]
    for _ in range(200):
        assert compression.pays(smooth)
        pushed(compression, True, mb_s=8)


@pytest.mark.parametrize(("packed_mb_s", "expected"), [(150, False), (400, True)])
def test_where_pushes_are_fast_both_ways_are_measured(
    tmp_path: Path, packed_mb_s: float, expected: bool
) -> None:
    compression, smooth = Compression(), [entry(tmp_path / "i", SMOOTH)]
    said = []
    for _ in range(200):
        said.append(compression.pays(smooth))
        pushed(compression, said[-1], mb_s=packed_mb_s if said[-1] else 250)
    assert said[:3] == [True, False, expected]
    assert 190 < said.count(expected) < 200


def test_a_link_that_becomes_slow_is_noticed(tmp_path: Path) -> None:
    compression, smooth = Compression(), [entry(tmp_path / "i", SMOOTH)]
    for rate_mb_s in (150, 250):
        pushed(compression, compression.pays(smooth), rate_mb_s)
    assert not compression.pays(smooth)
    for _ in range(60):
        packed = compression.pays(smooth)
        pushed(compression, packed, mb_s=10 if packed else 5)
    assert compression.pays(smooth)


def test_a_small_push_tells_nothing(tmp_path: Path) -> None:
    compression = Compression()
    compression.note(True, 100_000, 0.0001)
    assert compression.pays([entry(tmp_path / "i", SMOOTH)])


def test_a_file_that_is_gone_does_not_count(tmp_path: Path) -> None:
    gone = entry(tmp_path / "i", SMOOTH)
    gone.path.unlink()
    assert not Compression().pays([gone])
