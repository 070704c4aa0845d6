"""The watchdog rings for what appears under `new/`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mother.forwarder.watch import watch
from tackybox.spool import Lane, Spool
from tests.peers import wait_until

# No file descriptor to be had is, to inotify, as good as no instance left on the host.
WITHOUT_INOTIFY = """
import os, resource, sys
from pathlib import Path
from mother.forwarder.watch import watch
from tackybox import logs
from tackybox.spool import Spool

logs.setup("mother", "forwarder")
spool = Spool.open(Path(sys.argv[1]))
free = os.open(os.devnull, os.O_RDONLY)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
watch(spool)
print("goes on")
"""


def test_a_file_that_is_made_or_moved_there_rings(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool")
    spool.bell.wait(0)  # from here on rings are kept
    watch(spool)

    (spool.root / "tmp" / "item").touch()
    (spool.root / "tmp" / "item").rename(spool.root / "new" / Lane.HIGH / "item")
    wait_until(lambda: spool.bell.wait(0.1), "it rings for a file moved in")
    (spool.root / "new" / Lane.LOW / "item").touch()
    wait_until(lambda: spool.bell.wait(0.1), "it rings for a file made there")


def test_where_the_kernel_can_not_watch_the_rescans_remain(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_INOTIFY, tmp_path / "spool"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "fs.inotify.max_user_instances" in said
    assert said.endswith("goes on\n")
