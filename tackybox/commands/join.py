"""`tackybox join`: join a mother with the line that `tackybox enrol` printed there.

The work is the pusher's (daughter/pusher/joining.py), which a command can't import; it is run as a
program, and what it says goes to stderr with its exit code.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import subprocess
import sys

from tackybox.commands import output
from tackybox.config import (
    JoinLine,
    MotherGroup,
    changed_environment,
    load_daughter,
    load_mother,
    same_environment,
)
from tackybox.errors import ConfigError, UnavailableError, UsageError

NAME = "join"
HELP = "on a daughter: join a mother with the line that `tackybox enrol` printed there"

_JOINING = "daughter.pusher.joining"  # a part, so not ours to import; not in every container
_TIMEOUT_S = 180.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("line", help="the line, in quotes: 'tackybox-join …'")
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Join; 0, or the exit code of what went wrong. Raises UsageError, ConfigError."""
    try:
        line = JoinLine.parse(args.line)
    except ValueError as error:
        raise UsageError(f"the line {error}") from None
    with contextlib.suppress(ConfigError):
        load_mother()
        raise UsageError(f"{NAME} is for a daughter, and this box is a mother; run it there")
    environment = changed_environment({"join": args.line})
    config = load_daughter(environment)
    code = _join(environment)
    if code:
        return code
    destinations = _destinations()
    configured = any(line.address.name == a.name for g in destinations for a in g.alternatives)
    if args.json:
        output.write_json(
            {
                "mother": str(line.address), "host_key": line.host_key.fingerprint,
                "known_hosts": str(config.known_hosts), "destination": configured,
            }
        )  # fmt: skip
        return 0
    print(f"{line.address} lets {line.name} in.")
    print(f"Her host key {line.host_key.fingerprint} is pinned in {config.known_hosts}.")
    if configured:
        print("She is one of this box's destinations: images go there.")
    else:
        value = ";".join(map(str, (*destinations, line.address)))
        print("She is not one of this box's destinations yet. Set this, and start the box again:")
        print(f"TACKYBOX_DESTINATIONS='{value}'")
    return 0


def _join(environment: dict[str, str]) -> int:
    try:
        if importlib.util.find_spec(_JOINING) is None:
            raise ModuleNotFoundError
        done = subprocess.run(
            [sys.executable, "-m", _JOINING], env=environment, stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except ModuleNotFoundError:
        raise UnavailableError("the pusher is not installed here; run join where it is") from None
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"nothing came of it within {_TIMEOUT_S:.0f} s; try again") from None
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


def _destinations() -> tuple[MotherGroup, ...]:
    """Where the box delivers by its own settings, without the line that was typed."""
    try:
        return load_daughter(same_environment()).destinations
    except ConfigError:  # none are set; all else is right, or we had not come so far
        return ()
