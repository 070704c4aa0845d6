"""C-GET against Orthanc, DCMTK's dcmqrscp, and a peer that gives what was not asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from tackybox.config.addresses import ArchiveAddress, parse_archive
from tackybox.demo.phantom import write_ct_study
from tackybox.demo.stack import LOOPBACK
from tackybox.dimse.association import AssociationError, Pair, Timeouts
from tackybox.dimse.comparison import Copy, Verdict
from tackybox.dimse.files import read_source
from tackybox.dimse.query import QueryError
from tackybox.dimse.retrieval import STUDY_ROOT_GET, Retrieval
from tackybox.dimse.scu import Source, StorageAssociation
from tackybox.item import content_digest
from tests.peers import Peer, dcmqrscp, orthanc, storescp, wheel_files

SHORT = Timeouts(connect_s=5, answer_s=15)
CT = Pair(str(CTImageStorage), str(ExplicitVRLittleEndian))
Archive = Callable[[Path], contextlib.AbstractContextManager[Peer]]


def store(peer: Peer, sources: list[Source]) -> None:
    pairs = list(dict.fromkeys(source.pair for source in sources))
    association = StorageAssociation.open(
        parse_archive(peer.address), pairs, calling_aet="TEST", timeouts=SHORT
    )
    assert [association.store(source).status for source in sources] == [0] * len(sources)
    association.close()


def digest_of(source: Source) -> str:
    digest = content_digest(source.transfer_syntax_uid)
    digest.update(source.path.read_bytes()[source.dataset_offset :])
    return str(digest.hexdigest())


def get(retrieval: Retrieval, source: Source, originals: dict[str, str]) -> Verdict | int | None:
    """The verdict on what came, or the status if nothing did."""
    copies: list[Copy] = []

    def begin(syntax: str) -> Callable[[bytes], None]:
        copies.append(Copy(syntax, originals))
        return copies[-1].feed

    dataset = dcmread(source.path, stop_before_pixels=True)
    place = (str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID))
    status = retrieval.get(*place, source.sop_instance_uid, begin)
    if not copies:
        return status
    assert status == 0
    return copies[0].verdict()


def with_sequences(directory: Path, paths: list[Path]) -> None:
    """Give each file a sequence, written in another way each."""
    for number, path in enumerate(paths):
        dataset = dcmread(path)
        item, inner, empty = Dataset(), Dataset(), Dataset()
        inner.CodeValue, inner.CodingSchemeDesignator = "T-1", "SRT"
        item.ReferencedSOPInstanceUID = f"1.2.{number}"
        item.PurposeOfReferenceCodeSequence = [inner]
        dataset.ReferencedImageSequence = [item, empty]
        for one in (dataset["ReferencedImageSequence"], item["PurposeOfReferenceCodeSequence"]):
            one.is_undefined_length = bool(number & 1)
        for one in (item, inner, empty):
            one.is_undefined_length_sequence_item = bool(number & 2)
        dataset.save_as(path)


@pytest.mark.parametrize("archive", [orthanc, dcmqrscp])
def test_what_an_archive_has_is_the_same_as_what_it_was_sent(
    archive: Archive, tmp_path: Path
) -> None:
    _, paths = write_ct_study(tmp_path / "study", 5)
    with_sequences(tmp_path, paths[1:])
    sources = [read_source(path) for path in paths]
    with archive(tmp_path / "peer") as peer:
        store(peer, sources)
        address = parse_archive(peer.address)
        with Retrieval.open(address, [CT], calling_aet="TEST", timeouts=SHORT) as retrieval:
            verdicts = [
                get(retrieval, source, {digest_of(source): source.transfer_syntax_uid})
                for source in sources
            ]
            assert verdicts[0] is Verdict.IDENTICAL
            assert all(isinstance(one, Verdict) and one.is_same for one in verdicts), verdicts
            other = {f"{1:064x}": CT.transfer_syntax_uid}
            assert get(retrieval, sources[1], other) is None, "another digest is another content"
            unknown = Source(*[paths[0], 0, CT.sop_class_uid, "1.2.3.4", CT.transfer_syntax_uid])
            assert isinstance(get(retrieval, unknown, other), int)
            assert retrieval.is_open


def test_compressed_images_come_as_they_were_sent(tmp_path: Path) -> None:
    names = ("JPEG2000.dcm", "SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm")
    sources = [read_source(path) for path in wheel_files() if path.name in names]
    with orthanc(tmp_path / "peer") as peer:
        store(peer, sources)
        pairs = [source.pair for source in sources]
        address = parse_archive(peer.address)
        with Retrieval.open(address, pairs, calling_aet="TEST", timeouts=SHORT) as retrieval:
            for source in sources:
                originals = {digest_of(source): source.transfer_syntax_uid}
                verdict = get(retrieval, source, originals)
                assert verdict in (Verdict.IDENTICAL, Verdict.ANEW), source.path.name


def test_an_archive_without_get(tmp_path: Path) -> None:
    with (
        storescp(tmp_path / "scp") as peer,
        pytest.raises(QueryError, match="does not offer C-GET"),
    ):
        Retrieval.open(parse_archive(peer.address), [CT], calling_aet="TEST", timeouts=SHORT)


@contextlib.contextmanager
def giving(answers: Callable[[evt.Event], Iterator[Any]]) -> Iterator[Retrieval]:
    """A retrieval from a peer that gives as told."""
    ae = AE("ODD")
    ae.add_supported_context(STUDY_ROOT_GET)
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
    server: Any = ae.start_server(
        (LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_GET, answers)]
    )
    address = ArchiveAddress("ODD", LOOPBACK, server.server_address[1])
    try:
        with Retrieval.open(address, [CT], calling_aet="TEST", timeouts=SHORT) as retrieval:
            yield retrieval
    finally:
        server.shutdown()


def ct_source(directory: Path) -> Source:
    _, (path,) = write_ct_study(directory, 1)
    return read_source(path)


def test_what_was_not_asked_for_is_refused(tmp_path: Path) -> None:
    source = ct_source(tmp_path)

    def answers(_: evt.Event) -> Iterator[Any]:
        other = dcmread(source.path)
        other.SOPInstanceUID = "1.2.3.4"
        yield 1
        yield 0xFF00, other

    with giving(answers) as retrieval:
        status = get(retrieval, source, {})
        assert status in (0xA702, 0xB000), "the peer was told that it was not taken"
        assert retrieval.is_open


@pytest.mark.parametrize("status", [0xA701, 0xC001])
def test_a_refusal_brings_nothing(tmp_path: Path, status: int) -> None:
    def answers(_: evt.Event) -> Iterator[Any]:
        yield 1
        yield status, None

    with giving(answers) as retrieval:
        assert get(retrieval, ct_source(tmp_path), {}) == status


def test_a_peer_that_breaks_off(tmp_path: Path) -> None:
    def answers(event: evt.Event) -> Iterator[Any]:
        event.assoc.abort()
        yield 1

    with giving(answers) as retrieval:
        with pytest.raises(AssociationError):
            get(retrieval, ct_source(tmp_path), {})
        assert not retrieval.is_open
