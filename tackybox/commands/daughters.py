"""`tackybox daughters`: who may send to this mother, when each was last there; `revoke` ends it.

`revoke` returns when the daughter's key and invitation are gone and nothing of hers will be
committed any more; the inbox ends within seconds what still runs for her. Images that she had
delivered before go on to their archives.
"""

from __future__ import annotations

import argparse
from typing import Any

from tackybox.commands import output
from tackybox.commands.opening import mother_here
from tackybox.config import MotherConfig
from tackybox.roster import Roster
from tackybox.spool import ReceiptLog
from tackybox.spool.landing import last_seen

NAME = "daughters"
HELP = "on a mother: who may send, and when each was last seen; revoke"

_JSON_HELP = "write JSON"
_NOT_UNDERSTOOD = "not understood, not let in"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments; without an action it lists."""
    parser.add_argument("--json", action="store_true", help=_JSON_HELP)
    parser.set_defaults(action=_list)
    actions = parser.add_subparsers(metavar="ACTION", required=False)
    for name, help_text, action in (
        ("list", "who may send, and when each was last seen", _list),
        ("revoke", "end it at once: remove a daughter's key and invitation", _revoke),
    ):
        subparser = actions.add_parser(name, help=help_text, description=help_text)
        subparser.set_defaults(action=action)
        subparser.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help=_JSON_HELP
        )
        if name == "revoke":
            subparser.add_argument("name", help="the daughter's name")


def run(args: argparse.Namespace) -> int:
    """Do the action; 0. Raises NotFoundError, UsageError, ConfigError."""
    config = mother_here(NAME)
    return int(args.action(args, config, Roster(config.daughters, config.enrolments)))


def _list(args: argparse.Namespace, config: MotherConfig, roster: Roster) -> int:
    found = _found(config, roster)
    if args.json:
        output.write_json(found)
        return 0
    if not found:
        output.console().print("No daughter may send; tackybox enrol invites one.")
        return 0
    shown = output.table(
        "Daughters", ["name", "key", "since (UTC)", "last seen (UTC)", "invited until (UTC)"]
    )
    for one in found:
        seen = output.moment(one["last_seen"]) if one["last_seen"] else "never"
        cells = [one["name"], one["key"] or "none", output.moment(one["since"]), seen]
        output.add_row(shown, [*cells, output.moment(one["invited_until"])])
    output.console().print(shown)
    return 0


def _found(config: MotherConfig, roster: Roster) -> list[dict[str, Any]]:
    known = {one.name: one for one in roster.known()}
    invited = {one.name: one for one in roster.invited()}
    found = []
    for name in sorted({*known, *invited}):
        has, may = known.get(name), invited.get(name)
        found.append(
            {
                "name": name,
                "key": has and (has.key.fingerprint if has.key else _NOT_UNDERSTOOD),
                "since": has and has.since,
                "last_seen": last_seen(config.spool, name),
                "invited_until": may and may.until,
            }
        )
    return found


def _revoke(args: argparse.Namespace, config: MotherConfig, roster: Roster) -> int:
    had_key, was_invited = roster.revoke(args.name)
    if (config.spool / "receipts" / args.name).is_dir():
        with ReceiptLog(config.spool, args.name).exclusive():
            pass  # a commit that had asked before has ended now; each later one will be refused
    if args.json:
        output.write_json({"name": args.name, "key": had_key, "invitation": was_invited})
        return 0
    what = " and ".join(["key"] * had_key + ["invitation"] * was_invited)
    output.console().print(output.cell(f"{args.name} is out: {what} removed."))
    return 0
