"""Several mothers for one archive: studies are spread over them, and another takes over."""

from __future__ import annotations

import signal
from pathlib import Path

from mysql_utilities.events import Kind
from tackybox.demo.phantom import write_ct_study
from tackybox.demo.stack import Mother, Stack
from tests.journey.conftest import digests, events, files, kill_inbox, waiting
from tests.journey.test_relay import QUICK, send
from tests.peers import wait_until

STUDIES, SLICES = 8, 2


def write_studies(directory: Path) -> dict[str, list[Path]]:
    """Files by Study Instance UID."""
    return dict(write_ct_study(directory / str(n), SLICES) for n in range(STUDIES))


def landed(mother: Mother) -> list[str]:
    """The Study Instance UID of each item that this mother has queued for the archive."""
    return [e.study_instance_uid for e in events(mother.spool) if e.kind == Kind.QUEUED]


def test_each_study_has_one_mother_and_when_she_is_gone_another_takes_over(stack: Stack) -> None:
    address, archive = stack.start_archive("archive", "ARCHIVE")
    mothers = [stack.start_mother(f"mother-{n}", address) for n in (1, 2)]
    shared = ",".join(mother.destination for mother in mothers)
    daughter = stack.start_daughter("north", shared, failover_after_s=3, **QUICK)
    first = write_studies(stack.workdir / "first")
    paths = [path for files in first.values() for path in files]
    send(daughter, *paths)
    wait_until(lambda: len(files(archive)) == len(paths), "the first studies are archived")
    wait_until(lambda: not waiting(daughter.spool), "the daughter's spool is empty")
    by_mother = [landed(mother) for mother in mothers]
    assert sorted(by_mother[0] + by_mother[1]) == sorted([*first, *first])
    assert not set(by_mother[0]) & set(by_mother[1]), "a study has two mothers"

    gone, left = sorted(mothers, key=lambda mother: len(landed(mother)), reverse=True)
    gone.forwarder.signal(signal.SIGKILL)  # so that what she has will never be in the archive
    gone.forwarder.wait()
    second = write_studies(stack.workdir / "second")
    more = [path for files in second.values() for path in files]
    send(daughter, *more)
    wait_until(lambda: not list(daughter.spool.glob("out/*/[na]*/*/*_*_*_*")), "all have landed")
    stranded = {path.name for path in waiting(gone.spool)}
    kill_inbox(gone)
    wait_until(lambda: len(files(archive)) == len(paths + more), "the other one took over")
    assert digests(files(archive)) == digests(paths + more)
    wait_until(lambda: not waiting(daughter.spool), "the daughter's spool is empty")
    again = {e.item for e in events(daughter.spool) if e.kind == Kind.REQUEUED}
    assert len(again) == len(stranded)
    assert sorted(by_mother[mothers.index(left)] + [*second] * SLICES) == sorted(landed(left))


def test_a_restarted_mother_keeps_her_studies_and_gets_no_other(stack: Stack) -> None:
    address, archive = stack.start_archive("archive", "ARCHIVE")
    mothers = [stack.start_mother(f"mother-{n}", address) for n in (1, 2)]
    daughter = stack.start_daughter(
        "north", ",".join(mother.destination for mother in mothers), **QUICK
    )
    studies = write_studies(stack.workdir / "studies")
    send(daughter, *(files[0] for files in studies.values()))
    wait_until(lambda: len(files(archive)) == STUDIES, "the first of each is archived")
    kill_inbox(mothers[0])
    mothers[0].inbox.restart()
    send(daughter, *(files[1] for files in studies.values()))
    wait_until(lambda: len(files(archive)) == STUDIES * SLICES, "all are archived")
    first, second = (landed(mother) for mother in mothers)
    assert not set(first) & set(second), "a study has two mothers"


def test_a_mother_whose_disk_is_full_delays_neither_her_studies_nor_the_others(
    stack: Stack,
) -> None:
    address, archive = stack.start_archive("archive", "ARCHIVE")
    full = stack.start_mother("mother-1", address, min_free_mib=1 << 29)
    other = stack.start_mother("mother-2", address)
    daughter = stack.start_daughter(
        "north", f"{full.destination},{other.destination}", parallel=1, batch_items=4, **QUICK
    )
    studies = write_studies(stack.workdir / "studies")
    paths = [path for files in studies.values() for path in files]
    send(daughter, *paths)
    wait_until(lambda: len(files(archive)) == len(paths), "all are archived")
    assert not landed(full)
    send(daughter, *paths)
    wait_until(lambda: len(landed(other)) == 2 * len(paths), "still it goes on")
    wait_until(lambda: not waiting(daughter.spool), "the daughter's spool is empty")
