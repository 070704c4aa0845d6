"""`tackybox health`, asked about real daemons."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tackybox.config import child_environment
from tackybox.demo.stack import Daemon, Daughter, Mother, Stack, python
from tests.peers import LOOPBACK, free_port, require, wait_until


def health(daemon: Daemon, name: str) -> subprocess.CompletedProcess[str]:
    """Ask as the container's health check does, with the daemon's own settings."""
    return subprocess.run(
        [*python("tackybox"), "health", name, "--json"], env=child_environment(daemon.settings),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def status(daemon: Daemon) -> subprocess.CompletedProcess[str]:
    """Ask as a person does."""
    return subprocess.run(
        [*python("tackybox"), "status", "--json"], env=child_environment(daemon.settings),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[tuple[Daughter, Mother]]:
    """A daughter and a mother whose archive, database and everything beyond are not there."""
    require("sshd", "openssh-server")
    require("rrsync", "rsync")
    nowhere = free_port()
    sql = f"box:{'f' * 16}@{LOOPBACK}:{nowhere}/tackybox"
    with Stack(tmp_path) as stack:
        stack.daughter_key("north")
        mother = stack.start_mother("mother", f"PACS@{LOOPBACK}:{nowhere}", sql=sql)
        yield stack.start_daughter("north", mother.destination, sql=sql), mother


def test_each_daemon_is_healthy_while_it_works_and_not_when_it_does_not(
    boxes: tuple[Daughter, Mother],
) -> None:
    daughter, mother = boxes
    daemons = {
        "daughter.receiver": daughter.receiver,
        "daughter.pusher": daughter.pusher,
        "mother.inbox": mother.inbox,
        "mother.forwarder": mother.forwarder,
    }
    for name, daemon in daemons.items():
        wait_until(lambda n=name, d=daemon: health(d, n).returncode == 0, f"{name} is healthy")
    for name, daemon in daemons.items():
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        done = health(daemon, name)
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["ok"]) == (1, False)
        assert answer["problem"]


def test_a_daemon_that_was_killed_is_told_at_once(boxes: tuple[Daughter, Mother]) -> None:
    forwarder = boxes[1].forwarder
    wait_until(lambda: health(forwarder, "mother.forwarder").returncode == 0, "it is healthy")
    forwarder.signal(signal.SIGKILL)
    forwarder.wait()
    wait_until(lambda: "not running" in health(forwarder, "mother.forwarder").stdout, "told", 20)
    done = status(forwarder)
    assert done.returncode == 1
    assert "the forwarder is not running" in done.stdout


def test_a_frozen_receiver_is_not_healthy(boxes: tuple[Daughter, Mother]) -> None:
    receiver = boxes[0].receiver
    assert receiver.process is not None
    pid = receiver.process.pid
    # Its port takes connections before its workers are forked, and which are there then varies.
    wait_until(lambda: health(receiver, "daughter.receiver").returncode == 0, "it is healthy")
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert workers
    for worker in workers:
        os.kill(int(worker), signal.SIGSTOP)
    try:
        assert health(receiver, "daughter.receiver").returncode == 1
    finally:
        for worker in workers:
            os.kill(int(worker), signal.SIGCONT)
    wait_until(lambda: health(receiver, "daughter.receiver").returncode == 0, "it is healthy again")


def test_a_spool_that_cannot_be_used_is_the_spools_exit_code(
    boxes: tuple[Daughter, Mother],
) -> None:
    receiver = boxes[0].receiver
    receiver.settings["spool"] = receiver.log  # a file
    done = health(receiver, "daughter.receiver")
    assert done.returncode == 74
    assert "spool" in done.stderr
