"""The fuzzer's check, on mutations of real dialogues; coverage-guided in `make fuzz`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daughter.receiver.fuzzing import AFTER_NEGOTIATION, SEEDS, check


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_every_beginning_of_a_dialogue(number: int) -> None:
    for end in range(len(SEEDS[number]) + 1):
        check(SEEDS[number][:end])


@settings(deadline=None)
@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False), st.integers(1, 8))
def test_mutations_behind_the_negotiation(seed: bytes, chance: random.Random, count: int) -> None:
    mutated = bytearray(seed)
    for _ in range(count):
        place = chance.randrange(AFTER_NEGOTIATION, len(mutated))
        mutated[place] = chance.choice((0, 1, 2, 3, 4, 0x7F, 0xFF, chance.randrange(256)))
    check(bytes(mutated))


@settings(deadline=None)
@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False), st.integers(1, 8))
def test_mutations_of_the_negotiation(seed: bytes, chance: random.Random, count: int) -> None:
    mutated = bytearray(seed)
    for _ in range(count):
        mutated[chance.randrange(AFTER_NEGOTIATION)] = chance.randrange(256)
    check(bytes(mutated))


@settings(deadline=None)
@given(st.binary(max_size=500))
def test_any_bytes(data: bytes) -> None:
    check(data)
    check(SEEDS[0][:AFTER_NEGOTIATION] + data)
