"""The gate: what a daughter's key may do, and nothing else. sshd's forced command.

It admits exactly three requests, each only for the daughter that the key belongs to:

    rsync --server …        rsync's receiving side, write-only into arriving/<daughter>/ (rrsync)
    commit                  a greeting, then for each line of JSON on stdin (a manifest) one back
    receipts --after N      what became of this daughter's items since cursor N; further cursors
                            may follow on stdin, a line each

Anything else is refused with exit code 64. stdout is the protocol; log lines go to the file
descriptor that the inbox gave.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from mother.inbox.commit import MOST_ITEMS, Announced, Commit
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.errors import DataError, TackyboxError
from tackybox.item import is_box_name
from tackybox.spool import Landing, ReceiptLog, Spool

PROTOCOL = 1
EX_USAGE, EX_TEMPFAIL = 64, 75
_MOST_RECEIPTS = 10_000
_LONGEST_LINE_CHARACTERS = 4 << 20
_LONGEST_CURSOR_CHARACTERS = 32
_CURSOR = re.compile(r"\d{1,18}")


def main(argv: list[str]) -> int:
    """Run the request that ssh's client made; the exit code for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--box", required=True)
    parser.add_argument("--min-free-bytes", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("daughter")
    parser.add_argument("request", nargs="?", default="")
    args = parser.parse_args(argv)
    logs.setup(args.box, "inbox", args.log_level, fd=_log_descriptor(args.log))
    if not is_box_name(args.daughter):
        return _refuse("this key belongs to no daughter")
    spool = Spool.open(args.spool)
    if args.request.startswith("rsync --server "):
        free_bytes = spool.space().free_bytes
        if free_bytes < args.min_free_bytes:
            logs.get("gate").error("low space", free_bytes=free_bytes, daughter=args.daughter)
            return _refuse("the mother's spool is below its low-space watermark", EX_TEMPFAIL)
        _become_rsync(spool, args.daughter)
    if args.request == "commit":
        return _commit(spool, args.box, args.daughter)
    if match := re.fullmatch(r"receipts --after (\d{1,18})", args.request):
        return _receipts(spool, args.daughter, int(match[1]))
    logs.get("gate").warning("request refused", daughter=args.daughter)
    return _refuse("this key admits rsync into its own folder, commit, and receipts --after N")


def _log_descriptor(fifo: Path) -> int:
    """Where lines go that never makes us wait: a gate outlives an inbox that was killed."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody reads it
        return os.open(os.devnull, os.O_WRONLY)


def _refuse(sentence: str, code: int = EX_USAGE) -> int:
    print(f"tackybox: {sentence}", file=sys.stderr)
    return code


def _become_rsync(spool: Spool, daughter: str) -> NoReturn:
    arriving = Landing(spool.root, daughter).arriving
    os.execvp("rrsync", ["rrsync", "-wo", "-no-del", "-munge", "-no-lock", str(arriving)])  # noqa: S606


def _commit(spool: Spool, box: str, daughter: str) -> int:
    landing = Landing(spool.root, daughter)
    landing.sweep()
    with Recorder(spool.journal, box) as recorder:
        commit = Commit(daughter, landing, ReceiptLog(spool.root, daughter), recorder)
        commit.finish_left_over()
        _greet(spool)
        while line := sys.stdin.readline(_LONGEST_LINE_CHARACTERS):
            answers = commit.commit(_manifest(line, daughter))
            _answer({"answers": answers})
    return 0


def _manifest(line: str, daughter: str) -> list[Announced]:
    try:
        lines = json.loads(line)["items"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("the manifest is not a line of JSON with items") from error
    if not isinstance(lines, list) or len(lines) > MOST_ITEMS:
        raise DataError("the manifest's items are not a list, or too many")
    return [Announced.parse(fields, daughter) for fields in lines]


def _receipts(spool: Spool, daughter: str, cursor: int) -> int:
    """Answer for `cursor`, then for each further cursor on stdin, so that asking costs no login."""
    receipts = ReceiptLog(spool.root, daughter)
    _greet(spool)
    while True:
        receipts.forget_before(cursor)
        for count, (behind, receipt) in enumerate(receipts.read_after(cursor)):
            if count == _MOST_RECEIPTS:
                break
            print(behind, receipt.to_line(), sep="\t", end="")
        _answer({"end": True})
        line = sys.stdin.readline(_LONGEST_CURSOR_CHARACTERS)
        if not line:
            return 0
        if not _CURSOR.fullmatch(line.strip()):
            raise DataError("what was asked for is not a cursor")
        cursor = int(line)


def _greet(spool: Spool) -> None:
    """Which protocol, whose spool, and the time here, so that a daughter can compare clocks."""
    _answer({"protocol": PROTOCOL, "spool": spool.identity, "at": datetime.now(UTC).isoformat()})


def _answer(fields: dict[str, Any]) -> None:
    print(json.dumps(fields, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TackyboxError as failure:
        sys.exit(_refuse(str(failure), failure.exit_code))
