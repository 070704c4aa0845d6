"""`tackybox check`: what this box is set to, and whether what it needs can be reached.

Exit code 0 if everything works (warnings included), 1 if something does not, 78 if the settings
are wrong. Secrets are masked. Changes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict

from tackybox.commands import output, probing
from tackybox.commands.probing import Finding, Level
from tackybox.config import DaughterConfig, Described, MotherConfig, describe, load_box

NAME = "check"
HELP = "what this box is set to, and whether what it needs can be reached; exit code 1 if not"

_STYLES = {Level.PASS: "", Level.WARNING: "yellow", Level.FAIL: "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Check; 0, or 1 if something does not work. Raises ConfigError."""
    config = load_box()
    described = describe(config)
    if not args.json:
        _print_settings(config, described)
    findings = []
    for finding in _findings(config):
        findings.append(finding)
        if not args.json:
            _print_finding(finding)
    failed = any(finding.level is Level.FAIL for finding in findings)
    if args.json:
        settings = [line._asdict() for line in described]
        found = [asdict(finding) for finding in findings]
        output.write_json({"ok": not failed, "settings": settings, "findings": found})
    return 1 if failed else 0


def _findings(config: DaughterConfig | MotherConfig) -> Iterator[Finding]:
    if isinstance(config, DaughterConfig):
        yield from probing.daughter(config)
    else:
        yield from probing.mother_box(config)
    if config.sql is not None:
        yield probing.database(config.sql)


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
