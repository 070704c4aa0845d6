"""Many sources to one archive: each is reported once, whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.association import Timeouts
from tackybox.dimse.scu import Source
from tackybox.dimse.sending import Sender, Sent
from tests.peers import Peer

Scripted = Callable[..., contextlib.AbstractContextManager[Peer]]


def many(source: Source, count: int) -> list[Source]:
    return [replace(source, sop_instance_uid=f"1.2.{number}") for number in range(count)]


def send(
    address: ArchiveAddress,
    sources: list[Source],
    associations: int = 2,
    on_delivered: Callable[[], None] = lambda: None,
) -> list[Sent]:
    sender = Sender(
        address=address, calling_aet="TEST", associations=associations, timeouts=Timeouts(2, 2)
    )
    reports: list[Sent] = []

    def report(sent: Sent) -> None:
        reports.append(sent)
        if sent.delivered:
            on_delivered()

    sender.send(sources, report)
    assert sorted(sent.source.sop_instance_uid for sent in reports) == sorted(
        source.sop_instance_uid for source in sources
    )
    return reports


def test_one_that_makes_the_archive_abort_does_not_stop_the_others(
    scripted: Scripted,
    address_of: Callable[[Peer], ArchiveAddress],
    wheel_file: Callable[[str], Source],
) -> None:
    with scripted("--abort-on", "1.2.3") as peer:
        reports = send(address_of(peer), many(wheel_file("CT_small.dcm"), 20))
    (failed,) = [sent for sent in reports if not sent.delivered]
    assert failed.source.sop_instance_uid == "1.2.3"
    assert failed.unavailable and failed.status is None


def test_an_archive_that_dies_leaves_every_rest_reported(
    scripted: Scripted,
    address_of: Callable[[Peer], ArchiveAddress],
    wheel_file: Callable[[str], Source],
) -> None:
    with scripted("--delay", "0.05") as peer:
        sources = many(wheel_file("CT_small.dcm"), 60)
        reports = send(address_of(peer), sources, on_delivered=peer.process.kill)
    assert 1 <= sum(sent.delivered for sent in reports) < 60
    assert {sent.unavailable for sent in reports if not sent.delivered} == {True}


def test_a_file_that_is_gone_is_reported_and_the_next_goes_on(
    archive: Peer,
    address_of: Callable[[Peer], ArchiveAddress],
    wheel_file: Callable[[str], Source],
    tmp_path: Path,
) -> None:
    sources = many(wheel_file("CT_small.dcm"), 3)
    sources[1] = replace(sources[1], path=tmp_path / "gone")
    reports = send(address_of(archive), sources, associations=1)
    assert [sent.delivered for sent in reports] == [True, False, True]
    assert "can't be read" in reports[1].message
