"""Whether a copy is what was sent: by digests, in every way of writing, and against an original."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tackybox.dimse.comparison import Copy, Verdict
from tackybox.dimse.elements import Element, Lengths, encode
from tackybox.item import content_digest

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
PATIENT, COMMENTS = 0x00100010, 0x00204000
LENGTHS = [Lengths(*both) for both in product((False, True), repeat=2)]


def elements(name: bytes = b"DOE^JANE") -> list[Element]:
    code = Element(0x00080100, "SH", b"T-1 ")
    reference = (
        Element(0x00081155, "UI", b"1.2.3.4\0"),
        Element(0x0040A170, "SQ", items=((code,), ())),
    )
    return [
        Element(0x00080018, "UI", b"1.2.3\0"),
        Element(0x00081140, "SQ", items=(reference, ())),
        Element(PATIENT, "PN", name),
        Element(COMMENTS, "LT", b"note"),
    ]


def dataset(
    syntax: str, lengths: Lengths = LENGTHS[0], pixels: bytes = b"\1\2" * 500, **more: bytes
) -> bytes:
    implicit = syntax == IMPLICIT
    head = encode(elements(**more), implicit=implicit, lengths=lengths)
    return head + encode([Element(0x7FE00010, "OW", pixels)], implicit=implicit)


def digest(syntax: str, data: bytes) -> dict[str, str]:
    made = content_digest(syntax)
    made.update(data)
    return {str(made.hexdigest()): syntax}


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def copy_of(syntax: str, data: bytes, originals: dict[str, str], size: int = 4096) -> Copy:
    copy = Copy(syntax, originals)
    for piece in pieces(data, size):
        copy.feed(piece)
    return copy


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, RLE, "1.2.3.4.5"])
def test_the_same_bytes_are_identical_whatever_they_are(syntax: str, size: int) -> None:
    data = dataset(EXPLICIT)
    assert copy_of(syntax, data, digest(syntax, data), size).verdict() is Verdict.IDENTICAL


@pytest.mark.parametrize("size", [1, 1000, 100_000])
@pytest.mark.parametrize("ours", LENGTHS)
@pytest.mark.parametrize("theirs", LENGTHS)
@pytest.mark.parametrize(("was", "came"), list(product((IMPLICIT, EXPLICIT), repeat=2)))
def test_what_is_written_anew_is_known_again(
    was: str, came: str, ours: Lengths, theirs: Lengths, size: int
) -> None:
    original, copy = dataset(was, ours), dataset(came, theirs)
    verdict = copy_of(came, copy, digest(was, original), size).verdict()
    assert verdict is (Verdict.IDENTICAL if original == copy else Verdict.ANEW)
    changed = dataset(came, theirs, name=b"DOE^JOHN")
    assert copy_of(came, changed, digest(was, original), size).verdict() is None
    changed = dataset(came, theirs, pixels=b"\1\2" * 499 + b"\1\3")
    assert copy_of(came, changed, digest(was, original), size).verdict() is None


def test_a_data_set_without_pixels() -> None:
    original = encode(elements(), implicit=False)
    copy = encode(elements(), implicit=True, lengths=LENGTHS[3])
    assert copy_of(IMPLICIT, copy, digest(EXPLICIT, original)).verdict() is Verdict.ANEW


def test_another_transfer_syntax_is_said() -> None:
    data = dataset(EXPLICIT)
    assert copy_of(EXPLICIT, data, digest(RLE, data)).verdict() is Verdict.OTHER_SYNTAX


def test_a_large_head_and_large_pixels_take_flat_memory() -> None:
    pixels = bytes(32 << 20)
    original = digest(EXPLICIT, dataset(EXPLICIT, LENGTHS[0], pixels))
    data = dataset(EXPLICIT, LENGTHS[3], pixels)
    tracemalloc.start()
    assert copy_of(EXPLICIT, data, original, 65_536).verdict() is Verdict.ANEW
    endless = Copy(EXPLICIT, original)
    head = encode([Element(0x00080018, "UI", b"1.2.3\0")], implicit=False)
    endless.feed(head + b"\x09\x00\x10\x10OB\0\0\0\0\0\x30")
    for _ in range(1000):
        endless.feed(bytes(65_536))
    assert endless.verdict() is None
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64 << 20


def test_what_differs_from_the_original_is_named_by_tag() -> None:
    original = copy_of(EXPLICIT, dataset(EXPLICIT), {})
    for came in (EXPLICIT, IMPLICIT):
        other_name = copy_of(came, dataset(came, LENGTHS[3], name=b"DOE^JOHN"), {})
        assert other_name.difference_from(original) == (Verdict.REWRITTEN, [PATIENT])
    pixels = copy_of(EXPLICIT, dataset(EXPLICIT, pixels=b"\0" * 1000), {})
    assert pixels.difference_from(original) == (Verdict.OTHER_PIXELS, [])
    same = copy_of(EXPLICIT, dataset(EXPLICIT), {})
    assert same.difference_from(original) == (Verdict.REWRITTEN, [])
    unreadable = copy_of(BIG_ENDIAN, dataset(EXPLICIT), {})
    assert unreadable.difference_from(original) == (Verdict.DIFFERS, [])


@given(st.binary(max_size=300), st.sampled_from([IMPLICIT, EXPLICIT, RLE, BIG_ENDIAN]))
def test_any_bytes_have_a_verdict(data: bytes, syntax: str) -> None:
    copy = copy_of(syntax, data, digest(EXPLICIT, b"x"), 7)
    assert copy.verdict() in (None, Verdict.OTHER_SYNTAX)
    copy.difference_from(copy_of(syntax, data, {}))
