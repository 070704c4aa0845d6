"""The pusher against a real gate: delivered once, in doubt, sent again, released."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mysql_utilities.events import Kind
from tackybox.demo.stack import LOOPBACK, Daemon, Stack, free_port, python
from tackybox.item import Item, digest_of
from tackybox.spool import (
    STORED_BY,
    CommitmentRequest,
    Lane,
    Outlet,
    Receipt,
    ReceiptKind,
    ReceiptLog,
    Spool,
    State,
)
from tests.journey.conftest import events
from tests.mother.inbox.conftest import write_item
from tests.peers import pids_of, require, wait_until


class Road:
    """A pusher with a spool of its own, and the inbox that it pushes to."""

    def __init__(self, workdir: Path) -> None:
        self.stack = Stack(workdir)
        self.stack.daughter_key("north")
        self.port = free_port()
        self.mother = workdir / "mother"
        self.daughter = workdir / "north"
        self.settings: dict[str, object] = {}

    def start_inbox(self, **settings: object) -> Daemon:
        host_key = self.stack.key("mother-host")
        public = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
        (self.stack.workdir / "keys" / "known_hosts").write_text(
            f"[{LOOPBACK}]:{self.port} {public}\n"
        )
        return self.stack.start(
            "inbox",
            python("mother.inbox"),
            {
                "name": "mother", "aet": "MOTHER", "spool": self.mother,
                "archives": "PACS@127.0.0.1:104", "ssh_port": self.port, "ssh_bind": LOOPBACK,
                "host_key": host_key, "min_free_mib": 1,
                "daughters": self.stack.workdir / "keys" / "daughters", **settings,
            },
            self.port,
        )  # fmt: skip

    def start_pusher(self, **settings: object) -> Daemon:
        user = self.stack.user
        return self.stack.start(
            "pusher",
            python("daughter.pusher"),
            {
                "name": "north", "aet": "RELAY", "spool": self.daughter, "modalities": "any",
                "destinations": f"{user}@{LOOPBACK}:{self.port}", "min_free_mib": 1,
                "ssh_key": self.stack.key("north"), "receipts_interval_s": 0.2,
                "known_hosts": self.stack.workdir / "keys" / "known_hosts",
                "backoff_cap_s": 1, "network_timeout_s": 10, **settings,
            },
        )  # fmt: skip

    def queue(self, count: int) -> list[str]:
        """Accepted items, as a receiver leaves them."""
        new = Spool.open(self.daughter).root / "new" / "medium"
        return [write_item(new, number)["name"] for number in range(count)]

    @property
    def outlet(self) -> Outlet:
        return Outlet(self.daughter, f"{LOOPBACK}_{self.port}")

    def landed(self) -> list[str]:
        return sorted(p.name for p in self.mother.glob("new/*/*"))

    def sent(self) -> int:
        return sum(self.outlet.tally(State.SENT, lane).count for lane in Lane)

    def kinds(self) -> list[Kind]:
        return [event.kind for event in events(self.daughter)]


@pytest.fixture
def road(tmp_path: Path) -> Iterator[Road]:
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    made = Road(tmp_path)
    with made.stack:
        yield made


def sign(road: Road, kind: ReceiptKind, names: list[str]) -> None:
    log = ReceiptLog(Spool.open(road.mother).root, "north")
    log.append(Receipt.now(kind, name, "PACS") for name in names)


def test_landed_is_kept_until_stored_is_signed(road: Road) -> None:
    road.start_inbox()
    names = road.queue(30)
    road.start_pusher()
    wait_until(lambda: len(road.landed()) == 30, "all landed")
    assert road.landed() == sorted(names)
    wait_until(lambda: road.sent() == 30, "all sent and kept")
    sign(road, ReceiptKind.STORED, names[:20])
    wait_until(lambda: road.sent() == 10, "what is stored is released")
    sign(road, ReceiptKind.QUARANTINED, names[20:])
    wait_until(lambda: road.kinds().count(Kind.QUARANTINED) == 10, "the journal says so")
    assert road.sent() == 10


def test_compressed_and_with_a_bandwidth_limit_the_same_bytes_land(road: Road) -> None:
    road.start_inbox()
    road.queue(5)
    road.start_pusher(compress="always", bandwidth_kib_s=5000, parallel=2)
    wait_until(lambda: road.sent() == 5, "all sent")
    for path in road.mother.glob("new/*/*"):
        assert digest_of(path) == Item.parse(path.name).digest


def test_a_high_item_overtakes_a_low_one_that_is_on_the_wire(road: Road) -> None:
    road.start_inbox()
    new = Spool.open(road.daughter).root / "new"
    large = write_item(new / "low", 1, padding_bytes=3 << 20)
    pusher = road.start_pusher(parallel=2, bandwidth_kib_s=100, compress="never")
    arriving = road.mother / "arriving" / "north"
    wait_until(lambda: list(arriving.glob(f".{large['name']}*")), "the low one is on the wire")
    small = write_item(new / "high", 2)
    wait_until(lambda: small["name"] in road.landed(), "the high one has landed")
    assert large["name"] not in road.landed()
    pusher.signal(signal.SIGKILL)  # it would take a minute more


def test_a_mother_that_is_dead_delays_only_her_own_items(road: Road) -> None:
    road.start_inbox()
    names = road.queue(5)
    alive = f"{road.stack.user}@{LOOPBACK}:{road.port}"
    dead = f"{road.stack.user}@{LOOPBACK}:{free_port()}"
    road.start_pusher(destinations=f"{dead};{alive}")
    wait_until(lambda: road.landed() == sorted(names), "the one that lives gets all")
    waits = Outlet(road.daughter, dead.partition("@")[2].replace(":", "_"))
    assert waits.tally(State.NEW, Lane.MEDIUM).count == 5


def test_release_landed_frees_at_once(road: Road) -> None:
    road.start_inbox()
    road.queue(5)
    road.start_pusher(release="landed")
    wait_until(lambda: road.kinds().count(Kind.RELEASED) == 5, "all released")
    assert road.sent() == 0
    assert len(road.landed()) == 5
    bookmarks = list(road.daughter.glob("out/*/receipts-*"))
    assert bookmarks
    wait_until(
        lambda: all(int(path.read_text().split()[1]) > 0 for path in bookmarks),
        "the mother's receipts are read all the same",
    )


def test_what_is_stored_after_it_was_freed_is_noted_soon_while_a_modality_waits(
    road: Road,
) -> None:
    road.start_inbox()
    names = road.queue(3)
    road.start_pusher(release="landed", receipts_interval_s=1)  # else a hundred times as long
    wait_until(lambda: road.kinds().count(Kind.RELEASED) == 3, "all released")
    request = CommitmentRequest(
        "1.2.9", "CT1", "NORTH", LOOPBACK, datetime.now(UTC), (("1.2", "1.2.3"),)
    )
    Spool.open(road.daughter).commitments.keep(request)
    sign(road, ReceiptKind.STORED, names[:2])
    sign(road, ReceiptKind.QUARANTINED, names[2:])
    wait_until(lambda: Kind.QUARANTINED in road.kinds(), "what became of them is noted")
    details = [event.detail for event in events(road.daughter) if event.kind is Kind.RELEASED]
    assert details.count(f"{STORED_BY}PACS") == 2


def test_a_mother_that_is_down_is_tried_again_until_she_is_there(road: Road) -> None:
    road.queue(3)
    (road.stack.workdir / "keys" / "known_hosts").touch()
    road.start_pusher()
    wait_until(lambda: Kind.OUTLET_DOWN in road.kinds(), "the journal says that she is down")
    road.start_inbox()
    wait_until(lambda: len(road.landed()) == 3, "all landed")
    wait_until(lambda: Kind.OUTLET_UP in road.kinds(), "the journal says that she is up")


def test_what_has_arrived_at_a_mother_who_is_full_is_signed_for_and_the_rest_waits(
    road: Road,
) -> None:
    names = road.queue(3)
    arriving = road.mother / "arriving" / "north"
    arriving.mkdir(parents=True)
    shutil.copy(road.daughter / "new" / "medium" / names[0], arriving)  # a push that was cut
    road.start_inbox(min_free_mib=10**7)
    road.start_pusher()
    wait_until(lambda: road.landed() == names[:1], "what is there is taken")
    wait_until(lambda: road.sent() == 1, "and signed for")
    assert not list(Spool.open(road.daughter).quarantined())
    assert Kind.MISMATCH not in [event.kind for event in events(road.mother)]
    in_hand = [road.outlet.tally(state, Lane.MEDIUM).count for state in (State.NEW, State.ACTIVE)]
    assert sum(in_hand) == 2


def test_her_full_disk_is_told_once_and_nothing_else(road: Road) -> None:
    road.queue(3)
    road.start_inbox(min_free_mib=10**7)
    pusher = road.start_pusher()
    wait_until(
        lambda: pusher.log.read_text().count('"push failed"') >= 15, "it is tried many times", 60
    )
    said = [event.detail for event in events(road.daughter) if event.kind is Kind.OUTLET_DOWN]
    assert len(said) == 1, said
    assert "its disk is full" in said[0]


def test_a_wrong_host_key_is_named_and_nothing_is_sent(road: Road) -> None:
    road.start_inbox()
    other = road.stack.key("other").with_suffix(".pub").read_text().split()[:2]
    known_hosts = road.stack.workdir / "keys" / "known_hosts"
    known_hosts.write_text(f"[{LOOPBACK}]:{road.port} {' '.join(other)}\n")
    road.queue(1)
    road.start_pusher()
    wait_until(
        lambda: any("host key" in e.detail for e in events(road.daughter)), "the reason is named"
    )
    assert road.landed() == []


def test_a_pusher_killed_in_the_middle_makes_no_second_copy(road: Road) -> None:
    inbox = road.start_inbox()
    names = road.queue(200)
    pusher = road.start_pusher()
    wait_until(lambda: len(road.landed()) > 20, "a part has landed")
    pusher.signal(signal.SIGKILL)
    pusher.wait()
    pusher.restart()
    wait_until(lambda: road.sent() == 200, "all are signed for")
    log = ReceiptLog(road.mother, "north")
    signed = [receipt.item_name for _, receipt in log.read_after(0)]
    assert sorted(signed) == sorted(names)
    assert inbox.process is not None and inbox.process.poll() is None


def test_a_gate_that_was_killed_is_noticed_though_rsyncs_stand_by(road: Road) -> None:
    road.start_inbox()
    pusher = road.start_pusher()
    wait_until(lambda: "mother reached" in pusher.log.read_text(), "the road is open")
    wait_until(lambda: pids_of("rsync --server", str(road.mother)), "an rsync stands by")
    for pid in pids_of(str(road.mother), "mother.inbox.gate"):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: Kind.OUTLET_DOWN in road.kinds(), "it is noticed")
    (name,) = road.queue(1)
    wait_until(lambda: road.landed() == [name], "the road is open again")


def test_a_mother_with_another_spool_gets_everything_again(road: Road) -> None:
    inbox = road.start_inbox()
    names = road.queue(10)
    road.start_pusher()
    wait_until(lambda: road.sent() == 10, "all sent")
    inbox.signal(signal.SIGTERM)
    inbox.wait()
    road.mother.rename(road.mother.with_name("lost"))  # while gates of hers may still write
    road.mother.mkdir()  # an empty volume
    inbox.restart()
    wait_until(lambda: road.landed() == sorted(names), "all landed again")
    wait_until(lambda: road.kinds().count(Kind.REQUEUED) == 10, "the journal says why")


def test_receipts_that_were_lost_make_everything_go_again(road: Road) -> None:
    road.start_inbox()
    names = road.queue(4)
    road.start_pusher()
    wait_until(lambda: road.sent() == 4, "all sent")
    wait_until(lambda: road.outlet.bookmark(f"{LOOPBACK}_{road.port}")[1] > 0, "receipts read")
    shutil.rmtree(road.mother / "receipts" / "north")
    wait_until(lambda: road.kinds().count(Kind.REQUEUED) == 4, "sent again")
    wait_until(lambda: road.sent() == 4, "signed for again")
    assert {receipt.item_name for _, receipt in ReceiptLog(road.mother, "north").read_after(0)} == (
        set(names)
    )


def test_an_item_damaged_in_our_spool_goes_to_quarantine_and_the_others_go_on(road: Road) -> None:
    road.start_inbox()
    names = road.queue(5)
    path = road.daughter / "new" / "medium" / names[2]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?")
    road.start_pusher()
    wait_until(lambda: road.sent() == 4, "the others are sent")
    wait_until(lambda: list(Spool.open(road.daughter).quarantined()), "it is in quarantine")
    (held,) = Spool.open(road.daughter).quarantined()
    assert (held.reason, held.entry.item.name) == ("digest-differs", names[2])


def test_sigterm_ends_it_with_code_0_and_leaves_nobody_behind(road: Road) -> None:
    road.start_inbox()
    road.queue(3)
    pusher = road.start_pusher()
    wait_until(lambda: road.sent() == 3, "all sent")
    pusher.signal(signal.SIGTERM)
    assert pusher.wait() == 0
