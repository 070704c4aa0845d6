"""The gate: what a key may do, and nothing else. sshd's forced command.

A daughter's key admits exactly three requests, each only for the daughter that it belongs to:

    rsync --server …        rsync's receiving side, write-only into arriving/<daughter>/ (rrsync)
    commit                  a greeting, then for each line of JSON on stdin (a manifest) one back
    receipts --after N      what became of this daughter's items since cursor N; further cursors
                            may follow on stdin, a line each

The code of an invitation admits exactly one:

    join                    a public key on stdin, which becomes the daughter's; an answer

Anything else is refused with exit code 64. A key that was removed or replaced is refused with 77
(EX_NOPERM), at the start and at each line that is read, however long ago sshd let it in. stdout is
the protocol; log lines go to the file descriptor that the inbox gave.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from mother.inbox.commit import MOST_ITEMS, Announced, Commit
from mysql_utilities.recorder import Recorder
from tackybox import logs
from tackybox.errors import DataError, TackyboxError
from tackybox.item import is_box_name
from tackybox.keys import PublicKey
from tackybox.roster import Roster
from tackybox.spool import Landing, ReceiptLog, Spool

PROTOCOL = 1
EX_USAGE, EX_TEMPFAIL = 64, 75
DAUGHTER, INVITED = "daughter", "invited"  # whose key sshd has let in
_MOST_RECEIPTS = 10_000
_LONGEST_LINE_CHARACTERS = 4 << 20
_LONGEST_CURSOR_CHARACTERS = 32
_LONGEST_KEY_BYTES = 4096
_JOIN_S = 30
_SEEN_INTERVAL_S = 60.0
_CURSOR = re.compile(r"\d{1,18}")


class RevokedError(TackyboxError):
    """This key was revoked; exit code 77 (EX_NOPERM)."""

    exit_code = 77


class Caller:
    """The daughter `name` in `spool`, here with the key that has this fingerprint."""

    def __init__(self, name: str, fingerprint: str, roster: Roster, spool: Spool) -> None:
        self.name = name
        self._fingerprint = fingerprint
        self._roster = roster
        self._landing = Landing(spool.root, name)
        self._note_at_s = 0.0

    def check(self) -> None:
        """Raises RevokedError if the key counts no more; else notes that the daughter is there."""
        if not self._roster.holds(self.name, self._fingerprint):
            raise RevokedError("this key was revoked")
        if time.monotonic() >= self._note_at_s:
            self._landing.note_seen()
            self._note_at_s = time.monotonic() + _SEEN_INTERVAL_S


def main(argv: list[str]) -> int:
    """Run the request that ssh's client made; the exit code for it."""
    args = _arguments(argv)
    logs.setup(args.box, "inbox", args.log_level, fd=_log_descriptor(args.log))
    if not is_box_name(args.name):
        return _refuse("this key belongs to no daughter")
    roster = Roster(args.daughters, args.enrolments)
    if args.holder == INVITED:
        return _join(roster, args.name, args.fingerprint, args.request)
    spool = Spool.open(args.spool)
    caller = Caller(args.name, args.fingerprint, roster, spool)
    caller.check()
    if args.request.startswith("rsync --server "):
        free_bytes = spool.space().free_bytes
        if free_bytes < args.min_free_bytes:
            logs.get("gate").error("low space", free_bytes=free_bytes, daughter=caller.name)
            return _refuse("the mother's spool is below its low-space watermark", EX_TEMPFAIL)
        _become_rsync(spool, caller.name)
    if args.request == "commit":
        return _commit(spool, args.box, caller)
    if match := re.fullmatch(r"receipts --after (\d{1,18})", args.request):
        return _receipts(spool, caller, int(match[1]))
    logs.get("gate").warning("request refused", daughter=caller.name)
    return _refuse("this key admits rsync into its own folder, commit, and receipts --after N")


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for directory in ("--spool", "--daughters", "--enrolments", "--log"):
        parser.add_argument(directory, type=Path, required=True)
    parser.add_argument("--box", required=True)
    parser.add_argument("--min-free-bytes", type=int, required=True)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("holder", choices=(DAUGHTER, INVITED))
    parser.add_argument("name")
    parser.add_argument("fingerprint")
    parser.add_argument("request", nargs="?", default="")
    return parser.parse_args(argv)


def _join(roster: Roster, name: str, code_fingerprint: str, request: str) -> int:
    """Make the key that is sent the daughter's; what is no key does not use the code up."""
    if request != "join":
        return _refuse("this code admits join, once")
    signal.alarm(_JOIN_S)  # nobody holds an invitation open for ever: the default action ends us
    line = sys.stdin.buffer.readline(_LONGEST_KEY_BYTES)
    signal.alarm(0)
    try:
        key = PublicKey.parse(line.decode("utf-8", "replace"))
    except ValueError as error:
        raise DataError(f"what was sent {error}") from error
    roster.admit(name, code_fingerprint, key)
    logs.get("gate").info("joined", daughter=name, fingerprint=key.fingerprint)
    _answer({"protocol": PROTOCOL, "joined": name})
    return 0


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


def _commit(spool: Spool, box: str, caller: Caller) -> int:
    daughter = caller.name
    landing = Landing(spool.root, daughter)
    landing.sweep()
    receipts = ReceiptLog(spool.root, daughter)
    with Recorder(spool.journal, box) as recorder:
        commit = Commit(daughter, landing, receipts, recorder, caller.check)
        commit.finish_left_over()
        _greet(spool)
        while line := _next_line(caller):
            answers = commit.commit(_manifest(line, daughter))
            _answer({"answers": answers})
    return 0


def _next_line(caller: Caller) -> str:
    """The daughter's next line, "" at the end; she is seen while she sends none, too.

    She sends one only when the one before was answered, so that none hides in stdin's buffer.
    """
    while not select.select([sys.stdin], [], [], _SEEN_INTERVAL_S)[0]:
        caller.check()
    return sys.stdin.readline(_LONGEST_LINE_CHARACTERS)


def _manifest(line: str, daughter: str) -> list[Announced]:
    try:
        lines = json.loads(line)["items"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("the manifest is not a line of JSON with items") from error
    if not isinstance(lines, list) or len(lines) > MOST_ITEMS:
        raise DataError("the manifest's items are not a list, or too many")
    return [Announced.parse(fields, daughter) for fields in lines]


def _receipts(spool: Spool, caller: Caller, cursor: int) -> int:
    """Answer for `cursor`, then for each further cursor on stdin, so that asking costs no login."""
    receipts = ReceiptLog(spool.root, caller.name)
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
        caller.check()
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
