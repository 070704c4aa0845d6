"""Whatever moves meanwhile, nothing slips by who looks where everything stands."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tackybox.spool import Outlet, Spool
from tackybox.spool.standing import standing
from tests.tackybox.spool.test_spool import accept

_COUNT = 6


@pytest.mark.parametrize("is_tried", [False, True])
@pytest.mark.parametrize("after", range(2 * _COUNT))
def test_what_goes_back_from_hand_is_met(tmp_path: Path, after: int, *, is_tried: bool) -> None:
    """As all of it does where a killed worker starts again, while the journal is made again."""
    spool = Spool.open(tmp_path / "spool")
    outlet = Outlet(spool.root, "relay")
    entries = [accept(spool, number) for number in range(_COUNT)]
    list(spool.fan_out(entries, [outlet]))
    in_hand = outlet.claim(_COUNT // 2)
    if is_tried:
        outlet.defer(in_hand.pop(), 0)
        in_hand += outlet.claim(1)
    looking = standing(spool)
    met = [one.entry.item for one in itertools.islice(looking, after)]
    for entry in in_hand:
        outlet.put_back(entry)
    met += [one.entry.item for one in looking]
    assert set(met) == {entry.item for entry in entries}
