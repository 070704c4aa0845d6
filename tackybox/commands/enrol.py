"""`tackybox enrol`: invite a daughter; prints the one line with which she joins this mother.

The line holds where this mother is reached, her host key, and a code that lets one key in, once,
until it runs out. Only the code's public half stays here. On stdout is the line alone. Run it where
the inbox runs, as the same user; the inbox takes the invitation within a second or two.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tackybox import keys
from tackybox.commands import output
from tackybox.commands.opening import mother_here
from tackybox.config import JoinLine, MotherAddress, MotherConfig
from tackybox.config.addresses import Endpoint, parse_endpoint
from tackybox.errors import ConfigError, UsageError
from tackybox.item import is_box_name
from tackybox.roster import Roster

NAME = "enrol"
HELP = "on a mother: print the line with which a new daughter joins"

_MOST_HOURS = 24 * 365


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("name", help="the daughter's TACKYBOX_NAME, e.g. north-clinic")
    parser.add_argument(
        "--hours", type=int, default=24, metavar="N", help="how long the line counts; 24"
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="how she reaches us; unset = TACKYBOX_ADDRESS"
    )
    parser.add_argument(
        "--replace", action="store_true", help="she has a key already, a new one is to replace it"
    )
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Invite and print; 0. Raises UsageError, ConfigError, UnavailableError."""
    config = mother_here(NAME)
    if not is_box_name(args.name):
        raise UsageError(
            f"{args.name!r} can't be a box's name; write 1 to 32 lower-case letters, digits or "
            "hyphens, such as north-clinic"
        )
    if not 1 <= args.hours <= _MOST_HOURS:
        raise UsageError(f"--hours is out of range; write a whole number from 1 to {_MOST_HOURS}")
    roster = Roster(config.daughters, config.enrolments)
    if not args.replace and any(one.name == args.name for one in roster.known()):
        raise UsageError(
            f"{args.name} has a key here already; say --replace if a new one is to take its place, "
            "or tackybox daughters revoke first"
        )
    endpoint = _endpoint(args.address, config)
    user = pwd.getpwuid(os.geteuid()).pw_name
    address = MotherAddress(user, endpoint.host, endpoint.port)
    host_key = keys.public_key_of(config.host_key, "TACKYBOX_HOST_KEY")
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=args.hours)
    line = JoinLine(args.name, address, host_key, _invite(roster, args.name, until))
    _print(line, until, as_json=args.json)
    return 0


def _endpoint(told: str | None, config: MotherConfig) -> Endpoint:
    if told is not None:
        try:
            return parse_endpoint(told)
        except ValueError as error:
            raise UsageError(f"--address: {error}") from None
    if config.address is None:
        raise ConfigError(
            "TACKYBOX_ADDRESS: is not set; write host:port at which daughters reach this mother's "
            f"inbox, such as mother.example:{config.ssh_port}, or say it with --address"
        )
    return config.address


def _invite(roster: Roster, name: str, until: datetime) -> bytes:
    """The code of a new invitation."""
    with tempfile.TemporaryDirectory(prefix="tackybox-enrol-") as directory:
        made = Path(directory) / "code"
        keys.make_key_pair(made, name)
        public = keys.PublicKey.parse(made.with_name("code.pub").read_text())
        code = keys.code_of(made.read_text())
    roster.invite(name, public, until)
    return code


def _print(line: JoinLine, until: datetime, *, as_json: bool) -> None:
    if as_json:
        output.write_json(
            {
                "line": line.text(), "name": line.name, "address": str(line.address),
                "host_key": line.host_key.fingerprint, "until": until,
            }
        )  # fmt: skip
        return
    print(line.text(), flush=True)
    print(
        f"This line lets one box in as {line.name}, once, until {output.moment(until)} UTC.\n"
        f"At {line.name}: set TACKYBOX_JOIN to it before the first start, or there run\n"
        "    tackybox join '<the line>'\n"
        "Who has the line can join instead of her: send it as you would send a password.",
        file=sys.stderr,
    )
