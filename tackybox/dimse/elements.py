"""Encoded data sets as a tree of elements whose values are bytes that nobody has interpreted.

For rewriting between implicit and explicit VR and from big to little endian (PS3.5 section 7)
without decoding a value, because decoding and encoding again alters odd ones. Raises
NotConvertible where the right bytes are not certain. Group lengths (retired, PS3.5 7.2) are left
out: they would lie.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from tackybox.errors import DataError

_UNDEFINED = 0xFFFFFFFF
_PIXEL_REPRESENTATION = 0x00280103
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD)

# PS3.5 table 6.2-1: bytes that one unit of a binary value has, and VRs made of characters.
_WORD_BYTES = {
    **dict.fromkeys(("US", "SS", "AT", "OW"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OL", "OF"), 4),
    **dict.fromkeys(("FD", "SV", "UV", "OD", "OV"), 8),
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST"), 1),
    **dict.fromkeys(("TM", "UC", "UI", "UR", "UT", "OB"), 1),
}
# PS3.5 7.1.2: VRs whose length has four bytes in explicit VR.
_LONG_VRS = frozenset(
    ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
)


class NotConvertible(DataError):
    """An item can't be converted without loss, or not with certainty; the message says why."""


@dataclass(frozen=True, slots=True)
class Element:
    """One data element: its value in little endian, or the items of its sequence."""

    tag: int
    vr: str
    value: bytes = b""
    items: tuple[tuple[Element, ...], ...] = ()


def parse(
    encoded: bytes, *, implicit: bool, little_endian: bool, left_out: frozenset[int] = frozenset()
) -> tuple[Element, ...]:
    """All elements of an encoded data set, top-level ones in `left_out` excepted.

    Strict: whatever is not exactly as PS3.5 section 7 has it, down to the last byte, is refused.
    """
    reader = _Reader(encoded, implicit, little_endian)
    return reader.elements(len(encoded), left_out=left_out)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Whether sequences, and their items, are written with their lengths (PS3.5 7.5.1), or are
    ended by delimiters."""

    of_sequences: bool = False
    of_items: bool = False


_DELIMITED = Lengths()


def encode(elements: Iterable[Element], *, implicit: bool, lengths: Lengths = _DELIMITED) -> bytes:
    """`elements` in Implicit or Explicit VR Little Endian."""
    return b"".join(piece for element in elements for piece in _encoded(element, implicit, lengths))


def flatten(elements: Iterable[Element], path: tuple[int, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Each value with its path of tags and item numbers; VRs left out, as some encodings do."""
    for element in elements:
        yield (*path, element.tag), len(element.items), element.value
        for number, item in enumerate(element.items):
            yield from flatten(item, (*path, element.tag, number))


def swapped(value: bytes, width: int) -> bytes:
    """`value` with the bytes of each of its words of `width` bytes in the other order."""
    if len(value) % width:
        raise NotConvertible("it holds a value whose length is not that of whole words")
    turned = bytearray(len(value))
    for offset in range(width):
        turned[offset::width] = value[width - 1 - offset :: width]
    return bytes(turned)


class _Reader:
    """Reads `data` from `position` on."""

    def __init__(self, data: bytes, implicit: bool, little_endian: bool, position: int = 0) -> None:
        self.data = data
        self.implicit = implicit
        self.order = "<" if little_endian else ">"
        self.position = position

    def elements(
        self, end: int | None, *, signed: bool = False, left_out: frozenset[int] = frozenset()
    ) -> tuple[Element, ...]:
        """Elements up to `end`, or up to an item's delimiter where that is None.

        `signed` is the Pixel Representation of the data set around them.
        """
        found: list[Element] = []
        creators: dict[int, bytes] = {}
        while end is None or self.position < end:
            tag = self._tag()
            if end is None and tag == _ITEM_END:
                self._unpack("L")
                break
            vr, length = self._vr_and_length(tag, creators, signed)
            element = self._element(tag, vr, length, signed, tag in left_out)
            if tag == _PIXEL_REPRESENTATION:
                signed = any(element.value)
            if tag & 0x1FF00 == 0x10000 and tag & 0xFF >= 0x10:  # odd group, (gggg,0010-00FF)
                creators[tag] = element.value
            if tag not in left_out and tag & 0xFFFF != 0:
                found.append(element)
        if end is not None and self.position != end:
            raise NotConvertible("its encoding is not sound: a value reaches beyond its place")
        return tuple(found)

    def _element(self, tag: int, vr: str, length: int, signed: bool, skipped: bool) -> Element:
        if vr == "SQ":
            return Element(tag, vr, items=tuple(self._items(length, signed)))
        if length == _UNDEFINED:
            if skipped:
                self._skip_fragments()
                return Element(tag, vr)
            if vr == "UN":  # PS3.5 6.2.2 note 4: a sequence in implicit VR little endian
                inner = _Reader(self.data, True, True, self.position)
                items = tuple(inner._items(length, signed))
                self.position = inner.position
                return Element(tag, "SQ", items=items)
            raise NotConvertible(
                "it holds compressed data in a place other than its own pixel data"
            )
        value = self._take(length)
        if value and self.order == ">" and not skipped:
            if vr not in _WORD_BYTES:
                raise NotConvertible("it holds a value of unknown kind in big endian byte order")
            value = swapped(value, _WORD_BYTES[vr])
        return Element(tag, vr, value)

    def _items(self, length: int, signed: bool) -> Iterator[tuple[Element, ...]]:
        end = None if length == _UNDEFINED else self.position + length
        while end is None or self.position < end:
            tag = self._tag()
            (item_length,) = self._unpack("L")
            if end is None and tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise NotConvertible("its encoding is not sound: a sequence holds no item")
            item_end = None if item_length == _UNDEFINED else self.position + item_length
            yield self.elements(item_end, signed=signed)
        if self.position != end:
            raise NotConvertible("its encoding is not sound: an item reaches beyond its sequence")

    def _skip_fragments(self) -> None:
        while True:
            tag = self._tag()
            (length,) = self._unpack("L")
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise NotConvertible("its compressed pixel data is cut off")
            self._take(length)

    def _vr_and_length(self, tag: int, creators: dict[int, bytes], signed: bool) -> tuple[str, int]:
        if self.implicit:
            (length,) = self._unpack("L")
            vr = _look_up(tag, creators)
            if " or " in vr:
                vr = "OW" if "OW" in vr else "SS" if signed else "US"
            return vr, length
        vr = self._take(2).decode("latin-1")
        if vr in _LONG_VRS:
            _, length = self._unpack("HL")
        elif vr in _WORD_BYTES:
            (length,) = self._unpack("H")
        else:
            raise NotConvertible("it holds a value of unknown kind")
        return vr, length

    def _tag(self) -> int:
        group, number = self._unpack("HH")
        return int(group << 16 | number)

    def _unpack(self, layout: str) -> tuple[int, ...]:
        layout = self.order + layout
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def _take(self, length: int) -> bytes:
        taken = self.data[self.position : self.position + length]
        if len(taken) != length:
            raise NotConvertible("its encoding is not sound: it is cut off")
        self.position += length
        return taken


def _look_up(tag: int, creators: dict[int, bytes]) -> str:
    """The VR that the dictionaries give, "UN" where they don't know (PS3.5 6.2.2 note 1)."""
    try:
        if not tag >> 16 & 1:
            return str(dictionary_VR(tag))
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "LO"  # a private creator, PS3.5 7.8.1
        creator = creators[tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8]
        return str(private_dictionary_VR(tag, creator.decode("ascii").strip(" \0")))
    except (KeyError, UnicodeDecodeError):
        return "UN"


def _encoded(element: Element, implicit: bool, lengths: Lengths) -> Iterator[bytes]:
    if element.vr == "SQ":
        items = b"".join(_encoded_item(item, implicit, lengths) for item in element.items)
        length = len(items) if lengths.of_sequences else _UNDEFINED
        yield _head(element.tag, "SQ", length, implicit)
        yield items
        if not lengths.of_sequences:
            yield _delimiter(_SEQUENCE_END, 0)
        return
    too_long = len(element.value) > 0xFFFF and element.vr not in _LONG_VRS
    # PS3.5 6.2.2 note 3: a value too long for the two bytes of its VR's length becomes UN.
    yield _head(element.tag, "UN" if too_long else element.vr, len(element.value), implicit)
    yield element.value


def _encoded_item(item: tuple[Element, ...], implicit: bool, lengths: Lengths) -> bytes:
    content = encode(item, implicit=implicit, lengths=lengths)
    if lengths.of_items:
        return _delimiter(_ITEM, len(content)) + content
    return _delimiter(_ITEM, _UNDEFINED) + content + _delimiter(_ITEM_END, 0)


def _head(tag: int, vr: str, length: int, implicit: bool) -> bytes:
    group, number = tag >> 16, tag & 0xFFFF
    if implicit:
        return struct.pack("<HHL", group, number, length)
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHL", group, number, vr.encode("ascii"), 0, length)
    return struct.pack("<HH2sH", group, number, vr.encode("ascii"), length)


def _delimiter(tag: int, length: int) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)
