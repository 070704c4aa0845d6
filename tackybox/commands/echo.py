"""`tackybox echo`: is an archive (or any DICOM peer) there, and if not, why not.

Exit code 0 if every one asked answers C-ECHO, 69 (EX_UNAVAILABLE) if any does not.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from tackybox.commands import output
from tackybox.commands.calling import add_calling_argument, address_of, calling_aet
from tackybox.config import load_mother
from tackybox.dimse.association import Timeouts
from tackybox.dimse.scu import EchoResult, echo
from tackybox.errors import UnavailableError, UsageError

NAME = "echo"
HELP = "ask an archive whether it is there (C-ECHO); exit code 69 if one is not"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("peer", nargs="*", metavar="AET@host:port", help="whom to ask")
    parser.add_argument("--archives", action="store_true", help="ask this mother's archives")
    add_calling_argument(parser)
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="seconds to wait")
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(args: argparse.Namespace) -> int:
    """Ask; 0, or 69 (EX_UNAVAILABLE) if one does not answer."""
    peers = [address_of(text) for text in args.peer]
    aet = args.calling
    if args.archives:
        config = load_mother()
        peers += [address for group in config.archives for address in group.alternatives]
        aet = aet or config.aet
    if not peers:
        raise UsageError("whom to ask? give AET@host:port, or --archives on a mother")
    timeouts = Timeouts(connect_s=args.timeout, answer_s=args.timeout)
    results = [
        (peer, echo(peer, calling_aet=calling_aet(aet), timeouts=timeouts)) for peer in peers
    ]
    if args.json:
        output.write_json([{"peer": str(peer), **asdict(result)} for peer, result in results])
    else:
        for _, result in results:
            _print(result)
    return 0 if all(result.ok for _, result in results) else UnavailableError.exit_code


def _print(result: EchoResult) -> None:
    mark = "ok" if result.ok else "FAILED"
    output.console().print(
        output.cell(f"{mark}  {result.message}  {result.duration_s * 1000:.0f} ms")
    )
