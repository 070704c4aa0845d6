"""The road breaks in mid-file, at either end, at any byte: finished later, and once."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tackybox.spool import Landing, Lane, ReceiptLog
from tests.faults.conftest import Record
from tests.faults.processes import Process
from tests.faults.proxy import DOWN, FIN, RST, UP, Proxy
from tests.faults.relay import Relay
from tests.peers import wait_until

_IMAGES = 30
_IMAGE_BYTES = 100_000
_SLOW_BYTES_S = 4 << 20  # so that a file is some time on its way
_KILLS = 4


@dataclass
class Road:
    """A relay, and the proxy that its daughter reaches the mother through."""

    relay: Relay
    proxy: Proxy

    def processes(self, *words: str) -> list[Process]:
        return self.relay.processes(*words)


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    with Proxy(0) as proxy:

        def through(port: int) -> int:
            proxy.target = port
            return proxy.port

        workdir = tmp_path_factory.mktemp("transport")
        with Relay(workdir, mother_through=through) as relay:
            relay.send(relay.images(1))
            relay.wait_quiet()
            yield Road(relay, proxy)
            proxy.heal()


@contextmanager
def busy(road: Road, record: Record, faults: Callable[[], int]) -> Iterator[None]:
    """Images are on the road during the block; then everything arrives, once."""
    before = road.relay.verdict()
    images = road.relay.images(_IMAGES, size_bytes=_IMAGE_BYTES)
    road.proxy.rate_bytes_s = _SLOW_BYTES_S
    with road.relay.sending(images) as scanners:
        yield
        scanners.wait_done()
    road.proxy.heal()
    road.relay.wait_quiet(90)
    verdict = road.relay.verdict().since(before)
    record(verdict, faults=faults())
    assert not verdict.stored_again, "once"
    assert not verdict.duplicated


VICTIMS: dict[str, tuple[str, ...]] = {
    "rsync that sends": ("rsync --files-from",),
    "ssh that rsync talks through": ("ssh -F", "rsync --server"),
    "ssh that holds the connection": ("ssh -F", "ControlMaster=yes"),
    "rsync that receives": ("rsync", "--server", "arriving"),
    "gate that signs": ("mother.inbox.gate", " commit"),
    "gate that tells receipts": ("mother.inbox.gate", " receipts"),
    "sshd's session": ("sshd:", "@notty"),
}


@pytest.mark.fault("transport")
@pytest.mark.seeds(short=1, long=3)
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.timeout(240)
def test_killed_in_mid_file(
    road: Road, victim: str, seed: int, record: Record, request: pytest.FixtureRequest
) -> None:
    short = request.config.getoption("--faults") == "short"
    if short and victim != "rsync that receives":
        pytest.skip("runs with --faults=long")
    rng = random.Random(f"{victim} {seed}")
    killed = 0
    with busy(road, record, lambda: killed):
        while killed < _KILLS:  # one may end by itself just then
            wait_until(lambda: road.processes(*VICTIMS[victim]), f"there is a {victim}")
            sent_bytes = road.proxy.carried_bytes(UP) + rng.randrange(1, 3 * _IMAGE_BYTES)
            wait_until(
                lambda s=sent_bytes: (  # type: ignore[misc]
                    road.proxy.carried_bytes(UP) >= s or not road.relay.in_flight()
                ),
                "so much has gone over the road",
            )
            for process in road.processes(*VICTIMS[victim]):
                killed += process.signal(signal.SIGKILL)


@pytest.mark.fault("transport")
@pytest.mark.seeds(short=1, long=4)
@pytest.mark.parametrize("direction", [UP, DOWN])
@pytest.mark.parametrize("how", [RST, FIN])
@pytest.mark.timeout(240)
def test_cut_after_so_many_bytes(
    road: Road, direction: str, how: str, seed: int, record: Record, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--faults") == "short" and (direction, how) != (UP, RST):
        pytest.skip("runs with --faults=long")
    rng = random.Random(f"{direction} {how} {seed}")
    most_bytes = 4 * _IMAGE_BYTES if direction == UP else 4000
    before = road.proxy.cuts
    with busy(road, record, lambda: road.proxy.cuts - before):
        for _ in range(_KILLS):
            cuts = road.proxy.cuts
            road.proxy.cut_after(rng.randrange(1, most_bytes), direction, how)
            wait_until(lambda c=cuts: road.proxy.cuts > c, "it was cut")  # type: ignore[misc]
    assert road.proxy.cuts - before >= _KILLS


@pytest.mark.fault("transport")
@pytest.mark.seeds(short=1, long=4)
@pytest.mark.parametrize("direction", [UP, DOWN])
@pytest.mark.long_fault
@pytest.mark.timeout(240)
def test_a_bit_that_flips_on_the_way_ends_the_connection(
    road: Road, direction: str, seed: int, record: Record
) -> None:
    """ssh authenticates each packet (RFC 4253 6.4): nothing that was altered is ever read."""
    rng = random.Random(f"{direction} {seed}")
    most_bits = 8 * (2 * _IMAGE_BYTES if direction == UP else 2000)
    before, accepted = road.proxy.flips, road.proxy.accepted
    with busy(road, record, lambda: road.proxy.flips - before):
        for _ in range(_KILLS):
            flips, connections = road.proxy.flips, road.proxy.accepted
            road.proxy.flip(rng.randrange(most_bits), direction)
            wait_until(lambda f=flips: road.proxy.flips > f, "flipped")  # type: ignore[misc]
            wait_until(
                lambda c=connections: road.proxy.accepted > c,  # type: ignore[misc]
                "a new connection takes the place of the one that was damaged",
            )
    assert road.proxy.accepted - accepted >= _KILLS


@pytest.mark.fault("transport")
@pytest.mark.parametrize("step", ["before anything is taken", "verified, before it is signed"])
@pytest.mark.timeout(240)
def test_a_batch_half_committed(road: Road, step: str, record: Record) -> None:
    """The gate dies while it holds a batch; the next one finishes it, and the daughter learns."""
    relay, mother = road.relay, road.relay.mother.spool
    if step.startswith("before"):
        held, found = Landing(mother, "north").exclusive(Lane), "arriving/north/*_north_*"
    else:
        held, found = ReceiptLog(mother, "north").exclusive(), "landing/north/*/*"
    before, images = relay.verdict(), relay.images(_IMAGES)
    with held, relay.sending(images) as scanners:
        wait_until(lambda: list(mother.glob(found)), "the gate has something in hand")
        for process in road.processes("mother.inbox.gate", " commit"):
            process.signal(signal.SIGKILL)
        scanners.wait_done()
    relay.wait_quiet()
    verdict = relay.verdict().since(before)
    record(verdict, faults=1)
    assert not verdict.stored_again
    assert not verdict.duplicated
