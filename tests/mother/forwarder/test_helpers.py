"""A courier of several processes: they share the work, and end together."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mother.forwarder.images import CT, series
from tests.peers import wait_until

if TYPE_CHECKING:
    from tests.mother.forwarder.conftest import Forwarder, Scripted

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="two processes need two cores"
)


def couriers(forwarder: Forwarder) -> list[int]:
    """The processes that deliver, the first one first."""
    found = []
    for line in forwarder.daemon.log.read_text().splitlines():
        entry = json.loads(line)
        if entry["event"] == "child started" and entry["child"].startswith("courier"):
            found.append(entry["pid"])
    return found[1:]  # without the one that has them as its children


def test_several_processes_deliver_where_an_archive_may_have_many_associations(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path
) -> None:
    entries = forwarder.put(series(tmp_path, 150))
    with scripted("--delay", "0.02") as archive:
        forwarder.start(archive.address, associations=4)
        forwarder.wait_empty()
        assert len(archive.kept()) == len(archive.asked("store")) == 150
        storing = [one for one in archive.asked("association") if CT in str(one["contexts"])]
        assert len(storing) > 2  # the first process has but two
        assert len(archive.asked("echo")) < 5  # that one alone asks
    assert len(couriers(forwarder)) == 2
    stored = [r.item_name for r in forwarder.receipts() if r.kind == "stored"]
    assert sorted(stored) == sorted(entry.item.name for entry in entries)
    assert len(forwarder.wait_events("STORED", 150)) == 150
    assert len(forwarder.events("OUTLET_UP")) == 1
    assert not forwarder.events("DEFERRED", "OUTLET_DOWN", "QUARANTINED")


@pytest.mark.parametrize("which", [0, 1])
def test_when_one_of_several_processes_is_killed_all_is_delivered(
    forwarder: Forwarder, scripted: Scripted, tmp_path: Path, which: int
) -> None:
    entries = forwarder.put(series(tmp_path, 150))
    with scripted("--delay", "0.02") as archive:
        forwarder.start(archive.address, associations=4)
        wait_until(lambda: len(archive.kept()) > 20, "some are stored")
        before = couriers(forwarder)
        os.kill(before[which], signal.SIGKILL)
        forwarder.wait_empty()
        assert len(archive.kept()) == 150
        # Nothing but what was in hand went out twice: two for each association at most.
        assert len(archive.asked("store")) <= 150 + 2 * 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)
    stored = {r.item_name for r in forwarder.receipts() if r.kind == "stored"}
    assert stored == {entry.item.name for entry in entries}
