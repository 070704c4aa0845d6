"""The identity of a spool: made once, claimed by one kind of box, never guessed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tackybox.errors import SpoolError
from tackybox.spool import Spool
from tackybox.spool.identity import claim_identity, read_identity


def test_two_daemons_that_make_a_spool_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: claim_identity(tmp_path, "mother"), range(8)))
    assert found == {read_identity(tmp_path)[0]}


def test_a_spool_of_an_earlier_version_is_claimed_and_keeps_its_uuid(tmp_path: Path) -> None:
    (tmp_path / "identity").write_text(f"{'5' * 32}\n")
    assert Spool.open(tmp_path).identity == "5" * 32
    assert Spool.open(tmp_path, "daughter").identity == "5" * 32
    assert read_identity(tmp_path) == ("5" * 32, "daughter")


def test_the_other_kind_of_box_is_refused(tmp_path: Path) -> None:
    Spool.open(tmp_path, "daughter")
    with pytest.raises(SpoolError, match=r"is a daughter's, and this is a mother; give each box"):
        Spool.open(tmp_path, "mother")
    assert Spool.open(tmp_path).identity == Spool.open(tmp_path, "daughter").identity


def test_what_an_earlier_version_reads_is_the_uuid_alone(tmp_path: Path) -> None:
    """It takes all of the file for the UUID: whoever goes back must not look like a lost disk."""
    uuid = Spool.open(tmp_path, "mother").identity
    assert (tmp_path / "identity").read_text() == f"{uuid}\n"
    assert (tmp_path / "kind").read_text() == "mother\n"


def test_a_kind_that_stands_behind_the_uuid_is_moved_into_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "identity").write_text(f"{'5' * 32} mother\n")
    assert read_identity(tmp_path) == ("5" * 32, "mother")
    with pytest.raises(SpoolError, match=r"is a mother's, and this is a daughter"):
        Spool.open(tmp_path, "daughter")
    assert Spool.open(tmp_path, "mother").identity == "5" * 32
    assert (tmp_path / "identity").read_text() == "5" * 32 + "\n"
    assert read_identity(tmp_path) == ("5" * 32, "mother")


def test_a_damaged_kind_is_no_reason_to_make_another_uuid(tmp_path: Path) -> None:
    uuid = Spool.open(tmp_path, "mother").identity
    (tmp_path / "kind").write_bytes(bytes(7))
    with pytest.raises(SpoolError, match=r"kind is damaged; remove it"):
        Spool.open(tmp_path, "mother")
    (tmp_path / "kind").unlink()
    assert Spool.open(tmp_path, "mother").identity == uuid
    assert read_identity(tmp_path) == (uuid, "mother")


@pytest.mark.parametrize("text", ["", "\0" * 33, "not an identity\n", "5" * 5000])
def test_what_is_no_identity_is_not_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "identity").write_text(text)
    with pytest.raises(SpoolError, match=r"identity is damaged; put it back"):
        Spool.open(tmp_path)
    assert (tmp_path / "identity").read_text() == text
