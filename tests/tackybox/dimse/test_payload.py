"""A data set on its way: its digest is the item's, whatever its size, and it goes out once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tackybox.dimse.payload import SMALL_BYTES, Payload
from tackybox.item import content_digest, digest_of, part10_head

SYNTAX = "1.2.840.10008.1.2.1"


def part10(path: Path, size_bytes: int) -> tuple[Path, int]:
    head = part10_head(
        sop_class_uid="1.2", sop_instance_uid="1.2.3", transfer_syntax_uid=SYNTAX,
        calling_aet="A", called_aet="B",
    )  # fmt: skip
    path.write_bytes(head + random.Random(size_bytes).randbytes(size_bytes))
    return path, len(head)


@pytest.mark.parametrize("size_bytes", [0, 1, 1000, SMALL_BYTES, SMALL_BYTES + 1, 3 * SMALL_BYTES])
def test_the_digest_is_that_of_the_item(tmp_path: Path, size_bytes: int) -> None:
    path, offset = part10(tmp_path / "a", size_bytes)
    for buffer in (None, memoryview(bytearray(SMALL_BYTES))):
        with Payload(path, offset, buffer) as payload:
            assert payload.is_small == (size_bytes <= SMALL_BYTES)
            assert payload.size_bytes == size_bytes
            assert payload.file_bytes == path.stat().st_size
            assert payload.digest(SYNTAX) == digest_of(path)


def test_a_file_that_ends_before_its_data_set_has_an_empty_one(tmp_path: Path) -> None:
    path, offset = part10(tmp_path / "a", 5)
    with Payload(path, offset + 100) as payload:
        assert payload.size_bytes == 0
        assert payload.digest(SYNTAX) == content_digest(SYNTAX).hexdigest()


def test_what_is_gone_or_a_directory_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Payload(tmp_path / "gone", 0)
    with pytest.raises(IsADirectoryError):
        Payload(tmp_path, 0)
