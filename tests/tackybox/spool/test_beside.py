"""A digest that is made in another thread is the same digest."""

import hashlib
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from tackybox.spool.beside import DigestBeside

PIECES = st.lists(st.integers(min_value=0, max_value=700_000), max_size=6)


@given(PIECES, st.binary(max_size=10))
@settings(max_examples=30, deadline=None)
def test_it_is_that_of_the_bytes_in_whatever_pieces_they_come(sizes: list[int], before: bytes):
    content = bytes(range(251)) * (sum(sizes) // 251 + 1)
    digest, start = hashlib.sha256(before), 0
    beside = DigestBeside(digest)
    buffer = bytearray(700_000)
    for size in sizes:
        buffer[:size] = content[start : start + size]
        beside.update(memoryview(buffer)[:size])  # as the receiver does, which reuses its buffer
        start += size
    beside.finish()
    assert digest.hexdigest() == hashlib.sha256(before + content[:start]).hexdigest()


def test_its_thread_ends_with_it():
    before = threading.active_count()
    beside = DigestBeside(hashlib.sha256())
    beside.update(memoryview(b"content"))
    beside.finish()
    assert threading.active_count() == before
