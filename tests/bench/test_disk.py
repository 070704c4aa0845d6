"""The disk that the bench measures on."""

import os
from pathlib import Path

import pytest

from bench import disk
from bench.disk import own_disk
from tests.peers import require

_SMALL_BYTES = 320 << 20  # XFS wants more than 300 MB


def _mounts() -> dict[str, str]:
    """File system by mount point."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return {fields[1]: fields[2] for fields in map(str.split, lines)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount: run as root")
def test_root_gets_xfs_that_is_gone_afterwards():
    require("mkfs.xfs", "xfsprogs")
    with own_disk(_SMALL_BYTES) as (directory, words):
        assert _mounts()[str(directory)] == "xfs"
        assert "XFS" in words
        (directory / "file").write_bytes(b"content")
    assert str(directory) not in _mounts()
    assert not directory.parent.exists()


def test_who_may_not_mount_measures_in_the_temporary_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disk.os, "geteuid", lambda: 1000)
    with own_disk() as (directory, words):
        assert directory.is_dir()
        assert "not root" in words
    assert not directory.exists()
