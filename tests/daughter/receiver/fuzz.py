"""Coverage-guided fuzzing of everything that reads a modality's bytes; `make fuzz` runs it.

    python -m tests.daughter.receiver.fuzz -max_total_time=60

Arguments are libFuzzer's. `test_fuzz` holds the same check to a few thousand mutated dialogues.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["daughter", "tackybox", "pynetdicom"]):
    from tests.daughter.receiver.dialogue import associate_rq
    from tests.daughter.receiver.fuzzing import check


def one(data: bytes) -> None:
    """`data` from the first byte on, and behind a negotiation."""
    check(data)
    check(associate_rq() + data)


atheris.Setup(sys.argv, one)
atheris.Fuzz()
