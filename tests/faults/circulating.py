"""Items that go round in one queue whose directories are renewed whenever they are empty.

    python -m tests.faults.circulating SPOOL

Waiting, in hand, waiting again, for ever: run by a test that cuts the power. Prints a line when the
first round is done. The first run makes the items, durable.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.backlog import fill
from tackybox.spool import Lane, Spool, State, renewal, window
from tackybox.spool.durable import fsync_directory

OUTLET = "archive_1"
ITEMS = 40


def main() -> None:
    """Go round."""
    renewal.LARGE_BYTES = 0
    window.RESCAN_S = 0.0
    spool = Spool.open(Path(sys.argv[1]))
    with spool.work_outlet(OUTLET) as outlet:
        queue = outlet.directory(State.NEW, Lane.LOW)
        if not any(outlet.tally(state, Lane.LOW).count for state in (State.NEW, State.ACTIVE)):
            fill(spool.root, ITEMS, place=f"out/{OUTLET}/new")
            for path in queue.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            fsync_directory(queue)
        outlet.recover()
        is_told = False
        while True:
            while entries := outlet.claim(ITEMS):
                held = entries
                outlet.claim(1)  # finds it empty: renewed
                for entry in held:
                    outlet.put_back(entry)
                if not is_told:
                    print("round", flush=True)
                    is_told = True


if __name__ == "__main__":
    main()
