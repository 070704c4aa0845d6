"""The watchdog rings for what appears under `new/`."""

from __future__ import annotations

from pathlib import Path

from mother.forwarder.watch import watch
from tackybox.spool import Lane, Spool
from tests.peers import wait_until


def test_a_file_that_is_made_or_moved_there_rings(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool")
    spool.bell.wait(0)  # from here on rings are kept
    watch(spool)

    (spool.root / "tmp" / "item").touch()
    (spool.root / "tmp" / "item").rename(spool.root / "new" / Lane.HIGH / "item")
    wait_until(lambda: spool.bell.wait(0.1), "it rings for a file moved in")
    (spool.root / "new" / Lane.LOW / "item").touch()
    wait_until(lambda: spool.bell.wait(0.1), "it rings for a file made there")
