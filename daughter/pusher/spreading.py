"""Which mother of a group that shares gets an item: the one that its study falls to.

Rendezvous hashing (Thaler and Ravishankar, 1998): each mother draws a number for the study, the
highest has it. So every daughter, also after a restart, finds the same mother for the same study
without asking anybody or keeping anything; studies spread evenly; and when a mother goes, only her
own studies move, evenly to all others. Spreads studies, not bytes: one may be larger than another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tackybox.errors import DataError
from tackybox.item import read_header
from tackybox.spool import Entry


def study_of(entry: Entry) -> str:
    """The Study Instance UID of `entry`; where none can be read, its SOP Instance UID.

    Raises OSError as the file system does.
    """
    try:
        study = read_header(entry.path).study_instance_uid
    except DataError:  # the mother will say so
        study = ""
    return study or entry.item.sop_instance_uid


def in_turn(study: str, names: Iterable[str]) -> list[str]:
    """`names` in the order in which they are to get `study`: the next one if one is down."""
    return sorted(names, key=lambda name: _draw(study, name), reverse=True)


def _draw(study: str, name: str) -> bytes:
    return hashlib.sha256(f"{study} {name}".encode(errors="replace")).digest()
