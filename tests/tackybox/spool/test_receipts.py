"""Receipts: durable lines, cursors, torn tails, segments."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tackybox.errors import DataError
from tackybox.spool import Receipt, ReceiptKind, ReceiptLog, Spool
from tackybox.spool import receipts as module


@pytest.fixture
def log(tmp_path: Path) -> ReceiptLog:
    return ReceiptLog(Spool.open(tmp_path / "s").root, "north")


def receipt(number: int) -> Receipt:
    return Receipt.now(ReceiptKind.LANDED, f"item-{number}")


@given(st.sampled_from(ReceiptKind), st.text(), st.text(), st.text())
def test_a_receipt_round_trips(kind: ReceiptKind, name: str, at: str, detail: str) -> None:
    original = Receipt(kind, name, at, detail)
    line = original.to_line()
    assert line.count("\n") == 1
    assert Receipt.from_line(line) == original


@given(st.text())
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(DataError):
        Receipt.from_line(line)


def test_reading_goes_on_from_a_cursor(log: ReceiptLog) -> None:
    log.append([receipt(1), receipt(2)])
    first, second = log.read_after(0)
    assert [r.item_name for _, r in (first, second)] == ["item-1", "item-2"]
    assert [r.item_name for _, r in log.read_after(first[0])] == ["item-2"]
    assert list(log.read_after(second[0])) == []


def test_half_a_line_of_a_killed_writer_is_no_receipt(log: ReceiptLog, tmp_path: Path) -> None:
    log.append([receipt(1)])
    (segment,) = (tmp_path / "s" / "receipts" / "north").iterdir()
    with segment.open("ab") as file:
        file.write(b'{"kind":"stored","item":"it')
    assert len(list(log.read_after(0))) == 1
    log.append([receipt(2)])
    assert [r.item_name for _, r in log.read_after(0)] == ["item-1", "item-2"]


def test_a_cursor_behind_the_end_means_another_log(log: ReceiptLog) -> None:
    with pytest.raises(DataError):
        list(log.read_after(5))
    log.append([receipt(1)])
    with pytest.raises(DataError):
        list(log.read_after(5000))


def test_segments_go_when_the_daughter_has_read_past_them(
    log: ReceiptLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 300)
    for number in range(20):
        log.append([receipt(number)])
    everything = list(log.read_after(0))
    assert [r.item_name for _, r in everything] == [f"item-{n}" for n in range(20)]
    directory = tmp_path / "s" / "receipts" / "north"
    before = len(list(directory.iterdir()))
    log.forget_before(everything[14][0])
    assert 1 < len(list(directory.iterdir())) < before
    rest = [r.item_name for _, r in log.read_after(everything[14][0])]
    assert rest == [f"item-{n}" for n in range(15, 20)]


def test_room_for_the_next_receipts_is_held_and_is_no_part_of_the_log(
    log: ReceiptLog, tmp_path: Path
) -> None:
    log.append([receipt(1)])
    (segment,) = (tmp_path / "s" / "receipts" / "north").iterdir()
    found = segment.stat()
    assert found.st_blocks * 512 - found.st_size > 256 << 10
    assert segment.read_text() == next(log.read_after(0))[1].to_line()
