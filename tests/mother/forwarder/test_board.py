"""What the processes of a courier share: associations, the archive that is there, and calls."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mother.forwarder.board import Board
from tackybox.service import Stop
from tackybox.spool import Outlet


def board(tmp_path: Path, associations: int, cores: int) -> Board:
    return Board(Outlet(tmp_path, "a"), associations, cores)


@given(st.integers(1, 64), st.integers(1, 64))
def test_all_associations_are_dealt_out_and_a_helper_has_two_or_more(
    tmp_path_factory, associations: int, cores: int
) -> None:
    made = board(tmp_path_factory.getbasetemp(), associations, cores)
    shares = [made.share(number) for number in range(made.processes)]
    assert sum(shares) == associations
    assert shares == sorted(shares, reverse=True)
    assert made.processes == 1 or (made.processes <= cores and min(shares) >= 2)


def test_what_one_process_shows_another_sees(tmp_path: Path) -> None:
    made = board(tmp_path, 4, 2)
    assert made.shown is None
    pid = os.fork()
    if pid == 0:
        made.show(1)
        os._exit(0)
    os.waitpid(pid, 0)
    assert made.shown == 1
    made.show(None)
    assert made.shown is None


def test_a_call_rings_all_bells_but_the_first_ones(tmp_path: Path) -> None:
    made = board(tmp_path, 6, 3)
    stop = Stop()
    for number in range(3):
        assert not made.bell(number).wait(0.0, stop)
    made.call()
    made.call()  # once is enough for a while
    assert [made.bell(number).wait(0.0, stop) for number in range(3)] == [False, True, True]
    stop.close()


def test_a_helper_takes_items_for_a_while_when_it_was_called_and_the_first_always(
    tmp_path: Path, monkeypatch
) -> None:
    made = board(tmp_path, 4, 2)
    assert made.is_called(0)
    assert not made.is_called(1)
    made.heard()
    assert made.is_called(1)
    monkeypatch.setattr("mother.forwarder.board._CALLED_S", 0.0)
    made.heard()
    assert not made.is_called(1)
