"""Random faults, several at once, on one relay that lives on: 1,000 cycles in the long run."""

from __future__ import annotations

import errno
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Record
from tests.faults.preload import Action, Call, Preload
from tests.faults.proxy import DOWN, UP, Proxy
from tests.faults.relay import Relay
from tests.peers import wait_until

_CYCLES = {"short": 3, "long": 50}
_IMAGES_PER_CYCLE = 6
_PAUSE_S = 0.15
_ERRORS = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS)
_FAILING = (Call.FSYNC, Call.WRITE, Call.RENAME, Call.LINK, Call.OPEN)
_STEPS = Call.FSYNC | Call.RENAME | Call.LINK | Call.UNLINK | Call.WRITE


class Chaos:
    """Faults by chance of `chance`, and the end of all of them."""

    def __init__(self, relay: Relay, to_mother: Proxy, to_archive: Proxy, preload: Preload) -> None:
        self.relay = relay
        self.to_mother = to_mother
        self.to_archive = to_archive
        self.preload = preload
        self.said: list[str] = []

    def inject(self, chance: random.Random) -> None:
        """One fault."""
        fault = chance.choice(
            [self.kill, self.kill_daemon, self.freeze, self.fail, self.die, self.network]
        )
        self.said.append(fault(chance))

    def kill(self, chance: random.Random) -> str:
        process = chance.choice(self.relay.processes())
        process.signal(signal.SIGKILL)
        return f"kill {process.command[:60]}"

    def kill_daemon(self, chance: random.Random) -> str:
        daemon = chance.choice(self.relay.stack.daemons)
        daemon.signal(signal.SIGKILL)
        return f"kill {daemon.name}"

    def freeze(self, chance: random.Random) -> str:
        process = chance.choice(self.relay.processes())
        process.signal(signal.SIGSTOP)
        return f"freeze {process.command[:60]}"

    def fail(self, chance: random.Random) -> str:
        """The journal's own files don't: an event that can't be written down is not promised."""
        calls, n, error = chance.choice(_FAILING), chance.randint(1, 30), chance.choice(_ERRORS)
        lasting = chance.random() < 0.3
        self.preload.arm(
            calls,
            chance.choice(("/north/", "/mother/")),
            n=n,
            action=Action.FAIL,
            error=error,
            lasting=lasting,
            except_path="/journal",
        )
        return f"{calls.name} {n} fails, {errno.errorcode[error]}, lasting: {lasting}"

    def die(self, chance: random.Random) -> str:
        n, action = chance.randint(1, 40), chance.choice((Action.KILL_BEFORE, Action.KILL_AFTER))
        self.preload.arm(_STEPS, chance.choice(("/north/", "/mother/")), n=n, action=action)
        return f"{action.name} {n}"

    def network(self, chance: random.Random) -> str:
        # ssh finds a flipped bit out; DICOM without TLS has nothing that could.
        proxy, way = chance.choice((self.to_mother, self.to_archive)), chance.choice((UP, DOWN))
        faults: list[tuple[str, Callable[[], None]]] = [
            ("cut", proxy.cut),
            ("cut after", lambda: proxy.cut_after(chance.randint(1, 30_000), way)),
            ("black hole", proxy.black_hole),
            ("half open", proxy.half_open),
            ("refuse", proxy.refuse),
        ]
        if proxy is self.to_mother:
            faults.append(("flip", lambda: proxy.flip(chance.randint(0, 200_000), way)))
        name, do = chance.choice(faults)
        do()
        return f"{name} {'mother' if proxy is self.to_mother else 'archive'}"

    def heal(self) -> None:
        """Undo all, start what has ended."""
        self.preload.disarm()
        for proxy in (self.to_mother, self.to_archive):
            proxy.heal()
        self.relay.heal()
        self.preload.add_to_gate(self.relay.processes("sshd"))

    def calm(self) -> None:
        """As `heal`, and start every daemon afresh, so that nobody waits after many deaths."""
        self.heal()
        for daemon in self.relay.stack.daemons:
            self.relay.kill(daemon)
        self.heal()


# With four the forwarder delivers from two processes.
@pytest.fixture(scope="module", params=[2, 4], ids=["two", "four-associations"])
def chaos(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Chaos]:
    """One relay, behind proxies, with the library loaded everywhere."""
    settings = {"associations": request.param}
    workdir: Path = tmp_path_factory.mktemp("random")
    proxies: list[Proxy] = []

    def through(port: int) -> int:
        proxy = Proxy(port)
        proxy.__enter__()
        proxies.append(proxy)
        return proxy.port

    try:
        with Relay(
            workdir, mother_settings=settings, archive_through=through, mother_through=through
        ) as relay:
            preload = Preload(workdir)
            chaos = Chaos(relay, proxies[1], proxies[0], preload)
            for daemon in relay.stack.daemons:
                if "archive" not in daemon.name:
                    daemon.command = [*preload.prefix, *daemon.command]
            chaos.calm()
            yield chaos
    finally:
        for proxy in proxies:
            proxy.__exit__()


@pytest.mark.fault("random")
@pytest.mark.seeds(short=1, long=10)
@pytest.mark.timeout(900)
def test_nothing_is_lost(
    chaos: Chaos, seed: int, record: Record, request: pytest.FixtureRequest
) -> None:
    """A seed is fifty cycles; the next one goes on with what the last one left."""
    relay, chance = chaos.relay, random.Random(seed)
    cycles = _CYCLES[request.config.getoption("--faults")]
    before = relay.verdict()
    chaos.said.clear()
    images = relay.images(cycles * _IMAGES_PER_CYCLE, seed=seed)
    with relay.sending(images, senders=2, pause_s=_PAUSE_S) as scanners:
        for _ in range(cycles):
            for _ in range(chance.choice((1, 1, 2, 3))):
                chaos.inject(chance)
            time.sleep(chance.uniform(0.2, 1.0))
            if chance.random() < 0.6:
                chaos.heal()
        chaos.calm()
        scanners.wait_done()
    print("\n".join(chaos.said))
    relay.wait_quiet(120)
    record(relay.verdict().since(before), faults=len(chaos.said))
    wait_until(lambda: not relay.leftovers(), "nothing is left over", 10)
