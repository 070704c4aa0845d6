"""Spreading studies over mothers: which, in which order, and what moves when one goes."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daughter.pusher.spreading import in_turn, study_of
from tackybox.item import part10_head
from tackybox.spool import Entry, Lane, Spool

SYNTAX = "1.2.840.10008.1.2.1"  # explicit VR little endian
mothers = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=6, unique=True)


@given(st.text(max_size=64), mothers, st.randoms())
def test_the_order_depends_on_the_study_and_the_names_alone(study, names, random):
    turn = in_turn(study, names)
    assert sorted(turn) == sorted(names)
    random.shuffle(names)
    assert in_turn(study, names) == turn


@given(st.text(max_size=64), mothers)
def test_when_one_goes_the_others_keep_their_order(study, names):
    turn = in_turn(study, names)
    for gone in names:
        left = [name for name in names if name != gone]
        assert in_turn(study, left) == [name for name in turn if name != gone]


def test_studies_spread_evenly_and_those_of_one_that_is_gone_too():
    names = [f"mother-{number}.example_2222" for number in range(4)]
    turns = [in_turn(f"1.2.840.113619.2.55.3.{number}", names) for number in range(4000)]
    first = Counter(turn[0] for turn in turns)
    assert all(900 < first[name] < 1100 for name in names)
    second = Counter(turn[1] for turn in turns if turn[0] == names[0])
    assert set(second) == set(names[1:])
    assert all(first[names[0]] / 3 * 0.8 < n < first[names[0]] / 3 * 1.2 for n in second.values())


def element(group: int, number: int, value: bytes) -> bytes:
    """A UI element in explicit VR little endian (PS3.5 section 7.1.2)."""
    return struct.pack("<HH2sH", group, number, b"UI", len(value)) + value


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (element(0x20, 0xD, b"1.2.840.5\0"), "1.2.840.5"),
        (element(0x20, 0xD, "1.2.é".encode("latin-1")), "1.2.é"),
        (element(0x20, 0xD, b""), "1.2.3"),
        (element(0x20, 0xE, b"1.2.840.6\0"), "1.2.3"),
        (b"no data set at all", "1.2.3"),
    ],
)
def test_the_study_is_the_headers_or_else_the_image_stands_for_it(
    tmp_path: Path, data: bytes, expected: str
) -> None:
    entry = accepted(tmp_path, head(), data)
    assert study_of(entry) == expected
    assert in_turn(study_of(entry), ["a", "b"])


def test_an_item_whose_file_meta_is_damaged_still_falls_to_somebody(tmp_path: Path) -> None:
    assert study_of(accepted(tmp_path, b"DAMAGED", b"")) == "1.2.3"


def head() -> bytes:
    return part10_head(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid="1.2.3",
        transfer_syntax_uid=SYNTAX, calling_aet="CT", called_aet="RELAY",
    )  # fmt: skip


def accepted(root: Path, head: bytes, data: bytes) -> Entry:
    spool = Spool.open(root / "spool")
    with spool.workspace("receiver") as workspace, spool.draft(workspace, "a", SYNTAX) as draft:
        draft.write_head(head)
        draft.write_dataset(data)
        return draft.accept(Lane.MEDIUM, "1.2.3")
