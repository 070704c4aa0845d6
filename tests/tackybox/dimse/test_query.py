"""C-FIND against Orthanc, DCMTK's dcmqrscp, and peers that answer as none should."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from tackybox.config.addresses import ArchiveAddress, parse_archive
from tackybox.demo.phantom import write_ct_study
from tackybox.demo.stack import LOOPBACK
from tackybox.dimse.association import AssociationError, Failure, Timeouts
from tackybox.dimse.files import read_source
from tackybox.dimse.query import STUDY_ROOT_FIND, Level, Match, Query, QueryError
from tackybox.dimse.scu import Source, StorageAssociation
from tests.peers import Peer, dcmqrscp, freeze, orthanc, storescp, wait_until

SHORT = Timeouts(connect_s=5, answer_s=15)
Answers = Iterator[tuple[int, Dataset | None]]


def ask(peer: Peer) -> Query:
    return Query.open(parse_archive(peer.address), calling_aet="TEST", timeouts=SHORT)


def store(peer: Peer, sources: list[Source]) -> None:
    association = StorageAssociation.open(
        parse_archive(peer.address), [sources[0].pair], calling_aet="TEST", timeouts=SHORT
    )
    assert [association.store(source).status for source in sources] == [0] * len(sources)
    association.close()


@pytest.mark.parametrize("archive", [orthanc, dcmqrscp])
def test_what_an_archive_has(
    archive: Callable[[Path], contextlib.AbstractContextManager[Peer]], tmp_path: Path
) -> None:
    study, paths = write_ct_study(tmp_path / "study", 3)
    count = 3 if archive is orthanc else None  # dcmqrscp does not count
    sources = [read_source(path) for path in paths]
    uids = [source.sop_instance_uid for source in sources]
    with archive(tmp_path / "peer") as peer:
        store(peer, sources)
        with ask(peer) as query:
            (series,) = query.find(Level.SERIES, study)
            series_uid = series.series_instance_uid
            assert series == Match(study, series_uid, images=count)
            assert query.find(Level.STUDY, study) == [Match(study, images=count)]
            images = query.find(Level.IMAGE, study, series_uid)
            assert sorted(match.sop_instance_uid for match in images) == sorted(uids)
            assert query.images_of(study) == dict.fromkeys(uids, series_uid)
            assert all(query.has_image(study, series_uid, uid) for uid in uids)
            assert not query.has_image(study, series_uid, "1.2.3")
            assert query.images_of("1.2.3") == {}
            with pytest.raises(QueryError, match="more than 1 "):
                query.find(Level.IMAGE, study, series_uid, most=1)
            assert query.find(Level.IMAGE, study, series_uid, uids[0]) == [
                Match(study, series_uid, uids[0])
            ], "the association is in step after a cancel"


def test_an_archive_without_find(tmp_path: Path) -> None:
    with storescp(tmp_path / "scp") as peer, pytest.raises(QueryError, match="does not offer"):
        ask(peer)


def test_what_is_no_uid_is_never_asked() -> None:
    with answering(lambda _: iter([(0xFF00, image("1.2"))])) as query:
        for wild in ("*", "1.2\\1.3", "1.2?"):
            with pytest.raises(ValueError, match="no UID"):
                query.find(Level.STUDY, wild)
        assert query.is_open


def test_a_frozen_archive_is_given_up(tmp_path: Path) -> None:
    with orthanc(tmp_path / "peer") as peer:
        query = Query.open(parse_archive(peer.address), calling_aet="TEST", timeouts=Timeouts(5, 4))
        freeze(peer.process.pid)
        with pytest.raises(AssociationError) as raised:
            query.find(Level.STUDY, "1.2.3")
        assert raised.value.failure is Failure.TIMED_OUT
        assert not query.is_open


@contextlib.contextmanager
def answering(answers: Callable[[evt.Event], Answers]) -> Iterator[Query]:
    """A query at a peer that answers as told."""
    ae = AE("ODD")
    ae.add_supported_context(STUDY_ROOT_FIND)
    server: Any = ae.start_server(
        (LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answers)]
    )
    address = ArchiveAddress("ODD", LOOPBACK, server.server_address[1])
    try:
        with Query.open(address, calling_aet="TEST", timeouts=SHORT) as query:
            yield query
    finally:
        server.shutdown()


def image(uid: str, **more: Any) -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "IMAGE"
    dataset.SOPInstanceUID = uid
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0x0122])
def test_a_refusal_is_no_empty_answer(status: int) -> None:
    with answering(lambda _: iter([(status, None)])) as query:
        with pytest.raises(QueryError, match=f"0x{status:04X}"):
            query.find(Level.IMAGE, "1.2", "1.3", "1.4")
        assert query.is_open


def test_another_image_is_not_the_one_that_was_asked_for() -> None:
    with answering(lambda _: iter([(0xFF00, image("1.2.3.5"))])) as query:
        assert not query.has_image("1.2", "1.3", "1.2.3.4")


def test_what_the_archive_adds_and_what_is_no_uid_is_passed_over() -> None:
    def answers(_: evt.Event) -> Answers:
        yield 0xFF00, image("DOE^JANE", PatientName="DOE^JANE")
        odd = image("1.2.3.4", PatientName="MÜLLER^ANNA", SpecificCharacterSet="ISO_IR 100")
        odd.ReferencedStudySequence = [Dataset()]
        yield 0xFF01, odd
        yield 0xFF00, image("1.2.3.5", SpecificCharacterSet=["", "ISO 2022 IR 87", "x"])

    with answering(answers) as query:
        assert query.find(Level.IMAGE, "1.2", "1.3") == [
            Match("", "", "1.2.3.4"), Match("", "", "1.2.3.5"),
        ]  # fmt: skip


def test_an_archive_that_never_ends_is_told_to_cancel() -> None:
    seen: list[bool] = []

    def answers(event: evt.Event) -> Answers:
        for number in range(1_000):
            if number > 100:  # more than is taken: it is on its way
                time.sleep(0.01)
            if event.is_cancelled:
                seen.append(True)
                yield 0xFE00, None
                return
            yield 0xFF00, image(f"1.2.{number}")

    with answering(answers) as query, pytest.raises(QueryError, match="more than 10 "):
        query.find(Level.IMAGE, "1.2", "1.3", most=10)
    wait_until(lambda: seen, "it is told to cancel")


def test_an_answer_without_end_is_refused() -> None:
    with answering(
        lambda _: iter([(0xFF00, image("1.2", ImageComments="x" * 2_000_000))])
    ) as query:
        with pytest.raises(AssociationError, match="too long"):
            query.find(Level.IMAGE, "1.2", "1.3")
        assert not query.is_open
