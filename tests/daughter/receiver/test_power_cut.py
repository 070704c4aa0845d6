"""What was answered 0x0000 survives a power cut: on a disk of its own that is shut down."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.raw_sender import RawAssociation
from tackybox.demo.phantom import write_ct_study
from tackybox.demo.stack import LOOPBACK
from tackybox.dimse.files import read_source
from tackybox.item import Item, content_digest, digest_of
from tests.daughter.receiver.test_receiver import CT, receiving
from tests.peers import require, wait_until

_FS_IOC_SHUTDOWN = 0x8004587D  # linux/fs.h
_NO_LOG_FLUSH = 2
_SENDERS = 4


@contextmanager
def mounted(image: Path, directory: Path) -> Iterator[None]:
    """The file system in `image` at `directory` until the block ends."""
    mount = ["mount", "-o", "loop", str(image), str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no loop mount here: run as root, with loop devices")
    try:
        yield
    finally:
        umount = ["umount", str(directory)]
        wait_until(
            lambda: not subprocess.run(umount, capture_output=True, check=False).returncode,
            "it is unmounted",
        )


def cut_power(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _FS_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(fd)


def digest(path: Path) -> str:
    source = read_source(path)
    found = content_digest(source.transfer_syntax_uid)
    found.update(path.read_bytes()[source.dataset_offset :])
    return str(found.hexdigest())


@pytest.mark.parametrize("least_answered", [1, 20, 45])
def test_no_answered_image_is_lost(tmp_path: Path, least_answered: int) -> None:
    require("mkfs.ext4", "e2fsprogs")
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    _, paths = write_ct_study(tmp_path / "ct", 200)
    answered: list[Path] = []

    def send(part: list[Path], port: int) -> None:
        try:
            with RawAssociation((LOOPBACK, port), "RELAY", [CT]) as association:
                for path in part:
                    if association.store(association.message(path)) == 0:
                        answered.append(path)
        except OSError:
            pass  # the power is gone

    with mounted(image, disk), receiving(tmp_path / "one", spool=disk / "spool") as receiver:
        senders = [
            threading.Thread(target=send, args=(paths[number::_SENDERS], receiver.port))
            for number in range(_SENDERS)
        ]
        for sender in senders:
            sender.start()
        wait_until(lambda: len(answered) >= least_answered, "some are answered")
        cut_power(disk)
        promised = list(answered)
        for sender in senders:
            sender.join(60)
    with mounted(image, disk), receiving(tmp_path / "two", spool=disk / "spool"):
        held = {
            Item.parse(path.name).digest
            for path in (disk / "spool").glob("new/*/*")
            if digest_of(path) == Item.parse(path.name).digest
        }
    assert promised
    assert {digest(path) for path in promised} <= held
