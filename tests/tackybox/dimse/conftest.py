"""Peers and files for the DIMSE edge."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tackybox.config.addresses import ArchiveAddress, parse_archive
from tackybox.demo.stack import free_port
from tackybox.dimse.files import read_source
from tackybox.dimse.scu import Source
from tests.peers import Peer, running, wheel_files

SCRIPTED = Path(__file__).parents[2] / "scripted_archive.py"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Peer]:
    """Our own small archive."""
    directory, port = tmp_path / "archive", free_port()
    directory.mkdir()
    command = [sys.executable, "-m", "tackybox.dimse.archive", "--aet", "ARCHIVE"]
    command += ["--port", str(port), "--dir", str(directory / "kept")]
    with running(command, "ARCHIVE", port, directory) as peer:
        yield peer


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[..., contextlib.AbstractContextManager[Peer]]:
    """Starts the archive that misbehaves as its arguments say."""

    def start(*options: str) -> contextlib.AbstractContextManager[Peer]:
        directory, port = tmp_path / "scripted", free_port()
        directory.mkdir()
        command = [sys.executable, "-P", str(SCRIPTED), "--port", str(port)]
        command += ["--dir", str(directory / "kept"), "--log", str(directory / "log.jsonl")]
        return running([*command, *options], "SCRIPTED", port, directory)

    return start


@pytest.fixture
def address_of() -> Callable[[Peer], ArchiveAddress]:
    """The address of a peer."""
    return lambda peer: parse_archive(peer.address)


@pytest.fixture
def wheel_file() -> Callable[[str], Source]:
    """A DICOM file of pydicom's or pynetdicom's wheel, by its name."""
    return lambda name: read_source(next(path for path in wheel_files() if path.name == name))
