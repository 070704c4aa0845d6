"""Each mother: her gate as the pusher would meet it, and her pinned host key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tackybox.checks import keys
from tackybox.checks.clock import PeerClock
from tackybox.checks.finding import Finding, Level, reason
from tackybox.checks.ports import ssh_banner
from tackybox.config import DaughterConfig, MotherAddress, same_environment

_ROADS_TIMEOUT_S = 120.0
_REMEDY = "the relay keeps what waits for her and tries again"


@dataclass(frozen=True, slots=True)
class TriedRoad:
    """What came of trying one mother's gate with our key: "" or what is wrong, and what to do."""

    sentence: str
    advice: str
    clock: tuple[float, float] | None  # offset, uncertainty, in seconds


def roads() -> dict[str, TriedRoad]:
    """What came of trying each mother's gate, by her name.

    Empty if that can't be tried from here: where the pusher is not installed.
    """
    if not keys.is_installed(keys.PUSHER):
        return {}
    try:
        done = subprocess.run(
            [sys.executable, "-m", keys.PUSHER], env=same_environment(), stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_ROADS_TIMEOUT_S, check=False,
        )  # fmt: skip
        tried = [json.loads(line) for line in done.stdout.splitlines()]
        return {str(road["name"]): _tried(road) for road in tried}
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return {}


def _tried(road: dict[str, object]) -> TriedRoad:
    clock = road["clock"]
    offset = None
    if isinstance(clock, dict):
        offset = float(clock["seconds"]), float(clock["uncertainty_s"])
    return TriedRoad(str(road["sentence"]), str(road["advice"]), offset)


def mothers(config: DaughterConfig, clocks: list[PeerClock]) -> Iterator[Finding]:
    """Every mother of every group; the clocks of those that say the time go into `clocks`."""
    tried = roads()
    for group in config.destinations:
        for address in group.alternatives:
            road = tried.get(address.name)
            yield from mother(address, config, road)
            if road is not None and road.clock is not None:
                clocks.append(PeerClock(f"mother {address}", *road.clock))


def mother(
    address: MotherAddress, config: DaughterConfig, road: TriedRoad | None
) -> Iterator[Finding]:
    """One mother; `road` is what `roads` says of her."""
    subject = f"mother {address}"
    if road is None:
        yield from _outside(address, subject)
    elif road.sentence:
        yield Finding(Level.FAIL, subject, road.sentence, road.advice or _REMEDY)
    else:
        yield Finding(Level.PASS, subject, "her gate lets us in, with the key that is pinned")
    yield keys.pinned(subject, config.known_hosts, address.host, address.port)


def _outside(address: MotherAddress, subject: str) -> Iterator[Finding]:
    """A mother's gate as far as it shows without our key."""
    try:
        banner = ssh_banner(address.host, address.port)
    except OSError as error:
        remedy = "is her inbox running, and the port open in every firewall between?"
        yield Finding(Level.FAIL, subject, f"can't be reached: {reason(error)}", remedy)
        return
    if not banner:
        remedy = "is it the port of her inbox?"
        yield Finding(Level.FAIL, subject, "something answers that is not ssh", remedy)
        return
    seen = "ssh answers; whether her gate lets us in can't be tested from here"
    yield Finding(Level.WARNING, subject, seen, "check again in the pusher's container")
