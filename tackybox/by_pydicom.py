"""File meta and leading attributes as pydicom reads them: the long way of `item`.

Apart, because pydicom takes a third of a second and 40 MB to load, and most items never need it.
What pydicom has as settings of the process is set here. Raises whatever pydicom does, which is
many classes for bytes that are no data set, and quotes values: for `item` to catch.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterable, Iterator
from typing import IO, Any

from pydicom import config as pydicom_config
from pydicom.filereader import dcmread, read_dataset
from pydicom.uid import UID

# A relay does not judge values, and pydicom's warnings quote them.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE

_LONGEST_VALUE_BYTES = 1024


def file_meta(head: bytes, tags: Iterable[int]) -> dict[int, str]:
    """The attributes `tags` of the file meta with which a Part-10 file begins."""
    meta = dcmread(io.BytesIO(head)).file_meta
    return {tag: str(meta[tag].value or "") for tag in tags if tag in meta}


def attributes(
    source: IO[bytes],
    transfer_syntax_uid: str,
    wanted: Collection[int],
    last_tag: int,
    tags: list[int] | None,
) -> dict[int, str]:
    """The `wanted` attributes up to `last_tag` as text, values over 1 KiB left out.

    The tags met on the way are appended to `tags`.
    """

    def is_behind(tag: int, _vr: str | None, _length: int) -> bool:
        if tags is not None:
            tags.append(int(tag))
        return int(tag) > last_tag

    syntax = UID(transfer_syntax_uid, pydicom_config.IGNORE)
    known = syntax.is_transfer_syntax and not syntax.is_private
    dataset = read_dataset(
        source,  # type: ignore[arg-type]
        is_implicit_VR=syntax.is_implicit_VR if known else False,
        is_little_endian=syntax.is_little_endian if known else True,
        stop_when=is_behind,
        defer_size=_LONGEST_VALUE_BYTES,
        specific_tags=list(wanted),
    )
    return dict(_texts(dataset, wanted))


def _texts(dataset: Any, wanted: Iterable[int]) -> Iterator[tuple[int, str]]:
    for tag in wanted:
        # One value that is over-long (left on disk, and the dataset knows no file to read it
        # from) or undecodable does not cost the others.
        with contextlib.suppress(Exception):
            if tag in dataset:
                yield tag, str(dataset[tag].value or "").strip(" \0")
