"""Who has come through the gate: a daughter, whether her key still counts, and how we answer."""

from __future__ import annotations

import json
import time
from typing import Any

from tackybox.errors import TackyboxError
from tackybox.roster import Roster
from tackybox.spool import Landing, Spool

PROTOCOL = 1
_SEEN_INTERVAL_S = 60.0


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


def answer(fields: dict[str, Any]) -> None:
    """Say `fields` to the daughter, as a line of JSON."""
    print(json.dumps(fields, separators=(",", ":")), flush=True)
