"""C-ECHO and C-STORE against DCMTK, our own archive, and archives that misbehave."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tackybox.config.addresses import ArchiveAddress
from tackybox.demo.stack import LOOPBACK, free_port
from tackybox.dimse.association import (
    MAX_CONTEXTS,
    Association,
    AssociationError,
    Failure,
    Pair,
    Timeouts,
    rejection_in_words,
)
from tackybox.dimse.scu import (
    FALLBACKS,
    Source,
    StorageAssociation,
    acceptable_syntaxes,
    batches,
    echo,
    with_fallbacks,
)
from tackybox.item import part10_head
from tests.peers import Peer, freeze, storescp, wait_until

AddressOf = Callable[[Peer], ArchiveAddress]
CT = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT_LE, IMPLICIT_LE = FALLBACKS
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
SHORT = Timeouts(connect_s=2, answer_s=2)


def open_storage(address: ArchiveAddress, *pairs: Pair) -> StorageAssociation:
    return StorageAssociation.open(address, pairs, calling_aet="TEST", timeouts=SHORT)


def large_source(directory: Path, size_bytes: int) -> Source:
    """A secondary capture whose pixel data takes so much, as a sparse file."""
    head = part10_head(
        sop_class_uid=SECONDARY_CAPTURE, sop_instance_uid="1.2.3",
        transfer_syntax_uid=EXPLICIT_LE, calling_aet="A", called_aet="B",
    )  # fmt: skip
    identity = b"\x08\x00\x16\x00UI\x1a\x00" + SECONDARY_CAPTURE.encode() + b"\0"
    identity += b"\x08\x00\x18\x00UI\x06\x001.2.3\0"
    pixels = b"\xe0\x7f\x10\x00OB\0\0" + struct.pack("<I", size_bytes)
    path = directory / "large.dcm"
    with path.open("wb") as file:
        file.write(head + identity + pixels)
        file.truncate(file.tell() + size_bytes)
    return Source(path, len(head), SECONDARY_CAPTURE, "1.2.3", EXPLICIT_LE)


@contextlib.contextmanager
def listener(behave: Callable[[socket.socket], None]) -> Iterator[ArchiveAddress]:
    """A socket that takes one connection and does with it as told."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield ArchiveAddress("PEER", LOOPBACK, server.getsockname()[1])
    thread.join()


def test_echo_of_an_archive_that_is_there(archive: Peer, address_of: AddressOf) -> None:
    result = echo(address_of(archive), calling_aet="TEST", timeouts=SHORT)
    assert result.ok and result.reachable and result.failure is None
    assert archive.address in result.message


def test_echo_where_nothing_listens() -> None:
    result = echo(ArchiveAddress("A", LOOPBACK, free_port()), calling_aet="TEST", timeouts=SHORT)
    assert (result.ok, result.reachable, result.failure) == (False, False, Failure.REFUSED)


def test_echo_of_a_host_that_is_not_known() -> None:
    result = echo(ArchiveAddress("A", "nowhere.invalid", 104), calling_aet="T", timeouts=SHORT)
    assert result.failure is Failure.UNKNOWN_HOST
    assert "nowhere.invalid" in result.message


def test_echo_of_a_peer_that_hangs_up() -> None:
    with listener(lambda connection: connection.recv(65536) and None) as address:
        result = echo(address, calling_aet="TEST", timeouts=SHORT)
    assert result.failure is Failure.ABORTED


def test_echo_of_a_peer_that_announces_a_pdu_without_end() -> None:
    def flood(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"\x02\x00\xff\xff\xff\xff" + b"\0" * 100_000)

    with listener(flood) as address:
        result = echo(address, calling_aet="TEST", timeouts=SHORT)
    assert not result.reachable


def test_an_archive_that_lets_go_of_an_idle_association_is_noticed(
    tmp_path: Path, address_of: AddressOf
) -> None:
    pair = Pair(CT, EXPLICIT_LE)
    with storescp(tmp_path / "scp") as peer:
        association = open_storage(address_of(peer), pair)
        assert association.is_open
        peer.process.terminate()
        wait_until(lambda: not association.is_open, "the end is noticed")
        result = association.store(Source(tmp_path / "a", 0, *pair[:1], "1.2", pair[1]))
        assert result.status is None
        association.close()


def test_a_rejection_says_why(tmp_path: Path, address_of: AddressOf) -> None:
    with storescp(tmp_path / "scp", "--refuse") as peer:
        result = echo(address_of(peer), calling_aet="TEST", timeouts=SHORT)
    assert result.failure is Failure.REJECTED
    assert "gives no reason (permanent)" in result.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((1, 1, 7), "does not know the called AE title as its own (permanent)"),
        ((2, 3, 2), "as many associations as it allows (transient)"),
        ((1, 9, 9), "reason 9 of source 9 (permanent)"),
    ],
)
def test_rejections_in_words(answer: tuple[int, int, int], words: str) -> None:
    assert words in rejection_in_words(*answer)


def test_a_frozen_archive_is_given_up_in_bounded_time(
    tmp_path: Path, address_of: AddressOf
) -> None:
    threads = set(threading.enumerate())
    source = large_source(tmp_path, 64 << 20)
    with storescp(tmp_path / "scp") as peer:
        association = open_storage(address_of(peer), source.pair)
        freeze(peer.process.pid)
        result = association.store(source)
        assert (result.status, result.failure) == (None, Failure.TIMED_OUT)
        assert not association.is_open
        frozen = echo(address_of(peer), calling_aet="TEST", timeouts=SHORT)
        assert frozen.failure is Failure.TIMED_OUT
        association.close()
        os.kill(peer.process.pid, signal.SIGCONT)
        wait_until(lambda: echo(address_of(peer), calling_aet="TEST").ok, "it answers again")
    wait_until(lambda: set(threading.enumerate()) <= threads, "no thread is left behind")


def test_an_archive_that_dies_in_the_middle_leaves_no_answer(
    tmp_path: Path, address_of: AddressOf
) -> None:
    source = large_source(tmp_path, 256 << 20)
    with storescp(tmp_path / "scp") as peer:
        association = open_storage(address_of(peer), source.pair)
        timer = threading.Timer(0.05, peer.process.kill)
        timer.start()
        result = association.store(source)
        timer.join()
    assert result.status is None
    assert result.failure in (Failure.CLOSED, Failure.ABORTED)
    assert not association.is_open


def test_an_archive_that_aborts_upon_an_item(
    scripted: Callable[..., contextlib.AbstractContextManager[Peer]],
    address_of: AddressOf,
    wheel_file: Callable[[str], Source],
) -> None:
    source = wheel_file("CT_small.dcm")
    with scripted("--abort-on", source.sop_instance_uid) as peer:
        association = open_storage(address_of(peer), source.pair)
        result = association.store(source)
        assert (result.status, result.failure) == (None, Failure.ABORTED)


def test_a_file_that_is_gone_raises_and_ends_the_association(
    archive: Peer, address_of: AddressOf, tmp_path: Path
) -> None:
    source = Source(tmp_path / "gone.dcm", 0, CT, "1.2.3", EXPLICIT_LE)
    association = open_storage(address_of(archive), source.pair)
    with pytest.raises(FileNotFoundError):
        association.store(source)
    assert not association.is_open


def test_many_items_on_one_association_keep_their_bytes(
    archive: Peer, address_of: AddressOf, wheel_file: Callable[[str], Source]
) -> None:
    source = wheel_file("CT_small.dcm")
    association = open_storage(address_of(archive), source.pair)
    for priority in (0, 1, 2):
        assert association.store(source, priority=priority).status == 0
    association.close()
    (kept,) = (archive.directory / "kept").glob("*.dcm")
    assert kept.read_bytes().endswith(source.path.read_bytes()[source.dataset_offset :])


def test_only_what_the_archive_accepts_is_accepted(tmp_path: Path, address_of: AddressOf) -> None:
    pairs = [Pair(CT, JPEG_BASELINE), Pair(CT, EXPLICIT_LE), Pair("1.2.3.4.5", EXPLICIT_LE)]
    with storescp(tmp_path / "scp", "+x=") as peer:
        association = open_storage(address_of(peer), *pairs)
        assert association.accepted == {Pair(CT, EXPLICIT_LE)}
        assert association.accepts_class(CT)
        assert not association.accepts_class("1.2.3.4.5")
        association.close()


def test_an_archive_that_accepts_nothing_is_closed_and_says_what_it_would_accept(
    tmp_path: Path, address_of: AddressOf
) -> None:
    with storescp(tmp_path / "scp", "+xi") as peer:
        association = open_storage(address_of(peer), Pair(CT, JPEG_BASELINE))
        assert not association.accepted
        assert not association.is_open
        association.close()
        assert acceptable_syntaxes(address_of(peer), CT, calling_aet="TEST") == [IMPLICIT_LE]


def test_no_association_raises(address_of: AddressOf) -> None:
    with pytest.raises(AssociationError) as raised:
        Association.open(
            ArchiveAddress("A", LOOPBACK, free_port()), [Pair(CT, EXPLICIT_LE)],
            calling_aet="TEST", timeouts=SHORT, max_pdu_bytes=16384,
        )  # fmt: skip
    assert raised.value.exit_code == 69


def test_batches_fit_associations_and_keep_a_class_together() -> None:
    pairs = [Pair(f"1.2.{number}", JPEG_BASELINE) for number in range(100)]
    contexts = with_fallbacks(pairs)
    assert len(contexts) == 300
    lists = list(batches(contexts))
    assert sorted(context for batch in lists for context in batch) == sorted(contexts)
    assert all(len(batch) <= MAX_CONTEXTS for batch in lists)
    for pair in pairs:
        assert sum(any(c.sop_class_uid == pair.sop_class_uid for c in b) for b in lists) == 1


def test_a_class_in_more_syntaxes_than_one_association_can_carry() -> None:
    contexts = [Pair(CT, f"1.2.{number}") for number in range(300)]
    assert [len(batch) for batch in batches(contexts)] == [128, 128, 44]
