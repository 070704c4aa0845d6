"""Whether what an archive gives back is what it was sent, found out while it comes in.

Of what was sent only the digest need be known. Archives that keep every value write it anew all
the same: another transfer syntax of the uncompressed ones, sequences with other lengths. So what
comes is also hashed as it would look in the original's transfer syntax, in each way of writing
sequences: if one has the original's digest, then it is the original, proved. Memory is flat: only
what stands before the pixel data is held, and no more than LONGEST_HEAD_BYTES of it.
Does not promise to recognise every harmless change: group lengths, padding and trailing elements
that an archive drops or adds make it another content. Tags are named, never values.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Any

from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tackybox.dimse.elements import Element, Lengths, NotConvertible, encode, parse
from tackybox.item import content_digest
from tackybox.leading import offset_behind

LONGEST_HEAD_BYTES = 16 << 20
_FIRST_LOOK_BYTES = 1 << 16
_BEFORE_PIXELS = 0x7FE0000F
_PIXEL_TAG = b"\xe0\x7f\x10\x00"
_LONGEST_ELEMENT_HEAD = 12
_IMPLICIT, _EXPLICIT = str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)
_UNDEFINED = 0xFFFFFFFF


class Verdict(StrEnum):
    """What an archive's copy is."""

    IDENTICAL = "identical"
    ANEW = "same content, written anew"
    REWRITTEN = "same pixel data, attributes changed"
    OTHER_PIXELS = "other pixel data"
    OTHER_SYNTAX = "in another transfer syntax"
    DIFFERS = "differs; no copy here to compare it with"
    MISSING = "missing"
    NOT_GIVEN = "not given"

    @property
    def is_same(self) -> bool:
        """Whether the archive has the content that it was sent."""
        return self in (Verdict.IDENTICAL, Verdict.ANEW)


class Copy:
    """A data set in `syntax` on its way in; `originals` are the content digests that it may have,
    each with the transfer syntax that it was computed in."""

    def __init__(self, syntax: str, originals: Mapping[str, str]) -> None:
        self.syntax = syntax
        self._originals = originals
        self._exact = content_digest(syntax)
        self._others: list[tuple[str, Any]] = []  # the digest that it is to have, and a hash
        self._pixels = hashlib.sha256()
        self._head = bytearray()
        self._look_at_bytes = _FIRST_LOOK_BYTES
        self._is_in_head = True
        self._elements: tuple[Element, ...] | None = None

    def feed(self, piece: bytes) -> None:
        """The next piece of the data set."""
        self._exact.update(piece)
        if not self._is_in_head:
            self._feed_behind(piece)
            return
        self._head += piece
        if len(self._head) > LONGEST_HEAD_BYTES:
            self._leave_head(len(self._head), whole=False)
        elif len(self._head) >= self._look_at_bytes:
            self._look_at_bytes = 2 * len(self._head)
            offset = self._pixel_offset()
            if offset is not None and offset + _LONGEST_ELEMENT_HEAD <= len(self._head):
                self._leave_head(offset, whole=True)

    def verdict(self) -> Verdict | None:
        """What it is, at its end, as far as digests tell; None if they don't."""
        self._end_head()
        if self._exact.hexdigest() in self._originals:
            return Verdict.IDENTICAL
        if any(hashed.hexdigest() == digest for digest, hashed in self._others):
            return Verdict.ANEW
        if not any(_can_become(self.syntax, syntax) for syntax in self._originals.values()):
            return Verdict.OTHER_SYNTAX
        return None

    def difference_from(self, original: Copy) -> tuple[Verdict, list[int]]:
        """How it differs from the original's data set, and the tags (of group and element) of the
        attributes that do; tags within sequences are not told apart."""
        for copy in (self, original):
            copy._end_head()
        if self._elements is None or original._elements is None:
            return Verdict.DIFFERS, []
        ours, theirs = (
            {element.tag: (element.items, element.value) for element in copy._elements or ()}
            for copy in (original, self)
        )
        tags = sorted(
            tag for tag in ours.keys() | theirs.keys() if ours.get(tag) != theirs.get(tag)
        )
        if self._pixels.digest() != original._pixels.digest():
            return Verdict.OTHER_PIXELS, tags
        return Verdict.REWRITTEN, tags

    def _end_head(self) -> None:
        """All has come; what was held may have no pixel data behind it."""
        if self._is_in_head:
            offset = self._pixel_offset()
            self._leave_head(len(self._head) if offset is None else offset, whole=True)

    def _pixel_offset(self) -> int | None:
        if not _is_plain(self.syntax):
            return None
        implicit = self.syntax == _IMPLICIT
        offset = offset_behind(bytes(self._head), _BEFORE_PIXELS, implicit=implicit)
        return offset if offset is not None and self._head.startswith(_PIXEL_TAG, offset) else None

    def _leave_head(self, offset: int, *, whole: bool) -> None:
        """`offset` is where the pixel data begins, or the end; not `whole`: it is too long."""
        self._is_in_head = False
        head, behind = bytes(self._head[:offset]), bytes(self._head[offset:])
        self._head.clear()
        if not whole or not _is_plain(self.syntax):
            return
        try:
            self._elements = parse(head, implicit=self.syntax == _IMPLICIT, little_endian=True)
        except NotConvertible:
            return
        pixels = _PixelHead.of(behind, self.syntax == _IMPLICIT)
        variants: dict[tuple[str, bytes], None] = {}
        for digest, syntax in self._originals.items():
            if _can_become(self.syntax, syntax):
                for lengths in (Lengths(*both) for both in product((False, True), repeat=2)):
                    written = encode(self._elements, implicit=syntax == _IMPLICIT, lengths=lengths)
                    for pixel_head in pixels.written(syntax, self.syntax):
                        variants[digest, written + pixel_head] = None
        for digest, written in variants:
            hashed = content_digest(self._originals[digest])
            hashed.update(written)
            self._others.append((digest, hashed))
        self._feed_behind(behind[len(pixels.head) :])

    def _feed_behind(self, piece: bytes) -> None:
        self._pixels.update(piece)
        for _, hashed in self._others:
            hashed.update(piece)


@dataclass(frozen=True, slots=True)
class _PixelHead:
    """Tag, VR and length of the pixel data, as bytes; none if there is no pixel data."""

    head: bytes
    length: int

    @classmethod
    def of(cls, behind: bytes, implicit: bool) -> _PixelHead:
        """Those of an element that `behind` begins with."""
        size = 8 if implicit else _LONGEST_ELEMENT_HEAD
        if len(behind) < size:
            return cls(b"", _UNDEFINED)
        (length,) = struct.unpack_from("<L", behind, size - 4)
        return cls(behind[:size], int(length))

    def written(self, syntax: str, original: str) -> list[bytes]:
        """How they may look in transfer syntax `syntax`, being in `original` now."""
        if (syntax == _IMPLICIT) == (original == _IMPLICIT) or not self.head:
            return [self.head]
        if self.length == _UNDEFINED:
            return []
        length = struct.pack("<L", self.length)
        if syntax == _IMPLICIT:
            return [_PIXEL_TAG + length]
        return [_PIXEL_TAG + vr + b"\0\0" + length for vr in (b"OW", b"OB")]


def _is_plain(syntax: str) -> bool:
    """Whether its data sets are little endian, and not deflated as a whole."""
    uid = UID(syntax)
    if not uid.is_transfer_syntax or uid.is_private:
        return False
    return uid != ExplicitVRBigEndian and not uid.is_deflated


def _can_become(syntax: str, original: str) -> bool:
    """Whether what is in `syntax` can be written as it was in `original` without decoding it."""
    return syntax == original or {syntax, original} <= {_IMPLICIT, _EXPLICIT}
