"""`tackybox check`: what this box is set to, and whether what it needs can be reached.

Exit code 0 if everything works (warnings included), 1 if something does not, 78 if the settings
are wrong. Secrets are masked. Changes nothing; but `--relay` sends a small study the whole way,
which stays in the archive, and then 0 says that every archive has every image of it.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from tackybox.checks.archives import short_name, syntax_names
from tackybox.checks.box import findings
from tackybox.checks.finding import Finding, Level
from tackybox.checks.hops import Made
from tackybox.checks.relay import Outcome, relay
from tackybox.commands import output
from tackybox.config import DaughterConfig, Described, MotherConfig, describe, load_box
from tackybox.errors import UsageError

NAME = "check"
HELP = "what this box is set to, and whether what it needs can be reached; exit code 1 if not"

_STYLES = {Level.PASS: "", Level.WARNING: "yellow", Level.FAIL: "bold red"}
_RELAY_TIMEOUT_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--contexts", action="store_true",
        help="on a mother: show all that each archive accepts",
    )  # fmt: skip
    parser.add_argument(
        "--relay", action="store_true",
        help="send a small test study the whole way instead, and time each hop; it stays in the "
        "archive",
    )  # fmt: skip
    parser.add_argument(
        "--timeout-s", type=float, default=_RELAY_TIMEOUT_S, metavar="S",
        help="with --relay: seconds to wait for it (120)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Check; 0, or 1 if something does not work. Raises ConfigError, UsageError, SpoolError."""
    config = load_box()
    if args.relay:
        return _relay(config, args)
    described = describe(config)
    if not args.json:
        _print_settings(config, described)
    found = []
    for finding in findings(config):
        found.append(finding)
        if not args.json:
            _print_finding(finding)
            if args.contexts and "accepted" in finding.details:
                _print_contexts(finding)
    failed = any(finding.level is Level.FAIL for finding in found)
    if args.json:
        settings = [line._asdict() for line in described]
        lines = [asdict(finding) for finding in found]
        output.write_json({"ok": not failed, "settings": settings, "findings": lines})
    return 1 if failed else 0


def _print_settings(config: DaughterConfig | MotherConfig, described: list[Described]) -> None:
    role = "daughter" if isinstance(config, DaughterConfig) else "mother"
    settings = output.table(f"{config.name}, a {role}", ["setting", "value", "from", "meaning"])
    for line in described:
        output.add_row(settings, line)
    output.console().print(settings)
    print()


def _print_finding(finding: Finding) -> None:
    text = f"{finding.level:8}{finding.subject}: {finding.seen}"
    if finding.remedy and finding.level is not Level.PASS:
        text += f"; {finding.remedy}"
    output.console().print(output.cell(text), style=_STYLES[finding.level], soft_wrap=True)


def _print_contexts(finding: Finding) -> None:
    columns = ["SOP class", "VR, little endian", "compressed"]
    table = output.table(f"Accepted by {finding.subject}", columns)
    for sop_class_uid, syntaxes in finding.details["accepted"].items():
        output.add_row(table, [short_name(sop_class_uid), *syntax_names(syntaxes)])
    output.console().print(table)


def _relay(config: DaughterConfig | MotherConfig, args: argparse.Namespace) -> int:
    if not 1 <= args.timeout_s <= 86_400:
        raise UsageError("--timeout-s takes seconds from 1 to 86400")

    def note(made: Made) -> None:
        if not args.json:
            at = made.at.isoformat(timespec="milliseconds")[11:23]
            by = f" ({made.detail})" if made.detail else ""
            text = f"{at}  {made.after_s:7.3f} s  {made.hop}{by}"
            output.console().print(output.cell(text), soft_wrap=True)

    outcome = relay(config, args.timeout_s, note)
    if args.json:
        output.write_json(_as_json(outcome))
    else:
        _print_outcome(outcome)
    return 1 if outcome.problem else 0


def _print_outcome(outcome: Outcome) -> None:
    if outcome.problem:
        _print_finding(Finding(Level.FAIL, "relay", outcome.problem, outcome.remedy))
    else:
        seen = f"all {outcome.images} images are stored in every archive that they are meant for"
        _print_finding(Finding(Level.PASS, "relay", seen))
    if outcome.sent:
        goes_on = "stays in the archive" if not outcome.problem else "goes on when that is mended"
        print(
            f"The test study {goes_on}. To delete it there: patient TACKYBOX^TEST, "
            f"Study Instance UID {outcome.study_instance_uid}"
        )


def _as_json(outcome: Outcome) -> dict[str, Any]:
    hops = [
        {
            "hop": made.hop.name,
            "destination": made.hop.destination,
            "at": made.at,
            "after_s": round(made.after_s, 6),
            "detail": made.detail,
        }
        for made in outcome.hops
    ]
    return {
        "ok": not outcome.problem,
        "study_instance_uid": outcome.study_instance_uid,
        "images": outcome.images,
        "sent": outcome.sent,
        "hops": hops,
        "problem": outcome.problem,
        "remedy": outcome.remedy,
    }
