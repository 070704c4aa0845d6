"""The spool's directory: there, ours to write, one file system, local, kept, and with room.

What a power cut leaves is known of a file system with a journal only (docs/RELIABILITY.md).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tackybox.checks.finding import Finding, Level, reason
from tackybox.config import BoxConfig
from tackybox.spool.trial import Step, Trouble, try_out

_NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "afs")
_LOST_FILE_SYSTEMS = {"tmpfs": "memory", "ramfs": "memory", "overlay": "the container's own layer"}
_WITHOUT_JOURNAL = ("ext2", "vfat", "exfat", "msdos")
_NO_FLUSH = {"nobarrier", "barrier=0"}
_FEWEST_INODES = 50  # one in so many


def spool(config: BoxConfig) -> Iterator[Finding]:
    """All of it."""
    root = config.spool
    subject = f"spool {root}"
    give = f"give it to the user with number {os.geteuid()}"
    try:
        if not root.is_dir():
            remedy = f"make the directory, or mount a volume there, and {give}"
            yield Finding(Level.FAIL, subject, "is not there", remedy)
            return
    except OSError as error:
        yield Finding(Level.FAIL, subject, f"can't be looked at: {reason(error)}", give)
        return
    trouble = try_out(root)
    identity = root / "identity"
    owner = (identity if identity.exists() else root).stat().st_uid if trouble is None else None
    if trouble is not None:
        yield _not_usable(trouble, subject, give)
    elif os.geteuid() == 0 != owner:  # whom no permission stops
        seen = f"is of the user with number {owner}, this is number {os.geteuid()}"
        remedy = "check again as the user of the daemons: what that one may do is not told by this"
        yield Finding(Level.WARNING, subject, seen, remedy)
    else:
        seen = "files can be written, linked and moved in all of it, one file system"
        yield Finding(Level.PASS, subject, seen if identity.exists() else f"{seen}, not used yet")
    yield from _file_system(root, subject)
    yield _room(config, subject)


def _not_usable(trouble: Trouble, subject: str, give: str) -> Finding:
    where, code = trouble.directory, trouble.error.errno
    if code == errno.EXDEV:
        seen = f"is on several file systems: {where} is a mount of its own"
        remedy = "mount one volume at the spool, none inside it"
    elif code == errno.EROFS:
        seen, remedy = f"is mounted read-only at {where}", "mount it so that it can be written"
    elif code in (errno.ENOSPC, errno.EDQUOT):
        seen, remedy = "is full", "make room"
    elif trouble.step is Step.LINK and code in (errno.EPERM, errno.ENOTSUP):
        seen, remedy = "has no hard links", "use a local disk with ext4, xfs or the like"
    elif code in (errno.EACCES, errno.EPERM):
        seen, remedy = f"can't be written at {where}", give
    else:
        seen = f"can't be used: to {trouble.step} a file at {where} fails: {reason(trouble.error)}"
        remedy = "look at the disk and the kernel's log"
    return Finding(Level.FAIL, subject, seen, remedy)


def _file_system(root: Path, subject: str) -> Iterator[Finding]:
    kind, options = _mounted(root)
    if kind in _NETWORK_FILE_SYSTEMS or kind.startswith("fuse."):
        remedy = "use a local disk: here a file may not be durable when it seems so"
        yield Finding(Level.WARNING, subject, f"is on a network file system ({kind})", remedy)
    elif kind in _LOST_FILE_SYSTEMS:
        seen = f"is on {kind}, {_LOST_FILE_SYSTEMS[kind]}"
        yield Finding(Level.WARNING, subject, seen, "mount a volume: this one does not last")
    elif kind in _WITHOUT_JOURNAL or _has_no_journal(root, kind):
        remedy = "a power cut may lose what was kept: as root, unmounted, tune2fs -O has_journal"
        yield Finding(Level.WARNING, subject, f"is on {kind} without a journal", remedy)
    if options & _NO_FLUSH:
        seen = f"is mounted with {', '.join(sorted(options & _NO_FLUSH))}"
        remedy = "mount it without: the disk is not told to keep what it was given"
        yield Finding(Level.WARNING, subject, seen, remedy)


def _mounted(path: Path) -> tuple[str, set[str]]:
    """Type of the file system under `path`, and its options; proc(5), /proc/pid/mountinfo."""
    wanted = _device(path)
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return "", set()
    for line in reversed(mounts):
        words = line.split()
        if words[2] == wanted:
            behind = words[words.index("-") + 1 :]
            return behind[0], set(behind[2].split(","))
    return "", set()


def _has_no_journal(path: Path, kind: str) -> bool:
    """Whether ext4 says so: it names the thread of its journal, and "<none>" if it has none.

    Where sysfs can't be read, as in some containers, nothing is known and nothing said.
    """
    if kind not in ("ext3", "ext4"):
        return False
    try:
        device = (Path("/sys/dev/block") / _device(path)).resolve(strict=True).name
        return Path(f"/sys/fs/ext4/{device}/journal_task").read_text().strip() == "<none>"
    except OSError:
        return False


def _device(path: Path) -> str:
    device = path.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def _room(config: BoxConfig, subject: str) -> Finding:
    found = os.statvfs(config.spool)
    free_mib = found.f_bavail * found.f_frsize >> 20
    seen = f"{free_mib} MiB and {found.f_favail} inodes free"
    if free_mib < config.min_free_mib:
        remedy = f"below {config.min_free_mib} MiB (TACKYBOX_MIN_FREE_MIB) nothing is accepted"
        return Finding(Level.FAIL, subject, seen, f"make room: {remedy}")
    if found.f_files and found.f_favail < found.f_files // _FEWEST_INODES:
        return Finding(Level.WARNING, subject, seen, "each image needs an inode: make room")
    return Finding(Level.PASS, subject, seen)
