"""A disk of the bench's own: XFS in a file of the temporary directory, mounted through a loop.

What is measured must not hang on what else a machine's disk has been through, and must be a file
system that a spool may stand on (README: one that journals). ext4 without a journal, as on some
cloud machines, is neither: it does not give away the inode of a file that was deleted within the
last minutes, so that each new file walks over all that the run before has left, DCMTK's as ours.

The file is written in full before it is used, and the loop goes around the kernel's cache to the
machine's own disk: an fsync in here is a real one there.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.contestants import BenchError, tool

_SIZE_BYTES = 16 << 30
_PIECE_BYTES = 1 << 22


@contextlib.contextmanager
def own_disk(size_bytes: int = _SIZE_BYTES) -> Iterator[tuple[Path, str]]:
    """A directory for everything that is measured, and what it stands on, in words.

    Only root may mount: anyone else gets a directory in the temporary one. Raises BenchError.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        if os.geteuid() != 0:
            yield Path(name), "the temporary directory's own file system (not root)"
            return
        with _mounted(Path(name), size_bytes) as directory:
            yield directory, "XFS of the bench's own, on the machine's disk through a loop"


@contextlib.contextmanager
def _mounted(scratch: Path, size_bytes: int) -> Iterator[Path]:
    image, directory = scratch / "disk.image", scratch / "disk"
    directory.mkdir()
    print(f"writing {size_bytes >> 20} MiB for a disk", file=sys.stderr, flush=True)
    _write(image, size_bytes)
    _run(tool("mkfs.xfs", "xfsprogs"), "-q", str(image))
    device = _run(tool("losetup", "mount"), "--find", "--show", "--direct-io=on", str(image))
    try:
        _run(tool("mount", "mount"), device, str(directory))
        try:
            yield directory
        finally:
            _run(tool("umount", "mount"), "--lazy", str(directory))
    finally:
        _run(tool("losetup", "mount"), "--detach", device)


def _write(image: Path, size_bytes: int) -> None:
    piece = mmap.mmap(-1, _PIECE_BYTES)
    piece.write(b"\1" * _PIECE_BYTES)
    fd = os.open(image, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o600)
    try:
        for _ in range(size_bytes // _PIECE_BYTES):
            os.write(fd, piece)
    except OSError as error:
        raise BenchError(f"no room for a disk of {size_bytes >> 20} MiB") from error
    finally:
        os.close(fd)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{Path(command[0]).name}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()
