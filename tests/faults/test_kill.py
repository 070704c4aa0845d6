"""kill -9 at each step: before and after each rename, link, unlink and fsync of each process."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tackybox.demo.stack import Daemon
from tests.faults.conftest import Record
from tests.faults.preload import Action, Call, Preload
from tests.faults.relay import Relay
from tests.peers import wait_until

STEPS = Call.RENAME | Call.LINK | Call.UNLINK | Call.FSYNC
_IMAGES = 1


@dataclass(frozen=True)
class Victim:
    """A process that dies: whose `calls` count, and the daemon that is then killed whole (None:
    the gate's session alone dies)."""

    program: str
    daemon: Callable[[Relay], Daemon] | None
    may_store_again: bool = False


VICTIMS = {
    "receive": Victim("daughter.receiver", lambda relay: relay.daughter.receiver),
    "fan-out, push, release": Victim("daughter.pusher", lambda relay: relay.daughter.pusher),
    "commit, receipt": Victim("mother.inbox.gate", None),
    # Killed between the archive's answer and "done" it can't know that the archive has it.
    "fan-out, forward, confirm": Victim("mother.forwarder", lambda r: r.mother.forwarder, True),
}
_SHORT = (("receive", Action.KILL_AFTER), ("commit, receipt", Action.KILL_BEFORE))


@pytest.mark.fault("kill")
@pytest.mark.seeds(short=1, long=1)
@pytest.mark.parametrize(
    ("steps", "action"),
    [
        pytest.param(
            steps,
            action,
            id=f"{steps}-{action.name.removeprefix('KILL_').lower()}",
            marks=() if (steps, action) in _SHORT else pytest.mark.long_fault,
        )
        for steps in VICTIMS
        for action in (Action.KILL_BEFORE, Action.KILL_AFTER)
    ],
)
@pytest.mark.timeout(1800)
def test_killed_at_each_step(
    relay: Relay,
    preload: Preload,
    steps: str,
    action: Action,
    seed: int,
    record: Record,
    request: pytest.FixtureRequest,
) -> None:
    victim = VICTIMS[steps]
    if request.config.getoption("--faults") == "short":
        numbers = [random.Random(seed).randint(1, 4)]  # every item has so many
    else:
        calls = passage(relay, preload, victim)
        assert len(calls) >= 5, calls
        numbers = list(range(1, len(calls) + 1))
    for number in numbers:
        before = relay.verdict()
        if died := died_at(relay, preload, victim, action, number):
            verdict = relay.verdict().since(before)
            print(f"{action.name.lower()} {re.sub('[0-9a-f]{32,}', '…', died)}: {verdict}")
            record(verdict, faults=1)
            assert victim.may_store_again or not verdict.stored_again, died
        # A bookmark may just be being written: what is left over stays.
        wait_until(lambda: not relay.leftovers(), f"nothing is left of {died or number}", 10)


def passage(relay: Relay, preload: Preload, victim: Victim) -> list[str]:
    """The steps of the victim, seen while nothing dies."""
    arm(relay, preload, victim, Action.COUNT, 1)
    relay.send(relay.images(_IMAGES))
    relay.wait_quiet()
    preload.disarm()
    return preload.calls()


def arm(relay: Relay, preload: Preload, victim: Victim, action: Action, number: int) -> None:
    """The journal's own files are left out: no image waits for them."""
    preload.arm(
        STEPS,
        str(relay.workdir),
        n=number,
        action=action,
        except_path="/journal",
        program=victim.program,
    )


def died_at(relay: Relay, preload: Preload, victim: Victim, action: Action, number: int) -> str:
    """Kill the victim at its `number`-th step, heal, wait for quiet; the step, "" if it took fewer
    this time."""
    arm(relay, preload, victim, action, number)
    with relay.sending(relay.images(_IMAGES), senders=1) as scanners:
        wait_until(
            lambda: preload.fired or (scanners.done and not relay.in_flight()),
            "it dies, or all is done",
        )
        if preload.fired and victim.daemon is not None:
            relay.kill(victim.daemon(relay))
        preload.disarm()
        relay.heal()
        scanners.wait_done()
    relay.wait_quiet()
    return preload.calls()[number - 1] if preload.fired else ""
