"""This box's clock against its peers'. Journals of several boxes are read side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tackybox.checks.finding import Finding, Level

WARNING_S = 2.0
FAIL_S = 60.0
_SUBJECT = "clock"


@dataclass(frozen=True, slots=True)
class PeerClock:
    """How far a peer's clock is before ours, right to within `uncertainty_s`."""

    peer: str
    offset_s: float
    uncertainty_s: float


def clock(peers: Sequence[PeerClock]) -> Iterator[Finding]:
    """A finding for each peer; one that says so where nothing could be compared."""
    if not peers:
        yield Finding(Level.PASS, _SUBJECT, "not compared: no peer told its time")
    for one in peers:
        yield _compared(one)


def _compared(one: PeerClock) -> Finding:
    surely_s = max(0.0, abs(one.offset_s) - one.uncertainty_s)
    way = "ahead of" if one.offset_s > 0 else "behind"
    details = {"peer": one.peer, "offset_s": one.offset_s, "uncertainty_s": one.uncertainty_s}
    if surely_s <= WARNING_S:
        within_s = abs(one.offset_s) + one.uncertainty_s
        seen = f"agrees with that of {one.peer}, to within {within_s:.1f} s"
        return Finding(Level.PASS, _SUBJECT, seen, details=details)
    seen = f"that of {one.peer} is {surely_s:.1f} s {way} ours"
    remedy = "have both machines set by NTP: what the journal says of times is wrong by as much"
    level = Level.FAIL if surely_s > FAIL_S else Level.WARNING
    return Finding(level, _SUBJECT, seen, remedy, details)
