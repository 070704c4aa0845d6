"""The first attributes of an encoded data set, read the short way where that is certain.

`plain_values` reads what nearly all scanners send in microseconds, and says None for anything that
is not plain: then pydicom must be asked, which is right in all cases and a hundred times slower.
Promises: what it returns is what pydicom would return; it looks at nothing behind the bytes that
it is given, and never raises for any bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 section 7.1.2
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONGEST_VALUE_BYTES = 1024
_DEEPEST = 16  # sequences within sequences
_HEAD = struct.Struct("<HH2sH")
_HEAD_IMPLICIT = struct.Struct("<HHL")
_LENGTH = struct.Struct("<L")


class _NotPlain(Exception):
    """Not certain, or not wholly here."""


def plain_values(
    head: bytes, wanted: Mapping[int, bytes], *, implicit: bool, last_tag: int, whole: bool = False
) -> dict[int, str] | None:
    """Values by tag of the `wanted` elements up to `last_tag`, None if they are not plain.

    `head` is the beginning of a little-endian data set and must reach beyond `last_tag`, or be
    `whole`. `wanted` gives each tag's VR. Values are stripped; a repeated tag, a value over 1 KiB,
    of several parts, of another VR, or with anything but printable ASCII in it is not plain.
    """
    found: dict[int, str] = {}
    position = 0
    try:
        while not (whole and position == len(head)):
            tag, vr, length, begin = _element(head, position, implicit)
            if tag > last_tag:
                return found
            if length == _UNDEFINED:
                position = _behind_sequence(head, begin, vr, implicit, _DEEPEST)
                if tag in wanted:
                    return None
                continue
            position = begin + length
            if tag in wanted:
                if tag in found or length > _LONGEST_VALUE_BYTES or vr not in (b"", wanted[tag]):
                    return None
                found[tag] = _text(head[begin:position], length)
    except (_NotPlain, struct.error):
        return None
    return found


def offset_behind(head: bytes, last_tag: int, *, implicit: bool) -> int | None:
    """Where the first element behind `last_tag` begins in a little-endian data set of which `head`
    is the beginning; None if it is not certain, or not here."""
    position = 0
    try:
        while True:
            tag, vr, length, begin = _element(head, position, implicit)
            if tag > last_tag:
                return position
            if length == _UNDEFINED:
                position = _behind_sequence(head, begin, vr, implicit, _DEEPEST)
            else:
                position = begin + length
    except (_NotPlain, struct.error):
        return None


def first_tag(head: bytes) -> int:
    """The tag that a little-endian data set begins with; all of its bits set if there is none."""
    if len(head) < 4:
        return 0xFFFFFFFF
    return int.from_bytes(head[:2], "little") << 16 | int.from_bytes(head[2:4], "little")


def _element(head: bytes, position: int, implicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, VR, length and where the value begins."""
    if implicit:
        group, number, length = _HEAD_IMPLICIT.unpack_from(head, position)
        vr, begin = b"", position + 8
    else:
        group, number, vr, length = _HEAD.unpack_from(head, position)
        begin = position + 8
        if vr in _LONG_VRS:
            (length,) = _LENGTH.unpack_from(head, position + 8)
            begin = position + 12
        elif vr not in _SHORT_VRS:
            raise _NotPlain
    if group >= 0xFFFE:
        raise _NotPlain
    return group << 16 | number, vr, length, begin


def _behind_sequence(head: bytes, position: int, vr: bytes, implicit: bool, depth: int) -> int:
    """The position behind a sequence of undefined length (PS3.5 section 7.5) begun before."""
    if depth == 0 or vr not in (b"SQ", b""):
        raise _NotPlain
    while True:
        group, number, length = _HEAD_IMPLICIT.unpack_from(head, position)
        position += 8
        tag = group << 16 | number
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise _NotPlain
        if length != _UNDEFINED:
            position += length
        else:
            position = _behind_item(head, position, implicit, depth - 1)


def _behind_item(head: bytes, position: int, implicit: bool, depth: int) -> int:
    """The position behind an item of undefined length whose elements begin at `position`."""
    while True:
        group, number, _ = _HEAD_IMPLICIT.unpack_from(head, position)
        if group << 16 | number == _ITEM_END:
            return position + 8
        _, vr, length, begin = _element(head, position, implicit)
        if length == _UNDEFINED:
            position = _behind_sequence(head, begin, vr, implicit, depth)
        else:
            position = begin + length


def _text(value: bytes, length: int) -> str:
    text = value.strip(b" \0").decode("ascii", "replace")
    if len(value) != length or not text.isascii() or not text.isprintable() or "\\" in text:
        raise _NotPlain
    return text
