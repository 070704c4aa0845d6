"""The small archive keeps what it gets, as it gets it, where it is told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tackybox.config.addresses import ArchiveAddress
from tackybox.dimse.archive import start
from tackybox.dimse.scu import Source, StorageAssociation
from tackybox.errors import UnavailableError
from tests.peers import Peer


def store(address: ArchiveAddress, source: Source) -> int | None:
    association = StorageAssociation.open(address, [source.pair], calling_aet="TEST")
    result = association.store(source)
    association.close()
    return result.status


def write(path: Path, dataset: bytes, uid: str = "1.2.3") -> Source:
    path.write_bytes(dataset)
    return Source(path, 0, "1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1")


def test_one_file_per_content_and_nothing_overwritten(
    archive: Peer, address_of: Callable[[Peer], ArchiveAddress], tmp_path: Path
) -> None:
    for content in (b"one", b"two", b"one"):
        assert store(address_of(archive), write(tmp_path / "a", content)) == 0
    kept = sorted((archive.directory / "kept").iterdir())
    assert sorted(path.read_bytes()[-3:] for path in kept) == [b"one", b"two"]


def test_private_classes_and_private_syntaxes_and_palettes(
    archive: Peer, address_of: Callable[[Peer], ArchiveAddress], tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"bytes")
    for number, (sop_class, syntax) in enumerate(
        [
            ("1.2.3.4.5", "1.2.840.10008.1.2"),
            ("1.2.840.10008.5.1.4.1.1.2", "1.3.46.670589.33.1.4.1"),
            ("1.2.840.10008.5.1.4.39.1", "1.2.840.10008.1.2.1"),
        ]
    ):
        source = Source(path, 0, sop_class, f"1.2.{number}", syntax)
        assert store(address_of(archive), source) == 0


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/3", "..", "a"])
def test_a_uid_that_is_none_makes_no_file(
    archive: Peer, address_of: Callable[[Peer], ArchiveAddress], tmp_path: Path, uid: str
) -> None:
    assert store(address_of(archive), write(tmp_path / "a", b"bytes", uid)) == 0xC000
    assert not list((archive.directory / "kept").iterdir())


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UnavailableError):
        start("A", tmp_path, port=taken.getsockname()[1])
