"""The preloaded library: the n-th call, over threads and forked children, fails or dies."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.preload import Action, Call, Preload

_RENAMES = """
import os, sys, threading
from pathlib import Path
def work(who):
    for n in range(2):
        path = Path(sys.argv[1], f"{who}-{n}")
        path.write_text("x")
        with path.open() as file:
            os.fsync(file.fileno())
        try:
            path.rename(f"{path}-new")
        except OSError as error:
            os.write(1, b"%d\\n" % error.errno)  # whole, whichever thread
if os.fork() == 0:
    work("child")
    os._exit(0)
_, status = os.wait()
threads = [threading.Thread(target=work, args=(who,)) for who in ("one", "two")]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(os.WTERMSIG(status))
"""


@pytest.fixture
def preload(tmp_path: Path) -> Preload:
    return Preload(tmp_path)


def run(preload: Preload, directory: Path) -> subprocess.CompletedProcess[str]:
    directory.mkdir(exist_ok=True)
    command = [*preload.prefix, sys.executable, "-c", _RENAMES, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_calls_are_counted_over_children_and_threads(preload: Preload, tmp_path: Path) -> None:
    preload.arm(Call.RENAME | Call.FSYNC, str(tmp_path / "a"))
    assert run(preload, tmp_path / "a").returncode == 0
    assert preload.count == 12
    kinds = [call.split()[0] for call in preload.calls()]
    assert (kinds.count("rename"), kinds.count("fsync")) == (6, 6)
    assert not preload.fired
    run(preload, tmp_path / "elsewhere")
    assert preload.count == 12


@pytest.mark.parametrize(("lasting", "failures"), [(False, 1), (True, 4)])
def test_the_third_fails(preload: Preload, tmp_path: Path, lasting: bool, failures: int) -> None:
    preload.arm(
        Call.RENAME, str(tmp_path), n=3, action=Action.FAIL, error=errno.EIO, lasting=lasting
    )
    done = run(preload, tmp_path / "a")
    assert done.stdout.split() == [str(errno.EIO)] * failures
    assert len(list((tmp_path / "a").glob("*-new"))) == 6 - failures
    preload.disarm()
    assert not run(preload, tmp_path / "b").stdout


@pytest.mark.parametrize(("action", "renamed"), [(Action.KILL_BEFORE, 0), (Action.KILL_AFTER, 1)])
def test_the_child_dies_at_its_first_rename(
    preload: Preload, tmp_path: Path, action: Action, renamed: int
) -> None:
    preload.arm(Call.RENAME, str(tmp_path), n=1, action=action)
    assert run(preload, tmp_path / "a").returncode == signal.SIGKILL
    assert len(list((tmp_path / "a").glob("*-new"))) == 4 + renamed
