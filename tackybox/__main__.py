"""The operator's command: `tackybox <verb>`.

Each verb is a module of `tackybox.commands` with NAME, HELP, `add_arguments(parser)` and
`run(args) -> int`. Only the one asked for is imported, so that looking something up loads no DICOM
network library. On stdout is nothing but the verb's own output; an error is one line on stderr
and the exit code of its class (`tackybox.errors`); Ctrl-C is 130.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from tackybox import service
from tackybox.errors import UsageError

VERBS = (
    "demo",
    "check",
    "sheet",
    "status",
    "trace",
    "quarantine",
    "echo",
    "send",
    "proof",
    "verify",
    "reconcile",
    "enrol",
    "join",
    "daughters",
    "health",
)


class _Parser(argparse.ArgumentParser):
    """argparse, except that a wrong command line is one line and exit code 64 as everywhere."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see: {self.prog} --help")


def run(arguments: Sequence[str]) -> int:
    """Do what the command line asks; the exit code. Raises TackyboxError."""
    parser = _Parser(
        prog="tackybox", description="A relay for medical images: the operator's tool."
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    asked_for = arguments[0] if arguments else ""
    for name in (asked_for,) if asked_for in VERBS else VERBS:
        verb = importlib.import_module(f"tackybox.commands.{name}")
        subparser = verbs.add_parser(verb.NAME, help=verb.HELP, description=verb.HELP)
        verb.add_arguments(subparser)
        subparser.set_defaults(run=verb.run)
    args = parser.parse_args(arguments)
    return int(args.run(args))


def main() -> int:
    """The entry point of the `tackybox` script."""
    return service.main(lambda: run(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
