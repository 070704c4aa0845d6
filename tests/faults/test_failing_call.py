"""A call fails: fsync, write, rename, link or open, each in turn, with each errno that disks give.

The receiver answers 0xA700 and discards the file, which is never fsynced again and trusted; all
others try again. No daemon ends, nobody has to restart one, and an alarm shows.
"""

from __future__ import annotations

import errno
import json
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tackybox.commands import status
from tackybox.demo.stack import Daemon
from tackybox.pulse import Pulse
from tackybox.spool import Spool
from tests.faults.conftest import Record
from tests.faults.preload import Action, Call, Preload
from tests.faults.relay import Relay
from tests.peers import wait_until

ERRORS = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS)
CALLS = Call.FSYNC | Call.WRITE | Call.RENAME | Call.LINK | Call.OPEN
_OUT_OF_RESOURCES = 0xA700
_IMAGES = 2


@dataclass(frozen=True)
class Victim:
    """A process whose calls fail: its program, its daemon, and its box's spool."""

    program: str
    daemon: Callable[[Relay], Daemon]
    spool: Callable[[Relay], Path]


RECEIVER = Victim("daughter.receiver", lambda r: r.daughter.receiver, lambda r: r.daughter.spool)
OTHERS = {
    "pusher": Victim("daughter.pusher", lambda r: r.daughter.pusher, lambda r: r.daughter.spool),
    "gate": Victim("mother.inbox.gate", lambda r: r.mother.inbox, lambda r: r.mother.spool),
    "forwarder": Victim("mother.forwarder", lambda r: r.mother.forwarder, lambda r: r.mother.spool),
}


def in_short(values: Iterable[object], chosen: object) -> list[object]:
    """`values` as parameters, of which only `chosen` is part of the short selection."""
    return [
        value if value == chosen else pytest.param(value, marks=pytest.mark.long_fault)
        for value in values
    ]


@pytest.fixture
def some(request: pytest.FixtureRequest, seed: int) -> Callable[[list[int], int], list[int]]:
    """All of these numbers; in the short selection so many of them."""
    is_short = request.config.getoption("--faults") == "short"

    def choose(numbers: list[int], count: int) -> list[int]:
        chosen = random.Random(f"{seed} {request.node.name}")
        return sorted(chosen.sample(numbers, count)) if is_short else numbers

    return choose


Choose = Callable[[list[int], int], list[int]]


@pytest.mark.fault("failing_call")
@pytest.mark.seeds(short=1, long=1)
@pytest.mark.parametrize("error", in_short(ERRORS, errno.EIO), ids=errno.errorcode.get)
@pytest.mark.timeout(900)
def test_the_receiver_refuses_and_lives(
    relay: Relay, preload: Preload, error: int, some: Choose, record: Record
) -> None:
    calls = passage(relay, preload, RECEIVER)
    children = relay.children(relay.daughter.receiver)
    assert len(calls) >= 12, calls
    before = relay.verdict()
    fired = 0
    for number in some(list(range(1, len(calls) + 1)), 3):
        said = said_until_now(relay)
        arm(relay, preload, RECEIVER, number, error)
        images = relay.images(_IMAGES)
        statuses = relay.send(images)
        preload.disarm()
        fired += preload.fired
        failed = preload.calls()[number - 1] if preload.fired else ""
        refused = [one for one in statuses if one]
        # A blank file that could not be made ahead is made when it is needed; a bell is a hint.
        harmless = not failed or failed.startswith("open") or failed.endswith("/bell")
        assert refused == [_OUT_OF_RESOURCES] or (harmless and not refused), failed
        assert None not in statuses, failed
        assert_not_trusted(preload.calls(), number)
        if refused:
            assert statuses[statuses.index(_OUT_OF_RESOURCES) :].count(0) < _IMAGES
            assert alarm(relay, said), failed
        assert relay.send(images) == [0, 0], f"not served after {failed}"
    assert relay.children(relay.daughter.receiver) == children
    relay.wait_quiet()
    record(relay.verdict().since(before), faults=fired)
    assert not list((relay.daughter.spool / "tmp" / "receiver").iterdir())


@pytest.mark.fault("failing_call")
@pytest.mark.seeds(short=1, long=1)
@pytest.mark.parametrize("victim", in_short(OTHERS, "forwarder"))
@pytest.mark.timeout(1800)
def test_all_others_try_again(
    relay: Relay, preload: Preload, victim: str, seed: int, some: Choose, record: Record
) -> None:
    who = OTHERS[victim]
    places = distinct(passage(relay, preload, who))
    assert len(places) >= 8, places
    for number in some(list(range(len(places))), 1):
        before = relay.verdict()
        process = who.daemon(relay).process
        said = said_until_now(relay)
        call, place = places[number]
        error = ERRORS[(number + seed) % len(ERRORS)]
        arm(relay, preload, who, 1, error, call=call, place=place)
        relay.send(relay.images(_IMAGES))
        relay.wait_quiet()
        preload.disarm()
        failed = f"{call.name} {place} {errno.errorcode[error]}"
        print(f"{failed}: {preload.fired}")
        assert process is not None and process.poll() is None, f"it ended after {failed}"
        record(relay.verdict().since(before), faults=preload.fired)
        if any(child_died(line) for line in log_lines(said)):
            relay.restart(who.daemon(relay))  # or the supervisor's waits grow
            if victim == "gate":
                preload.add_to_gate(relay.processes("sshd"))


@pytest.mark.fault("failing_call")
@pytest.mark.long_fault
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("victim", OTHERS)
def test_a_disk_that_fails_until_it_is_mended(
    relay: Relay, preload: Preload, victim: str, error: int, record: Record
) -> None:
    who = OTHERS[victim]
    before = relay.verdict()
    said = said_until_now(relay)
    arm(relay, preload, who, 1, error, lasting=True)
    statuses = relay.send(relay.images(_IMAGES))
    wait_until(lambda: preload.fired > 2, "it fails, and is tried again")
    wait_until(lambda: any(is_alarm(line) for line in log_lines(said)), "somebody says so, loudly")
    if victim != "gate":
        part = victim
        wait_until(lambda: Pulse(who.spool(relay), part).silent(), "health says so")
    preload.disarm()
    assert statuses == [0, 0]
    relay.wait_quiet()
    record(relay.verdict().since(before), faults=preload.fired)


def passage(relay: Relay, preload: Preload, victim: Victim) -> list[str]:
    """The calls of the victim, seen while nothing fails."""
    arm(relay, preload, victim, 1, 0, action=Action.COUNT)
    relay.send(relay.images(_IMAGES))
    relay.wait_quiet()
    preload.disarm()
    return preload.calls()


def distinct(calls: list[str]) -> list[tuple[Call, str]]:
    """Each kind of call with each place that it was made on, once: a directory where the names in
    it are made of times and digests, else the path."""
    found = {}
    for line in calls:
        kind, _, path = line.partition(" ")
        directory, _, name = path.rpartition("/")
        place = f"{directory}/" if re.search("[0-9a-f]{32}", name) else path
        found[Call[kind.upper()], place] = None
    return list(found)


def arm(
    relay: Relay,
    preload: Preload,
    victim: Victim,
    number: int,
    error: int,
    *,
    lasting: bool = False,
    action: Action = Action.FAIL,
    call: Call = CALLS,
    place: str = "",
) -> None:
    """The journal's own files are left out: no image waits for them."""
    preload.arm(
        call,
        place or f"{victim.spool(relay)}/",
        n=number,
        action=action,
        error=error,
        lasting=lasting,
        except_path="/journal",
        program=victim.program,
    )


def assert_not_trusted(calls: list[str], number: int) -> None:
    """A file that failed in the `number`-th call is not fsynced any more, nor made an item."""
    kind, _, path = calls[number - 1].partition(" ")
    if kind in ("fsync", "write") and not path.endswith("/tmp/receiver"):
        name = path.rpartition("/")[2].rpartition("~")[2]
        assert not [c for c in calls[number:] if name in c and c.split()[0] in ("fsync", "rename")]


def alarm(relay: Relay, said: Said) -> bool:
    """Whether `tackybox status` says that images are refused, and the log why."""

    def shown() -> bool:
        attention = status.read(Spool.open(relay.daughter.spool), None).attention
        return any("0xA700" in sentence for sentence in attention)

    wait_until(shown, "status says that images are refused")
    return any('"spool failed"' in line or '"refused"' in line for line in log_lines(said))


Said = dict[str, int]


def said_until_now(relay: Relay) -> Said:
    """How long each daemon's log is; the archives' words count for nothing."""
    paths = (relay.workdir / "logs").glob("*.log")
    return {str(p): p.stat().st_size for p in paths if not p.name.startswith("archive")}


def log_lines(said: Said) -> list[str]:
    """What the daemons have written since."""
    lines: list[str] = []
    for path, size_bytes in said.items():
        new = Path(path).read_bytes()[size_bytes:]
        lines += new.decode(errors="replace").splitlines()
    return lines


def is_alarm(line: str) -> bool:
    try:
        return json.loads(line)["level"] in ("error", "warning")
    except (ValueError, KeyError):
        return False


def child_died(line: str) -> bool:
    return '"child died"' in line
