"""Two daemons on one spool: the second says so and ends; two inboxes share the work."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tackybox.config import child_environment
from tackybox.demo.stack import LOOPBACK, Daemon, free_port
from tests.faults.conftest import Record
from tests.faults.relay import Relay

_EX_IOERR = 74
_MANY = 12

pytestmark = pytest.mark.fault("two_daemons")


def _second(daemon: Daemon) -> subprocess.CompletedProcess[str]:
    settings = dict(daemon.settings)
    if "port" in settings:
        settings["port"] = free_port()
    return subprocess.run(
        daemon.command, env=child_environment(settings), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip


def test_a_second_one_says_so_and_ends_and_the_first_goes_on(
    tmp_path: Path, record: Record
) -> None:
    with Relay(tmp_path) as relay:
        first = {
            "receiver": relay.daughter.receiver,
            "pusher": relay.daughter.pusher,
            "forwarder": relay.mother.forwarder,
        }
        relay.send(relay.images(_MANY))
        for part, daemon in first.items():
            done = _second(daemon)
            assert done.returncode == _EX_IOERR, done.stderr
            (line,) = done.stderr.splitlines()
            assert f"another process already is the {part} of the spool at" in line
            assert line.endswith("stop it, or give this one a spool of its own")
        assert relay.heal() == []
        relay.send(relay.images(_MANY))
        relay.wait_quiet()
        record(relay.verdict(), faults=len(first))


@pytest.mark.long_fault
def test_a_successor_takes_over_at_once_from_one_that_was_killed(
    tmp_path: Path, record: Record
) -> None:
    with Relay(tmp_path) as relay:
        for daemon in (relay.daughter.receiver, relay.daughter.pusher, relay.mother.forwarder):
            daemon.signal(signal.SIGKILL)
            assert daemon.process is not None
            daemon.process.wait()  # not for its children, who share its lock for a moment more
            daemon.start()
        relay.daughter.receiver.wait_ready()
        relay.send(relay.images(_MANY))
        relay.wait_quiet()
        assert relay.heal() == []
        record(relay.verdict(), faults=3)


@pytest.mark.long_fault
def test_two_inboxes_on_one_spool_sign_for_each_item_once(tmp_path: Path, record: Record) -> None:
    with Relay(tmp_path) as relay:
        other = relay.stack.start(
            "inbox-2", relay.mother.inbox.command,
            relay.mother.inbox.settings | {"ssh_port": (port := free_port())}, port,
        )  # fmt: skip
        assert other.port is not None
        known_hosts = relay.workdir / "keys" / "known_hosts"
        (line,) = known_hosts.read_text().splitlines()
        known_hosts.write_text(f"{line}\n[{LOOPBACK}]:{port} {line.split(' ', 1)[1]}\n")
        first = relay.mother.destination
        both = f"{first},{first.rpartition(':')[0]}:{port}"
        relay.restart(relay.daughter.pusher, destinations=both)
        for _ in range(4):  # studies are what is spread
            relay.send(relay.images(_MANY))
        relay.wait_quiet()
        verdict = relay.verdict()
        assert not verdict.stored_again
        record(verdict, faults=1)
        peers = [path.name for path in relay.daughter.spool.glob("out/*/sent/*")]
        assert len(peers) == 2, "both were used"


@pytest.mark.long_fault
def test_two_that_start_at_the_same_moment(tmp_path: Path, record: Record) -> None:
    with Relay(tmp_path) as relay:
        for number, daemon in enumerate((relay.daughter.pusher, relay.mother.forwarder)):
            relay.kill(daemon)
            twin = Daemon(
                f"twin-{number}", daemon.command, daemon.settings, relay.workdir / f"twin-{number}"
            )
            relay.stack.daemons.append(twin)
            daemon.start()
            twin.start()
            pair = [one.process for one in (daemon, twin) if one.process is not None]
            until_s = time.monotonic() + 60
            while all(one.poll() is None for one in pair) and time.monotonic() < until_s:
                time.sleep(0.05)
            assert sorted(str(one.poll()) for one in pair) == [str(_EX_IOERR), "None"]
        relay.send(relay.images(_MANY))
        relay.wait_quiet()
        record(relay.verdict(), faults=2)
