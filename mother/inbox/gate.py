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
import os
import re
import runpy
import shutil
import signal
import sys
from pathlib import Path
from typing import NoReturn

from mother.inbox.caller import PROTOCOL, Caller, answer
from tackybox import logs
from tackybox.errors import DataError, TackyboxError
from tackybox.item import is_box_name
from tackybox.keys import PublicKey
from tackybox.roster import Roster
from tackybox.spool import Landing, Spool
from tackybox.spool.landing import clear_all

EX_USAGE, EX_TEMPFAIL = 64, 75
DAUGHTER, INVITED = "daughter", "invited"  # whose key sshd has let in
_LONGEST_KEY_BYTES = 4096
_JOIN_S = 30


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
        if _is_low(spool, args.min_free_bytes, caller.name):
            return _refuse("the mother's spool is below its low-space watermark", EX_TEMPFAIL)
        _become_rsync(spool, caller.name)
    if args.request == "commit":
        _is_low(spool, args.min_free_bytes, caller.name)  # what is signed for finds more room
        from mother.inbox import serving  # noqa: PLC0415 - rsyncs start faster without

        return serving.commit(spool, args.box, caller)
    if match := re.fullmatch(r"receipts --after (\d{1,18})", args.request):
        from mother.inbox import serving  # noqa: PLC0415 - rsyncs start faster without

        return serving.receipts(spool, caller, int(match[1]))
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
    answer({"protocol": PROTOCOL, "joined": name})
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


def _is_low(spool: Spool, min_free_bytes: int, daughter: str) -> bool:
    """Whether there is no room, also after what cut pushes have left has gone."""
    if not spool.space().is_low(min_free_bytes):
        return False
    if cleared := clear_all(spool.root):
        logs.get("gate").warning("low space: what cut pushes left is cleared", items=cleared)
    space = spool.space()
    if not space.is_low(min_free_bytes):
        return False
    logs.get("gate").error(
        "low space", free_bytes=space.free_bytes, free_inodes=space.free_inodes,
        daughter=daughter,
    )  # fmt: skip
    return True


def _become_rsync(spool: Spool, daughter: str) -> NoReturn:
    """Run rrsync, which becomes rsync: in this interpreter, because another one takes its time."""
    landing = Landing(spool.root, daughter)
    landing.stay()
    arriving = landing.arriving
    path = shutil.which("rrsync") or "rrsync"
    words = ["rrsync", "-wo", "-no-del", "-munge", "-no-lock", str(arriving)]
    with open(path, "rb") as script:  # noqa: PTH123 - its first line is all that is wanted
        is_python = b"python" in script.readline()
    if not is_python:  # an older rsync's
        os.execvp(path, words)  # noqa: S606
    sys.argv = words
    runpy.run_path(path, run_name="__main__")
    raise SystemExit(EX_USAGE)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TackyboxError as failure:
        sys.exit(_refuse(str(failure), failure.exit_code))
