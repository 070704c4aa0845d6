"""Joins mothers with the lines that `tackybox enrol` printed there: our key in, hers pinned.

    python -m daughter.pusher.joining         for each line of TACKYBOX_JOIN; exit code 0 or why not

A line is used when known_hosts has its mark beside the host key: then nothing is done. Promises:
our private key is made here and never leaves this box; nothing is sent to a host whose key is not
the line's; a host key is pinned only after that host has let us in; to try again is harmless, also
after a try whose answer was lost. Joins of one box wait for each other.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from daughter.pusher.rsync import Road
from daughter.pusher.trouble import DeniedError, HostKeyError, RoadError
from tackybox import known_hosts, logs, service
from tackybox.config import DaughterConfig, JoinLine, load_daughter
from tackybox.errors import ConfigError, TackyboxError, UnavailableError
from tackybox.keys import PublicKey, own_key, private_key_file
from tackybox.service import Backoff, Stop
from tackybox.spool.durable import directory_lock

_FIRST_RETRY_S = 2.0
_ENTRY_S, _ENTRY_STEP_S = 10.0, 0.5


def run() -> int:
    """Join with every line; the exit code. Raises what `join` raises."""
    config = load_daughter()
    for line in config.join or ():
        join(line, config)
    return 0


def join_all(lines: Iterable[JoinLine], config: DaughterConfig, stop: Stop) -> list[JoinLine]:
    """Join with each line that is not used yet; those that could not be, and the log says why."""
    log = logs.get("joiner")
    left = []
    for line in lines:
        if known_hosts.has_mark(config.known_hosts, line.mark):
            continue
        if stop.is_set():
            left.append(line)
            continue
        try:
            join(line, config)
        except TackyboxError as error:
            log.warning("not joined", mother=line.address.name, reason=str(error))
            left.append(line)
        else:
            log.info("joined", mother=line.address.name, fingerprint=line.host_key.fingerprint)
    return left


def keep_trying(lines: list[JoinLine], config: DaughterConfig, stop: Stop) -> None:
    """`join_all` again and again, ever less often, until told to stop."""
    backoff = Backoff(_FIRST_RETRY_S, config.backoff_cap_s)
    while not stop.wait(backoff.next() if lines else None):
        lines = join_all(lines, config, stop)


def join(line: JoinLine, config: DaughterConfig) -> None:
    """Have the mother of `line` let this box in, and pin her host key.

    Raises UnavailableError, then nothing has changed but that this box has a key; ConfigError if
    the keys' files can't be written.
    """
    with _writable(config), tempfile.TemporaryDirectory(prefix="tackybox-join-") as directory:
        ours = own_key(config.ssh_key, config.name, "TACKYBOX_SSH_KEY")
        code, hosts = Path(directory) / "code", Path(directory) / "known_hosts"
        code.touch(0o600)
        code.write_text(private_key_file(line.code))
        host, port = line.address.host, line.address.port
        hosts.write_text(known_hosts.line_for(host, port, line.host_key))
        pinned = replace(config, known_hosts=hosts)
        try:
            _ask(line, replace(pinned, ssh_key=code), ours)
        except DeniedError:
            if not _is_let_in(line, pinned):
                raise UnavailableError(
                    f"{line.address} does not take the code: it was used, was withdrawn, or has "
                    "run out; have a new line made there with tackybox enrol"
                ) from None
        else:
            _await_entry(line, pinned)
        known_hosts.pin(config.known_hosts, host, port, line.host_key, line.mark)


def _ask(line: JoinLine, config: DaughterConfig, ours: PublicKey) -> None:
    road = Road(line.address, config)
    try:
        road.join(str(ours))
    except DeniedError:
        raise
    except HostKeyError:
        raise UnavailableError(
            f"who answers at {line.address} has another host key than the line says: it is not "
            "that mother, or her key was changed; nothing was sent. Have a new line made there"
        ) from None
    except RoadError as error:
        said = "; ".join(filter(None, (str(error), error.advice)))
        raise UnavailableError(f"{line.address}: {said}") from None
    except OSError as error:
        raise UnavailableError(f"ssh can't be started here: {error.strerror}") from None
    finally:
        road.discard()


def _await_entry(line: JoinLine, config: DaughterConfig) -> None:
    """Give the mother's inbox the moment that it takes to let our key in."""
    until_s = time.monotonic() + _ENTRY_S
    while not _is_let_in(line, config) and time.monotonic() < until_s:
        time.sleep(_ENTRY_STEP_S)


def _is_let_in(line: JoinLine, config: DaughterConfig) -> bool:
    """Whether the mother has our key, be it that only the answer to an earlier try was lost."""
    road = Road(line.address, config)
    try:
        road.open()
    except UnavailableError:
        return False
    finally:
        road.discard()
    return True


@contextlib.contextmanager
def _writable(config: DaughterConfig) -> Iterator[None]:
    """Be the only one who joins from this box; raises ConfigError where keys can't be written."""
    try:
        with directory_lock(config.ssh_key.parent):
            yield
    except OSError as error:
        raise ConfigError(
            f"TACKYBOX_SSH_KEY, TACKYBOX_KNOWN_HOSTS: {config.ssh_key.parent} and "
            f"{config.known_hosts.parent} can't be written ({error.strerror}); they must be there "
            "and belong to this user"
        ) from None


if __name__ == "__main__":
    sys.exit(service.main(run))
