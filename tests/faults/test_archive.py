"""The archive's faults: it is not there, turns us away, dislikes an object, breaks off, or lies."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mysql_utilities.errors import JournalError
from mysql_utilities.events import Event, Kind
from tackybox.demo.stack import free_port
from tackybox.reasons import Reason
from tackybox.spool import Spool
from tackybox.statuses import Disposition, disposition
from tests.faults.conftest import Record
from tests.faults.relay import Relay
from tests.faults.verdict import events
from tests.peers import wait_until

pytestmark = pytest.mark.fault("archive")

CT = "1.2.840.10008.5.1.4.1.1.2"
SLOW = {"backoff_cap_s": 4}  # a storm would be more attempts than this allows
# Result, source and reason, each that PS3.8 table 9-21 has.
REJECTIONS = ("1,1,1", "1,1,2", "1,1,3", "1,1,7", "1,2,1", "1,2,2", "2,3,1", "2,3,2")
STATUSES = (
    *(0xA700, 0xA7FF, 0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0110, 0x0111, 0x0122, 0x0124, 0x0213),
    *(0xB000, 0xB006, 0xB007, 0x0107, 0x0001, 0x1234, 0xFE00, 0xFF00),
)


class Archive:
    """The relay's only archive, which misbehaves and is healed."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        (self.daemon,) = (one for one in relay.stack.daemons if one.name == "archive-1")
        self.command = list(self.daemon.command)

    def stop(self) -> None:
        self.relay.kill(self.daemon)

    def start(self, *options: str) -> None:
        """Start it, to do as `options` say (tests/scripted_archive.py)."""
        self.stop()
        self.daemon.command = [*self.command, *options]
        self.daemon.restart()

    def asked(self, *kinds: str) -> list[dict[str, object]]:
        lines = self.relay.archives[0].log_lines()
        return [line for line in lines if line["kind"] in kinds]


def on_record(relay: Relay, *kinds: Kind) -> list[Event]:
    """What the mother's journal has by now."""
    try:
        return events(relay.mother.spool, *kinds)
    except JournalError:  # it is just being made
        return []


def by_image(relay: Relay, kind: Kind) -> dict[str, Event]:
    """The last event of `kind` of each SOP Instance UID."""
    return {event.sop_instance_uid: event for event in on_record(relay, kind)}


def is_down(relay: Relay, words: str) -> bool:
    """Whether the journal says so in these words."""
    return any(words in event.detail for event in on_record(relay, Kind.OUTLET_DOWN))


def uid_of(path: Path) -> str:
    return path.stem


def retry_all(relay: Relay) -> int:
    """What a person does when the reason is gone."""
    spool = Spool.open(relay.mother.spool)
    held = list(spool.quarantined())
    for one in held:
        spool.retry(one)
    return len(held)


def not_there(relay: Relay, archive: Archive, words: str, record: Record) -> None:
    """Images come while the archive takes none: one probe now and then, and no C-STORE."""
    before = len(archive.asked("association")), len(on_record(relay, Kind.FORWARDING))
    relay.send(relay.images(20))
    wait_until(lambda: len(on_record(relay, Kind.QUEUED)) >= 20, "all wait for the archive")
    wait_until(lambda: is_down(relay, words), "it is told that it is down")
    began_s = time.monotonic()
    time.sleep(5)
    after = len(archive.asked("association")), len(on_record(relay, Kind.FORWARDING))
    # Waits of at least 0.5, 1, 2 and 2 s: five probes fit in, and some before.
    assert after[0] - before[0] <= 6 + time.monotonic() - began_s
    assert after[1] - before[1] <= 4, "no C-STORE is tried but what was in hand"
    archive.start()
    relay.wait_quiet()
    assert not list(Spool.open(relay.mother.spool).quarantined())
    record(relay.verdict(), faults=1)


@pytest.mark.long_fault
def test_nobody_listens(tmp_path: Path, record: Record) -> None:
    with Relay(tmp_path, mother_settings=SLOW) as relay:
        archive = Archive(relay)
        archive.stop()
        not_there(relay, archive, "nothing listens", record)


@pytest.mark.long_fault
@pytest.mark.parametrize("rejection", REJECTIONS)
def test_each_rejection(tmp_path: Path, record: Record, rejection: str) -> None:
    with Relay(tmp_path, mother_settings=SLOW) as relay:
        archive = Archive(relay)
        archive.start("--reject", rejection)
        not_there(relay, archive, "rejected the association", record)


@pytest.mark.long_fault
def test_each_image_meets_its_own_fate_and_holds_up_no_other(
    tmp_path: Path, record: Record
) -> None:
    """Every status, an empty one, an abort, a closed connection and silence, side by side."""
    with Relay(tmp_path) as relay:
        archive = Archive(relay)
        images = relay.images(len(STATUSES) + 4 + 10)
        by_status = dict(zip(STATUSES, images, strict=False))
        empty, aborts, closes, hangs, *good = images[len(STATUSES) :]
        options = [
            word
            for status, image in by_status.items()
            for word in ("--answer-on", f"{uid_of(image)}={status:#06x}")
        ]
        broken = {"empty-status": empty, "abort": aborts, "close": closes, "hang": hangs}
        for how, image in broken.items():
            options += [f"--{how}-on", uid_of(image)]
        archive.start(*options)
        assert relay.send(images) == [0] * len(images)
        outcomes = {uid_of(image): disposition(s) for s, image in by_status.items()}
        outcomes |= {uid_of(image): disposition(None) for image in broken.values()}

        taken = {uid_of(image) for image in good}
        taken |= {uid for uid, outcome in outcomes.items() if outcome.delivered}
        wait_until(lambda: by_image(relay, Kind.STORED).keys() >= taken, "all others are stored")
        for kind, fate in (
            (Kind.QUARANTINED, Disposition.QUARANTINE),
            (Kind.DEFERRED, Disposition.DEFER),
        ):
            wanted = {uid for uid, outcome in outcomes.items() if outcome.disposition is fate}
            wait_until(lambda: by_image(relay, kind).keys() >= wanted, f"{fate} befalls some")  # noqa: B023
        for status, image in by_status.items():
            kind = {
                Disposition.QUARANTINE: Kind.QUARANTINED,
                Disposition.DEFER: Kind.DEFERRED,
            }.get(outcomes[uid_of(image)].disposition, Kind.STORED)
            first = next(e for e in on_record(relay, kind) if e.sop_instance_uid == uid_of(image))
            assert first.status_code == status
        unknown = {by_image(relay, Kind.DEFERRED)[uid_of(i)].status_code for i in broken.values()}
        assert unknown == {None}, "without an answer, whether it is there is not known"

        archive.start()
        relay.wait_quiet()
        # Nothing that merely came back more often than others may have been given up for lost.
        record(relay.verdict(), faults=len(outcomes))
        assert retry_all(relay) >= 6
        relay.wait_quiet()
        record(relay.verdict(), faults=0)
        assert relay.archives[0].contents() == set(relay.ledger.answered)


@pytest.mark.long_fault
def test_no_context_is_accepted(tmp_path: Path, record: Record) -> None:
    with Relay(tmp_path) as relay:
        archive = Archive(relay)
        archive.start("--refuse-class", CT)
        relay.send(relay.images(5))
        relay.wait_quiet()
        reasons = {one.reason for one in Spool.open(relay.mother.spool).quarantined()}
        assert reasons == {Reason.SOP_CLASS_REFUSED}
        assert not archive.asked("store")
        record(relay.verdict(), faults=1)
        archive.start()
        assert retry_all(relay) == 5
        relay.wait_quiet()
        record(relay.verdict(), faults=0)


@pytest.mark.long_fault
def test_a_full_archive_is_left_in_peace(tmp_path: Path, record: Record) -> None:
    """One image after the other is refused: all wait, ever longer, and none is quarantined."""
    with Relay(tmp_path, mother_settings={**SLOW, "associations": 1}) as relay:
        archive = Archive(relay)
        archive.start("--answer", "0xA700")
        relay.send(relay.images(60))
        wait_until(lambda: is_down(relay, "out of resources"), "it is left in peace")
        tried = len(archive.asked("store"))
        time.sleep(10)
        # After each wait one item is tried; the longest is 4 s, with jitter 2 s.
        assert len(archive.asked("store")) - tried <= 12
        archive.start()
        relay.wait_quiet()
        assert not list(Spool.open(relay.mother.spool).quarantined())
        record(relay.verdict(), faults=60)


@pytest.mark.long_fault
def test_success_and_nothing_stored_is_found_out_by_commitment(
    tmp_path: Path, record: Record
) -> None:
    port = free_port()
    settings = {"report_port": port, "commitment": "required"}
    truth = ("--commit", "truth", "--report-to", str(port))
    with Relay(tmp_path, mother_settings=settings) as relay:
        archive = Archive(relay)
        archive.start("--answer", "0x0000", *truth)
        assert relay.send(relay.images(10)) == [0] * 10
        wait_until(lambda: len(by_image(relay, Kind.DEFERRED)) == 10, "each is denied")
        assert {event.status_code for event in on_record(relay, Kind.DEFERRED)} == {0x0112}
        assert not on_record(relay, Kind.STORED)
        archive.start(*truth)
        relay.wait_quiet()
        record(relay.verdict(), faults=10)
        retry_all(relay)  # those whose fifth attempt came before
        relay.wait_quiet()
        assert relay.archives[0].contents() == set(relay.ledger.answered)
        record(relay.verdict(), faults=0)
        assert len(by_image(relay, Kind.COMMITTED)) == 10


@pytest.mark.long_fault
@pytest.mark.parametrize("how", ["none", "half", "never", "wrong", "others", "twice", "refuse"])
def test_each_way_to_answer_a_request_for_commitment(
    tmp_path: Path, record: Record, how: str
) -> None:
    port = free_port()
    settings = {"report_port": port, "commitment": "required", "proof_timeout_s": 1}
    reports = ("--report-to", str(port))
    with Relay(tmp_path, mother_settings=settings) as relay:
        archive = Archive(relay)
        archive.start("--commit", how, *reports)
        relay.send(relay.images(10))
        wait_until(lambda: len(archive.asked("commit")) >= 2 or how == "twice", "it is asked")
        wait_until(lambda: len(archive.asked("kept")) >= 10, "it has them")
        proved = {"twice": 10, "half": 4}.get(how, 0)
        wait_until(lambda: len(by_image(relay, Kind.STORED)) >= proved, "those are stored")
        assert proved or not on_record(relay, Kind.STORED)
        archive.start("--commit", "truth", *reports)
        relay.wait_quiet()
        retry_all(relay)
        relay.wait_quiet()
        record(relay.verdict(), faults=10)
        assert len(by_image(relay, Kind.COMMITTED)) == 10


@pytest.mark.long_fault
def test_a_full_archive_that_denies_all_puts_nothing_into_quarantine(
    tmp_path: Path, record: Record
) -> None:
    port = free_port()
    truth = ("--commit", "truth", "--report-to", str(port), "--reason", "0x0213")
    with Relay(tmp_path, mother_settings={"report_port": port}) as relay:
        archive = Archive(relay)
        archive.start("--answer", "0x0000", *truth)
        relay.send(relay.images(2))
        wait_until(lambda: len(archive.asked("store")) >= 14, "each is sent seven times")
        assert not list(Spool.open(relay.mother.spool).quarantined())
        archive.start(*truth)
        relay.wait_quiet()
        record(relay.verdict(), faults=2)
        assert relay.archives[0].contents() == set(relay.ledger.answered)
