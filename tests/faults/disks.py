"""Disks of a test's own: made in a file, mounted, cut off as by a power cut, filled, taken away.

A power cut is the ioctl by which a file system is shut down at once (linux/fs.h): with NO_LOG_FLUSH
it forgets what was not made durable, LOG_FLUSH writes its journal first, DEFAULT everything. What
was only in memory is gone after `unmount`; `mount` replays the journal, as after a boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.processes import processes_of
from tests.peers import require, wait_until

EXT4, XFS = ("mkfs.ext4",), ("mkfs.xfs",)
DEFAULT, LOG_FLUSH, NO_LOG_FLUSH = 0, 1, 2
_FS_IOC_SHUTDOWN = 0x8004587D
_PACKAGES = {"mkfs.xfs": "xfsprogs"}
_SIZE_BYTES = 512 << 20  # sparse; XFS wants more than 300 MB
_UNMOUNTED_S = 60.0


class Disk:
    """A disk with one file system, mounted at `directory` by `mount`; its image lies beside it."""

    def __init__(
        self, directory: Path, make: Sequence[str] = EXT4, size_bytes: int = _SIZE_BYTES
    ) -> None:
        self.directory = directory
        self._image = directory.with_name(f"{directory.name}.image")
        directory.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(size_bytes)
        tool = require(make[0], _PACKAGES.get(make[0], "e2fsprogs"))
        force = "-f" if make[0] == "mkfs.xfs" else "-F"
        command = [tool, "-q", force, *make[1:], str(self._image)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def mount(self, options: str = "") -> None:
        """Mount it; skips the test where that is not allowed."""
        _mount("-o", ",".join(filter(None, ("loop", options))), str(self._image), self.directory)

    def cut_power(self, how: int = NO_LOG_FLUSH) -> None:
        """From now on nothing reaches it any more."""
        fd = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _FS_IOC_SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Take it away; whatever of this test still works on it is killed.

        A container that starts holds every mount for a moment: mounted again meanwhile, the disk
        would still be cut off.
        """
        _unmount(self.directory)
        wait_until(lambda: not self._loop_devices(), "the disk is let go of", _UNMOUNTED_S)

    def _loop_devices(self) -> str:
        command = ["losetup", "--noheadings", "--associated", str(self._image)]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60
        ).stdout  # fmt: skip

    @contextlib.contextmanager
    def mounted(self, options: str = "") -> Iterator[Path]:
        """Mounted until the block ends; the directory."""
        self.mount(options)
        try:
            yield self.directory
        finally:
            self.unmount()


@contextlib.contextmanager
def memory(directory: Path, options: str) -> Iterator[Path]:
    """A tmpfs at `directory` until the block ends: `options` as "size=8m,nr_inodes=400"."""
    directory.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", options, "tmpfs", directory)
    try:
        yield directory
    finally:
        _unmount(directory)


@contextlib.contextmanager
def bound(source: Path, directory: Path) -> Iterator[None]:
    """`source` at `directory`, too, until the block ends."""
    _mount("--bind", str(source), directory)
    try:
        yield
    finally:
        _unmount(directory)


def own_namespace(script: str) -> list[str]:
    """The beginning of a command that has mounts of its own, made by the shell's `script`.

    The disks of other tests it lets go of: they could not be unmounted as long as it runs.
    """
    disks = r"s|^/dev/loop[0-9]* \([^ ]*disk\) .*|\1|p"
    let_go = f"sed -n '{disks}' /proc/self/mounts | xargs -r umount --lazy"
    return ["unshare", "-m", "sh", "-c", f'{let_go}; {script} && exec "$@"', "sh"]


def remount(directory: Path, options: str) -> None:
    """Change how what is mounted at `directory` is mounted: "ro", "rw", "size=16m"."""
    _mount("-o", f"remount,{options}", directory)


def fill(directory: Path, *, leave_bytes: int = 0) -> Path:
    """A file that takes what is free in `directory` but for `leave_bytes`; remove it to heal."""
    ballast = directory / "ballast"
    with ballast.open("wb") as file:
        for _ in range(100):  # others write, too
            found = os.statvfs(directory)
            size_bytes = found.f_bavail * found.f_frsize - leave_bytes
            if size_bytes <= 0:
                break
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size_bytes)
    return ballast


def use_up_inodes(directory: Path, *, leave: int = 0) -> Path:
    """A directory of empty files that takes the inodes of `directory` but for `leave`."""
    ballast = directory / "inodes"
    ballast.mkdir()
    for number in range(os.statvfs(directory).f_favail - leave):
        (ballast / str(number)).touch()
    return ballast


def _mount(*words: str | Path) -> None:
    done = subprocess.run(
        ["mount", *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        pytest.skip(f"it can't be mounted here, run as root: {done.stderr.strip()}")


def _unmount(directory: Path) -> None:
    until_s = time.monotonic() + _UNMOUNTED_S
    while subprocess.run(
        ["umount", str(directory)], capture_output=True, check=False, timeout=60
    ).returncode:
        if time.monotonic() > until_s:
            pytest.fail("a disk can't be unmounted: who works on it?")
        _kill_workers(directory)
        time.sleep(0.05)


def _kill_workers(directory: Path) -> None:
    """Kill what has a file below `directory` open, of the test that the directory belongs to.

    By name: of a disk that was cut off not even the directory can be looked at.
    """
    for process in processes_of(directory.parent):
        with contextlib.suppress(OSError):
            files = [*Path(f"/proc/{process.pid}/fd").iterdir(), Path(f"/proc/{process.pid}/cwd")]
            if any(path.readlink().is_relative_to(directory) for path in files):
                process.signal(signal.SIGKILL)
