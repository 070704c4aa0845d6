"""Both boxes' daemons let old events go and keep the young ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mysql_utilities.events import Kind
from mysql_utilities.recorder import Recorder
from tackybox.demo.stack import LOOPBACK, Stack
from tests.journey.conftest import events
from tests.peers import wait_until


def write_history(spool: Path) -> list[str]:
    """A journal with an event of last year and one of now; their ids."""
    now = datetime.now(UTC)
    (spool / "journal").mkdir(parents=True)
    with Recorder(spool / "journal", "before") as recorder:
        for at in (now - timedelta(days=400), now):
            recorder.record(Kind.RECEIVED, at=at)
        assert recorder.flush(30)
    return [event.event_id for event in events(spool)]


def has(spool: Path, event_id: str) -> bool:
    return any(event.event_id == event_id for event in events(spool))


def test_events_older_than_journal_days_leave_both_boxes(stack: Stack) -> None:
    histories = {name: write_history(stack.workdir / name) for name in ("mother", "north", "east")}
    mother = stack.start_mother("mother", f"PACS@{LOOPBACK}:9")
    daughter = stack.start_daughter("north", mother.destination)
    for box in (mother, daughter):
        old, young = histories[box.name]
        wait_until(lambda s=box.spool, e=old: not has(s, e), f"{box.name} forgets last year")
        assert has(box.spool, young)
    keeping = stack.start_daughter("east", mother.destination, journal_days=0)
    log = stack.workdir / "logs" / "east-pusher.log"
    wait_until(lambda: "mother reached" in log.read_text(), "she is at work")
    assert all(has(keeping.spool, event_id) for event_id in histories["east"])


def test_events_that_no_server_has_yet_stay(stack: Stack) -> None:
    old, young = write_history(stack.workdir / "mother")
    sql = f"tackybox:w0rd-77@{LOOPBACK}:9/journal"
    mother = stack.start_mother("mother", f"PACS@{LOOPBACK}:9", sql=sql)

    def is_down() -> bool:
        return any(event.kind is Kind.OUTLET_DOWN for event in events(mother.spool))

    wait_until(is_down, "she is at work")
    assert has(mother.spool, old) and has(mother.spool, young)
