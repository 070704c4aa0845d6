"""Commits of several carriers over one session: what waits meanwhile is asked for together.

One manifest is on the way at a time, as the gate's order of receipts wants it; those that come
while it is make up the next one, so that they share its round trip and its fsyncs. After a failure
it is unknown what she signed for, and every later commit on the session fails, too.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daughter.pusher import trouble
from daughter.pusher.session import Session
from daughter.pusher.trouble import RoadError

MISMATCH = "mismatch"  # what arrived is not what its name says
MISSING = "missing"  # it has not arrived, or not whole
_MOST_ITEMS = 4096  # together; the gate takes 10,000
_SLOWEST_VERIFY_BYTES_S = 20e6  # what a mother on a poor disk hashes while we wait for her answer


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a manifest."""

    name: str
    lane: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The gate's answer for one announced item: landed, mismatch or missing."""

    item_name: str
    kind: str


@dataclass(slots=True, eq=False)
class _Waiting:
    lines: Sequence[Line]
    answers: Sequence[Answer] = ()
    done: bool = False


class GroupCommit:
    """Commits on `session`, each wait bounded by `timeout_s` and what she needs to verify."""

    def __init__(self, session: Session, timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._failed = False

    def commit(self, lines: Sequence[Line]) -> Sequence[Answer]:
        """Her answers for `lines`, and maybe for others; raises RoadError."""
        mine = _Waiting(lines)
        with self._changed:
            self._waiting.append(mine)
        while not mine.done:
            with self._changed:
                self._changed.wait_for(lambda: mine.done or not self._busy)
                if mine.done:
                    break
                if self._failed:
                    raise RoadError("the connection is closed")
                self._busy = True
                group = self._next_group()
            self._ask(group)
        return mine.answers

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        count = 0
        while self._waiting and (not group or count + len(self._waiting[0].lines) <= _MOST_ITEMS):
            group.append(self._waiting.pop(0))
            count += len(group[-1].lines)
        return group

    def _ask(self, group: Sequence[_Waiting]) -> None:
        answers: Sequence[Answer] | None = None
        try:
            answers = self._answers([line for waiting in group for line in waiting.lines])
        finally:
            with self._changed:
                for waiting in group if answers is not None else ():
                    waiting.answers, waiting.done = answers or (), True
                self._failed = answers is None
                self._busy = False
                self._changed.notify_all()

    def _answers(self, lines: Sequence[Line]) -> list[Answer]:
        items = [
            {"name": line.name, "lane": line.lane, "size_bytes": line.size_bytes} for line in lines
        ]
        manifest = json.dumps({"items": items}, separators=(",", ":")).encode() + b"\n"
        self._session.write(manifest, self._timeout_s)
        verify_s = sum(line.size_bytes for line in lines) / _SLOWEST_VERIFY_BYTES_S
        answer: Any = self._session.read_answer(self._timeout_s + verify_s)
        try:
            return [Answer(str(a["name"]), str(a["kind"])) for a in answer["answers"]]
        except (KeyError, TypeError) as error:
            raise trouble.no_gate() from error
