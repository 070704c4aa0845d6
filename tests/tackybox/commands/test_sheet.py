"""The sheet, held against a real receiver with the same settings, and docs/CONFORMANCE.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from tackybox.commands import sheet
from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK, Stack, free_port, python

CONFORMANCE = Path(__file__).parents[3] / "docs" / "CONFORMANCE.md"
VERIFICATION, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2"
WORKLIST, COMMITMENT = "1.2.840.10008.5.1.4.31", "1.2.840.10008.1.20.1"
PRIVATE_CLASS, PRIVATE_SYNTAX = "1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2"
SYNTAXES = [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]


@dataclass(frozen=True)
class Site:
    """A receiver, and what the sheet of its box says."""

    port: int
    environment: dict[str, str]

    def associate(
        self, pairs: list[tuple[str, str]], calling: str = "CT1", called: str = "RELAY"
    ) -> Association:
        contexts = [build_context(*pair) for pair in pairs]
        return AE(calling).associate(LOOPBACK, self.port, contexts=contexts, ae_title=called)

    def accepted(self, pairs: list[tuple[str, str]]) -> set[tuple[str, str]]:
        assoc = self.associate([(CT, str(SYNTAXES[0])), *pairs])
        found = {
            (str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in assoc.accepted_contexts
        }
        assoc.release()
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Stack(tmp_path_factory.mktemp("sheet")) as stack:
        port = free_port()
        settings = {
            "name": "north", "aet": "RELAY", "spool": stack.workdir / "north", "port": port,
            "bind": LOOPBACK, "destinations": "relay@127.0.0.1:9", "min_free_mib": 1,
            "modalities": f"CT1@{LOOPBACK};MR1@10.4.0.0/16", "max_pdu_bytes": 65536,
        }  # fmt: skip
        stack.start("receiver", python("daughter.receiver"), settings, port)
        environment = child_environment(settings)
        yield Site(port, {k: v for k, v in environment.items() if k.startswith("TACKYBOX_")})


@pytest.fixture
def told(tackybox: Any, site: Site) -> dict[str, Any]:
    result = tackybox("sheet --json --address relay.example", **site.environment)
    assert (result.code, result.err) == (0, "")
    return dict(result.json)


def test_who_may_send_and_what_must_be_called(site: Site, told: dict[str, Any]) -> None:
    assert (told["ae_title"], told["port"]) == ("RELAY", site.port)
    assert told["may_send"] == [f"CT1@{LOOPBACK}", "MR1@10.4.0.0/16"]
    assert not told["anyone_may_send"] and told["called_ae_title_is_checked"]
    pair = [(CT, SYNTAXES[0])]
    let_in = site.associate(pair)
    assert let_in.is_established
    assert let_in.acceptor.maximum_length == told["max_pdu_bytes"]
    assert let_in.acceptor.implementation_class_uid == told["implementation_class_uid"]
    assert let_in.acceptor.implementation_version_name == told["implementation_version_name"]
    let_in.release()
    assert site.associate(pair, calling="MR1").is_rejected
    assert site.associate(pair, called="OTHER").is_rejected


def test_verification_in_the_named_transfer_syntaxes(site: Site, told: dict[str, Any]) -> None:
    assoc = site.associate([(VERIFICATION, SYNTAXES[0])])
    assert assoc.send_c_echo().Status == 0
    assoc.release()
    accepted = site.accepted([(VERIFICATION, syntax) for syntax in SYNTAXES])
    names = {UID(s).name.split(":")[0] for uid, s in accepted if uid == VERIFICATION}
    names = {"Explicit VR Big Endian" if "Big" in name else name for name in names}
    assert names == set(told["services"][0]["transfer_syntaxes"].split(", "))


def test_every_transfer_syntax_and_the_first_of_several(site: Site, told: dict[str, Any]) -> None:
    storage = told["services"][1]
    assert storage["sop_classes"].startswith("every SOP class of the Storage")
    assert storage["transfer_syntaxes"].startswith("every one, compressed and private ones too")
    pairs = [(one, s) for one in (CT, PRIVATE_CLASS) for s in (*SYNTAXES, PRIVATE_SYNTAX)]
    assert set(pairs) <= site.accepted(pairs[: len(pairs) // 2]) | site.accepted(
        pairs[len(pairs) // 2 :]
    )
    several = [SYNTAXES[10], SYNTAXES[0], SYNTAXES[1]]
    context = build_context(CT, several)
    assoc = AE("CT1").associate(LOOPBACK, site.port, contexts=[context], ae_title="RELAY")
    assert [c.transfer_syntax for c in assoc.accepted_contexts] == [[SYNTAXES[10]]]
    assoc.release()


def test_what_is_not_offered_is_refused(site: Site, told: dict[str, Any]) -> None:
    assert told["not_offered"].startswith("Modality Worklist")
    assert {uid for uid, _ in site.accepted([(WORKLIST, SYNTAXES[0])])} == {CT}


def test_storage_commitment_and_where_its_answers_go(
    tackybox: Any, site: Site, told: dict[str, Any]
) -> None:
    accepted = site.accepted([(COMMITMENT, syntax) for syntax in SYNTAXES])
    names = {UID(syntax).name for uid, syntax in accepted if uid == COMMITMENT}
    assert names == set(told["services"][2]["transfer_syntaxes"].split(", "))
    assert "the address that asked, port 104" in told["commitment"]
    peers = {**site.environment, "TACKYBOX_COMMITMENT_PEERS": "CT1@10.4.0.7:2104"}
    assert (
        "to CT1 at 10.4.0.7:2104; others: the"
        in tackybox("sheet --json", **peers).json["commitment"]
    )
    off = {**site.environment, "TACKYBOX_COMMITMENT_TIMEOUT_S": "0"}
    found = tackybox("sheet --json", **off).json
    assert (len(found["services"]), found["commitment"]) == (2, "")
    assert found["not_offered"].startswith("Storage Commitment, Modality Worklist")


def test_the_statuses_are_those_of_the_conformance_statement(told: dict[str, Any]) -> None:
    """Which tests/test_conformance.py compares with what the receiver answers."""
    text = CONFORMANCE.read_text().partition("### 4.2")[2].partition("### 4.3")[0]
    assert {answer["status"] for answer in told["answers"]} == set(
        re.findall(r"^\| ([0-9A-F]{4}) \|", text, re.MULTILINE)
    )


def test_for_people_it_fits_a_page_and_names_all(tackybox: Any, site: Site) -> None:
    result = tackybox("sheet --address 10.4.0.9:104", **site.environment)
    lines = result.out.splitlines()
    assert (result.code, max(map(len, lines)) <= 78, len(lines) <= 66) == (0, True, True)
    assert re.search(r"^Host +10\.4\.0\.9$", result.out, re.MULTILINE)
    assert re.search(r"^Port +104$", result.out, re.MULTILINE)
    for answer in sheet.ANSWERS:
        assert f"0x{answer.status}" in result.out


def test_an_address_that_nobody_told_is_called_a_guess(tackybox: Any, site: Site) -> None:
    assert "A GUESS" in tackybox("sheet", **site.environment).out
    bound = {**site.environment, "TACKYBOX_BIND": "10.4.0.9"}
    result = tackybox("sheet --json", **bound)
    assert (result.json["host"], result.json["host_is_a_guess"]) == ("10.4.0.9", False)
    result = tackybox("sheet --address 'a b'", **site.environment)
    assert (result.code, result.err.count("\n")) == (64, 1)


def test_nobody_yet_and_everyone(tackybox: Any, site: Site) -> None:
    nobody = {**site.environment, "TACKYBOX_MODALITIES": ""}
    assert "nobody yet: enter AE title" in tackybox("sheet", **nobody).out
    everyone = {**site.environment, "TACKYBOX_MODALITIES": "any"}
    assert "everyone who reaches the port" in tackybox("sheet", **everyone).out


def test_a_mother_has_none(tackybox: Any, tmp_path: Path) -> None:
    settings = {
        "TACKYBOX_NAME": "centre", "TACKYBOX_AET": "CENTRE", "TACKYBOX_SPOOL": str(tmp_path),
        "TACKYBOX_ARCHIVES": "PACS@127.0.0.1:104",
    }  # fmt: skip
    result = tackybox("sheet", **settings)
    assert (result.code, result.out) == (64, "")
    assert "centre is a mother" in result.err
