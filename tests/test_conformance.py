"""docs/CONFORMANCE.md, held against what the receiver negotiates and what the code decides."""

from __future__ import annotations

import ast
import inspect
import re
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import MISSING, fields
from io import BytesIO
from pathlib import Path

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom import AE, build_context, build_role, sop_class
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext

from daughter.pusher import commitment as answers
from daughter.receiver import acceptance
from daughter.receiver import association as receiving
from daughter.receiver import commitment as requests
from tackybox import item, statuses
from tackybox.config import DaughterConfig, MotherConfig
from tackybox.demo.stack import LOOPBACK, Stack, free_port, python
from tackybox.dimse import association
from tackybox.spool.commitments import MOST_OPEN, MOST_REFERENCES
from tests.peers import wait_until

DOC = Path(__file__).parent.parent / "docs" / "CONFORMANCE.md"
CT, WORKLIST, VERIFICATION, COMMITMENT = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.31",
    "1.2.840.10008.1.1",
    "1.2.840.10008.1.20.1",
)
IMPLICIT_LE, EXPLICIT_LE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
PRIVATE_CLASS, PRIVATE_SYNTAX = "1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2"
LATER_CLASS = "1.2.840.10008.5.1.4.1.1.999999"
DATASET = b"\x08\x00\x18\x00UI\x06\x001.2.3\x00"  # SOP Instance UID 1.2.3
ACCEPTANCE, NO_SUCH_CLASS, NO_SUCH_SYNTAX = 0, 3, 4  # PS3.8 table 9-18

SYNTAXES = [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]
CLASSES = {uid: entry[0] for uid, entry in UID_dictionary.items() if entry[1].endswith("SOP Class")}


def tables(*heading: str) -> Iterator[list[list[str]]]:
    """The rows of each table in the document whose columns begin with `heading`."""
    lines = DOC.read_text().splitlines()
    for number, line in enumerate(lines):
        if tuple(_cells(line)[: len(heading)]) == heading:
            rows = []
            for row in lines[number + 2 :]:
                if not row.startswith("|"):
                    break
                rows.append(_cells(row))
            yield rows


def table(*heading: str) -> list[list[str]]:
    (rows,) = tables(*heading)
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


class Receiver:
    """A real one, and how to propose things to it."""

    def __init__(self, stack: Stack, **settings: object) -> None:
        self.port = free_port()
        base = {
            "name": "north", "aet": "RELAY", "spool": stack.workdir / "north", "port": self.port,
            "bind": LOOPBACK, "destinations": "relay@127.0.0.1:2222", "modalities": "any",
            "min_free_mib": 1,
        }  # fmt: skip
        stack.start("receiver", python("daughter.receiver"), base | settings, self.port)

    def associate(
        self, contexts: list[PresentationContext], called: str = "RELAY", **more: object
    ) -> Association:
        ae = AE("SCANNER")
        return ae.associate(LOOPBACK, self.port, contexts=contexts, ae_title=called, **more)

    def propose(self, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Result (PS3.8 table 9-18) of each (class, syntax), one presentation context each."""
        results: dict[tuple[str, str], int] = {}
        for start in range(0, len(pairs), 128):
            some = pairs[start : start + 128]
            assoc = self.associate([_context(*pair) for pair in some])
            # With none accepted, pynetdicom gives up what was established.
            found = [*assoc.accepted_contexts, *assoc.rejected_contexts]
            by_id = {2 * n + 1: pair for n, pair in enumerate(some)}
            for context in found:
                assert context.context_id is not None and context.result is not None
                pair = by_id[context.context_id]
                results[pair] = context.result
                if context.result == ACCEPTANCE:
                    assert context.transfer_syntax == [pair[1]]
            if assoc.is_established:
                assoc.release()
        return results

    def store(self, data: bytes | None, syntax: str = EXPLICIT_LE, **command: str) -> int:
        """The status of a C-STORE of exactly these bytes."""
        assoc = self.associate([build_context(CT, syntax)])
        assert assoc.is_established
        request = C_STORE()
        request.MessageID = 1
        request.Priority = 0
        request.AffectedSOPClassUID = command.get("sop_class", CT)
        request.AffectedSOPInstanceUID = command.get("sop_instance", "1.2.3")
        request.DataSet = BytesIO(data or b"")
        assoc._reactor_checkpoint.clear()
        while not assoc._is_paused:
            time.sleep(0.001)
        assoc.dimse.send_msg(request, 1)
        _, response = assoc.dimse.get_msg(block=True)
        assoc._reactor_checkpoint.set()
        assoc.release()
        assert response is not None, "no answer"
        return int(response.Status)


def _context(sop_class_uid: str, *syntaxes: str) -> PresentationContext:
    return build_context(sop_class_uid, list(syntaxes))


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with Stack(tmp_path_factory.mktemp("conformance")) as stack:
        yield Receiver(stack)


def storage_classes() -> list[str]:
    """Every class that is storage by the standard's own words."""
    known = {*sop_class._STORAGE_CLASSES.values(), *sop_class._NON_PATIENT_OBJECT_CLASSES.values()}
    named = {uid for uid, name in CLASSES.items() if "Image Storage" in name}
    return sorted(known | named)


def other_classes() -> list[str]:
    """Every standard class whose name does not speak of storage, and the two that do so anyhow:
    Storage Commitment's retired pull model, and DICOMDIR, for media only (PS3.4 Annex I)."""
    return sorted(
        uid
        for uid, name in CLASSES.items()
        if name
        and ("Storage" not in name or name.startswith(("Storage Commitment", "Media Storage")))
        and uid not in (VERIFICATION, COMMITMENT, *storage_classes())
    )


def test_every_storage_class_is_accepted_in_every_transfer_syntax(receiver: Receiver) -> None:
    classes = [*storage_classes(), PRIVATE_CLASS, LATER_CLASS]
    assert len(classes) > 190
    pairs = [(uid, syntax) for uid in classes for syntax in (*SYNTAXES, PRIVATE_SYNTAX)]
    results = receiver.propose(pairs)
    assert [pair for pair in pairs if results.get(pair) != ACCEPTANCE] == []


def test_no_class_of_another_service_is_accepted(receiver: Receiver) -> None:
    classes = other_classes()
    assert WORKLIST in classes and len(classes) > 80
    # With a storage class among them, so that pynetdicom as a client keeps the results.
    pairs = [(uid, IMPLICIT_LE) for uid in classes]
    results: dict[tuple[str, str], int] = {}
    for start in range(0, len(pairs), 127):
        results |= receiver.propose([(CT, IMPLICIT_LE), *pairs[start : start + 127]])
    wrong = [UID(pair[0]).name for pair in pairs if results[pair] != NO_SUCH_CLASS]
    assert wrong == []


def test_verification_is_accepted_in_the_syntaxes_that_the_document_names(
    receiver: Receiver,
) -> None:
    rows = {row[1]: row[2] for row in table("abstract syntax") if row[0] == "Verification"}
    named, any_other = rows
    names = named.removesuffix(", in this order").split(", ")
    results = receiver.propose([(CT, EXPLICIT_LE), *((VERIFICATION, s) for s in SYNTAXES)])
    accepted = {UID(s).name for s in SYNTAXES if results[VERIFICATION, s] == ACCEPTANCE}
    assert {"Explicit VR Big Endian" if "Big" in n else n.split(":")[0] for n in accepted} == set(
        names
    )
    others = {r for (uid, _), r in results.items() if uid == VERIFICATION} - {ACCEPTANCE}
    assert (others, any_other) == ({NO_SUCH_SYNTAX}, "any other")


def test_storage_commitment_is_accepted_as_the_document_says(
    receiver: Receiver, tmp_path: Path
) -> None:
    rows = [row for row in table("abstract syntax") if row[0].startswith("Storage Commitment")]
    names = rows[0][1].removesuffix(", in this order").split(", ")
    proposed = [(CT, EXPLICIT_LE), *((COMMITMENT, syntax) for syntax in SYNTAXES)]
    results = receiver.propose(proposed)
    accepted = {UID(s).name for s in SYNTAXES if results[COMMITMENT, s] == ACCEPTANCE}
    assert accepted == {name.removesuffix(" in this order") for name in names}
    others = {r for (uid, _), r in results.items() if uid == COMMITMENT} - {ACCEPTANCE}
    assert (others, rows[1][1]) == ({NO_SUCH_SYNTAX}, "any other")
    roles = build_role(COMMITMENT, scu_role=True, scp_role=True)
    assoc = receiver.associate([_context(COMMITMENT, IMPLICIT_LE, EXPLICIT_LE)], ext_neg=[roles])
    (context,) = assoc.accepted_contexts
    assert UID(context.transfer_syntax[0]).name == names[0]
    role = assoc.acceptor.role_selection[COMMITMENT]
    assert (role.scu_role, role.scp_role) == (True, False)
    assoc.release()
    with Stack(tmp_path) as stack:
        without = Receiver(stack, commitment_timeout_s=0)
        results = without.propose([(CT, IMPLICIT_LE), (COMMITMENT, IMPLICIT_LE)])
        assert results[COMMITMENT, IMPLICIT_LE] == NO_SUCH_CLASS


def test_statuses_of_storage_commitment_are_those_of_the_document() -> None:
    asked = {row[0] for row in table("N-ACTION status")}
    found = set(re.findall(r"\b0x([0-9A-F]{4})\b", _code_only(inspect.getsource(requests))))
    assert asked == found | {"0000", "0110"}
    reasons = {row[0] for row in table("failure reason")}
    told = {*answers._REASONS.values(), answers.DUPLICATE_TRANSACTION}
    assert reasons == {f"{reason:04X}" for reason in told}
    again = " or ".join(("0110, 0210", "0213"))
    assert f"status {again})" in " ".join(DOC.read_text().split())
    assert {0x0110, 0x0210, 0x0213} == answers._TRY_AGAIN
    assert f"more than {MOST_REFERENCES:,} images; {MOST_OPEN:,} requests" in DOC.read_text()


@pytest.mark.parametrize("sop_class_uid", [CT, "1.2.840.10008.5.1.4.39.1", PRIVATE_CLASS])
def test_of_several_syntaxes_the_first_is_chosen(receiver: Receiver, sop_class_uid: str) -> None:
    syntaxes = ["1.2.840.10008.1.2.4.90", IMPLICIT_LE, EXPLICIT_LE]
    for order in (syntaxes, syntaxes[::-1]):
        assoc = receiver.associate([_context(sop_class_uid, *order)])
        assert [c.transfer_syntax for c in assoc.accepted_contexts] == [[order[0]]]
        assoc.release()


def test_what_is_common_to_all(receiver: Receiver) -> None:
    extended = AsynchronousOperationsWindowNegotiation()
    extended.maximum_number_operations_invoked = 5
    extended.maximum_number_operations_performed = 5
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 1
    identity.primary_field = b"somebody"
    identity.positive_response_requested = True
    role = build_role(CT, scu_role=True, scp_role=True)
    assoc = receiver.associate([_context(CT, EXPLICIT_LE)], ext_neg=[extended, identity, role])
    assert assoc.is_established
    values = dict(table("", "value"))
    acceptor = assoc.acceptor
    assert acceptor.implementation_class_uid == values["implementation class UID"]
    assert acceptor.implementation_version_name == values["implementation version name"]
    answer = acceptor.primitive
    assert answer is not None
    assert answer.application_context_name == values["application context"]
    assert acceptor.asynchronous_operations == (1, 1)
    assert acceptor.user_identity is None
    assert (acceptor.role_selection[CT].scu_role, acceptor.role_selection[CT].scp_role) == (
        True,
        True,
    )
    limits = {row[1].strip("`"): row[2] for row in table("limit", "setting")}
    assert str(acceptor.maximum_length) == limits["TACKYBOX_MAX_PDU_BYTES"]
    assoc.release()
    contexts = int(values["presentation contexts in one association, at most"])
    assert contexts == association.MAX_CONTEXTS


def test_limits_are_the_defaults() -> None:
    for _, variable, *told in table("limit", "setting"):
        key = variable.strip("`").removeprefix("TACKYBOX_").lower()
        for box, value in zip((DaughterConfig, MotherConfig), told, strict=True):
            default = {field.name: field.default for field in fields(box)}.get(key, MISSING)
            assert value == ("" if default is MISSING else f"{default:g}"), (variable, box)


def test_rejections_are_those_of_the_document(tmp_path: Path) -> None:
    told = [tuple(int(cell.split()[0]) for cell in row[1:4]) for row in table("why", "result")]
    seen = []
    context = [_context(CT, EXPLICIT_LE)]
    with Stack(tmp_path) as stack:
        strict = Receiver(stack, modalities="OTHER@127.0.0.1", spool=tmp_path / "strict")
        open_to_all = Receiver(stack, max_associations=2, spool=tmp_path / "open")
        seen.append(_rejection(strict.associate(context)))
        seen.append(_rejection(open_to_all.associate(context, called="ANOTHER")))
        held: list[Association] = []

        def hold() -> bool:  # the rejected one counts until its thread has ended
            assoc = open_to_all.associate(context)
            held.extend([assoc] if assoc.is_established else [])
            return len(held) == 2

        wait_until(hold, "two associations stand")
        seen.append(_rejection(open_to_all.associate(context)))
        for one in held:
            one.release()
    assert seen == told


def test_connections_that_ask_for_nothing_take_no_ones_place(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        receiver = Receiver(stack, max_associations=1)
        for _ in range(5):
            socket.create_connection((LOOPBACK, receiver.port)).close()

        def is_let_in() -> bool:
            assoc = receiver.associate([_context(CT, EXPLICIT_LE)])
            established = assoc.is_established
            assoc.release()
            return established

        wait_until(is_let_in, "a scanner is let in long before any time-out", timeout_s=20)


def _rejection(assoc: Association) -> tuple[int | None, ...]:
    assert assoc.is_rejected
    answer = assoc.acceptor.primitive
    assert answer is not None
    return answer.result, answer.result_source, answer.diagnostic


def test_each_status_is_answered_when_the_document_says_so(
    receiver: Receiver, tmp_path: Path
) -> None:
    seen = {
        receiver.store(DATASET): "0000",
        receiver.store(DATASET, sop_instance="abc"): "0117",
        receiver.store(DATASET, sop_class="abc"): "0118",
        receiver.store(DATASET, sop_instance="1.2.4"): "A900",
        receiver.store(b"GET / HTTP/1.1\r\n\r\n"): "C000",
    }
    with Stack(tmp_path) as stack:
        full = Receiver(stack, min_free_mib=1 << 30)
        seen[full.store(DATASET)] = "A700"
    assert {f"{status:04X}": status_told for status, status_told in seen.items()} == {
        told: told for told in seen.values()
    }
    told = {row[0] for row in table("status", "when")}
    assert told == set(seen.values()) | {"0110"}


def test_no_other_status_stands_in_the_receivers_code() -> None:
    functions = (acceptance, receiving, item.command_contradiction)
    found = set()
    for source in map(inspect.getsource, functions):
        for text in re.findall(r"\b0x[0-9A-Fa-f]{4}\b", _code_only(source)):
            found.add(f"{int(text, 16):04X}")
    assert "is answered 0211" in " ".join(DOC.read_text().split())
    assert found == {row[0] for row in table("status", "when")} | {"0211"}


def _code_only(source: str) -> str:
    """Without comments and docstrings."""
    tree = ast.parse(source)
    lines = source.splitlines()
    numbers = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is int]
    return " ".join(lines[n.lineno - 1][n.col_offset : n.end_col_offset] for n in numbers)


@pytest.mark.parametrize(
    "syntax", [uid for uid in SYNTAXES if "Referenced Deflate" in UID(uid).name]
)
def test_deflated_data_sets_are_taken_in_every_syntax_that_deflates(
    receiver: Receiver, syntax: str
) -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(DATASET) + packer.flush()
    assert receiver.store(packed, syntax) == 0
    assert receiver.store(packed, syntax, sop_instance="1.2.4") == 0xA900


def test_every_status_of_an_archive_has_the_documents_outcome() -> None:
    *rows, (any_other, otherwise, _) = table("status", "outcome")
    assert (any_other, otherwise) == ("any other, or no answer", "defer")
    assert statuses.disposition(None).disposition == otherwise
    ranges = []
    for told, outcome, meaning in rows:
        first, _, last = told.partition(" to ")
        ranges.append((int(first, 16), int(last or first, 16), outcome, meaning))
    for status in range(1 << 16):
        found = statuses.disposition(status)
        fitting = (row for row in ranges if row[0] <= status <= row[1])
        _, _, outcome, meaning = next(fitting, (0, 0, otherwise, ""))
        assert found.disposition == outcome, f"{status:04X}"
        assert not meaning or found.meaning == meaning, f"{status:04X}"
