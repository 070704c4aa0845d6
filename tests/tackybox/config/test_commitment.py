"""What must be proved by which archive."""

from __future__ import annotations

import pytest

from tackybox.config import Proof, load_mother
from tackybox.config.addresses import parse_archive
from tackybox.config.commitment import parse_commitment
from tackybox.errors import ConfigError

ONE, TWO = parse_archive("PACS@10.1.2.3:104"), parse_archive("VNA@[::1]:11112")
MOTHER = {
    "TACKYBOX_NAME": "main", "TACKYBOX_AET": "MOTHER", "TACKYBOX_SPOOL": "/spool",
    "TACKYBOX_ARCHIVES": f"{ONE};{TWO}",
}  # fmt: skip


def test_a_word_is_for_all_but_those_that_have_their_own() -> None:
    found = parse_commitment(f"find; {ONE} = required")
    assert (found.of(ONE), found.of(TWO)) == (Proof.REQUIRED, Proof.FIND)
    assert parse_commitment(str(found)) == found
    assert parse_commitment(f"{TWO}=off").of(ONE) is Proof.AUTO


def test_yaml_may_say_it_as_a_list_or_as_a_bare_off() -> None:
    assert parse_commitment(["auto", f"{ONE}=off"]).of(ONE) is Proof.OFF
    assert parse_commitment(False).of(ONE) is Proof.OFF


@pytest.mark.parametrize("text", ["", "always", "auto;;off", "PACS=off", "auto;PACS@x:104="])
def test_what_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=";"):
        parse_commitment(text)


def test_an_archive_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match=r"COMMITMENT: OTHER@10\.9\.9\.9:104 is none"):
        load_mother(MOTHER | {"TACKYBOX_COMMITMENT": "OTHER@10.9.9.9:104=off"})
    config = load_mother(MOTHER | {"TACKYBOX_COMMITMENT": f"{ONE}=off"})
    assert config.commitment.of(ONE) is Proof.OFF
