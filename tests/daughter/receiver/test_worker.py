"""Workers that share a port, one connection at a time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daughter.receiver import worker as worker_module
from daughter.receiver.acceptance import Acceptance
from daughter.receiver.seats import Seats
from daughter.receiver.worker import Worker
from mysql_utilities.recorder import Recorder
from tackybox.config import DaughterConfig
from tackybox.demo.stack import LOOPBACK
from tackybox.spool import Spool
from tests.peers import wait_until


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as found:
        found.setblocking(False)
        yield found


@pytest.fixture
def acceptance(tmp_path: Path) -> Iterator[Acceptance]:
    spool = Spool.open(tmp_path / "spool")
    with (
        spool.workspace("receiver") as workspace,
        Recorder(spool.journal, "north") as recorder,
    ):
        yield Acceptance(spool, workspace, "north", 0, recorder)


@pytest.mark.parametrize("is_there", [True, False], ids=["another comes", "nobody else comes"])
def test_who_has_more_than_another_worker_lets_it_take_the_next(
    is_there: bool,
    listener: socket.socket,
    acceptance: Acceptance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = DaughterConfig(
        name="north", aet="RELAY", spool=tmp_path / "spool", destinations=(), modalities=()
    )
    worker = Worker(0, config, listener, Seats(9, workers=2), acceptance)
    waits_s: list[float] = []
    taken: list[socket.socket] = []

    def wait(seconds: float) -> None:
        waits_s.append(seconds)
        if is_there:
            taken.append(listener.accept()[0])

    with socket.create_connection(listener.getsockname()):
        worker._accept()
        wait_until(lambda: len(worker._associations) == 1, "the first is its own, at once")
        with monkeypatch.context() as patch:
            patch.setattr(worker_module.time, "sleep", wait)
            with socket.create_connection(listener.getsockname()):
                worker._accept()
                patch.undo()
                assert waits_s == [worker_module._AFTER_YOU_S]
                assert len(taken) == is_there
                if not is_there:
                    wait_until(lambda: len(worker._associations) == 2, "so it takes it")
                time.sleep(0.02)
                assert len(worker._associations) == 2 - is_there
        for sock in taken:
            sock.close()
    wait_until(lambda: not worker._associations, "both have gone")
