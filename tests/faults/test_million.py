"""A long backlog on both boxes, then everything is killed and started: 20,000, or a million.

Memory is the same for both, so the bound that is asserted does not grow with the count. A new image
in the high lane goes before all of them at each step, and they go on behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.backlog import fill
from tackybox.demo.stack import Daemon
from tackybox.item import Item
from tackybox.spool import Lane, Spool
from tests.faults.conftest import Counts
from tests.faults.ledger import digest_of_file
from tests.faults.relay import Relay
from tests.peers import wait_until

_COUNT = {"short": 20_000, "long": 1_000_000}
_MOST_MIB = 160  # of one process; some 45 without a backlog
_SOON_S = 60.0  # here; a second on a machine that has nothing else to do
_HIGH = 1  # DICOM's Priority


@pytest.mark.fault("million")
@pytest.mark.long_fault
@pytest.mark.timeout(3600)
def test_a_new_high_item_goes_before_all_that_waits_after_a_kill(
    tmp_path: Path, counts: Counts, pytestconfig: pytest.Config
) -> None:
    count = _COUNT[pytestconfig.getoption("--faults")] // 2
    with Relay(tmp_path) as relay:
        boxes = {
            relay.daughter.spool: (relay.daughter.receiver, relay.daughter.pusher),
            relay.mother.spool: (relay.mother.inbox, relay.mother.forwarder),
        }
        daemons = [daemon for box in boxes.values() for daemon in box]
        wait_until(lambda: all(any(s.glob("out/*/done/low")) for s in boxes), "the queues are made")
        for daemon in daemons:
            relay.kill(daemon)
        for number, spool in enumerate(boxes):
            (outlet,) = Spool.open(spool).outlets()
            place, first = f"out/{outlet.name}/new", number * count
            fill(spool, count, Lane.LOW, place=place, origin="north", first=first)
        promised = {digest for spool in boxes for digest in _waiting(spool)}
        assert len(promised) == 2 * count
        assert len(relay.heal()) == len(daemons)
        for daemon in daemons:
            relay.kill(daemon)
        assert len(relay.heal()) == len(daemons)

        (image,) = relay.images(1)
        assert relay.send([image], priority=_HIGH) == [0]
        digest = digest_of_file(image)
        wait_until(lambda: digest in _delivered(relay), "the high one is stored", _SOON_S)
        before = len(_delivered(relay))
        assert before < count, "it has overtaken what waited"
        wait_until(lambda: len(_delivered(relay)) > before + 20, "the low ones go on")

        peaks_mib = {daemon.name: _peak_mib(relay, daemon) for daemon in daemons}
        assert max(peaks_mib.values()) < _MOST_MIB, peaks_mib
        for daemon in daemons:
            relay.kill(daemon)
        there = {digest for spool in boxes for digest in _waiting(spool)} | _delivered(relay)
        lost = (promised | {digest}) - there
        counts.faults += 2
        counts.answered += 1
        counts.lost += len(lost)
        assert not lost


def _delivered(relay: Relay) -> set[str]:
    return {str(line["digest"]) for line in relay.archives[0].log_lines() if line["kind"] == "kept"}


def _waiting(spool: Path) -> Iterator[str]:
    """The content of each item that stands in it, by its name."""
    for pattern in ("new/*/*", "landing/*/*/*", "out/*/*/*/*", "out/*/sent/*/*/*"):
        for path in spool.glob(pattern):
            if path.is_file():
                yield Item.parse(path.name.partition("~")[0]).digest


def _peak_mib(relay: Relay, daemon: Daemon) -> int:
    """The most memory that any one process of `daemon` has had."""
    pids = [p.pid for p in relay.children(daemon)]
    pids += [daemon.process.pid] if daemon.process else []
    most_kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                most_kib = max(most_kib, int(line.split()[1]))
    return most_kib >> 10
