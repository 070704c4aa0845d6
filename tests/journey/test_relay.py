"""Scanner to archive: everything arrives, identical, once; whatever is killed, late or down."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage

from bench.raw_sender import RawAssociation
from mysql_utilities.events import Event, Kind
from tackybox.demo.phantom import write_ct_study
from tackybox.demo.stack import LOOPBACK, Daughter, Mother, Stack
from tackybox.spool import Landing, Lane
from tests.journey.conftest import count, digests, events, files, kill_inbox, waiting
from tests.peers import orthanc, pids_of, require, storescp, wait_until, wheel_files

_HIGH_PRIORITY = 1  # PS3.7 9.3.1.1
QUICK = {"receipts_interval_s": 0.3, "backoff_cap_s": 2}


def send(daughter: Daughter, *paths: Path, tool: str = "storescu") -> None:
    """Send with DCMTK; fail if any is refused."""
    command = [require(tool, "dcmtk"), "-aec", daughter.aet, LOOPBACK, str(daughter.port)]
    done = subprocess.run(
        [*command, *map(str, paths)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def drained(daughter: Daughter) -> bool:
    return not waiting(daughter.spool)


def stored_once(count: int, *mothers: Mother) -> None:
    """Each of `count` items is on record as stored, once; the record follows the archive's file."""

    def stored() -> list[str]:
        return [e.item for m in mothers for e in events(m.spool) if e.kind == Kind.STORED]

    wait_until(lambda: len(stored()) >= count, "all are on record as stored")
    assert len(stored()) == len(set(stored())) == count


def test_a_study_arrives_and_both_spools_are_empty_again(stack: Stack) -> None:
    address, archive = stack.start_archive("archive", "ARCHIVE")
    mother = stack.start_mother("mother", address)
    daughter = stack.start_daughter("north", mother.destination, **QUICK)
    _, paths = write_ct_study(stack.workdir / "ct", 20)
    send(daughter, *paths)
    wait_until(lambda: len(files(archive)) == 20, "all are archived")
    assert digests(files(archive)) == digests(paths)
    wait_until(lambda: drained(daughter) and not waiting(mother.spool), "both spools are empty")
    for kind in (Kind.RECEIVED, Kind.QUEUED, Kind.PUSHED, Kind.RELEASED):
        wait_until(lambda k=kind: count(daughter.spool, k) == 20, f"the daughter's {kind}")
    for kind in (Kind.LANDED, Kind.QUEUED, Kind.FORWARDING, Kind.STORED):
        wait_until(lambda k=kind: count(mother.spool, k) == 20, f"the mother's {kind}")


def test_every_item_goes_once_to_each_of_two_mothers(stack: Stack) -> None:
    archives = [stack.start_archive(f"archive-{n}", "ARCHIVE") for n in (1, 2)]
    mothers = [stack.start_mother(f"mother-{n}", archives[n - 1][0]) for n in (1, 2)]
    daughter = stack.start_daughter("north", ";".join(m.destination for m in mothers), **QUICK)
    _, paths = write_ct_study(stack.workdir / "ct", 10)
    send(daughter, *paths)
    for _, directory in archives:
        wait_until(lambda d=directory: len(files(d)) == 10, "all are archived")
        assert digests(files(directory)) == digests(paths)
    wait_until(lambda: drained(daughter), "the daughter's spool is empty")
    for mother in mothers:
        stored_once(10, mother)


def test_when_the_first_alternative_is_killed_the_second_gets_everything(stack: Stack) -> None:
    address, archive = stack.start_archive("archive", "ARCHIVE")
    mothers = [stack.start_mother(f"mother-{n}", address) for n in (1, 2)]
    daughter = stack.start_daughter("north", "|".join(m.destination for m in mothers), **QUICK)
    _, paths = write_ct_study(stack.workdir / "ct", 20)
    send(daughter, *paths[:10])
    wait_until(lambda: len(files(archive)) == 10, "the first mother works")
    wait_until(lambda: drained(daughter), "all of the first ten are released")
    kill_inbox(mothers[0])
    send(daughter, *paths[10:])
    wait_until(lambda: len(files(archive)) == 20, "the second mother took over")
    assert digests(files(archive)) == digests(paths)
    stored_once(20, *mothers)


def test_an_archive_that_is_down_gets_no_c_store_until_it_answers_c_echo(stack: Stack) -> None:
    directory = stack.workdir / "storescp"
    with storescp(directory) as peer:
        port = peer.port
    mother = stack.start_mother("mother", peer.address, backoff_cap_s=1, rescan_interval_s=0.5)
    daughter = stack.start_daughter("north", mother.destination, **QUICK)
    _, paths = write_ct_study(stack.workdir / "ct", 10)
    send(daughter, *paths)
    wait_until(
        lambda: Kind.OUTLET_DOWN in [e.kind for e in events(mother.spool)], "she sees it is down"
    )
    assert not [e for e in events(mother.spool) if e.kind in (Kind.FORWARDING, Kind.DEFERRED)]
    with storescp(directory, port=port):
        wait_until(lambda: len(digests(files(directory))) == 10, "all arrive once it is there")
        assert digests(files(directory)) == digests(paths)
        wait_until(lambda: not waiting(mother.spool), "the mother's spool is empty")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["receiver", "pusher", "inbox", "forwarder"])
def test_500_images_survive_a_kill_in_the_middle(stack: Stack, victim: str) -> None:
    address, archive = stack.start_archive("archive", "ARCHIVE")
    mother = stack.start_mother("mother", address, backoff_cap_s=1)
    daughter = stack.start_daughter("north", mother.destination, **QUICK)
    _, paths = write_ct_study(stack.workdir / "ct", 500)
    daemon = {
        "receiver": daughter.receiver, "pusher": daughter.pusher,
        "inbox": mother.inbox, "forwarder": mother.forwarder,
    }[victim]  # fmt: skip
    senders = [
        subprocess.Popen(
            [require("storescu", "dcmtk"), "-aec", daughter.aet, LOOPBACK, str(daughter.port),
             *map(str, part)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"TCP_NODELAY": "1"},
        )
        for part in (paths[:250], paths[250:])
    ]  # fmt: skip
    wait_until(lambda: len(files(archive)) >= 60, "a good part has arrived")
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    daemon.restart()
    for sender in senders:
        sender.wait(120)
    if victim == "receiver":  # its senders saw the association break: a scanner sends again
        received = {e.sop_instance_uid for e in events(daughter.spool) if e.kind == Kind.RECEIVED}
        assert received
        send(daughter, *paths)
    wait_until(lambda: len(files(archive)) == 500, "all arrive", timeout_s=180)
    assert digests(files(archive)) == digests(paths)
    wait_until(lambda: drained(daughter) and not waiting(mother.spool), "both spools are empty")


@pytest.mark.timeout(300)
def test_every_file_of_the_wheels_reaches_dcmtk_and_orthanc_unchanged(stack: Stack) -> None:
    sendable = [p for p in wheel_files() if _storescu_can_send(p)]
    scp_dir = stack.workdir / "storescp"
    with storescp(scp_dir) as scp, orthanc(stack.workdir / "orthanc") as pacs:
        mother = stack.start_mother("mother", f"{scp.address};{pacs.address}", backoff_cap_s=1)
        daughter = stack.start_daughter("north", mother.destination, **QUICK)
        answered = sum(send_one(daughter, path) for path in sendable)

        def done() -> list[Event]:
            return [e for e in events(mother.spool) if e.kind in (Kind.STORED, Kind.QUARANTINED)]

        def settled() -> bool:
            received, refused = (count(daughter.spool, k) for k in (Kind.RECEIVED, Kind.REFUSED))
            return received + refused == answered and len(done()) == 2 * received > 160

        wait_until(settled, "everything is delivered or in quarantine", timeout_s=120)
        received = count(daughter.spool, Kind.RECEIVED)
        wait_until(lambda: count(mother.spool, Kind.LANDED) == received, "each is on record there")
        settled_in = {"quarantine", "done"}  # done: this archive has it, another has not
        assert all(settled_in & set(path.parts) for path in waiting(mother.spool))
        for event in done():
            assert event.kind == Kind.STORED or event.detail, event


def test_a_high_image_does_not_wait_until_lower_ones_are_verified(stack: Stack) -> None:
    address, archive = stack.start_archive("archive", "ARCHIVE")
    mother = stack.start_mother("mother", address)
    daughter = stack.start_daughter("north", mother.destination, **QUICK)
    _, paths = write_ct_study(stack.workdir / "ct", 4)
    send(daughter, paths[0])
    wait_until(lambda: len(files(archive)) == 1, "the relay is at work")
    with Landing(mother.spool, "north").exclusive((Lane.MEDIUM,)):
        send(daughter, *paths[1:3])
        wait_until(
            lambda: len(list(mother.spool.glob("arriving/north/*_north_*"))) == 2,
            "two have arrived",
        )
        with RawAssociation((LOOPBACK, daughter.port), daughter.aet, [CTImageStorage]) as scanner:
            assert scanner.store(scanner.message(paths[3], _HIGH_PRIORITY)) == 0
        wait_until(lambda: len(files(archive)) == 2, "the urgent one is archived")
        assert digests(files(archive)) == digests([paths[0], paths[3]])
    wait_until(lambda: len(files(archive)) == 4, "all are archived")


def test_when_the_high_lanes_session_ends_the_road_is_opened_again_at_once(stack: Stack) -> None:
    address, archive = stack.start_archive("archive", "ARCHIVE")
    mother = stack.start_mother("mother", address)
    daughter = stack.start_daughter("north", mother.destination, **QUICK)
    _, paths = write_ct_study(stack.workdir / "ct", 2)
    send(daughter, paths[0])
    wait_until(lambda: len(files(archive)) == 1, "the relay is at work")
    first, second = sorted(pids_of("mother.inbox.gate", str(mother.spool), " commit"))
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: count(daughter.spool, Kind.OUTLET_UP) == 1, "it is noticed and mended")
    assert first not in pids_of("mother.inbox.gate", str(mother.spool), " commit")
    send(daughter, paths[1])
    wait_until(lambda: len(files(archive)) == 2, "all are archived")


def _storescu_can_send(path: Path) -> bool:
    return bool(digests([path]))


def send_one(daughter: Daughter, path: Path) -> bool:
    """Offer one file in its own transfer syntax: whether it was sent, and so taken or refused."""
    sent = subprocess.run(
        [require("dcmsend", "dcmtk"), "-aec", daughter.aet, "+sd", "--no-uid-checks", "-dn",
         LOOPBACK, str(daughter.port), str(path)],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return sent.returncode == 0
