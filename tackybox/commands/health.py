"""`tackybox health`: whether a daemon of this box is really doing its work, asked where it runs.

Exit code 0 if it is, 1 if not; what is wrong goes to stderr. A container's health check asks it.
The daemon's own doing counts, never a mother, an archive or a database that can't be reached, nor
a disk that is full: to start it again would not mend those. Of the disk it warns, on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tackybox.checks.ports import reachable, receiver_address, ssh_banner
from tackybox.commands import output
from tackybox.config import (
    BoxConfig,
    DaughterConfig,
    MotherConfig,
    load_daughter,
    load_mother,
)
from tackybox.dimse.association import Failure, Timeouts
from tackybox.dimse.scu import echo
from tackybox.pulse import Pulse
from tackybox.spool import Spool

NAME = "health"
HELP = "whether a daemon of this box is doing its work; exit code 1 if not"

_ANSWER_S = 8.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("daemon", choices=sorted(_CHECKS), help="which daemon")
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Ask; 0 if the daemon works, 1 if not. Raises ConfigError, SpoolError."""
    problem, warning = _CHECKS[args.daemon](), _short(args.daemon)
    if args.json:
        output.write_json(
            {"daemon": args.daemon, "ok": not problem, "problem": problem, "warning": warning}
        )
    else:
        for sentence in filter(None, (problem, warning)):
            print(f"tackybox: {args.daemon}: {sentence}", file=sys.stderr)
    return 1 if problem else 0


def _short(daemon: str) -> str:
    config: BoxConfig = load_daughter() if daemon.startswith("daughter") else load_mother()
    short = Spool.open(config.spool).space().shortage(config.min_free_mib << 20)
    return f"{short}: nothing more is accepted" if short else ""


def _receiver() -> str:
    config = load_daughter()
    spool = Spool.open(config.spool)
    result = echo(
        receiver_address(config), calling_aet=config.aet, timeouts=Timeouts(_ANSWER_S, _ANSWER_S)
    )
    # One that has as many associations as it allows is at work.
    if not result.ok and result.failure is not Failure.REJECTED:
        return result.message
    return _silent(spool, "receiver")


def _inbox() -> str:
    config = load_mother()
    Spool.open(config.spool)
    try:
        banner = ssh_banner(reachable(config.ssh_bind), config.ssh_port)
    except OSError:
        banner = ""
    return "" if banner else f"no ssh server answers at port {config.ssh_port}"


def _children(load: Callable[[], DaughterConfig | MotherConfig], part: str) -> str:
    config: BoxConfig = load()
    return _silent(Spool.open(config.spool), part)


def _silent(spool: Spool, part: str) -> str:
    if not spool.has_part(part):
        return "it is not running"
    silent = Pulse(spool.root, part).silent()
    return f"no sign of life of {', '.join(silent)}" if silent else ""


_CHECKS: dict[str, Callable[[], str]] = {
    "daughter.receiver": _receiver,
    "daughter.pusher": lambda: _children(load_daughter, "pusher"),
    "mother.inbox": _inbox,
    "mother.forwarder": lambda: _children(load_mother, "forwarder"),
}
