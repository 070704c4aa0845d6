"""kill -9 at each step: before and after each rename, link, unlink and fsync of each process."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tackybox.demo.stack import Daemon
from tests.faults.conftest import Record
from tests.faults.preload import Action, Call, Preload
from tests.faults.relay import Relay
from tests.peers import wait_until

STEPS = Call.RENAME | Call.LINK | Call.UNLINK | Call.FSYNC
_IMAGES = 2


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


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Two archives, so that fan-out makes links."""
    with Relay(tmp_path_factory.mktemp("kill"), archives=2) as relay:
        yield relay


@pytest.fixture(scope="module")
def preload(relay: Relay) -> Preload:
    """Loaded into every process of `relay`."""
    preload = Preload(relay.workdir)
    for daemon in (relay.daughter.receiver, relay.mother.forwarder):
        relay.restart(daemon, prefix=preload.prefix)
    preload.add_to_gate(relay.processes("sshd"))
    relay.restart(relay.daughter.pusher, prefix=preload.prefix)  # and opens sessions anew
    relay.send(relay.images(1))
    relay.wait_quiet()
    return preload


@pytest.mark.fault("kill")
@pytest.mark.seeds(short=1, long=1)
@pytest.mark.parametrize("action", [Action.KILL_BEFORE, Action.KILL_AFTER], ids=["before", "after"])
@pytest.mark.parametrize("steps", VICTIMS)
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
    calls = passage(relay, preload, victim)
    assert len(calls) >= 4, calls
    numbers = list(range(1, len(calls) + 1))
    if request.config.getoption("--faults") == "short":
        if seed % 2 == (action is Action.KILL_BEFORE):
            pytest.skip("the other half of the short selection")
        numbers = random.Random(f"{seed} {steps}").sample(numbers, 1)
    for number in numbers:
        before = relay.verdict()
        if died := died_at(relay, preload, victim, action, number):
            verdict = relay.verdict().since(before)
            print(f"{action.name.lower()} {re.sub('[0-9a-f]{32,}', '…', died)}: {verdict}")
            record(verdict, faults=1)
            assert victim.may_store_again or not verdict.stored_again, died
        assert not relay.leftovers(), (number, died)


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
