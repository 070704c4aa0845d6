"""What a killed process left behind is finished, and nothing is signed for too early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mother.forwarder.settlement import Case, Settlement, Stored
from mysql_utilities.recorder import Recorder
from tackybox.config import MotherConfig
from tackybox.config.addresses import parse_archive, parse_archives
from tackybox.item import part10_head
from tackybox.spool import Entry, Lane, Outlet, ReceiptLog, Spool, State
from tests.peers import wait_until

ARCHIVE = parse_archive("A@127.0.0.1:104")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.open(tmp_path / "spool")


@pytest.fixture
def recorder(spool: Spool) -> Iterator[Recorder]:
    with Recorder(spool.journal, "main") as recorder:
        yield recorder


def settlement(spool: Spool, outlet: Outlet, recorder: Recorder) -> Settlement:
    config = MotherConfig(
        name="main", aet="MOTHER", spool=spool.root, archives=parse_archives("A@127.0.0.1:104")
    )
    return Settlement(config, spool, outlet, recorder)


def item(spool: Spool, outlets: list[Outlet]) -> None:
    """One item, handed to `outlets`."""
    head = part10_head(
        sop_class_uid="1.2", sop_instance_uid="1.2.3", transfer_syntax_uid="1.2.840.10008.1.2",
        calling_aet="A", called_aet="B",
    )  # fmt: skip
    with (
        spool.workspace("test") as workspace,
        spool.draft(workspace, "north", "1.2.840.10008.1.2") as draft,
    ):
        draft.write_head(head)
        entry = draft.accept(Lane.MEDIUM, "1.2.3")
    assert list(spool.fan_out([entry], outlets))


def store(settled: Settlement, entry: Entry) -> None:
    case = Case(entry, entry.item.id, entry.path.stat().st_size)
    settled.stored(Stored(case, ARCHIVE, status=0, duration_s=0.1, detail=""))


def receipts(spool: Spool) -> list[str]:
    return [receipt.kind.value for _, receipt in ReceiptLog(spool.root, "north").read_after(0)]


def test_stored_is_signed_when_the_last_archive_has_it(spool: Spool, recorder: Recorder) -> None:
    outlets = [Outlet(spool.root, "one"), Outlet(spool.root, "two")]
    item(spool, outlets)
    first, second = (settlement(spool, outlet, recorder) for outlet in outlets)
    store(first, outlets[0].claim(1)[0])
    first.sign()
    assert receipts(spool) == []
    store(second, outlets[1].claim(1)[0])
    second.sign()
    assert receipts(spool) == ["stored"]
    assert not [p for p in spool.root.rglob("*_north_*") if p.is_file()]


def test_killed_between_done_and_receipt(spool: Spool, recorder: Recorder) -> None:
    outlet = Outlet(spool.root, "one")
    item(spool, [outlet])
    store(settlement(spool, outlet, recorder), outlet.claim(1)[0])
    assert receipts(spool) == []
    settlement(spool, outlet, recorder).recover()
    wait_until(lambda: not list(outlet.entries(State.DONE)), "it is signed for")
    assert receipts(spool) == ["stored"]


def test_what_one_archive_refuses_is_never_signed_as_stored(
    spool: Spool, recorder: Recorder
) -> None:
    outlets = [Outlet(spool.root, "one"), Outlet(spool.root, "two")]
    item(spool, outlets)
    first, second = (settlement(spool, outlet, recorder) for outlet in outlets)
    (entry,) = outlets[0].claim(1)
    first.quarantined(Case(entry, entry.item.id, 1), ARCHIVE, "status-c000", detail="no")
    first.sign()
    store(second, outlets[1].claim(1)[0])
    second.sign()
    assert receipts(spool) == ["quarantined"]


def test_waits_grow_with_each_attempt_up_to_the_cap(spool: Spool, recorder: Recorder) -> None:
    outlet = Outlet(spool.root, "one")
    item(spool, [outlet])
    settled = settlement(spool, outlet, recorder)
    (entry,) = outlet.claim(1)
    for attempt in range(1, 40):
        settled.deferred(Case(entry, entry.item.id, 1), ARCHIVE, status=None, detail="no answer")
        (entry,) = outlet.entries(State.DEFERRED)
        assert entry.attempts == attempt


def test_a_disk_that_fails_while_done_items_are_signed_for_is_told(
    spool: Spool, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet = Outlet(spool.root, "one")
    item(spool, [outlet])
    store(settlement(spool, outlet, recorder), outlet.claim(1)[0])
    settled = settlement(spool, outlet, recorder)

    def fail(entry: object) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(spool, "is_complete", fail)
    settled.recover()

    def is_told() -> bool:
        try:
            settled.sign()
        except OSError:
            return True
        return False

    wait_until(is_told, "who signs next is told")
