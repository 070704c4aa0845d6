"""The mother can't be reached, in each way: items wait, others don't, a person reads which it is.

One relay with two mothers that must both get everything. The road to the first leads over a proxy
and a name of its own, so that everything can happen to it; the other one is always there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from mysql_utilities.events import Event, Kind
from tackybox.commands import status
from tackybox.demo.stack import LOOPBACK
from tackybox.service import Backoff
from tackybox.spool import Spool
from tests.faults import disks
from tests.faults.conftest import Record
from tests.faults.ledger import digest_of_file
from tests.faults.proxy import Proxy
from tests.faults.relay import Relay
from tests.faults.verdict import events
from tests.peers import require, wait_until

_CAP_S = 1.0
_IMAGES = 4
_NAME = "mother.invalid"  # RFC 6761: no DNS has it
_TRIES = 3


@dataclass
class Roads:
    """The relay, what the first mother is reached over, and the other mother's archive."""

    relay: Relay
    proxy: Proxy
    hosts: Path
    other_archive: Path
    cursor: int = 0
    delivered: set[str] = field(default_factory=set)

    @property
    def outlet(self) -> str:
        return f"{_NAME}_{self.proxy.port}"

    def tell(self, *, resolves: bool) -> None:
        """The name resolves, or not; in place, because the file is mounted."""
        self.hosts.write_text(f"{LOOPBACK} localhost\n" + f"{LOOPBACK} {_NAME}\n" * resolves)

    def note(self) -> None:
        """From here on `since` counts."""
        self.cursor = len(events(self.relay.daughter.spool))

    def since(self, kind: Kind) -> list[Event]:
        found = events(self.relay.daughter.spool)[self.cursor :]
        return [e for e in found if e.kind == kind and e.destination == self.outlet]

    def tries(self) -> list[dict[str, object]]:
        """The log lines of failed tries since the beginning."""
        lines = self.relay.daughter.pusher.log.read_text().splitlines()
        found = [json.loads(line) for line in lines if '"mother not reached"' in line]
        return [line for line in found if line["outlet"] == self.outlet]

    def attention(self) -> str:
        """What `tackybox status` says that a person should look at."""
        return "\n".join(status.read(Spool.open(self.relay.daughter.spool), None).attention)


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roads]:
    require("unshare", "util-linux")
    workdir = tmp_path_factory.mktemp("down")
    proxies: list[Proxy] = []

    def through(port: int) -> int:
        proxies.append(Proxy(port))
        return proxies[0].__enter__().port

    with Relay(workdir, mother_through=through) as relay:
        proxy = proxies[0]
        address, archive = relay.stack.start_archive("spare", "SPARE")
        keys = workdir / "other-keys"  # hers: what the first one revokes is nothing to her
        shutil.copytree(workdir / "keys" / "daughters", keys)
        other = relay.stack.start_mother(
            "other", address, min_free_mib=1, backoff_cap_s=1, daughters=keys
        )
        made = Roads(relay, proxy, workdir / "hosts", archive)
        made.tell(resolves=True)
        known_hosts = workdir / "keys" / "known_hosts"
        lines = known_hosts.read_text()
        known_hosts.write_text(
            lines + lines.replace(f"{LOOPBACK}]:{proxy.port}", f"{_NAME}]:{proxy.port}")
        )
        relay.restart(
            relay.daughter.pusher,
            prefix=disks.own_namespace(f'mount --bind "{made.hosts}" /etc/hosts'),
            destinations=f"{relay.stack.user}@{_NAME}:{proxy.port};{other.destination}",
            backoff_cap_s=_CAP_S,
        )
        send(made)
        arrived(made)
        yield made
        proxy.heal()
    proxy.__exit__()


def send(roads: Roads, number: int = _IMAGES) -> None:
    images = roads.relay.images(number)
    assert roads.relay.send(images) == [0] * number
    roads.delivered |= {digest_of_file(path) for path in images}


def arrived(roads: Roads) -> None:
    """Everything that was ever sent is in the first mother's archive."""
    [archive] = roads.relay.archives
    wait_until(lambda: roads.delivered <= archive.contents(), "all arrive", 40)


def others_have_all(roads: Roads) -> bool:
    paths = [p for p in roads.other_archive.iterdir() if not p.name.startswith(".")]
    return roads.delivered <= {digest_of_file(path) for path in paths}


Fault = Callable[[Roads], Callable[[], object]]
"""Makes the trouble; what it returns mends it."""


def _refused(roads: Roads) -> Callable[[], object]:
    roads.proxy.refuse()
    return roads.proxy.heal


def _black_hole(roads: Roads) -> Callable[[], object]:
    roads.proxy.black_hole()
    return roads.proxy.heal


def _name_gone(roads: Roads) -> Callable[[], object]:
    roads.tell(resolves=False)
    roads.proxy.cut()
    return lambda: roads.tell(resolves=True)


def _host_key_changed(roads: Roads) -> Callable[[], object]:
    relay, inbox = roads.relay, roads.relay.mother.inbox
    pinned = inbox.settings["host_key"]
    relay.restart(inbox, host_key=relay.stack.key("another-host"))
    roads.proxy.cut()
    return partial(relay.restart, inbox, host_key=pinned)


def _key_revoked(roads: Roads) -> Callable[[], object]:
    public = roads.relay.workdir / "keys" / "daughters" / "north.pub"
    line = public.read_bytes()
    public.unlink()
    return lambda: public.write_bytes(line)


def _disk_full(roads: Roads) -> Callable[[], object]:
    """As the gate sees it; on a full file system: row disk_full."""
    relay, inbox = roads.relay, roads.relay.mother.inbox
    relay.restart(inbox, min_free_mib=1 << 29)
    roads.proxy.cut()
    return partial(relay.restart, inbox, min_free_mib=1)


def _no_ssh(roads: Roads) -> Callable[[], object]:
    """Another program has her port; it hangs up at once."""
    target, roads.proxy.target = roads.proxy.target, 1
    roads.proxy.cut()

    def mend() -> None:
        roads.proxy.target = target

    return mend


FAULTS: dict[str, tuple[Fault, str]] = {
    "refused": (_refused, "nothing listens at that port"),
    "name gone": (_name_gone, "its name can't be resolved"),
    "host key changed": (_host_key_changed, "its host key is not the pinned one"),
    "key revoked": (_key_revoked, "it does not know our key"),
    "disk full": (_disk_full, "its disk is full"),
    "no ssh": (_no_ssh, "hangs up before it says that it is ssh"),
    "black hole": (_black_hole, "it does not answer; is it down"),
}
_SHORT = ("refused",)


@pytest.mark.fault("mother_down")
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.timeout(240)
def test_what_is_wrong_is_said_once_and_nothing_is_given_up(
    roads: Roads, name: str, record: Record, request: pytest.FixtureRequest
) -> None:
    if name not in _SHORT and request.config.getoption("--faults") == "short":
        pytest.skip("runs with --faults=long")
    fault, words = FAULTS[name]
    before = roads.relay.verdict()
    roads.note()
    mend = fault(roads)
    try:
        is_said_and_waits(roads, words)
    finally:
        mend()
    arrived(roads)
    wait_until(lambda: roads.since(Kind.OUTLET_UP), "the journal has it")
    wait_until(lambda: roads.outlet not in roads.attention(), "status has no complaint")
    roads.relay.wait_quiet()
    record(roads.relay.verdict().since(before), faults=1)


def is_said_and_waits(roads: Roads, words: str) -> None:
    """While she is down: in status, journal and log; tried in short waits; others untouched."""
    send(roads)
    tries = len(roads.tries())
    wait_until(lambda: words in roads.attention(), f"status says: {words}", 60)
    wait_until(lambda: len(roads.tries()) >= tries + _TRIES, "it is tried again and again", 90)
    wait_until(lambda: others_have_all(roads), "the other mother's archive has all of it")
    said = [event.detail for event in roads.since(Kind.OUTLET_DOWN)]
    assert sum(words in detail for detail in said) == 1, said
    lines = roads.tries()[tries:]
    assert any(words in str(line["reason"]) for line in lines)
    assert all(0 <= float(str(line["wait_s"])) <= _CAP_S for line in lines)
    assert words in roads.attention()
    waiting = list(roads.relay.daughter.spool.glob(f"out/{roads.outlet}/*/*/*_north_*"))
    assert len(waiting) == _IMAGES, "all are still there"


def test_each_trouble_has_its_own_words() -> None:
    assert len({words for _, words in FAULTS.values()}) == len(FAULTS)


@pytest.mark.fault("mother_down")
@pytest.mark.long_fault
@pytest.mark.timeout(240)
def test_a_half_open_connection_is_given_up_for_a_new_one(roads: Roads, record: Record) -> None:
    """Her machine was switched off: no FIN ever comes, and a new connection goes through."""
    before = roads.relay.verdict()
    roads.proxy.half_open()
    accepted = roads.proxy.accepted
    send(roads)
    arrived(roads)
    assert roads.proxy.accepted > accepted
    roads.proxy.heal()
    roads.relay.wait_quiet()
    record(roads.relay.verdict().since(before), faults=1)


@pytest.mark.fault("mother_down")
@pytest.mark.long_fault
@pytest.mark.timeout(240)
def test_a_link_of_1_mbit_s_takes_its_time_and_no_more(roads: Roads, record: Record) -> None:
    before = roads.relay.verdict()
    roads.proxy.rate_bytes_s = 125_000
    send(roads, 100)  # 0.8 MB: longer than any time-out of this relay
    wait_until(lambda: others_have_all(roads), "the other mother does not wait for it")
    arrived(roads)
    roads.proxy.heal()
    roads.relay.wait_quiet()
    verdict = roads.relay.verdict().since(before)
    record(verdict, faults=1)
    assert not verdict.stored_again


@pytest.mark.fault("mother_down")
@pytest.mark.long_fault
@pytest.mark.timeout(300)
def test_another_one_takes_over_from_a_black_hole(tmp_path: Path, record: Record) -> None:
    """a|b: of what was on its way to the first nothing is left behind."""
    with Proxy(0) as proxy:

        def through(port: int) -> int:
            proxy.target = port
            return proxy.port

        with Relay(tmp_path, mother_through=through) as relay:
            [archive] = relay.archives
            other = relay.stack.start_mother(
                "other", archive.address, min_free_mib=1, backoff_cap_s=1
            )
            destinations = f"{relay.mother.destination.rpartition(':')[0]}:{proxy.port}"
            relay.restart(
                relay.daughter.pusher,
                destinations=f"{destinations}|{other.destination}",
                failover_after_s=3,
            )
            with relay.sending(relay.images(60), pause_s=0.02) as scanners:
                scanners.wait_answered(20)
                proxy.black_hole()
                scanners.wait_done()
            wait_until(lambda: set(relay.ledger.answered) <= archive.contents(), "all arrive", 90)
            proxy.heal()
            relay.wait_quiet()
            # Her half of the journal is at two mothers.
            record(relay.verdict(journal=False), faults=1)


def test_a_day_is_tried_at_most_every_cap_and_never_given_up() -> None:
    """The default: at most 5 minutes between two tries, about ten an hour at least."""
    backoff, day_s, at_s, tries = Backoff(1.0, 300.0), 86_400.0, 0.0, 0
    while at_s < day_s:
        wait_s = backoff.next()
        assert 0 <= wait_s <= 300.0
        at_s, tries = at_s + wait_s, tries + 1
    assert 288 <= tries < 1500, "full jitter: 150 s on average"
