"""Seats over several processes."""

from __future__ import annotations

import os

from daughter.receiver.seats import Seats


def test_a_limit_holds_over_all_workers() -> None:
    seats = Seats(3, workers=2)
    assert [seats.take(0), seats.take(1), seats.take(0), seats.take(1)] == [True] * 3 + [False]
    seats.give_back(0)
    assert seats.take(1)


def test_what_a_forked_worker_takes_the_others_see() -> None:
    seats = Seats(2, workers=2)
    assert seats.take(0)
    pid = os.fork()
    if pid == 0:
        seats.begin(1)
        os._exit(0 if seats.take(1) and not seats.take(1) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert not seats.take(0)
    seats.begin(1)  # its successor
    assert seats.take(1)


def test_the_worker_with_the_fewest_is_known() -> None:
    seats = Seats(9, workers=2)
    assert seats.fewest() == 0
    assert seats.take(1) and seats.fewest() == 0
    assert seats.take(0) and seats.take(0) and seats.fewest() == 1
