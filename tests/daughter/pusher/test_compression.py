"""Compression is decided on the data and the link."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from daughter.pusher.compression import pays
from tackybox.item import Item
from tackybox.spool import Entry, Lane


def entry(path: Path, data: bytes) -> Entry:
    path.write_bytes(data)
    name = f"20260101T000000.000000Z_north_{'0' * 64}_1.2"
    return Entry(Item.parse(name), Lane.MEDIUM, path)


NOISE = random.Random(1).randbytes(300_000)
SMOOTH = bytes(range(100)) * 3000


@pytest.mark.parametrize(
    ("data", "rate_bytes_s", "expected"),
    [
        (SMOOTH, 10e6, True),
        (SMOOTH, 500e6, False),
        (SMOOTH, None, False),
        (NOISE, 10e6, False),
        (b"", 10e6, False),
    ],
)
def test_it_pays_for_what_shrinks_on_a_slow_link(
    tmp_path: Path, data: bytes, rate_bytes_s: float | None, expected: bool
) -> None:
    assert pays([entry(tmp_path / "i", data)] * 5, rate_bytes_s) is expected


def test_a_file_that_is_gone_does_not_count(tmp_path: Path) -> None:
    gone = entry(tmp_path / "i", SMOOTH)
    gone.path.unlink()
    assert not pays([gone], 1e6)
