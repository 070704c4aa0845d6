"""The item: names round-trip, heads are read back, contradictions are found."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tackybox.errors import DataError
from tackybox.item import (
    Item,
    command_contradiction,
    content_digest,
    digest_of,
    is_uid,
    part10_head,
    read_header,
)

EXPLICIT_LE = "1.2.840.10008.1.2.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
CT = "1.2.840.10008.5.1.4.1.1.2"

uids = st.from_regex(r"[0-9][0-9.]{0,63}", fullmatch=True)
boxes = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
items = st.builds(Item, times, boxes, digests, uids)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One explicit little-endian element with a short length."""
    value += b"\0" * (len(value) % 2)
    group, number = tag >> 16, tag & 0xFFFF
    head = group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr.encode()
    return head + len(value).to_bytes(2, "little") + value


def dataset(sop_class: str = CT, sop_instance: str = "1.2.3") -> bytes:
    """A small explicit little-endian data set."""
    return b"".join(
        [
            element(0x00080016, "UI", sop_class.encode()),
            element(0x00080018, "UI", sop_instance.encode()),
            element(0x00080050, "SH", b"ACC1"),
            element(0x00080060, "CS", b"CT"),
            element(0x00100020, "LO", b"PID1"),
            element(0x0020000D, "UI", b"1.2.4"),
            element(0x0020000E, "UI", b"1.2.5"),
        ]
    )


def write(path: Path, encoded: bytes, transfer_syntax: str = EXPLICIT_LE) -> Path:
    head = part10_head(
        sop_class_uid=CT, sop_instance_uid="1.2.3", transfer_syntax_uid=transfer_syntax,
        calling_aet="CT 1", called_aet="RELAY",
    )  # fmt: skip
    path.write_bytes(head + encoded)
    return path


@given(items)
def test_a_name_parses_back_to_its_item_and_fits_a_file_system(item: Item) -> None:
    assert Item.parse(item.name) == item
    assert len(item.name) + len("~99999~9999999999") <= 255
    assert "/" not in item.name


@given(items, items)
def test_names_sort_by_arrival(one: Item, other: Item) -> None:
    if one.arrived_at < other.arrived_at:
        assert one.name < other.name


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    try:
        item = Item.parse(text)
    except DataError:
        return
    assert item.name == text


@pytest.mark.parametrize("text", ["", "../etc", "1.2/3", "1" * 65, ".1", "a", "1.2\n", "１.2"])
def test_what_is_no_uid(text: str) -> None:
    assert not is_uid(text)


def test_a_header_says_who_and_what(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "i", dataset()))
    assert header.problem == ""
    assert header.event_fields() == {
        "sop_class_uid": CT,
        "sop_instance_uid": "1.2.3",
        "transfer_syntax_uid": EXPLICIT_LE,
        "calling_aet": "CT 1",
        "called_aet": "RELAY",
        "study_instance_uid": "1.2.4",
        "series_instance_uid": "1.2.5",
        "accession_number": "ACC1",
        "patient_id": "PID1",
        "modality": "CT",
    }
    assert (tmp_path / "i").read_bytes()[header.dataset_offset :] == dataset()


def test_a_deflated_data_set_is_read_without_inflating_all_of_it(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = element(0x00080016, "UI", CT.encode()) + dataset() + b"\0" * (200 << 20)
    encoded = packer.compress(bomb) + packer.flush()
    assert read_header(write(tmp_path / "i", encoded, DEFLATED)).modality == "CT"


@given(st.binary(max_size=400))
def test_a_header_of_any_bytes_never_raises_anything_but_a_data_error(encoded: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        header = read_header(write(Path(directory) / "i", encoded))
        assert header.sop_instance_uid == "1.2.3"
        (Path(directory) / "raw").write_bytes(encoded)
        with pytest.raises(DataError):
            read_header(Path(directory) / "raw")


def test_a_giant_value_is_not_read(tmp_path: Path) -> None:
    giant = (0x0010).to_bytes(2, "little") + (0x0020).to_bytes(2, "little") + b"UT\0\0"
    giant += (50 << 20).to_bytes(4, "little") + b"x" * (50 << 20)
    encoded = element(0x00080060, "CS", b"CT") + giant + element(0x0020000D, "UI", b"1.2.4")
    header = read_header(write(tmp_path / "i", encoded))
    assert (header.modality, header.patient_id, header.study_instance_uid) == ("CT", "", "1.2.4")


@given(st.binary(max_size=3000), st.sampled_from([EXPLICIT_LE, IMPLICIT_LE, DEFLATED]))
def test_the_digest_is_that_of_syntax_and_data_set(encoded: bytes, syntax: str) -> None:
    expected = content_digest(syntax)
    expected.update(encoded)
    with tempfile.TemporaryDirectory() as directory:
        assert digest_of(write(Path(directory) / "i", encoded, syntax)) == expected.hexdigest()


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (dataset(), None),
        (dataset(sop_class="1.2.840.10008.5.1.4.1.1.4"), 0xA900),
        (dataset(sop_instance="1.2.99"), 0xA900),
        (element(0x00080060, "CS", b"CT"), None),
        (b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n", 0xC000),
        (b"\x08\x00", 0xC000),
    ],
)
def test_a_data_set_that_is_not_what_its_command_says(encoded: bytes, expected: int | None) -> None:
    assert command_contradiction(encoded, CT, "1.2.3", EXPLICIT_LE) == expected


def test_a_deflated_contradiction_is_found_too() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    encoded = packer.compress(dataset(sop_instance="1.9")) + packer.flush()
    assert command_contradiction(encoded, CT, "1.2.3", DEFLATED) == 0xA900
    assert command_contradiction(b"\xff\xff\xff", CT, "1.2.3", DEFLATED) == 0xC000


@pytest.mark.parametrize(
    "other", [{"sop_class": "1.2.840.10008.5.1.4.1.1.4"}, {"sop_instance": "1.9"}]
)
@pytest.mark.parametrize("read", [digest_of, read_header])
def test_file_meta_that_is_not_its_data_sets_is_bad(
    tmp_path: Path, read: Callable[[Path], object], other: dict[str, str]
) -> None:
    """A bit flipped there would have an image stored under another name, with no digest amiss."""
    with pytest.raises(DataError, match="contradicts"):
        read(write(tmp_path / "i", dataset(**other)))
