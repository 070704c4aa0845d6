"""The requests that are a dialogue: `commit` and `receipts`, a line at a time.

Apart from the gate, so that an rsync, which needs nothing of this, starts in half the time.
"""

from __future__ import annotations

import json
import re
import select
import sys
from datetime import UTC, datetime

from mother.inbox.caller import PROTOCOL, Caller, answer
from mother.inbox.commit import MOST_ITEMS, Announced, Commit
from mysql_utilities.recorder import Recorder
from tackybox.errors import DataError
from tackybox.spool import Landing, ReceiptLog, Spool

_MOST_RECEIPTS = 10_000
_LONGEST_LINE_CHARACTERS = 4 << 20
_LONGEST_CURSOR_CHARACTERS = 32
_SEEN_INTERVAL_S = 60.0
_CURSOR = re.compile(r"\d{1,18}")


def commit(spool: Spool, box: str, caller: Caller) -> int:
    """Sign for what each manifest on stdin names, until there are no more."""
    daughter = caller.name
    landing = Landing(spool.root, daughter)
    landing.sweep()
    log = ReceiptLog(spool.root, daughter)
    with Recorder(spool.journal, box) as recorder:
        work = Commit(daughter, landing, log, recorder, check=caller.check, ring=spool.bell.ring)
        work.finish_left_over()
        _greet(spool)
        while line := _next_line(caller):
            answer({"answers": work.commit(_manifest(line, daughter))})
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


def receipts(spool: Spool, caller: Caller, cursor: int) -> int:
    """Answer for `cursor`, then for each further cursor on stdin, so that asking costs no login."""
    log = ReceiptLog(spool.root, caller.name)
    landing = Landing(spool.root, caller.name)
    _greet(spool)
    while True:
        landing.wait_until_settled()  # what a connection that broke had asked for is in the log
        log.forget_before(cursor)
        for count, (behind, receipt) in enumerate(log.read_after(cursor)):
            if count == _MOST_RECEIPTS:
                break
            print(behind, receipt.to_line(), sep="\t", end="")
        answer({"end": True})
        line = sys.stdin.readline(_LONGEST_CURSOR_CHARACTERS)
        if not line:
            return 0
        if not _CURSOR.fullmatch(line.strip()):
            raise DataError("what was asked for is not a cursor")
        caller.check()
        cursor = int(line)


def _greet(spool: Spool) -> None:
    """Which protocol, whose spool, and the time here, so that a daughter can compare clocks."""
    answer({"protocol": PROTOCOL, "spool": spool.identity, "at": datetime.now(UTC).isoformat()})
